"""Landmark files from kind to kind, and in the conventions of other programs.

Suffixes say the kind (`data/landmark_files.py`), but not two conventions:

- SkullEngine (Liu et al., arXiv 2110.03828), that is the Medical-Detection3d-Toolkit, keeps `name,x,y,z` in
  LPS mm, and a landmark at (0, 0, 0), (1, 1, 1) or (-1, -1, -1) is one that is not in the scan.
- AFIDs are labelled with their numbers (`data/afids.py`); a file that is read shows that it is of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from LandmarkDetectionLib.data.afids import AFIDS
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import (
    LANDMARK_SUFFIXES,
    CoordinateSystem,
    read_landmarks,
    write_landmarks,
)
from LandmarkDetectionLib.data.landmarks import LandmarkSet

Convention = Literal["plain", "skullengine", "afids"]

ABSENT = (-1.0, -1.0, -1.0)
"""Where SkullEngine puts a landmark that it did not find."""
_ABSENT_MARKS = np.array([(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ABSENT])
_AT_A_MARK = 1e-6
"""Sum of the distances along x, y and z, mm, within which SkullEngine takes a point for a mark."""


def convert_landmarks(
    source: Path,
    target: Path,
    *,
    read_as: Convention = "plain",
    write_as: Convention = "plain",
    system: CoordinateSystem = "LPS",
) -> LandmarkSet:
    """Write the landmarks of one file into another, whose suffix says its kind.

    Args:
        source: the file to read; it says itself whether it is in LPS or RAS.
        target: the file to write.
        read_as: `skullengine` where three positions stand for 'absent'.
        write_as: `skullengine` (a .csv) or `afids` (a .fcsv or .mrk.json) for these programs.
        system: of a .fcsv or .mrk.json; a .csv is always LPS.

    Returns:
        The landmarks, world LPS mm.

    Raises:
        InputError: if the file cannot be read or written, or what it holds cannot be said in the other one.
    """
    landmarks = read_landmarks(source)
    if read_as == "skullengine":
        landmarks = without_marks(landmarks)
    if target.name.lower().endswith(".csv") and system == "RAS":
        raise InputError(f"{target}: a .csv is always LPS; write a .fcsv or .mrk.json for RAS.")
    write_landmarks(_said_as(write_as, landmarks, source, target), target, coordinate_system=system)
    return landmarks


def target_of(source: Path, output: Path, suffix: str) -> Path:
    """The file of a folder into which the landmarks of another one go."""
    kind = next((kind for kind in LANDMARK_SUFFIXES if source.name.lower().endswith(kind)), "")
    return output / f"{source.name[: len(source.name) - len(kind)]}{suffix}"


def without_marks(landmarks: LandmarkSet) -> LandmarkSet:
    """Landmarks of SkullEngine; those at its marks are absent."""
    apart = np.abs(landmarks.positions[:, None] - _ABSENT_MARKS).sum(axis=2)
    marked = (apart < _AT_A_MARK).any(axis=1)
    positions = np.where(marked[:, None], np.nan, landmarks.positions)
    return LandmarkSet(landmarks.names, positions, landmarks.descriptions)


def with_marks(landmarks: LandmarkSet) -> LandmarkSet:
    """Landmarks for SkullEngine, absent ones at -1, -1, -1, without descriptions.

    Raises:
        ValueError: if a landmark lies where SkullEngine would take it for absent; the message is its name.
    """
    for name, was, now in zip(
        landmarks.names, landmarks.present, without_marks(landmarks).present, strict=True
    ):
        if was != now:
            raise ValueError(name)
    return LandmarkSet(landmarks.names, np.where(landmarks.present[:, None], landmarks.positions, ABSENT))


def numbered_as_afids(landmarks: LandmarkSet) -> LandmarkSet:
    """AFIDs by their numbers, in the order of these, with their names as descriptions.

    Raises:
        ValueError: if a landmark is no AFID; the message is its name.
    """
    numbers = {name: number for number, name in enumerate(AFIDS)}
    for name in landmarks.names:
        if name not in numbers:
            raise ValueError(name)
    order = sorted(landmarks.names, key=numbers.__getitem__)
    return LandmarkSet([str(numbers[name] + 1) for name in order], landmarks.positions_of(order), order)


def _said_as(convention: Convention, landmarks: LandmarkSet, source: Path, target: Path) -> LandmarkSet:
    kind = {"skullengine": (".csv",), "afids": (".fcsv", ".mrk.json")}.get(convention, LANDMARK_SUFFIXES)
    if not target.name.lower().endswith(kind):
        raise InputError(f"{target}: the {convention} files are {' or '.join(kind)}; name it so.")
    try:
        if convention == "skullengine":
            return with_marks(landmarks)
        return numbered_as_afids(landmarks) if convention == "afids" else landmarks
    except ValueError as error:
        problem = (
            "lies where SkullEngine takes a landmark for absent; move it by a hundredth of a millimetre"
            if convention == "skullengine"
            else f"is no AFID; give it the name of one, such as '{AFIDS[0]}', or write a plain file"
        )
        raise InputError(f"{source}: '{error}' {problem}.") from error

"""What several statements about one geometry have in common, and what is said where they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame

MOST_VOXELS_APART = 0.5
"""How far two statements may move a voxel against each other, in voxels."""

_MILLIMETRES = {
    "nm": 1e-6,
    "um": 1e-3,
    "µm": 1e-3,
    "μm": 1e-3,
    "micron": 1e-3,
    "micrometer": 1e-3,
    "micrometre": 1e-3,
    "mm": 1.0,
    "millimeter": 1.0,
    "millimetre": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "centimetre": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "metre": 1000.0,
}


@dataclass(frozen=True)
class Reading:
    """How ITK's image of a file is to be taken.

    Attributes:
        frame: where the voxels lie; None where ITK's own frame is right but for the unit.
        millimetres: length of the unit in which ITK's frame is, mm.
        substitute: the content of a file to be read in place of it, where ITK cannot read the file itself.
    """

    frame: Frame | None = None
    millimetres: float = 1.0
    substitute: bytes | None = None


def millimetres_of(path: Path, field: str, units: Sequence[str]) -> float:
    """The length in mm of the unit that a header names for its axes; 1 where it names none.

    Raises:
        InputError: if the unit is not one of length, or the axes have different ones.
    """
    named = {unit.strip().lower() for unit in units} - {"", "?", "???", "none"}
    lengths = {_MILLIMETRES.get(unit, _MILLIMETRES.get(unit.removesuffix("s"))) for unit in named}
    if not named:
        return 1.0
    length = lengths.pop() if len(lengths) == 1 else None
    if length is None:
        shown = ", ".join(sorted(named))
        raise InputError(
            f"{path}: {field} is {shown}, not one unit of length for all axes; save the image in mm."
        )
    return length


def check_spacing(path: Path, spacing: Sequence[float]) -> None:
    """Refuse voxels without a size.

    Raises:
        InputError: if a spacing is not a positive number.
    """
    if not all(step > 0 and math.isfinite(step) for step in spacing):
        shown = " x ".join(f"{step:g}" for step in spacing)
        raise InputError(
            f"{path}: the voxel size in the header is {shown} mm; correct it, each must be positive."
        )


def check_agreement(path: Path, first: tuple[str, Frame], second: tuple[str, Frame]) -> None:
    """Refuse two statements, each with its name, that move a voxel by more than half a voxel.

    Raises:
        InputError: with the place that each of them gives the voxel that they move farthest.
    """
    (one, here), (other, there) = first, second
    corners = np.array(list(product(*[(0, count - 1) for count in here.size])))
    apart = np.abs(here.world_to_index(there.index_to_world(corners)) - corners).max(axis=1)
    worst = corners[int(apart.argmax())]
    if apart.max() > MOST_VOXELS_APART:
        raise InputError(
            f"{path}: {one} puts the voxel {tuple(worst.tolist())} at {_shown(here, worst)} mm (LPS) and "
            f"{other} at {_shown(there, worst)}; find out which is right and save the image with that one."
        )


def check_spacings_agree(
    path: Path, size: Sequence[int], first: tuple[str, ArrayLike], second: tuple[str, ArrayLike]
) -> None:
    """Refuse two statements about the spacing that move the last voxel by more than half a voxel.

    Raises:
        InputError: with both spacings.
    """
    here, there = np.asarray(first[1], dtype=float), np.asarray(second[1], dtype=float)
    moved = np.abs(here - there) * (np.asarray(size) - 1)
    if (moved > MOST_VOXELS_APART * np.minimum(here, there)).any():
        numbers = [" x ".join(f"{step:.4g}" for step in steps) for steps in (here, there)]
        raise InputError(
            f"{path}: the voxels measure {numbers[0]} mm by {first[0]} and {numbers[1]} mm by {second[0]}; "
            "find out which is right and correct the other."
        )


def frame_of_matrix(size: ArrayLike, matrix: ArrayLike, origin: ArrayLike) -> Frame:
    """The frame whose columns of `matrix` are the steps from voxel to voxel, world LPS mm.

    Raises:
        ValueError: if the matrix is not invertible.
    """
    steps = np.asarray(matrix, dtype=np.float64)
    spacing = np.linalg.norm(steps, axis=0)
    direction = steps / np.where(spacing > 0, spacing, 1)
    return Frame(size=size, origin=origin, spacing=spacing, direction=direction)


def _shown(frame: Frame, index: ArrayLike) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in frame.index_to_world(index)) + ")"

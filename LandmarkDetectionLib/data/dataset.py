"""A data set that grows case by case: `cases.csv`, `landmarks.csv`, and the folders of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.annotation import mask_of
from LandmarkDetectionLib.data.cases import TABLE_NAME, Case, find_table, read_rows, write_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import folded_name
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.shape import clear_symmetry, mean_shape
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume

CASES_NAME = "cases.csv"


def cases_of(path: Path) -> list[Case]:
    """The cases that a split CSV lists so far, whether or not their files are there; none if it is not there.

    Raises:
        InputError: if it is there and cannot be read.
    """
    return [row.case for row in read_rows(path, supervised=False)] if Path(path).is_file() else []


def check_name(name: str, path: Path) -> None:
    """Refuse a case whose files would be another's on disks where upper and lower case are one.

    Raises:
        InputError: if the data set of the CSV has such a case.
    """
    for case in cases_of(path):
        if case.name != name and folded_name(case.name) == folded_name(name):
            raise InputError(
                f"The case '{name}' would overwrite the case '{case.name}' of {path} on disks where upper "
                "and lower case are one: rename it."
            )


def write_image(volume: Volume, name: str, folder: Path) -> Path:
    """Write a case's scan under `images/` in a data set's folder; gives the path.

    It is NIfTI, or NRRD where the axes are not at right angles, which NIfTI cannot hold.
    """
    suffix = ".nii.gz" if volume.frame.has_right_angles else ".nrrd"
    path = Path(folder) / "images" / f"{name}{suffix}"
    write_volume(volume, path)
    return path


def write_case(
    case: Case, landmarks: LandmarkSet, frame: Frame, path: Path, *, table: LandmarkTable | None = None
) -> Case:
    """Write what is known of a case's landmarks, and its row in the data set's CSV, last.

    A case of the same name is replaced; the others stay as they are. Landmark file and mask go where the case
    says, or else under `landmarks/` and `masks/` beside the CSV. Landmarks that `landmarks.csv` does not have
    are added to it with labels of their own, so that masks made earlier stay right.

    Args:
        case: its name, image and group.
        landmarks: in the world of the image.
        frame: of the image.
        path: the CSV, made if need be.
        table: groups, definitions and pairs of the landmarks, for those that are new to the data set.

    Returns:
        the case with the paths of its files.

    Raises:
        InputError: if the name is another's, there is no landmark, one lies outside the image, or a file
            cannot be written.
    """
    path = Path(path)
    check_name(case.name, path)
    if not len(landmarks):
        raise InputError(
            f"The case '{case.name}' has no landmark: place one, or say that it is absent, before you export."
        )
    cases = {known.name: known for known in cases_of(path)}
    names = _grown(find_table(path, list(cases.values())), landmarks.names, table)
    mask = mask_of(landmarks, frame, names, where=f"The case '{case.name}'")
    suffix = ".nii.gz" if frame.has_right_angles else ".nrrd"
    landmark_path = case.landmark_path or path.parent / "landmarks" / f"{case.name}.mrk.json"
    mask_path = case.mask_path or path.parent / "masks" / f"{case.name}_mask{suffix}"
    cases[case.name] = replace(case, landmark_path=landmark_path, mask_path=mask_path)
    write_landmarks(landmarks, landmark_path)
    write_volume(mask, mask_path)
    write_table(_with_pairs(names, list(cases.values())), path.parent / TABLE_NAME)
    write_split(list(cases.values()), path)
    return cases[case.name]


def _grown(
    known: LandmarkTable | None, names: Sequence[str], described: LandmarkTable | None
) -> LandmarkTable:
    """The table with the landmarks that it lacks: all that are described, and all that are named."""
    rows = list(known.landmarks if known else ())
    present = {landmark.name for landmark in rows}
    new = [
        landmark for landmark in (described.landmarks if described else ()) if landmark.name not in present
    ]
    new += [Landmark(name, 1) for name in names if name not in present | {landmark.name for landmark in new}]
    everyone = present | {landmark.name for landmark in new}
    for label, landmark in enumerate(new, start=max((row.label for row in rows), default=0) + 1):
        paired = landmark.pair if landmark.pair in everyone - present else ""
        rows.append(replace(landmark, label=label, pair=paired))
    return LandmarkTable(tuple(rows))


def _with_pairs(table: LandmarkTable, cases: Sequence[Case]) -> LandmarkTable:
    """The table with the left-right pairs that the cases show, if it names none and they are clear."""
    if any(landmark.pair for landmark in table.landmarks):
        return table
    files = [
        case.landmark_path
        for case in cases
        if case.landmark_path is not None and case.landmark_path.is_file()
    ]
    shapes = np.stack([read_landmarks(file).positions_of(table.names) for file in files])
    symmetry = clear_symmetry(table.names, mean_shape(shapes))
    return table if symmetry is None else table.with_pairs(symmetry.order)

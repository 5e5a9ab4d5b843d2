"""What there is to detect in: one scan, a folder of scans, or the cases of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from LandmarkDetectionLib.data.cases import COLUMNS, Case, find_problems, read_rows
from LandmarkDetectionLib.data.collect import scans_in
from LandmarkDetectionLib.data.dataset import CASES_NAME
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import image_stem


@dataclass(frozen=True)
class Input:
    """A case to detect in; `problem` says in a sentence why it cannot be used, '' if nothing is known yet."""

    case: Case
    problem: str = ""


def find_inputs(path: Path) -> list[Input]:
    """The cases behind `path`: an image, a DICOM folder, a folder of images, a data set or a split CSV.

    In a folder, `CASE_mask` beside `CASE` is not an input. Whether the scans can be read is not looked at;
    a row of a split without a scan, or with the name of another, is a case with a problem.

    Raises:
        InputError: if there is nothing, or two scans of a folder would have the same case name.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the path.")
    if path.is_file() and path.suffix.lower() == ".csv":
        return _cases_of(path)
    if path.is_file():
        return [Input(Case(image_stem(path), path))]
    if (path / CASES_NAME).is_file():
        return _cases_of(path / CASES_NAME)
    scans = [Input(Case(name, image)) for name, image in scans_in(path).items()]
    if scans or any(map(_may_be_dicom, path.iterdir())):
        return scans or [Input(Case(path.resolve().name, path))]
    raise InputError(
        f"{path}: no scans in this folder; give a folder of NIfTI, NRRD or MetaImage files, or of DICOM."
    )


def _may_be_dicom(file: Path) -> bool:
    """By its name; DICOM files often have none that tells."""
    suffix = file.suffix.lower()
    return file.is_file() and (suffix in ("", ".dcm", ".ima") or suffix[1:].isdigit())


def _cases_of(split: Path) -> list[Input]:
    rows = read_rows(split, supervised=False)
    problems: dict[str, str] = {}
    for problem in find_problems(rows, supervised=False, files=COLUMNS[1:2]):
        problems.setdefault(problem.row.place, problem.message)
    return [Input(row.case, problems.get(row.place, "")) for row in rows]

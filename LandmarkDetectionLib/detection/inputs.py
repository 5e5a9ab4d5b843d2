"""What there is to detect in: one scan, a folder of scans, or the cases of a split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from LandmarkDetectionLib.data.cases import COLUMNS, Case, find_problems, read_rows
from LandmarkDetectionLib.data.collect import DICOMDIR, scans_in
from LandmarkDetectionLib.data.dataset import CASES_NAME
from LandmarkDetectionLib.data.digests import content_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import is_there
from LandmarkDetectionLib.data.image_files import files_of
from LandmarkDetectionLib.data.volume import image_stem

_DIGITS = 12


@dataclass(frozen=True)
class Input:
    """A case to detect in; `problem` says in a sentence why it cannot be used, '' if nothing is known yet."""

    case: Case
    problem: str = ""


@dataclass(frozen=True)
class Shard:
    """Part `number` of the `count` parts of a cohort, counted from 1, each for a process of its own."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `I/N`.

        Raises:
            InputError: if it is anything else.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard {text}: write I/N with I from 1 to N, for example 1/4.")
        return cls(int(match[1]), int(match[2]))

    def take(self, inputs: Sequence[Input]) -> list[Input]:
        """Every `count`-th of the inputs, which must be the same for all parts."""
        return list(inputs[self.number - 1 :: self.count])


def find_inputs(path: Path, *, series: str | None = None, each: bool = False) -> list[Input]:
    """The cases behind `path`: an image, a folder of images or of DICOM, a data set or a split CSV.

    In a folder, `CASE_mask` beside `CASE` is not an input. Whether the scans can be read is not looked at;
    a row of a split without a scan, or with the name of another, is a case with a problem.

    Args:
        path: where to look; a folder without images of its own is searched for DICOM to the bottom.
        series: which DICOM series: a number, a UID or words of the description.
        each: take every DICOM series that is not a localiser.

    Raises:
        InputError: if there is nothing, two scans of a folder would have the same case name, or it takes a
            choice between DICOM series.
    """
    if not is_there(path):
        raise InputError(f"{path}: there is no such file or folder; check the path.")
    if path.is_file() and path.suffix.lower() == ".csv":
        return _cases_of(path)
    if path.is_file() and path.name.upper() != DICOMDIR:
        return [Input(Case(image_stem(path), path))]
    folder = path if path.is_dir() else path.parent
    if (folder / CASES_NAME).is_file():
        return _cases_of(folder / CASES_NAME)
    scans = scans_in(folder, series=series, each=each)
    if scans:
        return [Input(Case(scan.name, scan.path), scan.problem) for scan in scans]
    if any(map(_may_be_dicom, folder.iterdir())):
        return [Input(Case(folder.resolve().name, folder))]  # its reading says what is wrong
    raise InputError(
        f"{path}: no scans in this folder; give a folder of NIfTI, NRRD or MetaImage files, or of DICOM."
    )


def anonymised(inputs: Iterable[Input]) -> list[Input]:
    """The same scans under names from digests of their content, each once; those not to be used, by number.

    Their paths are what is detected in and must not be shown: see `anonymous_reason`.
    """
    kept: dict[str, Input] = {}
    unread = 0
    for item in inputs:
        try:
            name = "" if item.problem else f"scan-{content_digest(item.case.image_path)[:_DIGITS]}"
        except (OSError, InputError):
            name = ""
        if not name:
            unread += 1
            name = f"unread-{unread}"
        kept.setdefault(name, replace(item, case=Case(name, item.case.image_path)))
    return list(kept.values())


def anonymous_reason(sentence: str, path: Path) -> str:
    """What an error says of a scan, without saying which it is: 'where: what; cure' without the where.

    Args:
        sentence: the error.
        path: the scan; a sentence that holds a part of its path, or any other path, is kept back.
    """
    what = sentence.partition(": ")[2]
    try:
        files = files_of(path)
    except (OSError, InputError):
        files = []
    telling = {part for item in (path, *files) for part in (*item.parts, item.stem, image_stem(item))}
    if not what or "/" in what or "\\" in what or any(part in what for part in telling if len(part) > 1):
        return "It cannot be used; detect in it without --anonymous to see why."
    return what[0].upper() + what[1:]


def find_all_inputs(paths: Sequence[Path], *, series: str | None = None, each: bool = False) -> list[Input]:
    """The cases behind several paths; of these, one with nothing behind it is a case with a problem.

    Raises:
        InputError: as `find_inputs`, if it is the only path.
    """
    if len(paths) == 1:
        return find_inputs(paths[0], series=series, each=each)
    inputs = []
    for path in paths:
        try:
            inputs += find_inputs(path, series=series, each=each)
        except InputError as error:
            inputs.append(Input(Case(image_stem(path) or str(path), path), str(error)))
    return inputs


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

"""Cases, and the split files that list them."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import exists, read_text, write_text
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import check_labels, mask_centres, read_mask
from LandmarkDetectionLib.data.table import LandmarkTable, read_table
from LandmarkDetectionLib.data.text_table import parse_table
from LandmarkDetectionLib.data.volume import Volume, is_image_path

COLUMNS = ("image_name", "image_path", "landmark_file_path", "landmark_mask_path")
GROUP = "group"
TABLE_NAME = "landmarks.csv"
_WINDOWS = re.compile(r"^//|(^|/)[A-Za-z]:(/|$)")
"""A server or the letter of a drive, in a path with slashes."""
_ENOUGH_CASES = 4  # to tell names that differ by mistake from landmarks that are rare


@dataclass(frozen=True)
class Case:
    """One scan and what is known about it.

    Attributes:
        name: unique within a data set; result files are named after it.
        image_path: a file, or a folder with one DICOM series.
        landmark_path: the file of its landmarks, if there is one.
        mask_path: its landmark mask, if there is one.
        group: cases of one group (patient, family) stay in one split; '' is a group of its own.
        other: what its split says in columns of the person's own, by column.
    """

    name: str
    image_path: Path
    landmark_path: Path | None = None
    mask_path: Path | None = None
    group: str = ""
    other: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class SplitRow:
    """A case as it stands in a split file.

    Attributes:
        case: the case.
        place: where it is written, `train.csv, line 3`.
        has_image: False if the cell image_path is empty; `case.image_path` means nothing then.
    """

    case: Case
    place: str
    has_image: bool


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row of a split: a kind and a sentence."""

    row: SplitRow
    kind: str
    message: str


def read_split(path: Path, *, supervised: bool) -> list[Case]:
    """Read a split CSV: image_name, image_path, landmark_file_path, landmark_mask_path and, if wanted, group.

    Paths are relative to the CSV or absolute, with either kind of slash.

    Args:
        path: the CSV, UTF-8.
        supervised: whether every case needs a landmark file or a mask. If not, only the first two columns
            must be there.

    Raises:
        InputError: if the CSV or a column is missing, there is no case, two cases have one name, a name or an
            image path is empty, a file is missing, or a supervised case has neither landmarks nor mask.
    """
    rows = read_rows(path, supervised=supervised)
    for problem in find_problems(rows, supervised=supervised):
        raise InputError(problem.message)
    return [row.case for row in rows]


def read_rows(path: Path, *, supervised: bool) -> list[SplitRow]:
    """Read a split CSV without a look at the files that it names.

    Raises:
        InputError: if the CSV cannot be read, a column is missing, or there is no case.
    """
    path = Path(path)
    rows = [_to_row(cells, path, line) for line, cells in _read_cells(path, supervised=supervised)]
    if not rows:
        raise InputError(f"{path}: no case in this file; add a line for each case under the first line.")
    return rows


def find_problems(
    rows: Sequence[SplitRow], *, supervised: bool, files: Sequence[str] = COLUMNS[1:]
) -> Iterator[Problem]:
    """All that keeps the rows of one split from use: names, missing paths, missing files.

    Args:
        rows: of the split.
        supervised: whether every case needs a landmark file or a mask.
        files: columns whose files are needed.
    """
    places: dict[str, str] = {}
    for row in rows:
        case, place = row.case, row.place
        if not case.name or re.search(r"[/\\]", case.name):
            yield Problem(
                row,
                "name",
                f"{place}: image_name is '{case.name}'; give a name without slashes, one per case.",
            )
        elif case.name in places:
            yield Problem(
                row,
                "name",
                f"{place}: the name '{case.name}' stands already in {places[case.name]}; rename one.",
            )
        places.setdefault(case.name, place)
        if supervised and case.landmark_path is None and case.mask_path is None:
            yield Problem(
                row,
                "landmarks",
                f"{place}: the case '{case.name}' has neither a landmark_file_path nor a landmark_mask_path; "
                "give one.",
            )
        yield from _missing_files(row, files)


def files_of_cases(cases: Iterable[Case]) -> list[Path]:
    """The images, landmark files and masks that cases name."""
    paths = (path for case in cases for path in (case.image_path, case.landmark_path, case.mask_path))
    return [path for path in paths if path is not None]


def write_split(cases: Sequence[Case], path: Path) -> None:
    """Write a split CSV; paths are relative to it wherever the drive is the same, with forward slashes.

    Columns of the person's own stand behind the others.
    """
    path = Path(path)
    group = (GROUP,) if any(case.group for case in cases) else ()
    own = dict.fromkeys(column for case in cases for column in case.other)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *group, *own], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for case in cases:
        paths = (case.image_path, case.landmark_path, case.mask_path)
        places = (_relative(target, path.parent) for target in paths)
        fixed = zip((*COLUMNS, GROUP), (case.name, *places, case.group), strict=True)
        writer.writerow({**case.other, **dict(fixed)})
    write_text(path, text.getvalue())


def group_by(cases: Sequence[Case], path: Path, *, column: str) -> list[Case]:
    """The cases with their group taken from another column of their split CSV.

    Args:
        cases: read from the CSV.
        path: the CSV.
        column: the name of the column.

    Raises:
        InputError: if there is no such column.
    """
    if not any(column in case.other for case in cases):
        raise InputError(
            f"{path}: --group names the column '{column}', which is not there; add it or name another."
        )
    return [replace(case, group=unicodedata.normalize("NFC", case.other[column])) for case in cases]


def case_landmarks(case: Case, table: LandmarkTable | None) -> LandmarkSet:
    """What the case says about its landmarks: from its landmark file if it has one, else from its mask.

    Args:
        case: with a landmark file or a mask.
        table: the landmarks that there are; a mask cannot be read without one.

    Raises:
        InputError: if the case has neither, a file cannot be read, or a landmark is not in the table.
    """
    if case.landmark_path is not None:
        return _known_landmarks(case.landmark_path, table)
    if case.mask_path is None:
        raise InputError(
            f"the case '{case.name}' has neither a landmark file nor a mask; give one in its split."
        )
    return mask_landmarks(read_mask(case.mask_path), table, case.mask_path)


def mask_landmarks(mask: Volume, table: LandmarkTable | None, where: Path) -> LandmarkSet:
    """The centres of a mask's balls, named.

    A landmark of the table that has no ball is not in the set: it is unknown, not absent, for a mask cannot
    say whether somebody looked for it. Only a landmark file says that a landmark is absent.

    Args:
        mask: the mask.
        table: the names of its labels.
        where: the mask's file, for the error.

    Raises:
        InputError: if there is no table or a label is not in it.
    """
    if table is None:
        raise InputError(f"{where}: a mask needs the names of its labels; put its {TABLE_NAME} beside it.")
    check_labels(mask.voxels, table, where=where)
    centres = mask_centres(mask.voxels, mask.frame)
    found = [landmark for landmark in table.landmarks if landmark.label in centres]
    points = np.array([centres[landmark.label] for landmark in found]).reshape(-1, 3)
    return LandmarkSet([landmark.name for landmark in found], points)


def find_table(path: Path, cases: Sequence[Case]) -> LandmarkTable | None:
    """The `landmarks.csv` beside the split or beside its masks; None where there is none.

    Args:
        path: the split CSV.
        cases: its cases.

    Raises:
        InputError: if a table cannot be read, or two of them give their labels to different names.
    """
    folders = [Path(path).parent, *(case.mask_path.parent for case in cases if case.mask_path is not None)]
    found = {folder.resolve(): folder / TABLE_NAME for folder in folders if (folder / TABLE_NAME).is_file()}
    tables = [(file, read_table(file)) for file in found.values()]
    for file, table in tables[1:]:
        if (table.names, table.labels) != (tables[0][1].names, tables[0][1].labels):
            raise InputError(
                f"{file}: this landmark table and {tables[0][0]} name labels differently; "
                "keep the right one in both places."
            )
    return tables[0][1] if tables else None


def discover_table(cases: Sequence[Case], path: Path) -> LandmarkTable:
    """The table of a data set: its `landmarks.csv`, else all names in the landmark files in natural order.

    Args:
        cases: the cases of the split.
        path: the split CSV.

    Raises:
        InputError: if there is neither a table nor a landmark, or a file cannot be read.
    """
    table = find_table(path, cases)
    if table is not None:
        return table
    known = {
        case.name: read_landmarks(case.landmark_path).names
        for case in cases
        if case.landmark_path is not None
    }
    check_names_are_shared(known, path)
    names = {name for named in known.values() for name in named}
    if not names:
        raise InputError(
            f"{path}: neither a {TABLE_NAME} nor a landmark file names the landmarks; "
            f"put {TABLE_NAME} beside the split."
        )
    return LandmarkTable.from_names(sorted(names, key=natural_key))


def check_names_are_shared(known: Mapping[str, Sequence[str]], where: Path) -> None:
    """Refuse cases that each have names of their own, as Slicer gives them (NODE-1, NODE-2 ..).

    That is so where no name occurs twice, or, of four cases or more, most share at most half of theirs.

    Args:
        known: the landmarks' names by case.
        where: the list of the cases, for the sentence.

    Raises:
        InputError: then.
    """
    holders = Counter(name for names in known.values() for name in set(names))
    alone = {case: [name for name in names if holders[name] == 1] for case, names in known.items()}
    apart = [case for case, own in alone.items() if own and 2 * len(own) >= len(known[case])]
    shared = sum(count > 1 for count in holders.values())
    if len(known) < 2 or 2 * len(apart) <= len(known) or (shared and len(known) < _ENOUGH_CASES):
        return
    first = apart[0]
    raise InputError(
        f"{where}: {f'only {shared}' if shared else 'no'} landmark{'s' * (shared > 1)} of {len(holders)} "
        f"occur{'s' * (shared < 2)} in two cases, and '{alone[first][0]}' is in '{first}' alone; give one "
        "landmark one name in all cases (Slicer's own, NODE-1, NODE-2, differ from scan to scan)."
    )


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which `L2` comes before `L10`."""
    parts = re.split(r"([0-9]+)", name.casefold())
    digits = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    keys = [
        (1, 0, part) if number is None else (0, len(number), number)
        for part, number in zip(parts, digits, strict=True)
        if part
    ]
    return keys, name


def _known_landmarks(path: Path, table: LandmarkTable | None) -> LandmarkSet:
    landmarks = read_landmarks(path)
    for name in landmarks.names:
        if table is not None and name not in table.names:
            raise InputError(
                f"{path}: the landmark '{name}' is not in the landmark table; "
                f"correct the name, or add it to {TABLE_NAME}."
            )
    return landmarks


def _read_cells(path: Path, *, supervised: bool) -> Iterator[tuple[int, dict[str, str]]]:
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give the CSV that lists the cases.")
    if not path.is_file():
        raise InputError(f"{path}: there is no such list of cases; check the path.")
    if is_image_path(path):
        raise InputError(f"{path}: this is an image; give the CSV that lists the cases.")
    table = parse_table(read_text(path), path, (*COLUMNS, GROUP))
    _need_columns(table.columns, path, supervised=supervised)
    for line, row in table.rows:
        yield line, {column: text.strip() for column, text in row.items()}


def _need_columns(columns: Sequence[str], path: Path, *, supervised: bool) -> None:
    for column in COLUMNS if supervised else COLUMNS[:2]:
        if column not in columns:
            raise InputError(
                f"{path}: the column '{column}' is missing; the first line must have {','.join(COLUMNS)}."
            )


def _to_row(cells: Mapping[str, str], path: Path, line: int) -> SplitRow:
    image, landmarks, mask = (cells.get(column, "") for column in COLUMNS[1:])
    case = Case(
        name=unicodedata.normalize("NFC", cells["image_name"]),
        image_path=_locate(path.parent, image) if image else Path(),
        landmark_path=_locate(path.parent, landmarks) if landmarks else None,
        mask_path=_locate(path.parent, mask) if mask else None,
        group=unicodedata.normalize("NFC", cells.get(GROUP, "")),
        other={column: text for column, text in cells.items() if column not in (*COLUMNS, GROUP, "")},
    )
    return SplitRow(case, f"{path}, line {line}", has_image=bool(image))


def _locate(folder: Path, text: str) -> Path:
    """The path that a cell means: slashes of either kind, and accents in whichever form the disk has them."""
    slashed = text.replace("\\", "/")
    for spelling in (text, slashed):
        for accented in (
            spelling,
            unicodedata.normalize("NFC", spelling),
            unicodedata.normalize("NFD", spelling),
        ):
            if exists(folder / accented):
                return folder / accented
    return folder / slashed


def _missing_files(row: SplitRow, columns: Sequence[str]) -> Iterator[Problem]:
    case = row.case
    if not row.has_image and COLUMNS[1] in columns:
        yield Problem(row, "file", f"{row.place}: image_path is empty; give the path of the image.")
    paths = (case.image_path if row.has_image else None, case.landmark_path, case.mask_path)
    for column, target in zip(COLUMNS[1:], paths, strict=True):
        if column in columns and target is not None and not exists(target):
            cure = "and there is no such file; correct the path"
            if os.name != "nt" and _WINDOWS.search(target.as_posix()):
                cure = (
                    "a path of a Windows computer; copy the files to where this list is and write their "
                    "paths from there, such as images/scan.nii.gz"
                )
            yield Problem(row, "file", f"{row.place}: {column} is '{target}', {cure}.")


def _relative(target: Path | None, folder: Path) -> str:
    if target is None:
        return ""
    absolute = target.parent.resolve() / target.name
    try:
        return Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return absolute.as_posix()

"""Landmark files: Slicer markups (`.mrk.json`, `.fcsv`) and plain CSV.

A point that the file calls missing is an absent landmark (NaN). A point that is still to be placed
(`undefined`, `preview`) says nothing about the anatomy and is left out of the set. No coordinate has a
meaning of its own: (0, 0, 0) and (-1, -1, -1) are ordinary points. Where the labels are the numbers of AFIDs,
the landmarks have the names of these.

Sources: the markups schema 1.0.3 and the JSON and fiducial storage nodes of 3D Slicer.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.afids import AFIDS, afid_names, other_afid
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import parse_json, read_text, write_text
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.text_table import (
    POINTS_AND_QUOTES,
    SEPARATORS,
    has_decimal_commas,
    parse_table,
    plain_number,
)

LANDMARK_SUFFIXES = (".mrk.json", ".fcsv", ".csv")
CoordinateSystem = Literal["LPS", "RAS"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_COORDINATE_SYSTEMS: dict[str, CoordinateSystem] = {"LPS": "LPS", "RAS": "RAS", "1": "LPS", "0": "RAS"}
_STATUSES = ("undefined", "preview", "defined", "missing")  # in the order of Slicer's own numbers
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FCSV_COLUMNS_OF_SLICER_3 = "label,x,y,z,sel,vis"
_NAME_COLUMNS = ("name", "label", "landmark", "lmk_name", "")  # Slicer's, SkullEngine's, R's row names
_AXES = (("x", "y", "z"), ("l", "p", "s"), ("r", "a", "s"))
_NOT_AVAILABLE = {"", "na", "n/a", "#n/a", "null", "none", "-", "--"}
_PLAIN_NUMBER = "write numbers with a point before the decimals and nothing between thousands"
_TURN_TOLERANCE = 0.02
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Measurement:
    """One number for each landmark of a set, such as a detection's confidence or radius.

    Attributes:
        name: what is measured.
        values: (N,) in the order of the landmarks; NaN where there is none.
        units: UCUM code such as 'mm', '' for a pure number.
        description: what the number means, in words.
    """

    name: str
    values: NDArray[np.float64]
    units: str = ""
    description: str = ""


@dataclass(frozen=True)
class _Point:
    """One point of a file: where it stands ('point 3', 'line 7') and what the file says of it."""

    where: str
    name: str
    status: str
    position: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    description: str = ""


def read_landmarks(path: Path) -> LandmarkSet:
    """Read a landmark file; its suffix, one of `LANDMARK_SUFFIXES`, says which kind.

    A file that is plainly JSON or `.fcsv` is read as such whatever its suffix.

    Returns:
        The landmarks in world LPS mm, in the order of the file.

    Raises:
        InputError: one sentence that names the file, the point or line, the field and the cure.
    """
    path = Path(path)
    suffix = _suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such landmark file; check the path.")
    text = read_text(path)
    if text.lstrip().startswith("{"):
        suffix = ".mrk.json"
    elif re.match(r'\s*"?#\s*Markups fiducial file', text, re.IGNORECASE):
        suffix = ".fcsv"
    if suffix == ".mrk.json":
        return _read_markups(text, path)
    return _read_fcsv(text, path) if suffix == ".fcsv" else _read_csv(text, path)


def write_landmarks(
    landmarks: LandmarkSet,
    path: Path,
    *,
    coordinate_system: CoordinateSystem = "LPS",
    measurements: Sequence[Measurement] = (),
) -> None:
    """Write a landmark file; its suffix, one of `LANDMARK_SUFFIXES`, chooses the kind.

    Measurements are added in words to each point's description. A `.mrk.json` file has them also as numbers,
    one measurement of the list with a value for each point; JSON has no NaN, so a value that does not exist
    is written as 0 there, and the measurement's description says so.

    Args:
        landmarks: absent ones are written as missing (`.mrk.json`, `.fcsv`) or without x, y, z (`.csv`).
        path: the file to write.
        coordinate_system: of the markup files; a `.csv` file is always LPS.
        measurements: numbers that belong to the landmarks.

    Raises:
        InputError: if the suffix is unknown or the folder cannot be written.
    """
    path = Path(path)
    suffix = _suffix(path)
    described = _with_descriptions(landmarks, measurements)
    if suffix == ".mrk.json":
        text = _markups_text(described, coordinate_system, measurements)
    elif suffix == ".fcsv":
        text = _fcsv_text(described, coordinate_system)
    else:
        text = _csv_text(described)
    write_text(path, text)


def _suffix(path: Path) -> str:
    for suffix in LANDMARK_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(f"{path}: not a landmark file; its name must end in {' or '.join(LANDMARK_SUFFIXES)}.")


def _to_set(points: Sequence[_Point], path: Path, system: CoordinateSystem = "LPS") -> LandmarkSet:
    if not points:
        raise InputError(f"{path}: the file holds no landmarks; place them and save it again.")
    points = _named_as_afids(points, path)
    first: dict[str, str] = {}
    for point in points:
        if not point.name:
            raise InputError(f"{path}, {point.where}: the point has no name; give it its landmark's name.")
        if "\n" in point.name or "\r" in point.name:
            start = point.name.splitlines()[0]
            raise InputError(
                f"{path}, {point.where}: the name that starts with '{start}' has several lines; put the "
                "double quote that is missing there, or remove the one too many."
            )
        if point.name in first:
            raise InputError(
                f"{path}, {point.where}: the name '{point.name}' stands already in {first[point.name]}; "
                "every landmark needs a name of its own."
            )
        first[point.name] = point.where
    known = [point for point in points if point.status in ("defined", "missing")]
    if not known:
        raise InputError(
            f"{path}: none of its {len(points)} points is placed; place them or mark them missing."
        )
    return LandmarkSet(
        [point.name for point in known],
        _swap_lps_and(system, np.array([point.position for point in known])),
        [point.description for point in known],
    )


def _named_as_afids(points: Sequence[_Point], path: Path) -> Sequence[_Point]:
    """Points whose labels are numbers of AFIDs with the names of these, and 'AFID01' as description."""
    names = afid_names([point.name for point in points], [point.description for point in points])
    if names is None:
        return points
    for point, name in zip(points, names, strict=True):
        if other := other_afid(name, point.description):
            raise InputError(
                f"{path}, {point.where}: the label {point.name} is that of the AFID '{name}', the "
                f"description '{point.description}' that of {AFIDS.index(other) + 1}; correct one of them."
            )
    return [
        replace(point, name=name, description=f"AFID{int(point.name):02d}")
        for point, name in zip(points, names, strict=True)
    ]


def _swap_lps_and(system: CoordinateSystem, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """From `system` to LPS, or from LPS to `system`: the same for both."""
    return positions if system == "LPS" else positions * _RAS_TO_LPS + 0.0  # no -0.0


def _coordinate_system(spelling: object, path: Path) -> CoordinateSystem:
    if isinstance(spelling, str) and spelling in _COORDINATE_SYSTEMS:
        return _COORDINATE_SYSTEMS[spelling]
    raise InputError(
        f"{path}: the coordinate system is {spelling!r}; save the points in LPS or RAS, "
        "and let the file say which."
    )


def _number(
    value: object, field: str, where: str, path: Path, *, if_absent: str, commas: bool = False
) -> float:
    text = str(value).strip()
    number = math.nan if isinstance(value, bool) else plain_number(text, commas=commas)
    if math.isfinite(number):
        return number
    cure = "correct it"
    if text.casefold() in {"nan", *_NOT_AVAILABLE}:
        cure = if_absent
    elif re.fullmatch(r"[-+\d.,'\s_]+", text):
        cure = _PLAIN_NUMBER
    raise InputError(f"{path}, {where}: {field} is {reprlib.repr(value)}, which is not a number; {cure}.")


# .mrk.json


def _read_markups(text: str, path: Path) -> LandmarkSet:
    points_list = _point_list(text, path)
    units = points_list.get("coordinateUnits", "mm")
    if (units[0] if isinstance(units, list) and units else units) != "mm":
        raise InputError(f"{path}: coordinateUnits is {units!r}; save the points in mm.")
    system = _coordinate_system(points_list.get("coordinateSystem", "LPS"), path)
    items = points_list.get("controlPoints", [])
    if not isinstance(items, list):
        raise InputError(f"{path}: controlPoints is not a list; save the points again from Slicer.")
    return _to_set([_control_point(item, number, path) for number, item in enumerate(items, 1)], path, system)


def _point_list(text: str, path: Path) -> dict[str, Any]:
    try:
        document = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); save the points again from Slicer.") from error
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list) or not markups:
        raise InputError(f"{path}: the file has no 'markups'; save the points again from Slicer.")
    kinds = [str(item.get("type")) if isinstance(item, dict) else "?" for item in markups]
    if kinds.count("Fiducial") != 1:
        raise InputError(
            f"{path}: the file holds {', '.join(kinds)}, not one point list (type 'Fiducial'); "
            "save the landmarks as one point list in a file of their own."
        )
    point_list: dict[str, Any] = markups[kinds.index("Fiducial")]
    return point_list


def _control_point(item: object, number: int, path: Path) -> _Point:
    where = f"point {number}"
    if not isinstance(item, dict):
        raise InputError(f"{path}, {where}: not a control point; save the points again from Slicer.")
    name, description = (str(item.get(field) or "") for field in ("label", "description"))
    status = item.get("positionStatus", "defined")
    if status not in _STATUSES:
        raise InputError(f"{path}, {where}: positionStatus is {status!r}; use one of {', '.join(_STATUSES)}.")
    if status != "defined":
        return _Point(where, name.strip(), status, description=description)
    position = item.get("position")
    if not isinstance(position, list) or len(position) != 3:
        raise InputError(
            f"{path}, {where}: position is {position!r}, not three numbers; "
            "place the point or set its positionStatus to missing."
        )
    cure = "set the positionStatus to missing if the landmark is absent"
    x, y, z = (_number(value, "position", where, path, if_absent=cure) for value in position)
    return _Point(where, name.strip(), status, (x, y, z), description)


def _markups_text(
    landmarks: LandmarkSet, system: CoordinateSystem, measurements: Sequence[Measurement]
) -> str:
    control_points = []
    positions = _swap_lps_and(system, landmarks.positions).tolist()
    for row, present in enumerate(landmarks.present):
        point = {
            "id": str(row + 1),
            "label": landmarks.names[row],
            "description": landmarks.descriptions[row],
            "positionStatus": "defined" if present else "missing",
        }
        control_points.append(point | {"position": positions[row]} if present else point)
    point_list = {
        "type": "Fiducial",
        "coordinateSystem": system,
        "coordinateUnits": "mm",
        "controlPoints": control_points,
        "measurements": [_measurement_entry(measurement) for measurement in measurements],
    }
    document = {"@schema": _SCHEMA, "markups": [point_list]}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _measurement_entry(measurement: Measurement) -> dict[str, Any]:
    exists = np.isfinite(measurement.values)
    description = measurement.description
    if not exists.all():
        description = f"{description} (0 where there is none)".lstrip()
    entry: dict[str, Any] = {"name": measurement.name, "enabled": True, "description": description}
    if measurement.units:
        entry["units"] = measurement.units
    return entry | {"controlPointValues": np.where(exists, measurement.values, 0.0).tolist()}


def _with_descriptions(landmarks: LandmarkSet, measurements: Sequence[Measurement]) -> LandmarkSet:
    """The same landmarks, with each measurement in words: 'confidence 0.97; radius 0.42 mm'."""
    texts = []
    for row, description in enumerate(landmarks.descriptions):
        parts = [description] if description else []
        for measurement in measurements:
            if np.isfinite(measurement.values[row]):
                parts.append(f"{measurement.name} {measurement.values[row]:.3g} {measurement.units}".rstrip())
        texts.append("; ".join(parts))
    return LandmarkSet(landmarks.names, landmarks.positions, texts)


# .fcsv


def _read_fcsv(text: str, path: Path) -> LandmarkSet:
    header: dict[str, str] = {}
    lines: list[tuple[str, str]] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        # A table program puts quotes around a line that holds commas, and fills it up with empty cells.
        if field := re.match(r'"?#\s*([^=:]+?)\s*[=:]\s*(.*?)[\s",;\t]*$', line):
            header[re.sub(r"\s+", "", field[1]).casefold()] = field[2]
        elif line.strip(" ,;\t") and not line.startswith(("#", '"#')):
            lines.append((f"line {number}", line))
    separator = max(SEPARATORS, key=lines[0][1].count) if lines else ","
    try:
        rows = [(where, next(csv.reader([line], delimiter=separator))) for where, line in lines]
    except csv.Error as error:
        raise InputError(f"{path}: this is not a text table ({error}); save it again.") from error
    columns = _fcsv_columns(header, rows, path)
    system = _coordinate_system(header.get("coordinatesystem", "RAS").upper(), path)
    for column in ("label", "x", "y", "z"):
        if columns.count(column) != 1:
            how = "stands twice" if column in columns else "is missing"
            raise InputError(f"{path}: the column '{column}' {how}; save the points again from Slicer.")
    cells = [cell for _, row in rows for cell in _position_cells(dict(zip(columns, row, strict=False)))]
    commas = has_decimal_commas(cells, separator)
    numbered = _are_numbered([dict(zip(columns, row, strict=False)) for _, row in rows])
    points = [_fcsv_point(columns, row, where, path, commas, numbered) for where, row in rows]
    return _to_set(points, path, system)


def _are_numbered(rows: Sequence[dict[str, str]]) -> bool:
    """Whether labels are numbers that tell points apart, as those of AFIDs, not cells that were shifted."""
    labels = [row.get("label", "").strip() for row in rows]
    words = [row.get("desc", "").strip() for row in rows]
    if not 1 < len({*labels}) == len(labels):
        return False
    return all(map(str.isdecimal, labels)) and not any(map(str.isdecimal, words))


def _fcsv_columns(header: dict[str, str], rows: Sequence[tuple[str, Sequence[str]]], path: Path) -> list[str]:
    if "columns" in header:
        separator = max(SEPARATORS, key=header["columns"].count)
        return [column.strip().casefold() for column in header["columns"].split(separator)]
    if "markupsfiducialfileversion" in header:
        return _FCSV_COLUMNS.casefold().split(",")
    columns = _FCSV_COLUMNS_OF_SLICER_3.split(",")
    if rows and {"x", "y", "z"} <= {cell.strip().casefold() for cell in rows[0][1]}:
        raise InputError(
            f"{path}: this is a table as in a .csv; name it so if its points are in LPS, "
            "or save them again from Slicer."
        )
    if any(cell.strip() for _, cells in rows for cell in cells[len(columns) :]):
        raise InputError(
            f"{path}: the first lines, which say the columns and LPS or RAS, are missing; "
            "save the points again from Slicer."
        )
    return columns


def _position_cells(row: dict[str, str]) -> list[str]:
    return [row.get(axis, "") for axis in "xyz"]


def _fcsv_point(
    columns: Sequence[str], cells: list[str], where: str, path: Path, commas: bool, numbered: bool
) -> _Point:
    row = dict(zip(columns, cells, strict=False))
    name, description = row.get("label", "").strip(), row.get("desc", "")
    # Slicer writes the position status as a number behind the last named column.
    code = cells[len(columns)] if "associatednodeid" in columns and len(cells) > len(columns) else ""
    status = dict(zip("0123", _STATUSES, strict=True)).get(code.strip() or "2")
    if status is None:
        raise InputError(
            f"{path}, {where}: the position status is {code!r}, not 0 to 3; {POINTS_AND_QUOTES}."
        )
    if _is_shifted(row, may_be_numbered=numbered or bool(code.strip())):
        raise InputError(
            f"{path}, {where}: orientation, visibility or name make no sense; {POINTS_AND_QUOTES}."
        )
    if status != "defined":
        return _Point(where, name, status, description=description)
    return _placed_or_absent(where, name, _position_cells(row), description, path, commas)


def _is_shifted(row: dict[str, str], *, may_be_numbered: bool) -> bool:
    """Whether cells stand in the wrong columns, as decimal commas put them."""
    try:
        turn = [float((row.get(field) or "0").replace(",", ".")) for field in ("ow", "ox", "oy", "oz")]
    except ValueError:
        return True
    length = float(np.linalg.norm(turn))
    switches = {(row.get(field) or "0").strip() for field in ("vis", "sel", "lock")}
    label, words = row.get("label", "").strip(), row.get("desc", "").strip()
    is_switch = not may_be_numbered and label in ("0", "1") and words
    return min(length, abs(length - 1)) > _TURN_TOLERANCE or not switches <= {"0", "1"} or bool(is_switch)


def _fcsv_text(landmarks: LandmarkSet, system: CoordinateSystem) -> str:
    text = io.StringIO()
    text.write("# Markups fiducial file version = 5.10\n")
    text.write(f"# CoordinateSystem = {system}\n")
    text.write(f"# columns = {_FCSV_COLUMNS}\n")
    writer = csv.writer(text, lineterminator="\n")
    positions = np.nan_to_num(_swap_lps_and(system, landmarks.positions)).tolist()
    for row, present in enumerate(landmarks.present):
        name, description = (
            re.sub(r"[\r\n]+", " ", words) for words in (landmarks.names[row], landmarks.descriptions[row])
        )
        status = _STATUSES.index("defined" if present else "missing")
        writer.writerow([row + 1, *positions[row], 0, 0, 0, 1, 1, 1, 0, name, description, "", status, 0])
    return text.getvalue()


# .csv


def _read_csv(text: str, path: Path) -> LandmarkSet:
    if not text.strip():
        raise InputError(f"{path}: the file is empty; export the landmarks again.")
    wanted = (*_NAME_COLUMNS, *(axis for axes in _AXES for axis in axes), "description", "defined")
    table = parse_table(text, path, wanted)
    name = next((column for column in _NAME_COLUMNS if column in table.columns), None)
    axes = [axes for axes in _AXES if {*axes} <= {*table.columns}]
    if name is None or len(axes) != 1:
        wrong = next((column for column in ("name", "x", "y", "z") if column not in table.columns), "")
        problem = (
            f"the column '{wrong}' is missing" if not axes or name is None else "x,y,z stand beside others"
        )
        raise InputError(
            f"{path}: {problem}; the first line must be name,x,y,z with x, y, z in LPS, or label,r,a,s as "
            "Slicer exports tables."
        )
    numbers = [row[axis] for _, row in table.rows for axis in axes[0]]
    commas = has_decimal_commas(numbers, table.separator)
    points = []
    for line, row in table.rows:
        label, description = row[name].strip(), row.get("description", "")
        if row.get("defined", "").strip() == "0":
            points.append(_Point(f"line {line}", label, "undefined"))
        else:
            cells = [row[axis] for axis in axes[0]]
            points.append(_placed_or_absent(f"line {line}", label, cells, description, path, commas))
    return _to_set(points, path, "RAS" if axes[0] == _AXES[2] else "LPS")


def _placed_or_absent(
    where: str, name: str, cells: Sequence[str], description: str, path: Path, commas: bool
) -> _Point:
    """A point of a table: absent where no coordinate is given, or all are 'not available'."""
    texts = [cell.strip() for cell in cells]
    if all(text.casefold() in _NOT_AVAILABLE for text in texts):
        return _Point(where, name, "missing", description=description)
    cure = "leave x, y and z empty if the landmark is absent"
    x, y, z = (
        _number(text, axis, where, path, if_absent=cure, commas=commas)
        for axis, text in zip("xyz", texts, strict=True)
    )
    return _Point(where, name, "defined", (x, y, z), description)


def _csv_text(landmarks: LandmarkSet) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    described = any(landmarks.descriptions)
    writer.writerow(["name", "x", "y", "z", *(["description"] if described else [])])
    for row, present in enumerate(landmarks.present):
        cells = landmarks.positions[row].tolist() if present else ["", "", ""]
        writer.writerow([landmarks.names[row], *cells, *([landmarks.descriptions[row]] if described else [])])
    return text.getvalue()

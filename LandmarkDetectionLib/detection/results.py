"""What a detector says about a scan, and the files that hold it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import exists, read_text, write_text
from LandmarkDetectionLib.data.landmark_files import Measurement, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.text_table import has_decimal_commas, parse_table, plain_number

Status = Literal["found", "uncertain", "absent"]
STATUSES: tuple[Status, ...] = get_args(Status)
COLUMNS = ("name", "x", "y", "z", "status", "confidence", "radius_mm")
_NUMBERS = ("x", "y", "z", "confidence", "radius_mm")
SUMMARY_COLUMNS = (
    "case",
    "found",
    "uncertain",
    "absent",
    "mean_confidence",
    "min_confidence",
    "misfit_mm",
    "least_fitting",
    "image_path",
    "error",
)
DECIMALS = 6
_UNMOVED_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector says about one landmark of one scan.

    Attributes:
        name: the landmark.
        position: (3,) world LPS mm; NaN where the landmark is absent.
        status: found; uncertain, which has a position too; or absent.
        confidence: 0 to 1, the engine's probability that the landmark is in the scan.
        radius_mm: the detector's own estimate of its error, mm; NaN where it has none (the landmark is
            absent, the engine is not calibrated, or not for scans as coarse as this one).
    """

    name: str
    position: NDArray[np.float64]
    status: Status
    confidence: float
    radius_mm: float = math.nan

    def __post_init__(self) -> None:
        point = np.array(self.position, dtype=np.float64).reshape(3)
        point.setflags(write=False)
        object.__setattr__(self, "position", point)
        if self.status not in STATUSES:
            raise ValueError(f"the status is '{self.status}', not one of {', '.join(STATUSES)}")
        if not self.name:
            raise ValueError("the landmark has no name")
        if not (np.isnan(point) if self.status == "absent" else np.isfinite(point)).all():
            raise ValueError("a found or uncertain landmark has a position and an absent one has none")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"the confidence is {self.confidence}, not between 0 and 1")
        if self.radius_mm < 0 or math.isinf(self.radius_mm):
            raise ValueError(f"the radius is {self.radius_mm} mm, not a positive length")

    @classmethod
    def missing(cls, name: str, confidence: float = 0.0) -> Detection:
        """A landmark that the detector says is not in the scan."""
        return cls(name, np.full(3, np.nan), "absent", confidence)

    @property
    def radius(self) -> float:
        """The same as `radius_mm`."""
        return self.radius_mm

    @property
    def present(self) -> bool:
        """Whether the detector gives a position."""
        return self.status != "absent"


def lack_radii(detections: Iterable[Detection]) -> bool:
    """Whether landmarks have positions, and none of them an error radius."""
    radii = [detection.radius_mm for detection in detections if detection.present]
    return bool(radii) and all(math.isnan(radius) for radius in radii)


@dataclass(frozen=True, eq=False)
class CaseDetections:
    """All that a detector says about one scan.

    Attributes:
        case: the name of the scan; result files are named after it.
        detections: one per landmark that the model knows, with unique names.
    """

    case: str
    detections: tuple[Detection, ...]

    def __post_init__(self) -> None:
        names = [detection.name for detection in self.detections]
        if len(set(names)) != len(names):
            raise ValueError("landmark names must be unique")

    @property
    def by_name(self) -> dict[str, Detection]:
        """The detections under their landmarks' names."""
        return {detection.name: detection for detection in self.detections}


@dataclass(frozen=True)
class CaseOutcome:
    """How the detection of one case of a batch ended.

    Attributes:
        case: the name of the scan.
        image_path: the scan; None where nobody is to know it.
        result: the detections, or None for a case that failed.
        error: why it failed, in one sentence; '' for a case that did not.
        warnings: what a person should know of the result, a sentence each.
        files: what was written.
        seconds: that the detection took; NaN where it was none.
        done_before: whether an earlier run found the result.
        fault: whether it failed for a fault of the program.
        by_hand: the landmarks that a person has moved, placed or removed since an earlier run; all of them
            where nobody can know which.
    """

    case: str
    image_path: Path | None
    result: CaseDetections | None
    error: str = ""
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    seconds: float = math.nan
    done_before: bool = False
    fault: bool = False
    by_hand: frozenset[str] = frozenset()

    @property
    def corrected(self) -> bool:
        """Whether a person has changed the result that an earlier run found."""
        return bool(self.by_hand)


def write_case(result: CaseDetections, folder: Path) -> tuple[Path, Path]:
    """Write `CASE.mrk.json`, which Slicer opens, and `CASE.csv`; gives the two paths.

    Coordinates are world LPS mm in both. Absent landmarks stay in both lists, without a position.

    Raises:
        InputError: if the folder cannot be written or the case's name cannot name a file.
    """
    markups, table = case_path(folder, result.case, ".mrk.json"), case_path(folder, result.case, ".csv")
    write_detections(result.detections, markups)
    write_detections(result.detections, table)
    return markups, table


def write_detections(detections: Sequence[Detection], path: Path) -> None:
    """Write a `.mrk.json` or `.fcsv`, which Slicer opens, or the table of `COLUMNS` as `.csv`.

    Coordinates are world LPS mm in all of them. Absent landmarks stay in the list, without a position.

    Raises:
        InputError: if the name ends otherwise, or the folder cannot be written.
    """
    if path.name.lower().endswith(".csv"):
        write_text(path, _table_text(COLUMNS, [_row(detection) for detection in detections]))
    else:
        write_landmarks(_landmarks(detections), path, measurements=_measurements(detections))


def read_case(folder: Path, case: str) -> CaseDetections:
    """Read what `write_case` wrote in `CASE.csv`.

    Raises:
        InputError: if the file is missing, or a column or a value in it is missing or makes no sense.
    """
    path = case_path(folder, case, ".csv")
    if not exists(path):
        raise InputError(f"{path}: no detections of the case '{case}' here; detect its landmarks first.")
    table = parse_table(read_text(path), path, COLUMNS)
    for column in COLUMNS:
        if column not in table.columns:
            raise InputError(
                f"{path}: the column '{column}' is missing; detect the landmarks of '{case}' again."
            )
    detections: dict[str, Detection] = {}
    commas = has_decimal_commas(
        [row[column] for _, row in table.rows for column in _NUMBERS], table.separator
    )
    for line, row in table.rows:
        place = f"{path}, line {line}"
        detection = _detection({column: row[column].strip() for column in COLUMNS}, place, commas=commas)
        if detection.name in detections:
            raise InputError(f"{place}: '{detection.name}' stands there twice; keep one of the two lines.")
        detections[detection.name] = detection
    return CaseDetections(case, tuple(detections.values()))


def corrected(result: CaseDetections, landmarks: LandmarkSet) -> CaseDetections:
    """A result as a person has corrected it.

    A landmark that was moved or placed is found, with confidence 1 and without a radius. One that has no
    position any more is absent, with confidence 0. The others stay as they were detected.

    Args:
        result: what was detected.
        landmarks: all that the person left, LPS mm.
    """
    names = list(dict.fromkeys([*(item.name for item in result.detections), *landmarks.names]))
    known, there = result.by_name, dict(zip(landmarks.names, landmarks.positions, strict=True))
    nowhere = np.full(3, np.nan)
    return CaseDetections(
        result.case, tuple(_as_left(name, known.get(name), there.get(name, nowhere)) for name in names)
    )


def summary_row(outcome: CaseOutcome, misfit_mm: float = math.nan, least_fitting: str = "") -> dict[str, str]:
    """The cells of a case in `summary.csv`, by column.

    Its confidences are over the landmarks that were found or uncertain. A case that failed has its error in
    the last column and no numbers.
    """
    numbers = [""] * (len(STATUSES) + 4)
    if outcome.result is not None:
        detections = outcome.result.detections
        sure = [item.confidence for item in detections if item.present]
        numbers = [
            *(str(sum(item.status == status for item in detections)) for status in STATUSES),
            _number(float(np.mean(sure))) if sure else "",
            _number(min(sure, default=math.nan)),
            _number(misfit_mm),
            least_fitting,
        ]
    cells = [outcome.case, *numbers, str(outcome.image_path or ""), outcome.error]
    return dict(zip(SUMMARY_COLUMNS, cells, strict=True))


def summary_text(rows: Iterable[Mapping[str, str]]) -> str:
    """The text of `summary.csv` with a line for each of the rows."""
    return _table_text(SUMMARY_COLUMNS, [[row[column] for column in SUMMARY_COLUMNS] for row in rows])


def _as_left(name: str, detected: Detection | None, position: NDArray[np.float64]) -> Detection:
    was = np.full(3, np.nan) if detected is None else detected.position
    if detected is not None and np.allclose(was, position, rtol=0, atol=_UNMOVED_MM, equal_nan=True):
        return detected
    if np.isnan(position).any():
        return Detection.missing(name)
    return Detection(name, position, "found", 1.0)


def _landmarks(detections: Sequence[Detection]) -> LandmarkSet:
    return LandmarkSet(
        [detection.name for detection in detections],
        np.array([detection.position for detection in detections]).reshape(-1, 3),
        [detection.status for detection in detections],
    )


def _measurements(detections: Sequence[Detection]) -> list[Measurement]:
    confidences = np.array([detection.confidence for detection in detections])
    radii = np.array([detection.radius_mm for detection in detections])
    return [
        Measurement(
            "confidence", confidences.round(DECIMALS), "", "probability that the landmark is in the scan"
        ),
        Measurement("radius", radii.round(DECIMALS), "mm", "estimated error"),
    ]


def _row(detection: Detection) -> list[str]:
    point = [_number(value) for value in detection.position]
    return [
        detection.name,
        *point,
        detection.status,
        _number(detection.confidence),
        _number(detection.radius_mm),
    ]


def _detection(cells: Mapping[str, str], place: str, *, commas: bool) -> Detection:
    numbers = {column: plain_number(cells[column], commas=commas) for column in _NUMBERS}
    for column, number in numbers.items():
        if cells[column] and math.isnan(number):
            raise InputError(f"{place}: the {column} '{cells[column]}' is not a number; correct it.")
    position = np.array([numbers["x"], numbers["y"], numbers["z"]])
    status = cast(Status, cells["status"])
    try:
        return Detection(cells["name"], position, status, numbers["confidence"], numbers["radius_mm"])
    except ValueError as error:
        raise InputError(f"{place}: {error}; correct the line.") from error


def _number(value: float) -> str:
    return "" if math.isnan(value) else str(round(float(value), DECIMALS))


def case_path(folder: Path, case: str, suffix: str) -> Path:
    """Where a file of a case lies.

    Raises:
        InputError: if the case's name cannot name a file.
    """
    if case in ("", ".", "..") or "/" in case or "\\" in case:
        raise InputError(f"The case '{case}' cannot name a file in {folder}; give it a name without slashes.")
    return Path(folder) / f"{case}{suffix}"


def _table_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()

"""Distances, angles and asymmetries between landmarks, and what their error radii make of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import read_text
from LandmarkDetectionLib.data.shape import SymmetryPlane, symmetry_plane
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.text_table import parse_table
from LandmarkDetectionLib.detection.results import CaseDetections

Array = NDArray[np.float64]
Kind = Literal["distance", "angle", "asymmetry"]

KINDS: tuple[Kind, ...] = get_args(Kind)
LANDMARKS = ("a", "b", "c", "d")
COLUMNS = ("name", "kind", *LANDMARKS)
RESULT_COLUMNS = ("case", "measurement", "kind", "unit", "value", "low", "high")
_NEEDED = {"distance": (2,), "angle": (3, 4), "asymmetry": (2,)}
_STEP = 1e-3
"""mm by which a landmark is moved to see what that changes."""
_WITHIN_90 = 1.645
"""Standard deviations to both sides that hold 90 % of a normal distribution."""
_RADIUS_IN_SD = 2.5003
"""A ball that holds 90 % of a normal distribution in three dimensions has a radius of so many of its standard
deviations along one axis: the root of the 90 % quantile of chi-square with three degrees of freedom."""


@dataclass(frozen=True)
class Measurement:
    """What is measured in every case.

    Attributes:
        name: unique.
        kind: 'distance' a to b, mm; 'angle' at b between a and c, or, of four, between the lines a to b and
            c to d, degrees; 'asymmetry' of the pair a and b, mm: how far the mirror image of b lies from a,
            in the plane of symmetry of all pairs of the case.
        landmarks: their names, two to four.
    """

    name: str
    kind: Kind
    landmarks: tuple[str, ...]

    @property
    def unit(self) -> str:
        return "degrees" if self.kind == "angle" else "mm"


@dataclass(frozen=True)
class Measured:
    """A measurement in one case.

    Attributes:
        case: its name.
        measurement: what was measured.
        value: mm or degrees; NaN where a landmark is absent.
        low: of the interval that holds it with 90 %; NaN where a landmark has no error radius.
        high: see low.
    """

    case: str
    measurement: Measurement
    value: float
    low: float
    high: float


def read_measurements(path: Path, table: LandmarkTable) -> list[Measurement]:
    """Read a table of measurements: columns name, kind, a, b, and c and d for angles.

    Raises:
        InputError: if the file is wrong, or names a landmark that the table does not have.
    """
    path = Path(path)
    rows = parse_table(read_text(path), path, COLUMNS)
    lacking = [column for column in COLUMNS[:4] if column not in rows.columns]
    if lacking:
        raise InputError(
            f"{path}: the column '{lacking[0]}' is missing; the first line is name,kind,a,b,c,d."
        )
    found: list[Measurement] = []
    for line, row in rows.rows:
        cells = {column: row.get(column, "").strip() for column in COLUMNS}
        where = f"{path}, line {line}"
        filled = [column for column in LANDMARKS if cells[column]]
        if filled != list(LANDMARKS[: len(filled)]):
            raise InputError(f"{where}: a landmark is missing before '{cells[filled[-1]]}'; leave no gap.")
        names = tuple(cells[column] for column in filled)
        found.append(_checked(Measurement(cells["name"], cast(Kind, cells["kind"]), names), table, where))
        if sum(item.name == cells["name"] for item in found) > 1:
            raise InputError(f"{where}: the name '{cells['name']}' stands twice; give each its own.")
    if not found:
        raise InputError(f"{path}: no measurement stands there; add a line such as 'width,distance,L1,L2'.")
    return found


def _checked(item: Measurement, table: LandmarkTable, where: str) -> Measurement:
    if not item.name:
        raise InputError(f"{where}: the measurement has no name; give it one.")
    if item.kind not in KINDS:
        raise InputError(f"{where}: there is no kind '{item.kind}'; use {', '.join(KINDS)}.")
    needed = _NEEDED[item.kind]
    if len(item.landmarks) not in needed:
        counts = " or ".join(map(str, needed))
        raise InputError(f"{where}: '{item.kind}' needs {counts} landmarks, not {len(item.landmarks)}.")
    if len(set(item.landmarks)) < len(item.landmarks) == 2:
        raise InputError(f"{where}: '{item.landmarks[0]}' stands twice; give two landmarks.")
    unknown = [name for name in item.landmarks if name not in table.names]
    if unknown:
        raise InputError(
            f"{where}: the model has no landmark '{unknown[0]}'; its names are {', '.join(table.names[:8])}"
            + (" and more." if len(table) > 8 else ".")
        )
    if item.kind == "asymmetry" and item.landmarks not in _pairs(table):
        raise InputError(
            f"{where}: {' and '.join(item.landmarks)} are no left-right pair of the model; "
            "train_cli bundle show lists the pairs."
        )
    return item


def _pairs(table: LandmarkTable) -> set[tuple[str, ...]]:
    """Both orders of each left-right pair."""
    return {(landmark.name, landmark.pair) for landmark in table.landmarks if landmark.pair}


def asymmetries(table: LandmarkTable) -> list[Measurement]:
    """The asymmetry of each left-right pair of a table."""
    partner = table.mirrored_order
    return [
        Measurement(f"{name} | {table.names[other]}", "asymmetry", (name, table.names[other]))
        for row, (name, other) in enumerate(zip(table.names, partner, strict=True))
        if row < other
    ]


def measure(
    result: CaseDetections, measurements: Sequence[Measurement], table: LandmarkTable
) -> list[Measured]:
    """Measure one case.

    The interval comes from the propagation of errors: how much the value changes as each of its landmarks
    moves, each by itself and as widely as its radius says. The plane of symmetry is taken as it is.

    Args:
        result: the landmarks.
        measurements: what is measured.
        table: of the model, for the plane of symmetry.
    """
    said = result.by_name
    nowhere = np.full(3, np.nan)
    points = np.array([said[name].position if name in said else nowhere for name in table.names])
    radii = np.array([said[name].radius_mm if name in said else math.nan for name in table.names])
    plane = symmetry_plane(points, table.mirrored_order)
    row = {name: number for number, name in enumerate(table.names)}
    return [
        _measure(result.case, item, points[rows], radii[rows], plane)
        for item in measurements
        for rows in [[row[name] for name in item.landmarks]]
    ]


def _measure(
    case: str, item: Measurement, points: Array, radii: Array, plane: SymmetryPlane | None
) -> Measured:
    """Of the item's own landmarks (N, 3) and their radii (N,)."""
    function = _FUNCTIONS[item.kind]
    value = function(points, plane)
    variance = 0.0
    for number, radius in enumerate(radii):
        moved = np.repeat(points[None], 3, axis=0)
        moved[:, number] += _STEP * np.eye(3)
        changes = [(function(one, plane) - value) / _STEP for one in moved]
        variance += (radius / _RADIUS_IN_SD) ** 2 * float(np.square(changes).sum())
    half = _WITHIN_90 * math.sqrt(variance)
    most = 180.0 if item.kind == "angle" else math.inf
    low, high = (
        (math.nan, math.nan) if math.isnan(half) else (max(value - half, 0.0), min(value + half, most))
    )
    return Measured(case, item, value, low, high)


def _distance(points: Array, plane: SymmetryPlane | None) -> float:
    """Mm between two points (2, 3)."""
    return float(np.linalg.norm(points[0] - points[1]))


def _angle(points: Array, plane: SymmetryPlane | None) -> float:
    """Degrees at the second of three points, or between the lines of four."""
    if len(points) == 3:
        one, other = points[0] - points[1], points[2] - points[1]
    else:
        one, other = points[1] - points[0], points[3] - points[2]
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(one, other))), float(one @ other)))


def _asymmetry(points: Array, plane: SymmetryPlane | None) -> float:
    """Mm from the first of two points to the mirror image of the second."""
    if plane is None:
        return math.nan
    mirrored = points[1] - 2 * ((points[1] - plane.point) @ plane.normal) * plane.normal
    return float(np.linalg.norm(points[0] - mirrored))


_FUNCTIONS: dict[Kind, Callable[[Array, SymmetryPlane | None], float]] = {
    "distance": _distance,
    "angle": _angle,
    "asymmetry": _asymmetry,
}

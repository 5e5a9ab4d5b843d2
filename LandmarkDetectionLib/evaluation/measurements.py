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
from LandmarkDetectionLib.data.shape import symmetry_plane
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
_DRAWS = 2000
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
        names = tuple(cells[column] for column in LANDMARKS if cells[column])
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
    unknown = [name for name in item.landmarks if name not in table.names]
    if unknown:
        raise InputError(
            f"{where}: the model has no landmark '{unknown[0]}'; its names are {', '.join(table.names[:8])}"
            + (" and more." if len(table) > 8 else ".")
        )
    return item


def asymmetries(table: LandmarkTable) -> list[Measurement]:
    """The asymmetry of each left-right pair of a table."""
    partner = table.mirrored_order
    return [
        Measurement(f"{name} | {table.names[other]}", "asymmetry", (name, table.names[other]))
        for row, (name, other) in enumerate(zip(table.names, partner, strict=True))
        if row < other
    ]


def measure(
    result: CaseDetections, measurements: Sequence[Measurement], table: LandmarkTable, *, seed: int = 0
) -> list[Measured]:
    """Measure one case.

    The interval comes from landmarks that are drawn at random around their positions, each by itself, as
    widely as its radius says.

    Args:
        result: the landmarks.
        measurements: what is measured.
        table: of the model, for the plane of symmetry.
        seed: of the draws.
    """
    said = result.by_name
    nowhere = np.full(3, np.nan)
    points = np.array([said[name].position if name in said else nowhere for name in table.names])
    radii = np.array([said[name].radius_mm if name in said else math.nan for name in table.names])
    shifts = np.random.default_rng(seed).standard_normal((_DRAWS, *points.shape))
    drawn = points + shifts * (radii / _RADIUS_IN_SD)[:, None]
    row = {name: number for number, name in enumerate(table.names)}
    measured = []
    for item in measurements:
        rows = [row[name] for name in item.landmarks]
        function = _FUNCTIONS[item.kind]
        value = function(points[None], rows, table)[0]
        values = function(drawn, rows, table)
        low, high = np.quantile(values, [0.05, 0.95]) if np.isfinite(values).all() else (math.nan, math.nan)
        measured.append(Measured(result.case, item, float(value), float(low), float(high)))
    return measured


def _distance(points: Array, rows: Sequence[int], table: LandmarkTable) -> Array:
    """Of points (N, K, 3): (N,) mm."""
    apart: Array = np.linalg.norm(points[:, rows[0]] - points[:, rows[1]], axis=-1)
    return apart


def _angle(points: Array, rows: Sequence[int], table: LandmarkTable) -> Array:
    """(N,) degrees at the second of three, or between the lines of four."""
    if len(rows) == 3:
        one, other = (points[:, row] - points[:, rows[1]] for row in (rows[0], rows[2]))
    else:
        one, other = (points[:, end] - points[:, start] for start, end in (rows[:2], rows[2:]))
    across = np.linalg.norm(np.cross(one, other), axis=-1)
    return np.asarray(np.degrees(np.arctan2(across, (one * other).sum(axis=-1))))


def _asymmetry(points: Array, rows: Sequence[int], table: LandmarkTable) -> Array:
    """(N,) mm from the first to the mirror image of the second, in the plane of the middle of all draws."""
    plane = symmetry_plane(np.median(points, axis=0), table.mirrored_order)
    if plane is None:
        return np.full(len(points), np.nan)
    other = points[:, rows[1]]
    mirrored = other - 2 * ((other - plane.point) @ plane.normal)[:, None] * plane.normal
    apart: Array = np.linalg.norm(points[:, rows[0]] - mirrored, axis=-1)
    return apart


_FUNCTIONS: dict[Kind, Callable[[Array, Sequence[int], LandmarkTable], Array]] = {
    "distance": _distance,
    "angle": _angle,
    "asymmetry": _asymmetry,
}

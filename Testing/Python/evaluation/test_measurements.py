"""Distances, angles and asymmetries, and how sure they are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.measurements import (
    Measured,
    Measurement,
    asymmetries,
    measure,
    read_measurements,
)

TABLE = LandmarkTable(
    (
        Landmark("l1", 1, pair="r1"),
        Landmark("r1", 2, pair="l1"),
        Landmark("l2", 3, pair="r2"),
        Landmark("r2", 4, pair="l2"),
        Landmark("top", 5),
        Landmark("front", 6),
    )
)
POINTS = np.array([[3, 0, 0], [-3, 0, 0], [5, 4, 0], [-5, 4, 0], [0, 0, 4], [0, -8, 0]], dtype=float)


def result(points: NDArray[np.float64], radius: float = 0.1) -> CaseDetections:
    return CaseDetections(
        "case",
        tuple(
            Detection(name, point, "found", 1.0, radius)
            if np.isfinite(point).all()
            else Detection.missing(name)
            for name, point in zip(TABLE.names, points, strict=True)
        ),
    )


def one(item: Measurement, points: NDArray[np.float64] = POINTS, radius: float = 0.1) -> Measured:
    return measure(result(points, radius), [item], TABLE)[0]


def test_a_distance_and_two_kinds_of_angles() -> None:
    assert one(Measurement("d", "distance", ("l1", "r1"))).value == pytest.approx(6)
    assert one(Measurement("a", "angle", ("l1", "front", "r1"))).value == pytest.approx(
        2 * math.degrees(math.atan2(3, 8))
    )
    assert one(Measurement("a", "angle", ("l1", "r1", "l2", "r2"))).value == pytest.approx(0)
    assert one(Measurement("a", "angle", ("l1", "r1", "top", "front"))).value == pytest.approx(90)


def test_the_asymmetry_of_a_pair_is_how_far_it_is_from_its_mirror_image_in_any_pose() -> None:
    shifted = POINTS.copy()
    shifted[0] += (0, 0.0, 0.5)
    orthogonal, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    values = [
        one(Measurement("a", "asymmetry", ("l1", "r1")), points @ orthogonal.T + 70, 0.0).value
        for points in (POINTS, shifted)
    ]
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert 0.3 < values[1] < 0.5, "the other pair holds the plane, but not wholly"


def test_the_interval_is_that_of_a_normal_distribution_whose_ball_the_radius_is() -> None:
    found = one(Measurement("d", "distance", ("l1", "r1")), radius=0.25003)
    assert (found.high - found.low) / 2 == pytest.approx(1.645 * 0.1 * math.sqrt(2), rel=0.06)
    assert found.low < found.value < found.high


def test_the_interval_holds_its_own_value_however_small_that_is() -> None:
    nearly = POINTS.copy()
    nearly[0] += (0.0, 0.0, 0.1)
    for item in (
        Measurement("a", "asymmetry", ("l1", "r1")),
        Measurement("b", "angle", ("l1", "r1", "l2", "r2")),
    ):
        found = one(item, nearly, radius=2.5)
        assert found.low == 0 < found.value < found.high


def test_a_landmark_without_a_radius_changes_no_other_interval() -> None:
    def widths(radii: list[float]) -> tuple[float, float]:
        said = tuple(
            Detection(name, point, "found", 1.0, radius)
            for name, point, radius in zip(TABLE.names, POINTS, radii, strict=True)
        )
        pair = Measurement("a", "asymmetry", ("l1", "r1"))
        found = measure(CaseDetections("case", said), [pair], TABLE)[0]
        return found.low, found.high

    assert widths([1.0] * 6) == widths([1.0, 1.0, 1.0, math.nan, 1.0, 1.0])


def test_what_is_absent_is_not_measured_and_without_radii_there_is_no_interval() -> None:
    absent = POINTS.copy()
    absent[0] = np.nan
    assert math.isnan(one(Measurement("d", "distance", ("l1", "r1")), absent).value)
    bare = one(Measurement("d", "distance", ("l1", "r1")), radius=math.nan)
    assert bare.value == pytest.approx(6)
    assert math.isnan(bare.low)


def test_the_asymmetries_are_those_of_each_pair_once() -> None:
    assert [item.landmarks for item in asymmetries(TABLE)] == [("l1", "r1"), ("l2", "r2")]


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("name,kind,a,b,c,d\nwidth,distance,l1,r1,,\nopening,angle,l1,top,r1,\n", encoding="utf-8")
    assert read_measurements(path, TABLE) == [
        Measurement("width", "distance", ("l1", "r1")),
        Measurement("opening", "angle", ("l1", "top", "r1")),
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("width,distance,l1,r9", "line 2: the model has no landmark 'r9'"),
        ("width,distance,l1", "line 2: 'distance' needs 2 landmarks, not 1"),
        ("width,distance,l1,l1", "line 2: 'l1' stands twice"),
        ("width,angle,l1,top,,r1", "line 2: a landmark is missing before 'r1'"),
        ("width,asymmetry,l1,top", "line 2: l1 and top are no left-right pair"),
        ("width,length,l1,r1", "line 2: there is no kind 'length'"),
        (",distance,l1,r1", "line 2: the measurement has no name"),
        ("w,distance,l1,r1\nw,distance,l2,r2", "line 3: the name 'w' stands twice"),
        ("", "no measurement stands there"),
    ],
)
def test_a_wrong_table_is_refused_with_the_line(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"name,kind,a,b,c,d\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        read_measurements(path, TABLE)

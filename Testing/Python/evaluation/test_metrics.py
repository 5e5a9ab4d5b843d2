"""The numbers of an evaluation, checked against numbers worked out by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.metrics import (
    Evaluation,
    constellation_extent,
    default_radii,
    evaluate,
    round_down,
)

ABSENT = (math.nan, math.nan, math.nan)


def truth(**points: tuple[float, float, float]) -> LandmarkSet:
    return LandmarkSet(list(points), np.array(list(points.values())))


def found(name: str, *position: float, radius: float = math.nan) -> Detection:
    return Detection(name, np.array(position), "found", 0.9, radius)


def case(name: str, *detections: Detection) -> CaseDetections:
    return CaseDetections(name, detections)


@pytest.fixture
def worked() -> Evaluation:
    """Two cases, three landmarks; errors 5, 1 and 3 mm, one missed, one false positive, one true negative."""
    truths = {
        "a": truth(A=(0, 0, 0), B=(10, 0, 0), C=ABSENT),
        "b": truth(C=ABSENT, B=(10, 0, 0), A=(1, 1, 1)),
    }
    detections = {
        "b": case("b", found("A", 1, 1, 4), Detection.missing("B"), Detection.missing("C")),
        "a": case(
            "a",
            found("C", 7, 7, 7),
            Detection("B", np.array([10.0, -1.0, 0.0]), "uncertain", 0.5, 2.0),
            found("A", 3, 0, -4, radius=1.0),
            found("unknown", 0, 0, 0),
        ),
    }
    return evaluate(truths, detections, radii=[4, 1])


def test_the_worked_example_has_the_errors_worked_out_by_hand(worked: Evaluation) -> None:
    errors = worked.metrics["mre_mm"]
    assert (errors["mean"], errors["median"], errors["sd"], errors["max"]) == (3.0, 3.0, 2.0, 5.0)


def test_a_missed_landmark_counts_as_a_failure_at_every_radius(worked: Evaluation) -> None:
    assert worked.radii == (1.0, 4.0)
    assert worked.metrics["sdr"] == {"1": 1 / 4, "4": 2 / 4}


def test_the_worked_example_has_the_counts_worked_out_by_hand(worked: Evaluation) -> None:
    presence = worked.metrics["presence"]
    assert {key: presence[key] for key in ("tp", "tn", "fp", "fn")} == {"tp": 3, "tn": 1, "fp": 1, "fn": 1}
    assert presence["sensitivity"] == 3 / 4
    assert presence["specificity"] == 1 / 2
    assert presence["accuracy"] == 4 / 6
    assert presence["f1"] == 6 / 8
    sizes = {key: worked.metrics[key] for key in ("n_cases", "n_failed", "n_landmarks", "n_points", "missed")}
    assert sizes == {"n_cases": 2, "n_failed": 0, "n_landmarks": 3, "n_points": 4, "missed": 1}
    assert worked.errors == ()


def test_coverage_is_over_the_detections_that_give_a_radius(worked: Evaluation) -> None:
    assert worked.metrics["coverage"] == {"fraction": 0.5, "n": 2, "mean_radius_mm": 1.5}


def test_a_landmark_that_the_truth_does_not_name_is_left_out(worked: Evaluation) -> None:
    assert "unknown" not in set(worked.points["landmark"])
    assert len(worked.points) == 6


def test_a_row_per_point_with_the_components_of_its_error(worked: Evaluation) -> None:
    rows = worked.points.set_index(["case", "landmark"])
    assert [rows.at[("a", "A"), column] for column in ("dx_mm", "dy_mm", "dz_mm")] == [3.0, 0.0, -4.0]
    assert rows["outcome"].tolist() == ["tp", "tp", "fp", "tn", "fn", "tp"]
    assert rows["status"].tolist() == ["found", "uncertain", "found", "absent", "absent", "found"]
    assert rows["error_mm"].notna().tolist() == [True, True, False, False, False, True]


def test_a_row_per_landmark(worked: Evaluation) -> None:
    table = worked.per_landmark().set_index("landmark")
    assert table.index.tolist() == ["A", "B", "C"]
    assert table["n"].tolist() == [2, 2, 0]
    assert table["missed"].tolist() == [0, 1, 0]
    assert table["false_positives"].tolist() == [0, 0, 1]
    assert table["mean_mm"].tolist()[:2] == [4.0, 1.0]
    assert table["bias_z_mm"].tolist()[:2] == [-0.5, 0.0]
    assert table["sdr_4mm"].tolist()[:2] == [0.5, 0.5]
    assert math.isnan(table["sdr_4mm"]["C"])


def test_a_row_per_case(worked: Evaluation) -> None:
    table = worked.per_case().set_index("case")
    assert table["mean_mm"].to_dict() == {"a": 3.0, "b": 3.0}
    assert table["sdr_1mm"].to_dict() == {"a": 0.5, "b": 0.0}
    assert table["true_negatives"].to_dict() == {"a": 0, "b": 1}


def test_points_are_compared_by_name_and_never_by_order() -> None:
    truths = {"a": truth(A=(0, 0, 0), B=(10, 0, 0))}
    swapped = {"a": case("a", found("B", 10, 0, 0), found("A", 0, 0, 0))}
    assert evaluate(truths, swapped).metrics["mre_mm"]["max"] == 0.0


def test_the_origin_is_an_ordinary_point() -> None:
    truths = {"a": truth(A=(0, 0, 0), B=(-1, -1, -1))}
    result = evaluate(truths, {"a": case("a", found("A", 0, 0, 0), found("B", -1, -1, -1))})
    assert result.metrics["presence"]["tp"] == 2


def test_a_case_without_detections_is_an_error_and_all_of_its_landmarks_are_missed() -> None:
    truths = {"a": truth(A=(0, 0, 0)), "b": truth(A=(0, 0, 0), B=ABSENT)}
    result = evaluate(truths, {"a": case("a", found("A", 0, 0, 1))}, radii=[2])
    assert result.errors == ("The case 'b' has no detections: all of its landmarks count as missed.",)
    assert result.metrics["n_failed"] == 1
    assert result.metrics["missed"] == 1
    assert result.metrics["sdr"] == {"2": 0.5}
    assert result.metrics["presence"]["tn"] == 0, "saying nothing earns nothing"


def test_a_landmark_that_the_detections_do_not_mention_is_missed() -> None:
    result = evaluate({"a": truth(A=(0, 0, 0), B=(1, 0, 0))}, {"a": case("a", found("A", 0, 0, 0))})
    assert result.points["outcome"].tolist() == ["tp", "fn"]


def test_nothing_found_gives_undefined_errors_and_no_crash() -> None:
    result = evaluate({"a": truth(A=(0, 0, 0))}, {"a": case("a", Detection.missing("A"))}, radii=[2])
    assert math.isnan(result.metrics["mre_mm"]["mean"])
    assert result.metrics["sdr"] == {"2": 0.0}
    assert result.metrics["coverage"] is None
    assert math.isnan(result.metrics["presence"]["specificity"])


def test_a_case_with_no_landmarks_in_its_file_changes_nothing() -> None:
    truths, detections = random_study(cases=4, seed=3)
    empty = LandmarkSet([], np.zeros((0, 3)))
    more = evaluate({**truths, "empty": empty}, {**detections, "empty": case("empty")}, radii=[2])
    assert more.metrics["mre_mm"] == evaluate(truths, detections, radii=[2]).metrics["mre_mm"]


def test_the_interval_is_that_of_a_bootstrap_of_whole_cases() -> None:
    """Two cases, each with equal errors within: the resampled mean is 1, 2 or 3 with odds of 1 : 2 : 1."""
    truths = {name: truth(A=(0, 0, 0), B=(9, 0, 0)) for name in "ab"}
    detections = {
        "a": case("a", found("A", 1, 0, 0), found("B", 10, 0, 0)),
        "b": case("b", found("A", 3, 0, 0), found("B", 12, 0, 0)),
    }
    metrics = evaluate(truths, detections, radii=[2]).metrics
    assert metrics["mre_mm"]["ci95"] == [1.0, 3.0]
    assert metrics["sdr_ci95"] == {"2": [0.0, 1.0]}


def test_the_interval_of_many_cases_agrees_with_the_normal_approximation() -> None:
    truths, detections = random_study(cases=400, landmarks=1, seed=5)
    result = evaluate(truths, detections, radii=[2]).metrics["mre_mm"]
    half = 1.96 * result["sd"] / math.sqrt(400)
    np.testing.assert_allclose(result["ci95"], [result["mean"] - half, result["mean"] + half], rtol=0.02)


def test_landmarks_that_err_together_in_a_case_do_not_narrow_the_interval() -> None:
    truths, alone = random_study(cases=30, landmarks=1, seed=7)
    copies = {
        name: LandmarkSet([f"L{i}" for i in range(20)], np.repeat(one.positions, 20, axis=0))
        for name, one in truths.items()
    }
    together = {
        name: case(name, *(found(f"L{i}", *one.detections[0].position) for i in range(20)))
        for name, one in alone.items()
    }
    np.testing.assert_allclose(
        evaluate(copies, together).metrics["mre_mm"]["ci95"],
        evaluate(truths, alone).metrics["mre_mm"]["ci95"],
    )


def test_one_case_has_no_interval() -> None:
    result = evaluate({"a": truth(A=(0, 0, 0))}, {"a": case("a", found("A", 1, 0, 0))}, radii=[2])
    assert all(map(math.isnan, result.metrics["mre_mm"]["ci95"]))
    assert all(map(math.isnan, result.metrics["sdr_ci95"]["2"]))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    truths, detections = random_study(cases=8, seed=11)
    first, again, other = (evaluate(truths, detections, seed=seed).metrics["mre_mm"] for seed in (1, 1, 2))
    assert first == again
    assert first["ci95"] != other["ci95"]
    assert first["mean"] == other["mean"]


@settings(max_examples=30, deadline=None)
@given(cases=st.integers(2, 12), landmarks=st.integers(1, 6), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_the_order_of_cases_and_landmarks_changes_no_number(
    cases: int, landmarks: int, seed: int, data: st.DataObject
) -> None:
    truths, detections = random_study(cases=cases, landmarks=landmarks, seed=seed)
    order = data.draw(st.permutations(list(truths)))
    shuffled = {
        name: case(name, *data.draw(st.permutations(detections[name].detections))) for name in reversed(order)
    }
    ours = evaluate(truths, detections, radii=[1, 2], resamples=200).metrics
    theirs = evaluate(
        {name: reversed_set(truths[name]) for name in order}, shuffled, radii=[1, 2], resamples=200
    ).metrics
    for key in ("mre_mm", "sdr", "presence"):
        for name, value in ours[key].items():
            np.testing.assert_allclose(theirs[key][name], value, rtol=1e-12, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(cases=st.integers(2, 30), seed=st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_mean(cases: int, seed: int) -> None:
    result = evaluate(*random_study(cases=cases, seed=seed), radii=[1]).metrics["mre_mm"]
    low, high = result["ci95"]
    assert low - 1e-12 <= result["mean"] <= high + 1e-12


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_interval_shrinks_with_more_cases(seed: int) -> None:
    few, many = (
        np.diff(evaluate(*random_study(cases=cases, seed=seed)).metrics["mre_mm"]["ci95"]).item()
        for cases in (10, 250)
    )
    assert many < 0.6 * few


def test_a_larger_radius_never_holds_fewer_points() -> None:
    radii = [0.25, 0.5, 1, 2, 4]
    rates = list(evaluate(*random_study(cases=6, seed=2), radii=radii).metrics["sdr"].values())
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_an_error_equal_to_the_radius_is_within_it() -> None:
    result = evaluate({"a": truth(A=(0, 0, 0))}, {"a": case("a", found("A", 2, 0, 0))}, radii=[2])
    assert result.metrics["sdr"] == {"2": 1.0}


@pytest.mark.parametrize("radii", [[], [0.0], [-1.0], [math.nan], [math.inf, 1.0]])
def test_radii_that_are_not_lengths_are_refused(radii: list[float]) -> None:
    with pytest.raises(InputError, match=r"^The radii are .*; give one or more lengths above 0 mm"):
        evaluate({"a": truth(A=(0, 0, 0))}, {}, radii=radii)


@pytest.mark.parametrize("truths", [{}, {"a": LandmarkSet([], np.zeros((0, 3)))}])
def test_an_empty_truth_is_refused(truths: dict[str, LandmarkSet]) -> None:
    with pytest.raises(InputError, match="no true landmarks"):
        evaluate(truths, {})


@pytest.mark.parametrize(
    ("extent", "radii"),
    [
        (250.0, (2.0, 2.5, 3.0, 4.0)),
        (100.0, (2.0, 2.5, 3.0, 4.0)),
        (99.0, (0.5, 1.0, 1.5, 2.5)),
        (45.0, (0.2, 0.4, 0.6, 1.0)),
        (25.4, (0.1, 0.2, 0.3, 0.5)),
        (22.0, (0.1, 0.2, 0.3, 0.5)),
        (19.2, (0.1, 0.2, 0.3, 0.5)),
        (2.0, (0.01, 0.02, 0.03, 0.05)),
        (0.0, (2.0, 2.5, 3.0, 4.0)),
    ],
)
def test_default_radii_fit_the_size_of_the_anatomy(extent: float, radii: tuple[float, ...]) -> None:
    assert default_radii(extent) == radii


def test_the_size_of_the_anatomy_is_its_longest_distance_in_any_pose() -> None:
    truths = {
        "a": truth(A=(0, 0, 0), B=(3, 4, 0), C=ABSENT),
        "b": truth(A=(5, 5, 5), B=(5, 5, 12)),
        "c": truth(A=(0, 0, 0), B=(100, 0, 0)),
        "one": truth(A=(0, 0, 0), B=ABSENT),
    }
    assert constellation_extent(truths) == 7.0


@given(st.floats(1e-6, 1e6))
def test_rounding_down_gives_one_two_or_five_at_most_the_value(value: float) -> None:
    rounded = round_down(value)
    assert rounded <= value * (1 + 1e-6) < 2.5 * rounded * (1 + 1e-5)
    assert f"{rounded:e}"[0] in "125" and f"{rounded:.5e}"[2:7] == "00000"


def test_a_thousand_cases_take_a_moment() -> None:
    truths, detections = random_study(cases=1000, landmarks=45, seed=0)
    start = time.process_time()
    evaluate(truths, detections)
    assert time.process_time() - start < 3.0


def random_study(
    *, cases: int, landmarks: int = 4, seed: int
) -> tuple[Mapping[str, LandmarkSet], Mapping[str, CaseDetections]]:
    """Skulls of 200 mm and detections with about 1 mm of error per axis."""
    generator = np.random.default_rng(seed)
    names = [f"L{row}" for row in range(landmarks)]
    truths, detections = {}, {}
    for name in (f"case{number:03d}" for number in range(cases)):
        points = generator.uniform(-100, 100, (landmarks, 3))
        moved = points + generator.normal(0, 1, points.shape)
        truths[name] = LandmarkSet(names, points)
        detections[name] = case(name, *(found(name, *row) for name, row in zip(names, moved, strict=True)))
    return truths, detections


def reversed_set(landmarks: LandmarkSet) -> LandmarkSet:
    return LandmarkSet(landmarks.names[::-1], landmarks.positions[::-1])

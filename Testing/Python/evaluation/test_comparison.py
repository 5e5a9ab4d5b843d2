"""Who is nearer the truth, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.comparison import compare
from LandmarkDetectionLib.evaluation.metrics import Evaluation, evaluate

NAMES = ("a", "b")


def off_by(distances: dict[str, tuple[float, float]]) -> Evaluation:
    """An evaluation in which landmarks are so far off; NaN is a missed one."""
    truths = {case: LandmarkSet(NAMES, np.zeros((2, 3))) for case in distances}
    said = {
        case: CaseDetections(
            case,
            tuple(
                Detection.missing(name)
                if math.isnan(far)
                else Detection(name, np.array([far, 0, 0]), "found", 1.0)
                for name, far in zip(NAMES, both, strict=True)
            ),
        )
        for case, both in distances.items()
    }
    return evaluate(truths, said, radii=[1.0])


def test_differences_are_paired_by_case_and_landmark() -> None:
    ours = off_by({"one": (1.0, 2.0), "two": (3.0, math.nan)})
    theirs = off_by({"one": (2.0, 4.0), "two": (3.5, 1.0)})
    found = compare(ours, theirs, "other")
    assert found.pairs["difference"].tolist() == [1.0, 2.0, 0.5]
    assert found.mean == pytest.approx(3.5 / 3)
    assert (found.only_ours, found.only_theirs) == (0, 1)
    assert found.by("landmark").set_index("landmark")["mean"].to_dict() == {"a": 0.75, "b": 2.0}
    cases = found.by("case").set_index("case")
    assert cases["n"].to_dict() == {"one": 2, "two": 1}
    assert cases["low"].isna().all(), "landmarks of one scan are not independent"


def test_the_interval_grows_with_what_differs_between_cases_not_with_the_number_of_landmarks() -> None:
    generator = np.random.default_rng(0)
    shifts = generator.normal(0, 1, 12)
    ours = off_by({f"case {number}": (5.0, 5.0) for number in range(12)})
    theirs = off_by({f"case {number}": (5.0 + shift, 5.0 + shift) for number, shift in enumerate(shifts)})
    low, high = compare(ours, theirs, "other").interval
    expected = 2 * 1.96 * shifts.std() / np.sqrt(12)
    assert high - low == pytest.approx(expected, rel=0.15)
    assert low < shifts.mean() < high


def test_the_test_of_wilcoxon_has_one_number_a_case() -> None:
    ours = off_by({f"case {number}": (1.0, 1.0) for number in range(6)})
    theirs = off_by({f"case {number}": (1.1 + number / 10, 1.1 + number / 10) for number in range(6)})
    assert compare(ours, theirs, "other").p == pytest.approx(2 / 2**6)


def test_with_too_few_cases_nothing_is_claimed() -> None:
    ours, theirs = off_by({"one": (1.0, 1.0)}), off_by({"one": (2.0, 2.0)})
    found = compare(ours, theirs, "other")
    assert math.isnan(found.p)
    assert np.isnan(found.interval).all()
    assert math.isnan(compare(ours, ours, "itself").p)

"""Which case a person should look at first."""

import math

import numpy as np

from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review

NAMES = ("a", "b", "c", "d", "e")
SHAPE = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10], [5, 5, 5]])


def detected(points: np.ndarray, confidence: float = 0.9, case: str = "case") -> CaseDetections:
    return CaseDetections(
        case,
        tuple(Detection(name, point, "found", confidence) for name, point in zip(NAMES, points, strict=True)),
    )


def test_a_landmark_that_does_not_fit_the_mean_shape_is_named_with_its_distance() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    points = 1.2 * SHAPE @ (turn * np.sign(np.linalg.det(turn))).T + [30, -20, 10]
    assert review(detected(points), NAMES, SHAPE).misfit_mm < 1e-9
    points[3] += [0, 0, 4]
    odd = review(detected(points), NAMES, SHAPE)
    assert odd.least_fitting == "d" and 2 < odd.misfit_mm < 4.5


def test_a_case_without_positions_has_no_confidence_and_no_fit() -> None:
    nothing = CaseDetections("case", tuple(Detection.missing(name, 0.1) for name in NAMES))
    judged = review(nothing, NAMES, SHAPE)
    assert judged.lowest_confidence == 0 and math.isnan(judged.misfit_mm) and judged.least_fitting == ""


def test_the_worst_in_either_respect_comes_first() -> None:
    reviews = [
        Review("fine", 0.95, 0.1, "a"),
        Review("odd shape", 0.97, 3.0, "b"),
        Review("middling", 0.8, 0.5, "c"),
        Review("unsure", 0.2, 0.2, "d"),
        Review("no fit", 0.9, math.nan, ""),
    ]
    order = [item.case for item in in_order_of_doubt(reviews)]
    assert order == ["no fit", "unsure", "middling", "odd shape", "fine"]

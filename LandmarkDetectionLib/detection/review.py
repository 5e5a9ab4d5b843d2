"""Which of many cases a person should look at first."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.shape import fit_robustly
from LandmarkDetectionLib.detection.results import CaseDetections


@dataclass(frozen=True)
class Review:
    """How sure a case looks.

    Attributes:
        case: its name.
        lowest_confidence: of the landmarks that have a position; 0 where none has.
        misfit_mm: the farthest that a landmark lies from where the mean shape, fitted by a robust similarity,
            has it; NaN where too few landmarks have a position.
        least_fitting: the name of that landmark, '' if none.
    """

    case: str
    lowest_confidence: float
    misfit_mm: float
    least_fitting: str


def review(result: CaseDetections, names: Sequence[str], mean_shape: NDArray[np.float64]) -> Review:
    """Judge a case by its own confidences and by the mean shape.

    Args:
        result: what was detected.
        names: K landmarks.
        mean_shape: (K, 3) mm, NaN where unknown.
    """
    found = result.by_name
    present = [found[name].confidence for name in names if name in found and found[name].present]
    points = np.array([found[name].position if name in found else np.full(3, np.nan) for name in names])
    try:
        fit = fit_robustly(points, mean_shape)
    except ValueError:
        return Review(result.case, min(present, default=0.0), math.nan, "")
    apart = np.linalg.norm(fit.inverse().apply(mean_shape) - points, axis=1)
    worst = int(np.nanargmax(apart))
    return Review(result.case, min(present, default=0.0), float(apart[worst]), names[worst])


def in_order_of_doubt(reviews: Sequence[Review]) -> list[Review]:
    """The case to look at first comes first.

    The cases are ranked by their lowest confidence and by their misfit, and stand where the worse of the two
    ranks puts them. A case without a fit has the worst misfit.
    """
    confidences = [item.lowest_confidence for item in reviews]
    fits = [-math.inf if math.isnan(item.misfit_mm) else -item.misfit_mm for item in reviews]
    sorted_confidences, sorted_fits = sorted(confidences), sorted(fits)

    def place(row: int) -> tuple[int, int, str]:
        ranks = sorted(
            (bisect_left(sorted_confidences, confidences[row]), bisect_left(sorted_fits, fits[row]))
        )
        return ranks[0], ranks[1], reviews[row].case

    return [reviews[row] for row in sorted(range(len(reviews)), key=place)]

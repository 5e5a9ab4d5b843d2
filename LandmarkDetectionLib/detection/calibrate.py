"""Error radii with a stated coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.model.bundle import Calibration


def conformal_radius(errors: NDArray[np.float64], coverage: float) -> float:
    """The radius that holds a new error with at least the given probability; infinite with too few errors.

    Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005): the
    ceil((n + 1) coverage)-th smallest of n exchangeable errors.

    Args:
        errors: (n,) distances to the truth, mm.
        coverage: 0 to 1.
    """
    rank = int(np.ceil((len(errors) + 1) * coverage))
    if rank > len(errors):
        return float("inf")
    return float(np.sort(errors)[rank - 1])


def calibrate(names: Sequence[str], errors: NDArray[np.float64], coverage: float = 0.9) -> Calibration | None:
    """Radii from validation errors: one per landmark where it has enough cases, and one for all together.

    Args:
        names: K landmarks.
        errors: (cases, K) distances, mm; NaN where a landmark was missed or is absent.
        coverage: the share of truths a radius shall hold.

    Returns:
        None where there are too few errors for the coverage.
    """
    pooled = errors[np.isfinite(errors)]
    radius = conformal_radius(pooled, coverage)
    if not np.isfinite(radius):
        return None
    own = {
        name: conformal_radius(column[np.isfinite(column)], coverage)
        for name, column in zip(names, errors.T, strict=True)
    }
    return Calibration(
        coverage=coverage,
        radius_mm=radius,
        landmark_radius_mm={name: value for name, value in own.items() if np.isfinite(value)},
        points=len(pooled),
    )

"""Error radii with a stated coverage, and probabilities of presence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.model.bundle import Level

Array = NDArray[np.float64]

COVERAGE = 0.9
"""The share of truths that a radius shall hold."""
_NEWTON_STEPS = 50
_RIDGE = 1e-3
_FEWEST = 5
"""Landmarks that are there, and that are not, for presence to be learnt: with one or two the slope can be
negative."""
_USUAL = 3.0
"""Standard deviations from the shape that speak against nothing."""
_FREEDOM = 4.0
"""Of Student's t: a few dozen shapes do not know how far their landmarks can lie."""


def conformal_radius(errors: Array, coverage: float) -> float:
    """The radius that holds a new error with at least the given probability; infinite with too few errors.

    Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005): the
    ceil((n + 1) coverage)-th smallest of n exchangeable errors.

    Args:
        errors: (n,) distances to the truth, mm, or in any other unit.
        coverage: 0 to 1.
    """
    rank = int(np.ceil((len(errors) + 1) * coverage))
    if rank > len(errors):
        return float("inf")
    return float(np.sort(errors)[rank - 1])


def fit_level(
    names: Sequence[str],
    errors: Array,
    *,
    spreads: Array | None = None,
    resolution: float,
    presence: tuple[float, float] | None = None,
) -> Level | None:
    """Radii from validation errors: one per landmark where it has enough cases, and one for all together.

    Args:
        names: K landmarks.
        errors: (cases, K) distances, mm; NaN where a landmark was missed or is absent.
        spreads: (cases, K) of the evidence for each, mm, where the engine tells them.
        resolution: of the scans, mm.
        presence: from `fit_presence`, in the same scans.

    Returns:
        None where there are too few errors for the coverage.
    """
    pooled, own = _quantiles(names, errors)
    if not np.isfinite(pooled):
        return None
    per_spread, own_per_spread = (None, {}) if spreads is None else _quantiles(names, errors / spreads)
    return Level(
        resolution=resolution,
        points=int(np.isfinite(errors).sum()),
        pooled_mm=pooled,
        landmarks_mm=own,
        pooled_per_spread=per_spread,
        landmarks_per_spread=own_per_spread,
        presence=presence,
    )


def _quantiles(names: Sequence[str], errors: Array) -> tuple[float, dict[str, float]]:
    """The radius of all errors, and of each landmark that has enough."""
    own = {
        name: conformal_radius(column[np.isfinite(column)], COVERAGE)
        for name, column in zip(names, errors.T, strict=True)
    }
    pooled = conformal_radius(errors[np.isfinite(errors)], COVERAGE)
    return pooled, {name: radius for name, radius in own.items() if np.isfinite(radius)}


def fit_presence(logits: Array, present: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Slope and intercept that make an engine's logits those of probabilities.

    Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets.

    Args:
        logits: (n,) the engine's.
        present: (n,) whether the landmark was there.

    Returns:
        None where all were there, or none, but for a few: little can be learnt from that.
    """
    positive, negative = int(present.sum()), int((~present).sum())
    if min(positive, negative) < _FEWEST:
        return None
    targets = np.where(present, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([logits, np.ones_like(logits)])
    weights = np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        probabilities = sigmoid(design @ weights)
        pull = design.T @ (probabilities - targets) + _RIDGE * (weights - [1.0, 0.0])
        curvature = (design * (probabilities * (1 - probabilities))[:, None]).T @ design
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), pull)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
    return float(weights[0]), float(weights[1])


def calibrated_presence(
    logits: Array, presence: tuple[float, float] | None, misfits: Array | None = None
) -> Array:
    """Probabilities that landmarks are there.

    Args:
        logits: (K,) the engine's.
        presence: from `fit_presence`; None takes the logits as they are.
        misfits: (K,) how far each lies from where the shape of the others puts it, in standard deviations;
            NaN where nobody knows. Beyond three, it counts against a landmark as it does under Student's t.
    """
    slope, intercept = presence or (1.0, 0.0)
    against = 0.0 if misfits is None else _surprise(np.fmax(misfits, _USUAL)) - _surprise(_USUAL)
    return sigmoid(slope * logits + intercept - against)


def _surprise(misfits: Array | float) -> Array | float:
    """Minus the logarithm of Student's t density, up to a constant."""
    surprise: Array | float = 0.5 * (_FREEDOM + 1) * np.log1p(np.square(misfits) / _FREEDOM)
    return surprise


def sigmoid(logits: Array) -> Array:
    """The probabilities of logits."""
    probabilities: Array = 0.5 * (1 + np.tanh(0.5 * logits))
    return probabilities

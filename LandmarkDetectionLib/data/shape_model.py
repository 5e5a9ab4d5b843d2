"""How the shapes of a population vary around their mean, and whether a constellation is one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.shape import fit_robustly, mean_shape, robust_weights

Array = NDArray[np.float64]

_MOST_MODES = 12
_ROUNDS = 10
_FEWEST_SHAPES = 4
"""With fewer, nothing is known of how they vary."""
_FLOOR = 0.01
"""Of the shape's size: a landmark is taken to deviate by no less."""


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """The mean shape of K landmarks and its modes of variation.

    A point distribution model (Cootes et al., "Active shape models: their training and application", CVIU 61,
    1995).

    Attributes:
        mean: (K, 3) mm; NaN for a landmark that was never seen.
        modes: (M, K, 3) mm, what a standard deviation along each mode moves; the largest first.
        deviations: (K,) mm, how far a landmark of a new shape lies from where the modes, fitted to it, put it
            (root mean square); NaN where the mean is, or nobody knows.
    """

    mean: Array
    modes: Array
    deviations: Array

    @classmethod
    def of_mean(cls, mean: Array) -> ShapeModel:
        """A mean shape of whose variation nothing is known: nothing is a misfit."""
        return cls(mean, np.zeros((0, *mean.shape)), np.full(len(mean), np.nan))

    def misfits(self, points: Array) -> Array:
        """How far landmarks lie from where the shape puts them, in `deviations`.

        Args:
            points: (K, 3) world mm, in any pose; NaN where there is none.

        Returns:
            (K,); NaN where there is no point or nothing is known of the landmark, and for all where fewer
            than four are left.
        """
        known = np.isfinite(points).all(axis=1) & np.isfinite(self.deviations)
        if known.sum() < 4:
            return np.full(len(points), np.nan)
        apart = fit_robustly(points[known], self.mean[known]).apply(points[known]) - self.mean[known]
        left = apart - _explained(apart, self.modes[:, known], self.deviations[known])
        misfits = np.full(len(points), np.nan)
        misfits[known] = np.linalg.norm(left, axis=1) / self.deviations[known]
        return misfits


def learn_shape(shapes: Array) -> ShapeModel:
    """The shape model of (N, K, 3) landmark sets in mm, in any pose and size; NaN where unknown."""
    mean = mean_shape(shapes)
    known = np.isfinite(mean).all(axis=1)
    aligned = [
        fit_robustly(shape, mean).apply(shape) - mean
        for shape in shapes
        if (np.isfinite(shape).all(axis=1) & known).sum() >= 4
    ]
    apart = np.array(aligned).reshape(len(aligned), *mean.shape)
    size = float(np.sqrt(np.nanvar(mean, axis=0).sum())) if known.any() else 0.0
    deviations = np.where(known, np.maximum(_deviations(apart), _FLOOR * size), np.nan)
    return ShapeModel(mean, _modes(apart), deviations)


def _modes(apart: Array) -> Array:
    """(M, K, 3) of (N, K, 3) distances from the mean; what is not known counts as none."""
    count = len(apart)
    if count < 2:
        return np.zeros((0, *apart.shape[1:]))
    flat = np.nan_to_num(apart).reshape(count, -1)
    _, strengths, directions = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    kept = min(_MOST_MODES, count - 1)
    modes: Array = (strengths[:kept, None] / np.sqrt(count - 1)) * directions[:kept]
    return modes.reshape(kept, *apart.shape[1:])


def _deviations(apart: Array) -> Array:
    """(K,) root mean square of what the modes of the other shapes leave of each shape.

    The mean has seen the shape that is left out, so it lies nearer than to a new one, by the factor below.
    """
    if len(apart) < _FEWEST_SHAPES:
        return np.full(apart.shape[1], np.nan)
    usual = np.sqrt(np.nan_to_num(np.square(np.nan_to_num(apart)).sum(axis=2)).mean(axis=0)) + 1e-9
    left = np.full(apart.shape[:2], np.nan)
    for row, shape in enumerate(apart):
        there = np.isfinite(shape).all(axis=1)
        modes = _modes(np.delete(apart, row, axis=0))[:, there]
        explained = _explained(shape[there], modes, usual[there])
        left[row, there] = np.linalg.norm(shape[there] - explained, axis=1)
    counts = np.isfinite(left).sum(axis=0)
    enough = counts >= _FEWEST_SHAPES
    squares = np.where(np.isfinite(left), left**2, 0.0).sum(axis=0)
    counts = np.where(enough, counts, 2)
    return np.where(enough, np.sqrt(squares / counts) * counts / (counts - 1), np.nan)


def _explained(apart: Array, modes: Array, deviations: Array) -> Array:
    """What the modes explain of distances (K, 3) from the mean; landmarks that do not fit count less.

    The most probable coefficients under a unit normal prior, by weighted least squares.
    """
    weights = np.ones(len(apart))
    explained = np.zeros_like(apart)
    basis = modes.reshape(len(modes), apart.size)
    for _ in range(_ROUNDS):
        precision = np.repeat(weights / np.maximum(deviations, 1e-9) ** 2, 3)
        normal = (basis * precision) @ basis.T + np.eye(len(modes))
        coefficients = np.linalg.solve(normal, (basis * precision) @ apart.ravel())
        explained = (coefficients @ basis).reshape(apart.shape)
        weights = robust_weights(np.linalg.norm(apart - explained, axis=1) / np.maximum(deviations, 1e-9))
    return explained

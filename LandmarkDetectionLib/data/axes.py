"""Points whose x and y have the wrong sign: RAS taken for LPS, where all of them still lie inside the scan.

The change of both signs is half a turn about z, no mirror image: the shape is right and lies the other way
round in the scan. So the scan is asked, or the poses of the other cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from LandmarkDetectionLib.data.shape import fit_robustly, mean_shape

Array = NDArray[np.float64]

HALF_TURN = np.diag([-1.0, -1.0, 1.0])
TELLING = 0.9
"""Logarithm of how much more structure there must be at the turned places. On mouse skulls it is 1.04 to 5.8
for points with wrong signs, on brains and hippocampi between -0.7 and 0.6, right or wrong: there it says
nothing."""
MOST = 0.75
"""Of the landmarks that the scan must speak against, and of the cases whose poses must be alike."""

_FEWEST_CASES = 5
_FEWEST_POINTS = 4
_ALIKE_DEGREES = 45.0


def look_turned(contrasts: ArrayLike, turned: ArrayLike) -> bool:
    """Whether a scan has its structures where the landmarks would be with the signs of x and y changed.

    Args:
        contrasts: (N,) of the scan around each landmark; NaN where it lies outside.
        turned: (N,) around its turned place.
    """
    gains = np.log((np.asarray(turned) + 0.01) / (np.asarray(contrasts) + 0.01))
    known = gains[np.isfinite(gains)]
    if len(known) < max(_FEWEST_POINTS, MOST * len(gains)):
        return False
    return bool(np.median(known) > TELLING and (known > 0).mean() > MOST)


def lie_turned(shapes: Sequence[ArrayLike]) -> list[int]:
    """Cases that lie half a turn about z from the pose that nearly all others have.

    Args:
        shapes: (M, N, 3) world mm, NaN where missing.

    Returns:
        rows of the cases; none where the poses differ as it is.
    """
    cases = np.asarray(shapes, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(cases).all(axis=2).sum(axis=1) >= _FEWEST_POINTS)
    if len(usable) < _FEWEST_CASES:
        return []
    mean = mean_shape(cases[usable])
    turns: dict[int, Array] = {}
    for row in usable.tolist():
        try:
            turns[row] = fit_robustly(cases[row], mean).rotation
        except ValueError:
            continue
    alike = {
        row: sum(_degrees(turn, other) < _ALIKE_DEGREES for other in turns.values())
        for row, turn in turns.items()
    }
    if not alike:
        return []
    usual = max(alike, key=lambda row: alike[row])
    if alike[usual] < MOST * len(turns):
        return []
    return [row for row, turn in turns.items() if _degrees(turn @ HALF_TURN, turns[usual]) < _ALIKE_DEGREES]


def _degrees(one: Array, other: Array) -> float:
    """The angle between two rotations."""
    return float(np.degrees(np.arccos(np.clip((np.trace(one @ other.T) - 1) / 2, -1, 1))))

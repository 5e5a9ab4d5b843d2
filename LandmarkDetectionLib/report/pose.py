"""How the anatomy of a case lies, so that all cases are shown alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.shape import fit_robustly, mean_shape

Array = NDArray[np.float64]
FEWEST = 4
"""With fewer landmarks a case is shown as it lies: three fit any shape somehow."""


def upright(points: Array, shape: Array) -> Array:
    """The axes of a shape where the anatomy of a case lies, 3 x 3: x, y and z are its columns, in the world.

    Args:
        points: (K, 3) world LPS mm of the case, NaN where unknown.
        shape: (K, 3) mm of the shape, NaN where unknown.

    Returns:
        the world's own axes where fewer than `FEWEST` landmarks tell.
    """
    known = np.isfinite(points).all(axis=1) & np.isfinite(shape).all(axis=1)
    if known.sum() < FEWEST:
        return np.eye(3)
    try:
        return fit_robustly(shape, points).rotation
    except ValueError:
        return np.eye(3)


def shape_of(landmarks: Mapping[str, LandmarkSet], names: Sequence[str]) -> Array:
    """The mean shape (K, 3) mm of the landmarks of many cases, in the order of the names."""
    return mean_shape(np.array([points.positions_of(names) for points in landmarks.values()]))

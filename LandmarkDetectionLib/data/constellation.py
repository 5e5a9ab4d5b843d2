"""The mean shape of a landmark set, and the pose that it has in a scan, as far as its landmarks tell it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.shape import Similarity, common_points, fewest_points, fit_robustly

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Constellation:
    """Landmarks in the pose in which they stand to each other.

    Fewer than three landmarks, or landmarks in one line, do not tell how the anatomy is turned, or not about
    that line. What they do not tell is as the axes of the world have it.

    Attributes:
        shape: (K, 3) mm; NaN where unknown.
        steadied: what `fit_similarity` is steadied by, mm2; 0 where the landmarks tell how they are turned.
    """

    shape: Array
    steadied: float

    @classmethod
    def of(cls, shape: Array, noise: float) -> Constellation:
        """The constellation of a mean shape.

        Args:
            shape: (K, 3) mm; NaN where unknown.
            noise: how far landmarks are off, mm: what is no wider than that is a line.
        """
        points = shape[np.isfinite(shape).all(axis=1)]
        if len(points) > 2:
            extents = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) / np.sqrt(len(points))
            if extents[1] > noise:
                return cls(shape, 0.0)
        return cls(shape, (2 * noise) ** 2)

    @property
    def tells_rotation(self) -> bool:
        """Whether the landmarks tell how the anatomy is turned."""
        return not self.steadied

    def is_shown_by(self, points: Array) -> bool:
        """Whether landmarks (K, 3) in a scan, NaN where absent, are enough to tell its pose."""
        return common_points(points, self.shape) >= fewest_points(self.steadied)

    def pose_in(self, points: Array) -> Similarity:
        """The pose in a scan with landmarks (K, 3), NaN where absent; those that fit badly count less.

        Raises:
            ValueError: if they are too few.
        """
        return fit_robustly(self.shape, points, steadied=self.steadied)

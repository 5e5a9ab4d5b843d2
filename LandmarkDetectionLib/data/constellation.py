"""The mean shape of a landmark set, and the pose that it has in a scan, as far as its landmarks tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.shape import Similarity, common_points, fewest_points, fit_robustly

Array = NDArray[np.float64]

_LINE = 0.12
"""Of its length, root mean squares of both: landmarks that lie no farther aside are in one line. By the shape
alone, so that all who ask get one answer."""
_FEWEST_OF_A_PART = 4
"""Landmarks: three fit any pose."""
_NUMBERS_OF_A_POSE = 7
_MOST_SHAPES = 100
"""Of which it is asked whether parts of them move."""
_LEAST_LEFT = 0.05
"""Of the noise: what is left of shapes in one pose where something moves, at least."""
_LEAST_GAIN = 1.4
"""Times as far as with poses of their own lie parts from one pose of both, at least."""


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
            noise: how far landmarks are off, mm.
        """
        points = shape[np.isfinite(shape).all(axis=1)]
        if len(points) > 2:
            extents = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
            if extents[1] > _LINE * extents[0]:
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


@dataclass(frozen=True)
class Part:
    """Landmarks that move against the others, and so have a pose of their own.

    Attributes:
        landmarks: their rows.
        movement: mm along one axis, between where the pose of all and their own have them (root mean square).
    """

    landmarks: tuple[int, ...]
    movement: float

    def of(self, constellation: Constellation, noise: float) -> Constellation:
        """These landmarks of a constellation alone."""
        return Constellation.of(_only(constellation.shape, self.landmarks), noise)


def moving_parts(
    shapes: Array, constellation: Constellation, groups: Sequence[str], noise: float
) -> tuple[Part, ...]:
    """The parts of an anatomy that move against each other, as a jaw does against the skull.

    A group of the landmark table is parted from what it belongs to where poses of their own leave much less
    of the shapes than one pose; the one with which they leave least comes first.

    Args:
        shapes: (N, K, 3) mm in any pose; NaN where unknown.
        constellation: their mean shape.
        groups: K names; '' for none.
        noise: as `Constellation.of` has it.

    Returns:
        None or two and more, which together are all landmarks.
    """
    shapes = shapes[:: -(-len(shapes) // _MOST_SHAPES)]
    parts = [tuple(range(len(groups)))]
    while split := _best_split(shapes, constellation.shape, parts, groups, noise):
        parts = split
    if len(parts) == 1:
        return ()
    return tuple(Part(rows, _movement(shapes, constellation, rows, noise)) for rows in parts)


def _best_split(
    shapes: Array, mean: Array, parts: list[tuple[int, ...]], groups: Sequence[str], noise: float
) -> list[tuple[int, ...]] | None:
    """The parts, one of them split; None where no split leaves much less."""
    best, least = None, 1 / _LEAST_GAIN**2
    for number, rows in enumerate(parts):
        names = {groups[row] for row in rows}
        if len(names) < 2:
            continue
        whole, free = _left(shapes, mean, rows)
        if whole <= free * (_LEAST_LEFT * noise) ** 2:
            continue
        for name in sorted(names - {""}):
            one = tuple(row for row in rows if groups[row] == name)
            other = tuple(row for row in rows if groups[row] != name)
            left = [_left(shapes, mean, part) for part in (one, other)]
            if not all(count for _, count in left):
                continue
            share = sum(squares for squares, _ in left) / sum(count for _, count in left) / (whole / free)
            if share < least:
                best, least = [*parts[:number], one, other, *parts[number + 1 :]], share
    return best


def _left(shapes: Array, mean: Array, rows: tuple[int, ...]) -> tuple[float, int]:
    """Sum of squares, mm2, that a pose of these landmarks leaves of the shapes, and of how many numbers.

    A pose takes seven of them.
    """
    shape = _only(mean, rows)
    shown = [points for points in shapes if common_points(points, shape) >= _FEWEST_OF_A_PART]
    left = [np.square(fit_robustly(shape, points).apply(shape) - points) for points in shown]
    count = sum(3 * common_points(points, shape) - _NUMBERS_OF_A_POSE for points in shown)
    return float(np.nansum(left)), count


def _movement(shapes: Array, constellation: Constellation, rows: tuple[int, ...], noise: float) -> float:
    own = Constellation.of(_only(constellation.shape, rows), noise)
    apart = [
        constellation.pose_in(points).apply(own.shape) - own.pose_in(points).apply(own.shape)
        for points in shapes
        if common_points(points, own.shape) >= _FEWEST_OF_A_PART
    ]
    return float(np.sqrt(np.nanmean(np.square(apart))))


def _only(points: Array, rows: Sequence[int]) -> Array:
    """The points (K, 3), all but some NaN."""
    kept = np.full_like(points, np.nan)
    kept[list(rows)] = points[list(rows)]
    return kept

"""Smooth closed forms that the anatomy is built from.

A shape gives the signed distance to its surface (negative inside) and its extreme point in a direction. The
extreme points serve twice: they are the landmarks, and they bound the region where a shape must be painted.

Points are arrays of shape (3, ...) in mm; distances have shape (...) and keep the points' precision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Points = NDArray[np.floating[Any]]

_TINY = 1e-6


class Shape(ABC):
    """A solid with a smooth surface."""

    @abstractmethod
    def distance(self, points: Points) -> Points:
        """Signed distance from `points` (3, ...) to the surface, mm; exact to first order at the surface."""

    @abstractmethod
    def reach(self, direction: Array) -> float:
        """An upper bound of `direction @ p` over all points p of the shape, whatever the vector's length."""


class Ball(NamedTuple):
    """A centre (3,) and a radius, mm: the end of a round cone."""

    centre: Array
    radius: float


@dataclass(frozen=True, eq=False)
class Ellipsoid(Shape):
    """An ellipsoid along the axes, with its centre and semi-axes in mm."""

    centre: Array
    radii: Array

    def distance(self, points: Points) -> Points:
        """The distance is approximate away from the surface, where its gradient has length 1."""
        radii = _column(self.radii, points)
        scaled = (points - _column(self.centre, points)) / radii
        level = np.maximum(_norm(scaled), _TINY)
        scaled /= radii
        slope = np.maximum(_norm(scaled), _TINY / self.radii.max())
        distance: Points = level * (level - 1) / slope
        return distance

    def extreme(self, direction: ArrayLike) -> Array:
        """The surface's point (3,) farthest along `direction`."""
        stretched = np.asarray(direction, dtype=np.float64) * self.radii
        farthest: Array = self.centre + self.radii * stretched / np.linalg.norm(stretched)
        return farthest

    def reach(self, direction: Array) -> float:
        """`direction @ extreme(direction)`."""
        return float(direction @ self.extreme(direction))


@dataclass(frozen=True, eq=False)
class RoundCone(Shape):
    """The convex hull of two balls; with equal radii, a capsule."""

    start: Ball
    end: Ball

    def distance(self, points: Points) -> Points:
        """The exact distance.

        The solid is the union of balls whose centres run along the axis while the radius changes linearly. Of
        all balls the nearest one to a point lies where the line of steepest descent meets the axis.
        """
        axis = self.end.centre - self.start.centre
        length = float(np.linalg.norm(axis))
        sine = (self.start.radius - self.end.radius) / length
        tangent = sine / np.sqrt(1 - sine**2)
        offset = points - _column(self.start.centre, points)
        unit = _column(axis / length, points)
        along = (offset * unit).sum(axis=0)
        aside = np.sqrt(np.maximum((offset * offset).sum(axis=0) - along * along, 0))
        nearest = np.clip(along - aside * tangent, 0, length)
        distance: Points = np.hypot(along - nearest, aside) - self.start.radius + nearest * sine
        return distance

    def extreme(self, direction: ArrayLike) -> Array:
        """The surface's point (3,) farthest along `direction`."""
        unit = np.asarray(direction, dtype=np.float64)
        unit = unit / np.linalg.norm(unit)
        end = max(self.start, self.end, key=lambda ball: unit @ ball.centre + ball.radius)
        farthest: Array = end.centre + end.radius * unit
        return farthest

    def reach(self, direction: Array) -> float:
        """`direction @ extreme(direction)`."""
        return float(direction @ self.extreme(direction))


@dataclass(frozen=True, eq=False)
class Union(Shape):
    """Shapes joined by fillets.

    Attributes:
        parts: the shapes.
        blend: width of the fillet, mm. Where the distances to two parts differ by more than this, the surface
            is exactly that of the nearer part.
    """

    parts: tuple[Shape, ...]
    blend: float = 0.0

    def distance(self, points: Points) -> Points:
        """The smooth minimum of the parts' distances, with a quadratic fillet of finite width."""
        nearest = self.parts[0].distance(points)
        for part in self.parts[1:]:
            other = part.distance(points)
            apart = np.abs(nearest - other)
            nearest = np.minimum(nearest, other)
            if self.blend > 0:
                overlap = np.maximum(self.blend - apart, 0)
                nearest -= overlap * overlap / (4 * self.blend)
        return nearest

    def reach(self, direction: Array) -> float:
        """The farthest part's reach; each fillet may add a quarter of its width."""
        fillets = self.blend / 4 * (len(self.parts) - 1)
        return max(part.reach(direction) for part in self.parts) + fillets * float(np.linalg.norm(direction))


@dataclass(frozen=True, eq=False)
class Turn:
    """A rotation (3 x 3) about a point, (3,) mm."""

    rotation: Array
    pivot: Array

    def point(self, point: Array) -> Array:
        """Where a point (3,) goes."""
        turned: Array = self.rotation @ (point - self.pivot) + self.pivot
        return turned

    def cone(self, cone: RoundCone) -> RoundCone:
        """A round cone is one in any orientation."""
        start, end = (Ball(self.point(ball.centre), ball.radius) for ball in (cone.start, cone.end))
        return RoundCone(start, end)


@dataclass(frozen=True, eq=False)
class Turned(Shape):
    """A shape that is turned."""

    shape: Shape
    turn: Turn

    def distance(self, points: Points) -> Points:
        """As that of the shape, from where the points were before the turn."""
        pivot = _column(self.turn.pivot, points)
        back = self.turn.rotation.T.astype(points.dtype)
        return self.shape.distance(np.tensordot(back, points - pivot, axes=1) + pivot)

    def reach(self, direction: Array) -> float:
        """That of the shape in the direction before the turn, about the pivot."""
        before = self.turn.rotation.T @ direction
        return self.shape.reach(before) + float((direction - before) @ self.turn.pivot)


def chain(*balls: Ball) -> Union:
    """A bar through the balls, in their order."""
    return Union(tuple(RoundCone(start, end) for start, end in pairwise(balls)))


def _column(vector: Array, points: Points) -> Points:
    return vector.astype(points.dtype).reshape((3,) + (1,) * (points.ndim - 1))


def _norm(vectors: Points) -> Points:
    norm: Points = np.sqrt((vectors * vectors).sum(axis=0))
    return norm

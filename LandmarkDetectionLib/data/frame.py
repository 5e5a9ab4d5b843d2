"""The geometry of a voxel grid in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_NOTHING = 1e-15


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the voxels of a grid lie in world LPS millimetres.

    Voxel indices are (i, j, k) = (x, y, z) and may be fractional; an integer index is the centre of a
    voxel. Arrays on the grid have shape [z, y, x].

    Attributes:
        size: number of voxels along i, j, k.
        origin: world position of the voxel (0, 0, 0), mm.
        spacing: distance between voxel centres along i, j, k, mm.
        direction: 3 x 3; column a is the world direction of voxel axis a. Any invertible matrix is right:
            oblique, flipped or permuted.
    """

    size: tuple[int, int, int]
    origin: Array
    spacing: Array
    direction: Array

    def __init__(
        self,
        *,
        size: ArrayLike,
        origin: ArrayLike = (0.0, 0.0, 0.0),
        spacing: ArrayLike = (1.0, 1.0, 1.0),
        direction: ArrayLike | None = None,
    ) -> None:
        counts = np.asarray(size, dtype=np.int64)
        axes = np.eye(3) if direction is None else np.array(direction, dtype=np.float64).reshape(3, 3)
        steps = np.array(spacing, dtype=np.float64)
        start = np.array(origin, dtype=np.float64)
        if counts.shape != (3,) or steps.shape != (3,) or start.shape != (3,):
            raise ValueError("size, spacing and origin need three numbers each")
        if (counts < 1).any() or not (steps > 0).all() or not np.isfinite(steps).all():
            raise ValueError(f"size {counts.tolist()} and spacing {steps.tolist()} must be positive")
        if not np.isfinite(start).all() or not np.isfinite(axes).all() or abs(np.linalg.det(axes)) < 1e-6:
            raise ValueError("the origin must be finite and the direction matrix invertible")
        axes = np.where(np.abs(axes) < _NOTHING, 0.0, axes)  # ITK's decomposition fails on numbers so small
        for array in (start, steps, axes):
            array.setflags(write=False)
        object.__setattr__(self, "size", (int(counts[0]), int(counts[1]), int(counts[2])))
        object.__setattr__(self, "origin", start)
        object.__setattr__(self, "spacing", steps)
        object.__setattr__(self, "direction", axes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (
            self.size == other.size
            and np.array_equal(self.origin, other.origin)
            and np.array_equal(self.spacing, other.spacing)
            and np.array_equal(self.direction, other.direction)
        )

    __hash__ = None  # type: ignore[assignment]  # a value of arrays: compare, do not hash

    def as_numbers(self) -> dict[str, list[Any]]:
        """What `Frame(**numbers)` makes an equal frame of, in lists for JSON."""
        return {
            "size": list(self.size),
            "origin": self.origin.tolist(),
            "spacing": self.spacing.tolist(),
            "direction": self.direction.tolist(),
        }

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape [z, y, x] of an array on this grid."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def matrix(self) -> Array:
        """3 x 3 matrix from an index step to a world step, mm."""
        scaled: Array = self.direction * self.spacing
        return scaled

    @property
    def extent(self) -> Array:
        """Edge lengths of the grid's box along i, j, k, mm."""
        edges: Array = self.spacing * self.size
        return edges

    @property
    def centre(self) -> Array:
        """World position of the middle of the grid's box."""
        return self.index_to_world((np.array(self.size) - 1) / 2)

    @property
    def has_right_angles(self) -> bool:
        """Whether the direction matrix is orthonormal, as most scanners and NIfTI have it."""
        return bool(np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-4))

    def index_to_world(self, index: ArrayLike) -> Array:
        """World LPS mm of voxel indices (i, j, k), shape (..., 3)."""
        world: Array = np.asarray(index, dtype=np.float64) @ self.matrix.T + self.origin
        return world

    def world_to_index(self, world: ArrayLike) -> Array:
        """Fractional voxel indices (i, j, k) of world LPS mm points, shape (..., 3)."""
        offset = np.asarray(world, dtype=np.float64) - self.origin
        index: Array = offset @ np.linalg.inv(self.matrix).T
        return index

    def contains(self, world: ArrayLike) -> NDArray[np.bool_]:
        """Which world points, shape (..., 3), lie inside the grid's box (NaN lies outside)."""
        index = self.world_to_index(world)
        return np.asarray(((index >= -0.5) & (index <= np.array(self.size) - 0.5)).all(axis=-1))

    def agrees_with(self, other: Frame, *, tolerance: float = 0.1) -> bool:
        """Whether both grids have the same size and no corner differs by over `tolerance` voxels."""
        if self.size != other.size:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.size], indexing="ij"), -1).reshape(-1, 3)
        apart = self.world_to_index(other.index_to_world(corners)) - corners
        return bool(np.abs(apart).max() <= tolerance)

    def with_spacing(self, spacing: ArrayLike) -> Frame:
        """A grid over the same box, in the same orientation, whose voxels measure `spacing` mm."""
        steps = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
        size = np.maximum(np.ceil(self.extent / steps - 1e-3).astype(int), 1)
        first = self.centre - (self.direction * steps) @ ((size - 1) / 2)
        return Frame(size=size, origin=first, spacing=steps, direction=self.direction)

"""The one spatial transform of a training sample: crop, rotation, scale, shear, mirror and elastic warp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.sampling import sample_grid
from LandmarkDetectionLib.data.volume import Volume

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ElasticWarp:
    """A smooth displacement: uniform cubic B-splines on a grid of control points.

    Rueckert et al., Nonrigid registration using free-form deformations, TMI 1999. Displacements of at most
    0.4 control spacings cannot fold (Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic
    B-spline functions, Graphical Models 2000).

    Attributes:
        coefficients: (n, n, n, 3) control displacements along crop x, y, z in mm, indexed [x, y, z].
        spacing: distance between control points, mm; the grid is centred on the crop.
    """

    coefficients: Array
    spacing: float

    def __call__(self, points: Array) -> Array:
        """Displacement in mm at points (N, 3), mm from the crop's centre."""
        first, weights = self._basis(points)
        count = self.coefficients.shape[0]
        offsets = np.arange(4)
        rows = np.clip(first[..., None] + offsets, 0, count - 1)
        near = self.coefficients[
            rows[:, 0, :, None, None], rows[:, 1, None, :, None], rows[:, 2, None, None, :]
        ]
        moved: Array = np.einsum("na,nb,nc,nabcd->nd", weights[:, 0], weights[:, 1], weights[:, 2], near)
        return moved

    def on_grid(self, x: Array, y: Array, z: Array) -> Array:
        """Displacement on the grid of the given axis coordinates, (len(z), len(y), len(x), 3)."""
        along = [self._matrix(axis) for axis in (x, y, z)]
        moved: Array = np.einsum("xa,yb,zc,abcd->zyxd", *along, self.coefficients, optimize=True)
        return moved

    def _basis(self, coordinates: Array) -> tuple[NDArray[np.int64], Array]:
        position = coordinates / self.spacing + (self.coefficients.shape[0] - 1) / 2
        cell = np.floor(position)
        t = position - cell
        weights = np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1
        )
        return cell.astype(np.int64) - 1, weights / 6

    def _matrix(self, axis: Array) -> Array:
        first, weights = self._basis(axis)
        count = self.coefficients.shape[0]
        matrix = np.zeros((len(axis), count))
        columns = np.clip(first[:, None] + np.arange(4), 0, count - 1)
        np.add.at(matrix, (np.arange(len(axis))[:, None], columns), weights)
        return matrix


@dataclass(frozen=True, eq=False)
class SpatialTransform:
    """Maps a crop onto the scan it is taken from: x = centre + matrix (u + warp(u)).

    u is in mm from the middle of the crop along the crop's axes, x in world LPS mm.

    Attributes:
        centre: world position of the crop's middle.
        matrix: 3 x 3 linear part; negative determinant mirrors.
        warp: elastic displacement, or None.
    """

    centre: Array
    matrix: Array
    warp: ElasticWarp | None = None

    @property
    def mirrors(self) -> bool:
        """Whether the crop shows a mirror image of the scan."""
        return bool(np.linalg.det(self.matrix) < 0)

    def around(self, point: Array, rotation: Array) -> SpatialTransform:
        """The same crop of anatomy that lies elsewhere and is turned.

        Args:
            point: world position, mm, of what was at the origin.
            rotation: 3 x 3, from the axes that were the world's to the anatomy's.
        """
        return SpatialTransform(point + rotation @ self.centre, rotation @ self.matrix, self.warp)

    def to_scan(self, points: Array) -> Array:
        """World positions of crop points (N, 3)."""
        bent = points if self.warp is None else points + self.warp(points)
        world: Array = bent @ self.matrix.T + self.centre
        return world

    def to_crop(self, world: Array) -> Array:
        """Crop points of world positions (N, 3); NaN stays.

        A warp is inverted by fixed-point iteration: one that does not fold is a contraction.
        """
        straight: Array = (world - self.centre) @ np.linalg.inv(self.matrix).T
        if self.warp is None:
            return straight
        points = straight.copy()
        valid = np.isfinite(straight).all(axis=1)
        for _ in range(_INVERSION_STEPS):
            points[valid] = straight[valid] - self.warp(points[valid])
        return points

    def sample(
        self, volume: Volume, *, size: tuple[int, int, int], spacing: float, fill: float
    ) -> NDArray[np.float32]:
        """The crop's voxels [z, y, x] by trilinear interpolation.

        Args:
            volume: the scan.
            size: voxels of the crop along x, y, z.
            spacing: of the crop, mm.
            fill: the value outside the scan.
        """
        return sample_grid(
            volume,
            self.centre,
            self.matrix,
            size=size,
            spacing=spacing,
            fill=fill,
            warp=None if self.warp is None else self.warp.on_grid,
        )


_INVERSION_STEPS = 30

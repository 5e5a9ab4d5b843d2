"""Reading a scan on a grid that lies anyhow in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.volume import Volume

Array = NDArray[np.float64]
Warp = Callable[[Array, Array, Array], Array]


def grid_axis(count: int, spacing: float) -> Array:
    """Coordinates of the voxels of a grid along one axis, mm from its middle."""
    return np.asarray((np.arange(count) - (count - 1) / 2) * spacing, np.float64)


def sample_grid(
    volume: Volume,
    centre: Array,
    matrix: Array,
    *,
    size: tuple[int, int, int],
    spacing: float,
    fill: float,
    warp: Warp | None = None,
) -> NDArray[np.float32]:
    """The scan's values on a grid, [z, y, x], by trilinear interpolation.

    The voxel at u mm from the middle of the grid, along its axes, lies at centre + matrix (u + warp(u)).

    Args:
        volume: the scan; only the block that the grid touches is read.
        centre: of the grid, world LPS mm.
        matrix: 3 x 3; orthogonal for a grid that is only turned.
        size: voxels of the grid along x, y, z.
        spacing: of the grid, mm.
        fill: the value outside the scan.
        warp: displacements (Z, Y, X, 3), mm, on the grid of the three axes' coordinates.
    """
    axes = [grid_axis(count, spacing) for count in size]
    index = _source_index(volume, centre, matrix, axes, warp)
    along = np.ascontiguousarray(index.reshape(-1, 3).T)  # many times faster to reduce
    low = np.clip(np.floor(along.min(axis=1)).astype(int) - 1, 0, np.array(volume.frame.size) - 1)
    high = np.clip(np.ceil(along.max(axis=1)).astype(int) + 2, low + 1, volume.frame.size)
    (x0, y0, z0), (x1, y1, z1) = low, high
    block = np.asarray(volume.voxels[z0:z1, y0:y1, x0:x1], dtype=np.float32) - np.float32(fill)
    extent = (high - low).astype(np.float32)
    grid = torch.from_numpy((2 * (index - low.astype(np.float32)) + 1) / extent - 1)
    crop = torch.nn.functional.grid_sample(
        torch.from_numpy(block)[None, None],
        grid[None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    sampled: NDArray[np.float32] = crop[0, 0].numpy() + np.float32(fill)
    return sampled


def _source_index(
    volume: Volume, centre: Array, matrix: Array, axes: list[Array], warp: Warp | None
) -> NDArray[np.float32]:
    """Scan indices (i, j, k) of the grid's voxels, (z, y, x, 3)."""
    linear = np.linalg.inv(volume.frame.matrix) @ matrix
    x, y, z = axes
    index = (
        volume.frame.world_to_index(centre)
        + (z[:, None, None, None] * linear[:, 2] + y[None, :, None, None] * linear[:, 1])
        + x[None, None, :, None] * linear[:, 0]
    )
    if warp is not None:
        index = index + warp(x, y, z) @ linear.T
    return index.astype(np.float32)

"""Reading a scan on a grid that lies anyhow in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
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
    if warp is None:
        boxes = place_boxes(volume.frame, centre[None], matrix, size=size, spacing=spacing)
        block, grid = boxes.blocks[0], _grids(torch.from_numpy(boxes.transforms), size)[0]
    else:
        index = _warped_index(
            volume.frame, centre, matrix, [grid_axis(count, spacing) for count in size], warp
        )
        along = np.ascontiguousarray(index.reshape(-1, 3).T)  # many times faster to reduce
        low, high = _block(volume.frame, along.min(axis=1), along.max(axis=1))
        extent = (high - low).astype(np.float32)
        grid = torch.from_numpy((2 * (index - low.astype(np.float32)) + 1) / extent - 1)
        block = _slices(low, high)
    part = np.asarray(volume.voxels[block], dtype=np.float32) - np.float32(fill)
    sampled: NDArray[np.float32] = _read(torch.from_numpy(part), grid).numpy() + np.float32(fill)
    return sampled


def turned(volume: Volume, rotation: Array) -> Volume:
    """The scan on a grid of its spacing, which is cubic, along other axes; its lowest value lies around it.

    Args:
        volume: the scan.
        rotation: 3 x 3; its columns are the grid's axes in the world.
    """
    frame, spacing = volume.frame, float(volume.frame.spacing[0])
    edges = np.abs(rotation.T @ frame.direction) @ frame.extent
    x, y, z = (int(count) for count in np.ceil(edges / spacing - 1e-6))
    lowest = float(volume.voxels.min())
    voxels = sample_grid(volume, frame.centre, rotation, size=(x, y, z), spacing=spacing, fill=lowest)
    first = frame.centre - rotation @ ((np.array((x, y, z)) - 1) / 2) * spacing
    grid = Frame(size=(x, y, z), origin=first, spacing=(spacing,) * 3, direction=rotation)
    return Volume(voxels, grid)


@dataclass(frozen=True, eq=False)
class Boxes:
    """N boxes of a grid without a warp, and the block of the scan that each touches.

    Attributes:
        size: voxels of a box along x, y, z.
        blocks: of the scan's array.
        transforms: (N, 3, 4) from a box to its block, both from -1 at the first edge to 1 at the last.
    """

    size: tuple[int, int, int]
    blocks: list[tuple[slice, slice, slice]]
    transforms: NDArray[np.float32]


def place_boxes(
    frame: Frame, centres: Array, matrix: Array, *, size: tuple[int, int, int], spacing: float
) -> Boxes:
    """Boxes around centres (N, 3), world LPS mm, in a scan.

    Args:
        frame: of the scan.
        centres: of the boxes.
        matrix: 3 x 3; orthogonal for a grid that is only turned.
        size: voxels of a box along x, y, z.
        spacing: of the grid, mm.
    """
    steps = np.linalg.inv(frame.matrix) @ matrix * spacing
    middles = frame.world_to_index(centres)
    reach = np.abs(steps) @ ((np.array(size) - 1) / 2)
    low, high = _block(frame, middles - reach, middles + reach)
    extent = high - low
    turns = steps * np.array(size) / extent[:, :, None]
    shifts = (2 * (middles - low) + 1) / extent - 1
    blocks = [_slices(first, end) for first, end in zip(low, high, strict=True)]
    return Boxes(size, blocks, np.concatenate([turns, shifts[:, :, None]], axis=2).astype(np.float32))


def sample_boxes(voxels: torch.Tensor, boxes: Boxes, transforms: torch.Tensor) -> torch.Tensor:
    """A scan's values in boxes, (N, Z, Y, X), by trilinear interpolation; 0 beyond the scan.

    Args:
        voxels: [z, y, x] float32 of the scan.
        boxes: of this scan.
        transforms: theirs, on the device of the voxels.
    """
    grids = _grids(transforms, boxes.size)
    return torch.stack([_read(voxels[block], grid) for block, grid in zip(boxes.blocks, grids, strict=True)])


def _block(frame: Frame, first: Array, last: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxels, and those behind the last, of the part of a scan in which indices lie."""
    low = np.clip(np.floor(first).astype(int) - 1, 0, np.array(frame.size) - 1)
    return low, np.clip(np.ceil(last).astype(int) + 2, low + 1, frame.size)


def _slices(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[slice, slice, slice]:
    """Of an array [z, y, x], from the first voxel x, y, z to before the last."""
    x, y, z = (slice(first, end) for first, end in zip(low.tolist(), high.tolist(), strict=True))
    return z, y, x


def _grids(transforms: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    """Where the voxels of boxes lie in their blocks, (N, Z, Y, X, 3)."""
    shape = [len(transforms), 1, *reversed(size)]
    return torch.nn.functional.affine_grid(transforms, shape, align_corners=False)


def _read(block: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """A block's values at the places of a grid, 0 beyond it."""
    read = torch.nn.functional.grid_sample(
        block[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return read[0, 0]


def _warped_index(
    frame: Frame, centre: Array, matrix: Array, axes: list[Array], warp: Warp
) -> NDArray[np.float32]:
    """Scan indices (i, j, k) of the grid's voxels, (z, y, x, 3)."""
    linear = np.linalg.inv(frame.matrix) @ matrix
    x, y, z = axes
    index = (
        frame.world_to_index(centre)
        + (z[:, None, None, None] * linear[:, 2] + y[None, :, None, None] * linear[:, 1])
        + x[None, None, :, None] * linear[:, 0]
    )
    return (index + warp(x, y, z) @ linear.T).astype(np.float32)

"""One orientation and one spacing for every scan, whatever the order its voxels are stored in."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, resample

_SAME_SPACING = 1e-3
_ANTIALIAS_RATIO = 1.2
_TILT = np.array([[1.0, 3e-3, 2e-3], [-1e-3, 1.0, 5e-3], [-4e-3, -6e-3, 1.0]])
"""The world axes, tilted a little and unevenly: no angle that scanners use lies halfway between two."""


def to_canonical(volume: Volume) -> Volume:
    """The same voxels with axes that point as nearly as they can to world L, P and S.

    Axes are only permuted and flipped: no voxel is interpolated, and an oblique scan stays oblique. All
    48 storage orders of a scan give the same array and frame.
    """
    frame = volume.frame
    order, flips = canonical_axes(frame.direction)
    voxels = volume.voxels.transpose([2 - axis for axis in order][::-1])
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    corner = np.zeros(3)
    for axis, flip in zip(order, flips, strict=True):
        corner[axis] = frame.size[axis] - 1 if flip else 0
    signs = np.where(flips, -1.0, 1.0)
    reordered = Frame(
        size=[frame.size[axis] for axis in order],
        origin=frame.index_to_world(corner),
        spacing=frame.spacing[order],
        direction=frame.direction[:, order] * signs,
    )
    return Volume(voxels=np.ascontiguousarray(voxels[step[::-1]]), frame=reordered)


def canonical_axes(direction: NDArray[np.float64]) -> tuple[list[int], list[bool]]:
    """Which stored axis becomes x, y and z, and whether it is reversed.

    The choice brings the axes nearest to the world's, in the sum of their dot products. The world's are
    tilted by a fraction of a degree, for at 45 degrees two choices are equally near, and the rounding of a
    file's header would decide.
    """
    along = direction.T @ _TILT
    orders = list(itertools.permutations(range(3)))
    best = max(orders, key=lambda order: float(np.abs(along[order, (0, 1, 2)]).sum()))
    return list(best), [bool(along[axis, target] < 0) for target, axis in enumerate(best)]


def to_grid(volume: Volume, spacing: float) -> Volume:
    """The volume in canonical orientation with cubic voxels of `spacing` mm.

    Axes that become coarser are smoothed first, so that fine detail does not alias. A scan that already
    has the spacing keeps its voxels.
    """
    canonical = to_canonical(volume)
    ratio = spacing / canonical.frame.spacing
    if np.abs(ratio - 1).max() < _SAME_SPACING:
        return canonical
    smooth = Volume(voxels=canonical.voxels.astype(np.float32), frame=canonical.frame)
    for axis in np.flatnonzero(ratio > _ANTIALIAS_RATIO):
        smooth = _smoothed(smooth, int(axis), 0.5 * float(np.sqrt(ratio[axis] ** 2 - 1)))
    return resample(smooth, canonical.frame.with_spacing(spacing), fill=float(smooth.voxels.min()))


def _smoothed(volume: Volume, axis: int, sigma: float) -> Volume:
    """Gaussian smoothing along one axis (x, y, z = 0, 1, 2) with `sigma` voxels; edges are repeated.

    A product with a matrix of the kernel's weights: many times faster than a sum of shifted copies.
    """
    count = volume.frame.size[axis]
    reach = int(np.ceil(3 * sigma))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    rows = np.arange(count)[:, None]
    weights = np.zeros((count, count))
    np.add.at(weights, (rows, np.clip(rows + steps, 0, count - 1)), kernel / kernel.sum())
    smooth = np.tensordot(weights.astype(np.float32), volume.voxels, axes=(1, 2 - axis))
    return Volume(voxels=np.moveaxis(smooth, 0, 2 - axis), frame=volume.frame)

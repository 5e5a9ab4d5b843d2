"""One orientation and one spacing for every scan, whatever the order its voxels are stored in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume

_SAME_SPACING = 1e-3
_ANTIALIAS_RATIO = 1.2
_TILT = np.array([[1.0, 3e-3, 2e-3], [-1e-3, 1.0, 5e-3], [-4e-3, -6e-3, 1.0]])
"""The world axes, tilted a little and unevenly: no angle that scanners use lies halfway between two."""


def to_canonical(volume: Volume) -> Volume:
    """The same voxels with axes that point as nearly as they can to world L, P and S.

    Axes are only permuted and flipped: no voxel is interpolated, and an oblique scan stays oblique. All
    48 storage orders of a scan give the same array and frame.
    """
    return reordered(volume, *canonical_axes(volume.frame.direction))


def reordered(volume: Volume, order: Sequence[int], flips: Sequence[bool]) -> Volume:
    """The same voxels with stored axis `order[i]` as axis i, reversed where `flips[i]`."""
    frame = volume.frame
    voxels = volume.voxels.transpose([2 - axis for axis in order][::-1])
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    corner = np.zeros(3)
    for axis, flip in zip(order, flips, strict=True):
        corner[axis] = frame.size[axis] - 1 if flip else 0
    signs = np.where(flips, -1.0, 1.0)
    changed = Frame(
        size=[frame.size[axis] for axis in order],
        origin=frame.index_to_world(corner),
        spacing=frame.spacing[list(order)],
        direction=frame.direction[:, order] * signs,
    )
    return Volume(voxels=np.ascontiguousarray(voxels[step[::-1]]), frame=changed)


def turns() -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """The 24 orders and flips of three axes that mirror nothing; the first changes nothing.

    No rotation is farther than 62.8 degrees from the nearest of these.
    """
    found = []
    for order, flips in itertools.product(
        itertools.permutations(range(3)), itertools.product((False, True), repeat=3)
    ):
        axes = np.eye(3)[:, order] * np.where(flips, -1.0, 1.0)
        if np.linalg.det(axes) > 0:
            found.append((float(np.trace(axes)), order, flips))
    return [(order, flips) for _, order, flips in sorted(found, key=lambda turn: -turn[0])]


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
    frame = canonical.frame.with_spacing(spacing)
    first = canonical.frame.world_to_index(frame.origin)
    weights = [
        _weights(count, frame.size[axis], float(first[axis]), float(ratio[axis]))
        for axis, count in enumerate(canonical.frame.size)
    ]
    voxels = canonical.voxels
    for axis in np.argsort(np.divide(frame.size, canonical.frame.size)):  # what shrinks most comes first
        voxels = _product(weights[axis], voxels, 2 - int(axis))
    return Volume(voxels=voxels, frame=frame)


def _weights(count: int, wanted: int, first: float, ratio: float) -> NDArray[np.float32]:
    """(wanted, count) what each voxel along an axis gives to each of the new ones.

    Linear interpolation at first, first + ratio, .., after a Gaussian where these are farther apart. Beyond
    the edges the outermost voxels are repeated.
    """
    places = np.clip(first + ratio * np.arange(wanted), 0, count - 1)
    below = np.minimum(np.floor(places).astype(int), max(count - 2, 0))
    share = places - below
    steps, kernel = np.zeros(1, dtype=int), np.ones(1)
    if ratio > _ANTIALIAS_RATIO:
        sigma = 0.5 * float(np.sqrt(ratio**2 - 1))
        reach = int(np.ceil(3 * sigma))
        steps = np.arange(-reach, reach + 1)
        kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    weights = np.zeros((wanted, count))
    rows = np.arange(wanted)[:, None]
    for end, part in ((below, 1 - share), (np.minimum(below + 1, count - 1), share)):
        columns = np.clip(end[:, None] + steps, 0, count - 1)
        np.add.at(weights, (rows, columns), part[:, None] * kernel / kernel.sum())
    return weights.astype(np.float32)


def _product(weights: NDArray[np.float32], voxels: NDArray[Any], axis: int) -> NDArray[np.float32]:
    """Weights (M, N) times voxels along an axis of N, float32; a slab is converted at a time.

    By PyTorch, as all that comes after: NumPy's threads would wait for those of OpenMP, which spin.
    """
    import torch

    shape = list(voxels.shape)
    shape[axis] = len(weights)
    product = np.empty(shape, np.float32)
    left = torch.from_numpy(weights)
    for slab in range(shape[1] if axis == 0 else shape[0]):
        here = (slice(None), slab) if axis == 0 else (slab,)
        values = torch.from_numpy(voxels[here].astype(np.float32))
        product[here] = (values @ left.T if axis == 2 else left @ values).numpy()
    return product

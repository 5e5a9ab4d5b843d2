"""Masks: a label volume with a ball and a shell around each landmark, and the way back to points.

Value k > 0 is the ball of the landmark with label k, -1 the shell that the loss ignores, 0 background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, read_volume

SHELL = -1
POSITIVE_VOXELS, NEGATIVE_VOXELS = 3.0, 6.0

_ON_THE_BORDER = 1 + 1e-6  # a voxel this close to a radius lies on it, whatever the rounding
_MARGINS = 2.0 ** -np.arange(8)  # voxels
_NEWTON_STEPS = 50
_PULL_BACK = 1e-5  # holds the sphere where the voxels leave a direction open, as on a single slice
_MOST_MISFITS = 0.2
_RIM = 2  # voxels around a ball that are looked at

Array = NDArray[np.float64]


def default_radii(spacing: ArrayLike) -> tuple[float, float]:
    """Radii of the ball and of the shell on a grid, mm: 3 and 6 voxels.

    A voxel here is the cube of the same volume (the geometric mean of the spacings), so that a ball has about
    as many voxels on any grid. On a grid of thick slices the ball's radius is at least the coarsest spacing:
    no ball falls between two slices.

    Args:
        spacing: (3,) mm.

    Returns:
        `positive` and `negative`, mm.
    """
    steps = np.asarray(spacing, dtype=np.float64)
    positive = max(POSITIVE_VOXELS * float(np.prod(steps)) ** (1 / 3), float(steps.max()))
    return positive, positive * NEGATIVE_VOXELS / POSITIVE_VOXELS


def draw_mask(
    frame: Frame, positions: ArrayLike, labels: Sequence[int], *, positive: float, negative: float
) -> NDArray[np.int16]:
    """Draw the mask of one scan.

    A voxel belongs to the landmark nearest to its centre (the first of equals). It gets that landmark's label
    if it lies within `positive` mm of it, -1 if within `negative` mm, and else 0.

    Args:
        frame: the grid, of any spacing and direction.
        positions: (N, 3) world LPS mm; a row of NaN is an absent landmark, and is not drawn.
        labels: N labels, 1 to 32767.
        positive: radius of the balls, mm.
        negative: outer radius of the shells, mm.

    Returns:
        int16 [z, y, x].
    """
    if not 0 < positive <= negative:
        raise ValueError(f"the radii {positive} and {negative} must be positive, the first not the larger")
    ball, reach = ((radius * _ON_THE_BORDER) ** 2 for radius in (positive, negative))
    half_widths = np.linalg.norm(np.linalg.inv(frame.matrix), axis=1) * np.sqrt(reach)
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    voxels, distances, values = [], [], []
    for point, label in reversed(list(zip(points, labels, strict=True))):
        index = frame.world_to_index(point)
        box = _box(np.ceil(index - half_widths), np.floor(index + half_widths), frame)
        if box is None:
            continue
        distance = _squared_distance(frame, index, box)
        near = distance <= reach
        voxels.append(_flat_indices(frame, box)[near])
        distances.append(distance[near])
        values.append(np.where(distance[near] <= ball, label, SHELL))
    mask = np.zeros(frame.shape, dtype=np.int16)
    if voxels:
        nearest_last = np.argsort(-np.concatenate(distances), kind="stable")
        mask.ravel()[np.concatenate(voxels)[nearest_last]] = np.concatenate(values)[nearest_last]
    return mask


def mask_centres(mask: NDArray[np.integer], frame: Frame) -> dict[int, Array]:
    """World positions (LPS mm) of the centres of the balls in a mask.

    The centre is that of the sphere that parts a label's voxels from the shell and background around them, so
    it is right to a few hundredths of a voxel also where a neighbour's ball or the edge of the image cuts the
    ball off. A label whose voxels are no ball gives their centroid.

    Args:
        mask: whole numbers [z, y, x].
        frame: the mask's grid.

    Returns:
        Label -> (3,), for every label that the mask has.
    """
    return {label: _centre(mask, frame, label, inside) for label, inside in _voxels_by_label(mask)}


def read_mask(path: Path) -> Volume:
    """Read a mask, on whatever grid it is; its voxels come as int16.

    Raises:
        InputError: if it cannot be read, or holds values that are not whole numbers within int16.
    """
    volume = read_volume(path)
    voxels = volume.voxels
    limits = np.iinfo(np.int16)
    if voxels.min() < limits.min or voxels.max() > limits.max:
        raise InputError(
            f"{path}: a mask's values must lie within {limits.min} to {limits.max}; write it as int16."
        )
    whole = voxels.astype(np.int16)
    if not np.array_equal(whole, voxels):
        raise InputError(
            f"{path}: the mask has values that are not whole numbers; give a label volume, not an image."
        )
    return Volume(whole, volume.frame)


def check_labels(mask: NDArray[np.integer], table: LandmarkTable, *, where: Path | str) -> None:
    """Refuse a mask that holds a label which the table does not have.

    Args:
        mask: whole numbers [z, y, x].
        table: the landmarks that the labels stand for.
        where: the mask's file, for the message.

    Raises:
        InputError: one sentence that names the file and the labels.
    """
    found = np.unique(mask[mask != 0])
    unknown = found[~np.isin(found, [SHELL, *table.labels])].tolist()
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", .." if len(unknown) > 5 else "")
        raise InputError(
            f"{where}: the mask holds {shown}, which the landmark table (landmarks.csv) does not name; "
            "use the table that was made with the mask, or add the label to it."
        )


def _box(first: Array, last: Array, frame: Frame) -> tuple[slice, slice, slice] | None:
    """The part of the grid from voxel `first` to `last` (i, j, k) as slices [z, y, x], if there is one."""
    if not np.isfinite(first).all():
        return None
    start = np.maximum(first, 0).astype(int)
    stop = np.minimum(last + 1, frame.size).astype(int)
    if (start >= stop).any():
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return k, j, i


def _flat_indices(frame: Frame, box: tuple[slice, slice, slice]) -> NDArray[np.intp]:
    k, j, i = np.ogrid[box]
    flat: NDArray[np.intp] = (k * frame.shape[1] + j) * frame.shape[2] + i
    return flat


def _squared_distance(frame: Frame, index: Array, box: tuple[slice, slice, slice]) -> Array:
    """Squared mm from a fractional index to the voxels of a box, [z, y, x]."""
    k, j, i = (
        (np.arange(part.start, part.stop) - index[axis])[:, None] * frame.matrix[:, axis]
        for axis, part in zip((2, 1, 0), box, strict=True)
    )
    offset = k[:, None, None, :] + j[None, :, None, :] + i[None, None, :, :]
    squared: Array = np.einsum("...c,...c->...", offset, offset)
    return squared


def _voxels_by_label(mask: NDArray[np.integer]) -> Iterator[tuple[int, Array]]:
    """Each positive label and the indices (i, j, k) of its voxels, from one look at the volume."""
    k, j, i = np.nonzero(mask > 0)
    values = mask[k, j, i]
    order = np.argsort(values, kind="stable")
    indices = np.stack([i, j, k], axis=-1)[order].astype(np.float64)
    labels, starts = np.unique(values[order], return_index=True)
    yield from zip(labels.tolist(), np.split(indices, starts[1:]), strict=False)


def _centre(mask: NDArray[np.integer], frame: Frame, label: int, indices: Array) -> Array:
    inside = frame.index_to_world(indices)
    centroid: Array = inside.mean(axis=0)
    box = _box(indices.min(axis=0) - _RIM, indices.max(axis=0) + _RIM, frame)
    if box is None:
        return centroid
    corner = np.array([box[2].start, box[1].start, box[0].start])
    outside = frame.index_to_world(np.argwhere(mask[box] <= 0)[:, ::-1] + corner)
    voxel = abs(np.linalg.det(frame.matrix)) ** (1 / 3)
    centre, misfits = _fit_sphere(inside - centroid, outside - centroid, voxel)
    reach = np.linalg.norm(inside - centroid, axis=1).max()
    is_ball = misfits <= _MOST_MISFITS * len(inside) and np.linalg.norm(centre) <= reach
    return centroid + centre if is_ball else centroid


def _fit_sphere(inside: Array, outside: Array, voxel: float) -> tuple[Array, int]:
    """The centre of a sphere that holds the points `inside` and none of `outside`, and how many it misplaces.

    A point v lies within r of c where 2 c.v + b >= |v|^2 with b = r^2 - |c|^2: linear in (c, b). So this is a
    linear classifier, fitted with the squared hinge loss by Newton's method (O. L. Mangasarian, "A finite
    Newton method for classification", 2002), with a margin that shrinks from one voxel to next to nothing:
    in the end the sphere keeps as far from both kinds of points as it can.

    Args:
        inside: (N, 3) mm, relative to their centroid.
        outside: (M, 3) mm, relative to the same point.
        voxel: size of a voxel, mm.
    """
    radius = voxel * (len(inside) * 3 / (4 * np.pi)) ** (1 / 3)
    points = np.concatenate([inside, outside]) / radius
    side = np.repeat([1.0, -1.0], [len(inside), len(outside)])
    squares = np.einsum("pc,pc->p", points, points)
    terms = np.column_stack([2 * points, np.ones(len(points))])
    sphere = np.array([0.0, 0.0, 0.0, 1.0])
    for margin in 2 * _MARGINS * voxel / radius:
        sphere = _least_hinge_loss(terms, squares, side, margin, sphere)
    misfits = int(np.count_nonzero(side * (terms @ sphere - squares) < 0))
    return sphere[:3] * radius, misfits


def _least_hinge_loss(terms: Array, squares: Array, side: Array, margin: float, start: Array) -> Array:
    """The sphere with the least squared hinge loss; what the points leave open stays as in `start`."""

    def loss(sphere: Array) -> float:
        hinge = np.maximum(margin - side * (terms @ sphere - squares), 0)
        return float(hinge @ hinge + _PULL_BACK * np.sum((sphere - start) ** 2))

    sphere = start
    for _ in range(_NEWTON_STEPS):
        close = side * (terms @ sphere - squares) < margin
        target = (squares + margin * side)[close]
        normal = terms[close].T @ terms[close] + _PULL_BACK * np.eye(4)
        step = np.linalg.solve(normal, terms[close].T @ target + _PULL_BACK * start) - sphere
        if np.abs(step).max() < 1e-10:
            break
        before = loss(sphere)
        while loss(sphere + step) > before:
            step /= 2
        sphere = sphere + step
    return sphere

"""Slices of a scan along its own axes, turned the way radiologists look at them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume

Array = NDArray[np.float64]

TILT_DEGREES = 15.0
_AROUND = 12
"""Voxels about the landmarks that count for what is black and white."""


@dataclass(frozen=True)
class View:
    """How the slices across one voxel axis are shown.

    A place on a slice is (horizontal, vertical): mm along the two voxel axes from the first voxel's centre.

    Attributes:
        name: axial, coronal or sagittal, whichever is nearest.
        normal: the voxel axis (0, 1, 2 = i, j, k) across the slices.
        horizontal: the voxel axis drawn along the picture's width.
        vertical: the voxel axis drawn along its height.
        rightwards: whether the horizontal index grows to the right.
        upwards: whether the vertical index grows to the top.
        left: anatomical direction at the left edge, as `anatomical_label` gives it.
        right: see left.
        bottom: see left.
        top: see left.
    """

    name: str
    normal: int
    horizontal: int
    vertical: int
    rightwards: bool
    upwards: bool
    left: str
    right: str
    bottom: str
    top: str

    def place(self, frame: Frame, point: Array) -> tuple[float, float]:
        """Where a world LPS mm point is drawn, projected along the normal axis."""
        along = frame.world_to_index(point) * voxel_steps(frame)
        return float(along[self.horizontal]), float(along[self.vertical])

    def slice_through(self, volume: Volume, point: Array) -> NDArray[Any]:
        """The slice nearest to a world LPS mm point, [vertical, horizontal]."""
        index = np.rint(volume.frame.world_to_index(point)[self.normal])
        nearest = int(np.clip(index, 0, volume.frame.size[self.normal] - 1))
        plane: NDArray[Any] = np.take(volume.voxels, nearest, axis=2 - self.normal)
        return plane if self.vertical > self.horizontal else plane.T

    def edges(self, frame: Frame) -> tuple[float, float, float, float]:
        """First and last horizontal, first and last vertical place of a slice, to the edges of its voxels."""
        steps = voxel_steps(frame)
        width, height = steps[self.horizontal], steps[self.vertical]
        columns, rows = frame.size[self.horizontal], frame.size[self.vertical]
        return -width / 2, (columns - 0.5) * width, -height / 2, (rows - 0.5) * height


def views(frame: Frame) -> tuple[View, View, View]:
    """The axial, coronal and sagittal views that are nearest to the voxel axes of a frame.

    The patient's left is on the right of axial and coronal slices, anterior on the left of sagittal ones;
    anterior is at the top of axial slices, superior of the others.
    """
    axes = frame.matrix / voxel_steps(frame)
    x, y, z = max(itertools.permutations(range(3)), key=lambda order: sum(abs(axes[[0, 1, 2], list(order)])))
    left, posterior, superior = bool(axes[0, x] > 0), bool(axes[1, y] > 0), bool(axes[2, z] > 0)
    return (
        _view("axial", axes, (z, x, y), rightwards=left, upwards=not posterior),
        _view("coronal", axes, (y, x, z), rightwards=left, upwards=superior),
        _view("sagittal", axes, (x, y, z), rightwards=posterior, upwards=superior),
    )


def anatomical_label(direction: Array) -> str:
    """The letters of a world LPS direction, shape (3,), the largest component first.

    'L', or 'LA' for one that leans from left towards anterior by more than `TILT_DEGREES`.
    """
    unit = direction / np.linalg.norm(direction)
    letters = ["LPS"[axis] if unit[axis] > 0 else "RAI"[axis] for axis in range(3)]
    order = np.argsort(-np.abs(unit), kind="stable")
    return "".join(letters[axis] for axis in order if abs(unit[axis]) > math.sin(math.radians(TILT_DEGREES)))


def voxel_steps(frame: Frame) -> Array:
    """World distance between neighbours along i, j, k, mm, whatever the length of the direction's columns."""
    steps: Array = np.linalg.norm(frame.matrix, axis=0)
    return steps


def grey_window(volume: Volume, places: Array) -> tuple[float, float]:
    """The values drawn black and white: the range about the landmarks, however much air is around them.

    Args:
        volume: the scan.
        places: (N, 3) world LPS mm; with none the whole scan counts.
    """
    part = volume.voxels
    if len(places):
        index = volume.frame.world_to_index(places)
        low, high = index.min(axis=0) - _AROUND, index.max(axis=0) + _AROUND + 1
        first, last = (np.clip(np.rint(end), 0, volume.frame.size).astype(int) for end in (low, high))
        part = part[tuple(slice(*ends) for ends in zip(first[::-1], last[::-1], strict=True))]
    if not part.size:
        part = volume.voxels
    coarse = part[tuple(slice(None, None, max(n // 64, 1)) for n in part.shape)]
    black, white = np.percentile(coarse, [1.0, 99.5])
    return float(black), float(white)


def _view(name: str, axes: Array, order: tuple[int, int, int], *, rightwards: bool, upwards: bool) -> View:
    normal, horizontal, vertical = order
    right = axes[:, horizontal] * (1 if rightwards else -1)
    top = axes[:, vertical] * (1 if upwards else -1)
    labels = [anatomical_label(direction) for direction in (-right, right, -top, top)]
    return View(name, normal, horizontal, vertical, rightwards, upwards, *labels)

"""What a network is shown in training, as a picture: fields as augmented, and their targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

_EDGE = 144
"""Pixels of a slice, about."""
_GAP = 6
_COLUMNS = 2
_NEAR = 1.5
"""Voxels from a slice within which a place is drawn on it."""
_TRUTH, _EXPECTED = (86, 180, 233), (230, 159, 0)
_SLICES = (((0, 1), (1, 1)), ((0, 1), (2, -1)), ((1, 1), (2, -1)))
"""Of the axial, coronal and sagittal slice the axis and its sign to the right, and downwards."""


@dataclass(frozen=True, eq=False)
class ShownSample:
    """One sample of a training.

    Attributes:
        image: (Z, Y, X).
        places: (K, 3) voxels x, y, z, where the landmarks are; NaN where there is none.
        expected: (K, 3) voxels, where the network is told to look for them; NaN where it is not.
    """

    image: NDArray[np.float32]
    places: Array
    expected: Array


class Samples(Dataset[Any], ABC):
    """What a network learns from: sample number n for any n."""

    @abstractmethod
    def shown(self, number: int) -> ShownSample:
        """A sample, for a person to look at."""


def draw_samples(samples: Sequence[ShownSample]) -> Picture:
    """All samples on one sheet, (H, W, 3): of each three slices through its middlemost landmark."""
    drawn = [_draw(sample) for sample in samples]
    height, width = (max(picture.shape[axis] for picture in drawn) + _GAP for axis in (0, 1))
    rows = -(-len(drawn) // _COLUMNS)
    sheet = np.full((rows * height, _COLUMNS * width, 3), 255, np.uint8)
    for number, picture in enumerate(drawn):
        top, left = number // _COLUMNS * height, number % _COLUMNS * width
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _draw(sample: ShownSample) -> Picture:
    size = np.array(sample.image.shape[::-1])
    centre = _middlemost(sample.places, size)
    low, high = np.percentile(sample.image, [0.5, 99.5])
    grey = np.clip((sample.image - low) / max(high - low, 1e-6), 0, 1)
    scale = max(_EDGE // int(size.max()), 1)
    slices = [_slice(grey, sample, centre, axes, scale) for axes in _SLICES]
    height = max(part.shape[0] for part in slices)
    padded = [np.pad(part, ((0, height - len(part)), (0, 2), (0, 0)), constant_values=255) for part in slices]
    return np.concatenate(padded, axis=1)


def _middlemost(places: Array, size: Array) -> Array:
    """The voxel of the place nearest to the middle; the middle itself where there is none."""
    middle = (size - 1) / 2
    apart = np.linalg.norm(places - middle, axis=1)
    if not np.isfinite(apart).any():
        return np.rint(middle)
    return np.clip(np.rint(places[int(np.nanargmin(apart))]), 0, size - 1)


def _slice(
    grey: NDArray[np.float32],
    sample: ShownSample,
    centre: Array,
    axes: tuple[tuple[int, int], tuple[int, int]],
    scale: int,
) -> Picture:
    """A slice through the centre, enlarged, with the places near it: rings, and crosses where expected."""
    (right, _), (down, sign) = axes
    across = 3 - right - down
    plane = np.take(grey, int(centre[across]), axis=2 - across)
    plane = plane if down > right else plane.T
    shown = plane[::sign]
    picture = np.repeat(np.rint(255 * np.kron(shown, np.ones((scale, scale))))[..., None], 3, axis=2)
    drawn: Picture = picture.astype(np.uint8)
    for places, colour, mark in ((sample.places, _TRUTH, _ring), (sample.expected, _EXPECTED, _cross)):
        near = np.abs(places[:, across] - centre[across]) <= _NEAR
        for place in places[near]:
            row = place[down] if sign > 0 else len(shown) - 1 - place[down]
            _stamp(drawn, mark(scale), (row + 0.5) * scale, (place[right] + 0.5) * scale, colour)
    return drawn


def _ring(scale: int) -> NDArray[np.bool_]:
    radius = max(1.5 * scale, 4)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.abs(np.hypot(rows, columns) - radius + 1) < 1


def _cross(scale: int) -> NDArray[np.bool_]:
    reach = max(scale, 3)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(np.abs(rows) == np.abs(columns))


def _stamp(
    picture: Picture, mark: NDArray[np.bool_], row: float, column: float, colour: tuple[int, int, int]
) -> None:
    """Colour the pixels of a mark around a place, as far as they lie in the picture."""
    rows, columns = np.nonzero(mark)
    rows = np.rint(rows + row - mark.shape[0] / 2).astype(int)
    columns = np.rint(columns + column - mark.shape[1] / 2).astype(int)
    inside = (rows >= 0) & (rows < picture.shape[0]) & (columns >= 0) & (columns < picture.shape[1])
    picture[rows[inside], columns[inside]] = colour

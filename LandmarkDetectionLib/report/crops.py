"""Close-ups of a landmark: three slices through it, and where the marks lie on them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from LandmarkDetectionLib.data.sampling import sample_grid
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.evaluation.metrics import round_down
from LandmarkDetectionLib.evaluation.views import anatomical_label

Array = NDArray[np.float64]
Kind = Literal["truth", "detection"]

EDGE, GAP = 104, 4
"""Pixels of a slice's edge, and between two slices."""
WIDTH = 3 * EDGE + 2 * GAP
_QUALITY = 80
_AXES = {"axial": ((0, 1), (1, 1)), "coronal": ((0, 1), (2, -1)), "sagittal": ((1, 1), (2, -1))}
"""For each slice the axis, and its sign, that runs to the right and the one that runs down. The patient's
left is right in axial and coronal slices; anterior is on top of axial and on the left of sagittal ones."""


@dataclass(frozen=True, eq=False)
class Mark:
    """A place that is drawn: (3,) world LPS mm, and the radius around it, NaN for none."""

    kind: Kind
    position: Array
    radius_mm: float = math.nan


@dataclass(frozen=True)
class Drawn:
    """A mark on one of the slices, pixels of the picture from its upper left corner.

    Attributes:
        kind: truth or detection.
        x: to the right.
        y: downwards.
        radius: pixels; NaN for none.
        beyond: whether the place lies outside the slice; x and y are then the nearest place on its edge.
    """

    kind: Kind
    x: float
    y: float
    radius: float
    beyond: bool


@dataclass(frozen=True)
class Slice:
    """What stands on a slice.

    Attributes:
        name: axial, coronal or sagittal.
        x: of its left edge in the picture, pixels.
        left: the anatomical direction at its left edge.
        top: at its upper edge.
        marks: that are drawn on it.
    """

    name: str
    x: int
    left: str
    top: str
    marks: tuple[Drawn, ...]


@dataclass(frozen=True)
class Crop:
    """A picture of three slices side by side, and what is to be drawn over it.

    Attributes:
        jpeg: the picture, `WIDTH` by `EDGE` pixels.
        slices: the three.
        bar_mm: a round length.
        bar: the same in pixels.
    """

    jpeg: bytes
    slices: tuple[Slice, ...]
    bar_mm: float
    bar: float


@dataclass(frozen=True, eq=False)
class Camera:
    """Takes close-ups of a scan along the axes of the anatomy.

    Attributes:
        volume: the scan.
        axes: 3 x 3, columns x, y, z of the anatomy (left, posterior, superior) in the world.
        window: values drawn black and white.
    """

    volume: Volume
    axes: Array
    window: tuple[float, float]

    def take(self, centre: Array, reach: float, marks: Sequence[Mark]) -> Crop:
        """Three slices through a place.

        Args:
            centre: (3,) world LPS mm.
            reach: half the edge of a slice, mm.
            marks: what is drawn, projected onto the slices.
        """
        picture = np.full((EDGE, WIDTH), 255, np.uint8)
        slices = []
        for number, name in enumerate(_AXES):
            first = number * (EDGE + GAP)
            plane = self._plane(name)
            picture[:, first : first + EDGE] = self._pixels(centre, plane, reach)
            drawn = tuple(_place(mark, centre, plane, reach, first) for mark in marks)
            right, down = plane[:, 0], plane[:, 1]
            slices.append(Slice(name, first, anatomical_label(-right), anatomical_label(-down), marks=drawn))
        bar_mm = round_down(0.6 * reach)
        return Crop(_jpeg(picture), tuple(slices), bar_mm, bar_mm / (2 * reach) * EDGE)

    def _plane(self, name: str) -> Array:
        """3 x 3, columns to the right, downwards and through the slice, in the world."""
        right, down = (self.axes[:, axis] * sign for axis, sign in _AXES[name])
        return np.column_stack([right, down, np.cross(right, down)])

    def _pixels(self, centre: Array, plane: Array, reach: float) -> NDArray[np.uint8]:
        black, white = self.window
        values = sample_grid(
            self.volume, centre, plane, size=(EDGE, EDGE, 1), spacing=2 * reach / EDGE, fill=black
        )[0]
        scaled = (values - black) / max(white - black, 1e-9)
        return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _place(mark: Mark, centre: Array, plane: Array, reach: float, first: int) -> Drawn:
    across = (mark.position - centre) @ plane[:, :2] / reach
    inside = np.clip(across, -1, 1)
    x, y = (inside + 1) / 2 * EDGE
    beyond = bool((inside != across).any())
    return Drawn(mark.kind, first + float(x), float(y), mark.radius_mm / (2 * reach) * EDGE, beyond)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()

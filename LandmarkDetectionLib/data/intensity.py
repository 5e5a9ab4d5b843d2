"""Bringing the intensities of different scans onto one scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_FEWEST_FILL, _MOST_FILL = 1e-4, 0.6
"""Of the voxels: fewer of one value are noise; where more are, it is the background that the scan has."""
_FAR = 0.15
"""Of the width of all other values: as far as that below them is a fill value. In 99 real scans (mouse
skulls, hippocampi, brains, a torso) the gap is 0.13 at most, where a template's background is masked."""
_PLAIN = 99.9
"""Percentile up to which values are wide, but for outliers."""
_EVERY = 7
"""A voxel in so many tells percentiles well enough."""
_SAMPLE = 2_000_000
"""Voxels that tell whether it is worth to look at all."""


@dataclass(frozen=True)
class Normaliser:
    """Maps a window of intensities linearly to -1 .. 1 and clips what lies outside.

    Attributes:
        kind: `fixed`, the window is `low` .. `high` in the scan's own units (Hounsfield units of a CT);
            `adaptive`, it is those percentiles of each scan (MR, micro-CT, uncalibrated CBCT).
        low: lower end of the window, or its percentile.
        high: upper end of the window, or its percentile.
    """

    kind: Literal["fixed", "adaptive"]
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"the window's low end {self.low} must be below its high end {self.high}")
        if self.kind == "adaptive" and (self.low < 0 or self.high > 100):
            raise ValueError("an adaptive window is given in percentiles from 0 to 100")

    def __call__(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Normalised voxels, float32 within -1 .. 1; all -1 where a scan is constant."""
        return scale(voxels, self.window_of(voxels))

    def anew(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Voxels of a normalised scan, cut or coarser, as if they were a scan of their own.

        But what the window of the whole scan has clipped stays clipped.
        """
        return self(voxels) if self.kind == "adaptive" else voxels

    def amid_air(self, times: float) -> Normaliser:
        """The window for scans with so many times the voxels: as many of them lie above it as before."""
        if self.kind == "fixed":
            return self
        return replace(self, high=100 - (100 - self.high) / times)

    def window_of(self, voxels: NDArray[Any]) -> tuple[float, float]:
        """The intensities of a scan that become -1 and 1."""
        if self.kind == "fixed":
            return self.low, self.high
        low, high = (float(np.percentile(voxels, share)) for share in (self.low, self.high))
        return low, high


def without_fill(voxels: NDArray[Any]) -> NDArray[Any]:
    """A scan with its darkest real value where it says that nothing was measured, else as it is.

    Scanners and programs mark what lies beyond the field of view with one value far below all others, such as
    -3024 in a CT, or far above. A share of such voxels would be taken for the air of an adaptive window.

    Args:
        voxels: of the scan, integers or floats.
    """
    sample = voxels.reshape(-1)[:: max(voxels.size // _SAMPLE, 1)]
    values = [
        value for value in (voxels.min(), voxels.max()) if _is_fill(sample, value) and _is_fill(voxels, value)
    ]
    if not values:
        return voxels
    fill = np.isin(voxels, values)
    return np.where(fill, voxels.min(where=~fill, initial=voxels.max()), voxels)


def _is_fill(voxels: NDArray[Any], value: float) -> bool:
    """Whether many voxels have the lowest or highest value, and no other is near it."""
    others = voxels[voxels != value]
    if not (_FEWEST_FILL <= 1 - others.size / voxels.size <= _MOST_FILL and others.min() < others.max()):
        return False
    dark, bright = np.percentile(others.reshape(-1)[::_EVERY], (100 - _PLAIN, _PLAIN))
    low, high = float(others.min()), float(others.max())
    below, above = low - float(value), float(value) - high
    return bool(below > _FAR * (bright - low) or above > _FAR * (high - dark))


def scale(voxels: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Voxels with a window of intensities mapped to -1 .. 1, float32; what lies outside is clipped."""
    low, high = window
    width = max(high - low, float(np.finfo(np.float32).tiny))
    scaled: NDArray[np.float32] = voxels.astype(np.float32)
    with np.errstate(over="ignore"):  # a window of a single value has all else infinitely far outside
        scaled = (scaled - np.float32(low)) * np.float32(2 / width) - np.float32(1)
    return np.asarray(np.clip(scaled, -1, 1), dtype=np.float32)

"""Bringing the intensities of different scans onto one scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


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


def scale(voxels: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Voxels with a window of intensities mapped to -1 .. 1, float32; what lies outside is clipped."""
    low, high = window
    width = max(high - low, float(np.finfo(np.float32).tiny))
    scaled: NDArray[np.float32] = voxels.astype(np.float32)
    with np.errstate(over="ignore"):  # a window of a single value has all else infinitely far outside
        scaled = (scaled - np.float32(low)) * np.float32(2 / width) - np.float32(1)
    return np.asarray(np.clip(scaled, -1, 1), dtype=np.float32)

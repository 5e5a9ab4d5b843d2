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
_MOST_METAL = 0.02
"""Of the voxels: where more are so bright, they are what the scan shows."""
_GLARE = 20.0
"""Times as bright as the tissue, counted from air, is metal. The mean of bone is 8 times as bright as that of
soft tissue in micro-CT at most (mouse skulls), that of fat 3 times in MR."""
_BRIGHTEST = 8.0
"""Times as bright as the mean of the tissue may tissue be, where there is metal."""
_APART = 0.8
"""Share of the variance that lies between air and tissue, where there are both; 0.64 in noise alone."""
_FEWEST_LEVELS = 32
"""Of tissue and air: with fewer, noise that was rounded looks like two classes."""
_METAL_SAMPLE = 400_000
"""Voxels that tell shares of a hundredth of a per cent well enough."""
_BINS = 1024


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


def cleaned(voxels: NDArray[Any]) -> NDArray[Any]:
    """A scan without fill values and without metal, of which one may hide the other.

    Args:
        voxels: of the scan, integers or floats.
    """
    filled = without_fill(voxels)
    dimmed = without_metal(filled)
    return dimmed if dimmed is filled else without_fill(dimmed)


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


def without_metal(voxels: NDArray[Any]) -> NDArray[Any]:
    """A scan in which metal is as bright as tissue on average, else as it is.

    A per cent of voxels that are thirty times as bright as bone would take all of an adaptive window, and
    shine far around when the scan is made coarser; as bright as bone, they would be taken for it. Metal are
    few and very bright voxels beside tissue that itself stands out from air: there is none in a scan without
    air, and none in 8 bits, whose window somebody chose.

    Args:
        voxels: of the scan, integers or floats.
    """
    if voxels.dtype.itemsize == 1:
        return voxels
    sample = voxels.reshape(-1)[:: max(voxels.size // _METAL_SAMPLE, 1)].astype(np.float64)
    tissue = _tissue_beside_metal(sample)
    if tissue is None:
        return voxels
    end = tissue.dark + _BRIGHTEST * (tissue.bright - tissue.dark)
    kind = voxels.dtype.type
    return np.where(voxels <= kind(end), voxels, kind(tissue.bright))


@dataclass(frozen=True)
class _Classes:
    """Dark and bright values: their means, the threshold, and the share of the variance between them."""

    dark: float
    bright: float
    threshold: float
    apart: float


def _tissue_beside_metal(sample: NDArray[np.float64]) -> _Classes | None:
    """Air and tissue in a scan that shows metal; None where there is none."""
    second = sample.min(where=sample > sample.min(), initial=sample.max())
    sample = np.maximum(sample, second)  # what lies beyond the field of view is air
    metal = _two_classes(sample)
    rest = sample[sample <= metal.threshold]
    tissue = _two_classes(rest)
    few = rest.size >= (1 - _MOST_METAL) * sample.size
    glaring = metal.bright - tissue.dark >= _GLARE * (tissue.bright - tissue.dark)
    plain = tissue.apart >= _APART and len(np.unique(rest)) >= _FEWEST_LEVELS
    return tissue if few and glaring and plain else None


def _two_classes(values: NDArray[np.float64]) -> _Classes:
    """Values divided so that most of their variance is between the two classes (Otsu 1979)."""
    low, width = float(values.min()), float(np.ptp(values))
    if width == 0:
        return _Classes(low, low, low, 0.0)
    unit = (values - low) / width
    counts = np.bincount(np.minimum(unit * _BINS, _BINS - 1).astype(int), minlength=_BINS)
    sums = counts * (np.arange(_BINS) + 0.5) / _BINS
    dark, dark_sum = np.cumsum(counts)[:-1], np.cumsum(sums)[:-1]
    bright, bright_sum = values.size - dark, sums.sum() - dark_sum
    between = dark * bright * (bright_sum / bright - dark_sum / dark) ** 2 / values.size**2
    best = int(np.argmax(between))
    return _Classes(
        dark=low + width * float(dark_sum[best] / dark[best]),
        bright=low + width * float(bright_sum[best] / bright[best]),
        threshold=low + width * (best + 1) / _BINS,
        apart=float(between[best] / np.var(unit)),
    )


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

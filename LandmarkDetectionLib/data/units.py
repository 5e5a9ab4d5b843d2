"""Landmarks that were saved in another unit than millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame

UNITS = {1000.0: "m", 10.0: "cm", 0.1: "tenths of a millimetre", 0.001: "µm"}
"""What makes millimetres of the numbers, and the unit that they are in; the largest first."""
_NEARLY_ALL = 0.9
"""Of the points: so many lie in the scan once their unit is right."""
_MANY = 0.5
"""Of the points: with fewer outside, the unit of all is not what is wrong."""
_FEWEST = 3
"""Points that tell a unit: one or two lie in a scan by chance."""
_ABOUT = 1.5
"""Times as large, or as small, may be a case of the same unit as the others."""


def factor_by_scan(points: NDArray[np.float64], frame: Frame) -> float | None:
    """What the points must be multiplied by to fit their scan, of `UNITS`; None where it is not the unit.

    Near the origin, which many scans contain, any points lie that are small enough: so they are too large
    only where they are farther apart than the scan is wide, and too small where most lie outside or all in
    one voxel.

    Args:
        points: (N, 3) mm, without NaN.
        frame: of the scan.
    """
    if len(points) < _FEWEST:
        return None
    apart = 2 * float(np.median(np.linalg.norm(points - np.median(points, axis=0), axis=1)))
    outside = (~frame.contains(points)).mean() >= _MANY
    too_small = outside or 0 < apart < frame.spacing.min()
    too_large = outside and apart > float(np.linalg.norm(frame.extent))
    fits = (factor for factor in UNITS if frame.contains(points * factor).mean() >= _NEARLY_ALL)
    return next((factor for factor in fits if (too_small if factor > 1 else too_large)), None)


def factor_by_size(times: float) -> float | None:
    """The same of a case whose points are so many times as far apart as those of the others."""
    return next((factor for factor in UNITS if 1 / _ABOUT < times * factor < _ABOUT), None)

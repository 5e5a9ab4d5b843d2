"""How a coarse scan has to be turned and scaled for its pose to be plain.

The coarse network knows the anatomy upright and turned by so many degrees. A scan is looked at first as it
says that it lies; where that shows no plain pose, in the 24 orders of its axes, of which one is near enough
to any pose, by the intensity scale under which anything was seen. A pose that is far from upright is looked
at once more, from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import reordered, turns
from LandmarkDetectionLib.data.sampling import turned
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Alignment

ANY_POSE = 180.0
SURE = 0.7
"""Support of a pose from which no other is looked for."""
_UPRIGHT = 25.0
"""Degrees from upright that change nothing."""

Look = Callable[[Volume], Alignment | None]


def search_pose(
    look: Look, scans: Sequence[Callable[[], Volume]], *, taught: float, enough: float = SURE
) -> tuple[Alignment, int] | None:
    """The plainest pose in a scan, and the number of the intensity scale under which it is.

    Args:
        look: what a scan shows as it lies on its grid; None where that is no pose.
        scans: make the coarse scan, on one grid, by different intensity scales; the likeliest first.
        taught: degrees from upright up to which the network knows the anatomy.
        enough: support of a pose from which the scan is turned no further.
    """
    orders = turns() if taught < ANY_POSE else turns()[:1]
    prepared = [cache(scan) for scan in scans] if len(orders) > 1 else scans
    numbers = list(range(len(scans)))
    best: tuple[Alignment, int] | None = None
    for order, flips in orders:
        for number in numbers:
            found = _look_upright(look, reordered(prepared[number](), order, flips), taught)
            if found and (best is None or found.support > best[0].support):
                best = found, number
            if best and best[0].support >= SURE:
                return best
        if best and best[0].support >= enough:
            return best
        if best:
            numbers = [best[1]]
    return best


def _look_upright(look: Look, scan: Volume, taught: float) -> Alignment | None:
    """What a scan shows, and once more where the anatomy lies far from upright in it."""
    found = look(scan)
    if found is None or taught >= ANY_POSE:
        return found
    rotation = found.pose.rotation
    if degrees_between(scan.frame.direction, rotation) <= _UPRIGHT:
        return found
    again = look(turned(scan, rotation))
    return again if again and again.support >= found.support else found


def degrees_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The angle between two rotations (3 x 3)."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))

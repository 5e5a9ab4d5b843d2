"""How a coarse scan has to be turned and scaled for its pose to be plain.

The coarse network knows the anatomy upright and turned by so many degrees. A scan is looked at first as it
says that it lies; where that shows no plain pose, in the 24 orders of its axes, of which one is near enough
to any pose, by the intensity scale under which anything was seen. What the scan says of itself is believed
first: a pose in another order of the axes counts where it is very plain only, for a part of the anatomy, or
something else, looks like it in one of so many. A pose that is far from upright is looked at once more, from
there, and what is seen then counts: a wrong pose is not seen again. Where no order shows a pose, a few
landmarks that are left of cut anatomy may still show one in the scan as it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import reordered, turns
from LandmarkDetectionLib.data.sampling import turned
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Alignment

ANY_POSE = 180.0
PLAIN = 0.8
"""Support from which the scan is turned no further, and from which a pose in another order is believed."""
_CERTAIN = 0.9
"""Support from which a pose that the scan does not lie in is not compared with others."""
_SEEN = 0.7
"""Support from which no other intensity scale is asked."""
_LARGE = 4_000_000
"""Voxels of a coarse scan beyond which it is looked at as it lies only, or it would take minutes."""
_UPRIGHT = 25.0
"""Degrees from upright that change nothing."""

Look = Callable[[Volume], Alignment | None]


def search_pose(
    look: Look,
    scans: Sequence[Callable[[], Volume]],
    *,
    taught: float,
    enough: float = PLAIN,
    at_last: Look | None = None,
) -> tuple[Alignment, int] | None:
    """The plainest pose in a scan, and the number of the intensity scale under which it is.

    Args:
        look: what a scan shows as it lies on its grid; None where that is no pose.
        scans: make the coarse scan, on one grid, by different intensity scales; the likeliest first.
        taught: degrees from upright up to which the network knows the anatomy.
        enough: support of a pose in which the scan lies from which it is turned no further.
        at_last: what little a scan shows as it lies, where no look has shown a pose.
    """
    if taught >= ANY_POSE:
        return _plainest(look, scans, taught)
    prepared = [cache(scan) for scan in scans]
    best = _plainest(look, prepared, taught)
    if best:
        upright = _is_upright(prepared[best[1]](), best[0])
        if best[0].support >= (enough if upright else _CERTAIN):
            return best
    if prepared[0]().voxels.size <= _LARGE:
        best = _turned_over(look, prepared, taught, best)
    if best is None and at_last:
        best = _plainest(at_last, prepared, taught)
    return best


def _turned_over(
    look: Look, prepared: Sequence[Callable[[], Volume]], taught: float, best: tuple[Alignment, int] | None
) -> tuple[Alignment, int] | None:
    """The plainest pose in the other orders of the axes, where it is very plain; else the best before."""
    numbers = [best[1]] if best else list(range(len(prepared)))
    for order, flips in turns()[1:]:
        turned_scans = [partial(_reordered, prepared[number], order, flips) for number in numbers]
        found = _plainest(look, turned_scans, taught)
        if found is None:
            continue
        numbers = [numbers[found[1]]]
        if found[0].support >= max(PLAIN, best[0].support if best else 0.0):
            best = found[0], numbers[0]
        if best and best[0].support >= _CERTAIN:
            break
    return best


def _reordered(scan: Callable[[], Volume], order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    return reordered(scan(), order, flips)


def _plainest(
    look: Look, scans: Sequence[Callable[[], Volume]], taught: float
) -> tuple[Alignment, int] | None:
    """The plainest pose in a scan as it lies, and the number of the intensity scale."""
    best: tuple[Alignment, int] | None = None
    for number, scan in enumerate(scans):
        found = _look_upright(look, scan(), taught)
        if found and (best is None or found.support > best[0].support):
            best = found, number
        if best and best[0].support >= _SEEN:
            break
    return best


def _look_upright(look: Look, scan: Volume, taught: float) -> Alignment | None:
    """What a scan shows, and once more where the anatomy lies far from upright in it."""
    found = look(scan)
    if found is None or taught >= ANY_POSE or _is_upright(scan, found):
        return found
    return look(turned(scan, found.pose.rotation))


def _is_upright(scan: Volume, found: Alignment) -> bool:
    return degrees_between(scan.frame.direction, found.pose.rotation) <= _UPRIGHT


def degrees_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The angle between two rotations (3 x 3)."""
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))

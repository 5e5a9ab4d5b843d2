"""What a coarser scanner would have shown of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.volume import Volume

COARSENESSES = 2, 4
"""Edges of the coarser voxels, in those of the prepared scan."""


def coarser_looks(
    volumes: Sequence[Volume], scan: Volume, normaliser: Normaliser
) -> Iterator[tuple[int, list[Volume]]]:
    """Coarsenesses, and the volumes as they would be if the scan had been so coarse.

    Args:
        volumes: the scan on one grid or several, prepared: their axes are parallel.
        scan: the finest of them.
        normaliser: that they were prepared with; one that adapts to the scan does so to the coarser one.
    """
    for count in COARSENESSES:
        if min(scan.frame.size) >= count:
            coarse = scan.averaged((count, count, count))
            yield count, [_shown_by(coarse, volume, normaliser) for volume in volumes]


def _shown_by(scan: Volume, volume: Volume, normaliser: Normaliser) -> Volume:
    """The scan on the grid of a volume; the volume as it is where that is the coarser of the two."""
    if volume.frame.spacing.max() >= scan.frame.spacing.max():
        return volume
    return Volume(normaliser.anew(_interpolated(scan, volume.frame)), volume.frame)


def _interpolated(scan: Volume, frame: Frame) -> NDArray[np.float32]:
    """The scan's values on a grid with parallel axes, linearly along one axis after the other.

    Training needs no SimpleITK, which `resample` does, and little memory beside the scan's.
    """
    voxels = scan.voxels
    first, step = scan.frame.world_to_index(frame.origin), frame.spacing / scan.frame.spacing
    for axis, last in enumerate(np.array(scan.frame.size) - 1):
        places = np.clip(first[axis] + step[axis] * np.arange(frame.size[axis]), 0, last)
        below = places.astype(int)
        shape = np.roll([-1, 1, 1], -axis - 1)
        above_share = (places - below).astype(np.float32).reshape(shape)
        above = voxels.take(np.minimum(below + 1, last), axis=2 - axis)
        voxels = voxels.take(below, axis=2 - axis) * (1 - above_share) + above * above_share
    return voxels

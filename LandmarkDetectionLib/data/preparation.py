"""A scan as the networks see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.intensity import Normaliser, cleaned
from LandmarkDetectionLib.data.volume import Volume

MOST_VOXELS = 500_000_000


@dataclass(frozen=True)
class Preparation:
    """One orientation, one spacing and one intensity scale for every scan.

    Attributes:
        spacing: edge of the cubic voxels, mm.
        normaliser: maps intensities to -1 .. 1.
    """

    spacing: float
    normaliser: Normaliser

    def __post_init__(self) -> None:
        if not self.spacing > 0:
            raise ValueError(f"the spacing {self.spacing} must be positive")

    def resolution_of(self, spacing: NDArray[np.float64], coarseness: float = 1.0) -> float:
        """How coarsely a scan shows what is in it, mm: the root mean square of its voxels' edges.

        Errors add up so over the axes. Edges below those of the grid's voxels show no more than these.

        Args:
            spacing: (3,) edges of the scan's voxels, mm.
            coarseness: of the grid, where the scan is seen on a coarser one.
        """
        edges = np.maximum(spacing, coarseness * self.spacing)
        return float(np.sqrt(np.mean(edges**2)))

    def __call__(self, volume: Volume) -> Volume:
        """The volume in canonical orientation with cubic voxels and float32 values within -1 .. 1.

        Raises:
            InputError: if the scan is far too large for this spacing, as a torso is for a mouse's.
        """
        on_grid = self.on_grid(volume)
        return Volume(voxels=self.normaliser(on_grid.voxels), frame=on_grid.frame)

    def on_grid(self, volume: Volume) -> Volume:
        """The volume in canonical orientation with cubic voxels, in its own intensities, cleaned.

        Raises:
            InputError: as above.
        """
        check_size(volume, self.spacing)
        return to_grid(Volume(cleaned(volume.voxels), volume.frame), self.spacing)


def check_size(volume: Volume, spacing: float) -> None:
    """Refuse a scan that would fill the memory on a grid of this spacing.

    Raises:
        InputError: if it is far too large.
    """
    voxels = float(np.prod(volume.frame.extent / spacing))
    if voxels > MOST_VOXELS:
        extent = " x ".join(f"{edge:.0f}" for edge in volume.frame.extent)
        raise InputError(
            f"The scan measures {extent} mm, which is {voxels / 1e6:.0f} million voxels of {spacing:g} mm: "
            "crop it to the anatomy, or choose a model for scans of this size."
        )

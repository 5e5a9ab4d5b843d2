"""A scan as the networks see it."""

from __future__ import annotations

from dataclasses import dataclass

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.volume import Volume


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

    def __call__(self, volume: Volume) -> Volume:
        """The volume in canonical orientation with cubic voxels and float32 values within -1 .. 1."""
        on_grid = to_grid(volume, self.spacing)
        return Volume(voxels=self.normaliser(on_grid.voxels), frame=on_grid.frame)

"""What the networks of a locate-refine model are used to, for a training that goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from LandmarkDetectionLib.detection.locate_refine import LocateRefineSettings
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.training.locate_refine.config import DetectionSection


@dataclass(frozen=True)
class KnownLooks:
    """How the networks of a model look at a scan.

    Attributes:
        locate_spacing: of the coarse grid, mm.
        locate_channels: of the coarse network.
        rotation: degrees from upright that the coarse network was taught.
        refine_spacing: of the fine grid, mm.
        refine_channels: of the fine network.
        window: fine voxels along each edge in which a landmark is sought.
        detection: how landmarks are told from what they see.
    """

    locate_spacing: float
    locate_channels: tuple[int, ...]
    rotation: float
    refine_spacing: float
    refine_channels: tuple[int, ...]
    window: int
    detection: DetectionSection

    @classmethod
    def of(cls, bundle: Bundle) -> KnownLooks:
        """Those of a bundle."""
        settings = LocateRefineSettings.from_numbers(bundle.detection)
        return cls(
            locate_spacing=settings.locate.spacing,
            locate_channels=tuple(bundle.network["locate"]["channels"]),
            rotation=settings.locate.taught,
            refine_spacing=settings.refine.spacing,
            refine_channels=tuple(bundle.network["refine"]["channels"]),
            window=settings.refine.window,
            detection=DetectionSection(
                tolerance=settings.tolerance,
                support=settings.support,
                found=settings.found,
                uncertain=settings.uncertain,
            ),
        )


def keys_of(bundle: Bundle) -> dict[str, Any]:
    """What its networks are made for, by key of the configuration, as JSON has it."""
    known = KnownLooks.of(bundle)
    return {
        "locate.spacing": known.locate_spacing,
        "locate.channels": list(known.locate_channels),
        "refine.spacing": known.refine_spacing,
        "refine.channels": list(known.refine_channels),
    }

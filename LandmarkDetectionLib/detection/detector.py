"""A bundle put to work: from a volume to detections."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.dense import DenseSettings, Peak, find_landmarks
from LandmarkDetectionLib.detection.locate_refine import ENGINE, LocateRefineDetector
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.model.bundle import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    Bundle,
    load_bundle,
    load_weights,
)
from LandmarkDetectionLib.model.vnet import STRIDE, VNet, VNetSettings

_SMALLEST_WINDOW = 32


class Detector(Protocol):
    """What every engine offers."""

    bundle: Bundle
    device: torch.device

    def detect(self, volume: Volume, *, progress: Progress = no_progress) -> tuple[Detection, ...]:
        """All landmarks of the bundle, in its order, in the world of the volume."""
        ...

    def in_smaller_pieces(self) -> Detector | None:
        """The same detector, needing less memory at a time; None where there is nothing smaller."""
        ...


def load_detector(folder: Path, device: torch.device) -> Detector:
    """Load a bundle, ready to detect on `device`.

    Raises:
        InputError: if the bundle is missing, damaged, of another version or for an unknown engine.
    """
    bundle = load_bundle(folder)
    if bundle.engine == "dense":
        return DenseDetector(bundle, Path(folder), device)
    if bundle.engine == ENGINE:
        return LocateRefineDetector(bundle, Path(folder), device)
    raise InputError(
        f"{Path(folder) / DESCRIPTION_FILE}: the engine '{bundle.engine}' is not known; update the program."
    )


class DenseDetector:
    """The dense engine with the weights of a bundle."""

    def __init__(self, bundle: Bundle, folder: Path, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        try:
            self.settings = DenseSettings(**bundle.detection)
            network = VNet(VNetSettings(classes=len(bundle.table) + 1, **bundle.network))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{folder / DESCRIPTION_FILE}: 'network' or 'detection' is wrong ({error}); "
                "export the model again."
            ) from error
        try:
            network.load_state_dict(load_weights(folder))
        except RuntimeError as error:
            raise InputError(
                f"{folder / WEIGHTS_FILE}: the weights do not fit the network in {DESCRIPTION_FILE}; "
                "export the model again."
            ) from error
        self.network = network.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def detect(self, volume: Volume, *, progress: Progress = no_progress) -> tuple[Detection, ...]:
        progress("prepare", 0.0)
        prepared = self.bundle.preparation(volume)
        peaks = find_landmarks(
            self.network,
            prepared,
            self.settings,
            len(self.bundle.table),
            device=self.device,
            progress=progress,
        )
        resolution = self.bundle.preparation.resolution_of(volume.frame.spacing)
        return tuple(
            self._judge(name, peak, resolution)
            for name, peak in zip(self.bundle.table.names, peaks, strict=True)
        )

    def in_smaller_pieces(self) -> DenseDetector | None:
        """Windows of half the edge; what the network sees at once becomes smaller too."""
        if min(self.settings.window) < 2 * _SMALLEST_WINDOW:
            return None
        smaller = copy.copy(self)
        x, y, z = (edge // 2 // STRIDE * STRIDE for edge in self.settings.window)
        smaller.settings = replace(self.settings, window=(x, y, z))
        return smaller

    def _judge(self, name: str, peak: Peak, resolution: float) -> Detection:
        if peak.probability < self.settings.uncertain:
            return Detection.missing(name, peak.probability)
        calibration = self.bundle.calibration
        return Detection(
            name=name,
            position=peak.position,
            status="found" if peak.probability >= self.settings.threshold else "uncertain",
            confidence=min(peak.probability, 1.0),
            radius_mm=calibration.radius_of(name, resolution) if calibration else math.nan,
        )

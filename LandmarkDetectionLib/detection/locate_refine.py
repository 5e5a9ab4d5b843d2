"""The engine that does not care how the anatomy lies: locate, align, refine."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.intensity import scale
from LandmarkDetectionLib.data.preparation import check_size
from LandmarkDetectionLib.data.shape import find_symmetry
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Alignment, align
from LandmarkDetectionLib.detection.locate import LocateSettings, find_candidates
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.detection.refine import Mirror, RefineSettings, refine
from LandmarkDetectionLib.detection.results import Detection, Status
from LandmarkDetectionLib.model.bundle import DESCRIPTION_FILE, WEIGHTS_FILE, Bundle, load_weights
from LandmarkDetectionLib.model.unet import UNet, UNetSettings

ENGINE = "locate-refine"
_SMALLEST_WINDOW = 64


@dataclass(frozen=True)
class LocateRefineSettings:
    """How the stages work together.

    Attributes:
        locate: the coarse look.
        refine: the fine look.
        tolerance: how far a right candidate lies from the mean shape at the right pose, mm.
        support: a pose that fewer of the candidates agree with, 0 to 1, is no pose: the anatomy is not there.
        found: share of a landmark's heat at its place from which it counts as found.
        uncertain: share from which it is reported as uncertain.
    """

    locate: LocateSettings
    refine: RefineSettings
    tolerance: float
    support: float
    found: float
    uncertain: float

    @classmethod
    def from_numbers(cls, numbers: dict[str, Any]) -> LocateRefineSettings:
        """As a bundle holds them."""
        stages = {
            "locate": LocateSettings(**numbers["locate"]),
            "refine": RefineSettings(**numbers["refine"]),
        }
        return cls(**{**numbers, **stages})


class LocateRefineDetector:
    """The engine with the weights of a bundle."""

    def __init__(self, bundle: Bundle, folder: Path, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        try:
            self.settings = LocateRefineSettings.from_numbers(bundle.detection)
            locate = UNetSettings(outputs=len(bundle.table), **bundle.network["locate"])
            fine = UNetSettings(outputs=1, landmarks=len(bundle.table), **bundle.network["refine"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / DESCRIPTION_FILE}: 'network' or 'detection' is wrong ({error}); "
                "export the model again."
            ) from error
        weights = load_weights(folder)
        self._locate = _loaded(UNet(locate), weights, "locate.", folder, device)
        self._refine = _loaded(UNet(fine), weights, "refine.", folder, device)
        self._stride, self._reduction = locate.stride, locate.reduction
        self._mirror = _mirror_of(bundle)

    def detect(self, volume: Volume, *, progress: Progress = no_progress) -> tuple[Detection, ...]:
        progress("prepare", 0.0)
        window = self.bundle.preparation.normaliser.window_of(volume.voxels)
        found = self._find_pose(volume, window, progress)
        if found is None or found.support < self.settings.support:
            return tuple(Detection.missing(name) for name in self.bundle.table.names)
        starts = found.pose.apply(self.bundle.mean_shape)
        expected = np.isfinite(starts).all(axis=1)
        refined = refine(
            self._refine,
            volume,
            np.nan_to_num(starts),
            found.pose.rotation,
            self.settings.refine,
            normalise=partial(scale, window=window),
            fill=float(volume.voxels.min()),
            device=self.device,
            mirror=self._mirror,
            progress=progress,
        )
        inside = expected & volume.frame.contains(refined.positions)
        return tuple(
            self._judge(name, position, float(mass) if seen else 0.0)
            for name, position, mass, seen in zip(
                self.bundle.table.names, refined.positions, refined.masses, inside, strict=True
            )
        )

    def in_smaller_pieces(self) -> LocateRefineDetector | None:
        """Half the window of the coarse look, and fewer crops at a time."""
        locate, fine = self.settings.locate, self.settings.refine
        if locate.window < 2 * _SMALLEST_WINDOW:
            return None
        smaller = copy.copy(self)
        smaller.settings = replace(
            self.settings,
            locate=replace(locate, window=locate.window // 2 // self._stride * self._stride),
            refine=replace(fine, batch=max(fine.batch // 4, 1)),
        )
        return smaller

    def _find_pose(self, volume: Volume, window: tuple[float, float], progress: Progress) -> Alignment | None:
        spacing = self.settings.locate.spacing
        check_size(volume, spacing)
        coarse = to_grid(volume, spacing)
        candidates = find_candidates(
            self._locate,
            Volume(scale(coarse.voxels, window), coarse.frame),
            self.settings.locate,
            reduction=self._reduction,
            stride=self._stride,
            device=self.device,
            progress=progress,
        )
        return align(candidates, self.bundle.mean_shape, self.settings.tolerance)

    def _judge(self, name: str, position: np.ndarray[Any, Any], mass: float) -> Detection:
        if mass < self.settings.uncertain:
            return Detection.missing(name, mass)
        status: Status = "found" if mass >= self.settings.found else "uncertain"
        calibration = self.bundle.calibration
        radius = calibration.radius_of(name) if calibration else np.nan
        return Detection(name, position, status, min(mass, 1.0), radius)


def _loaded(
    network: UNet, weights: dict[str, Tensor], prefix: str, folder: Path, device: torch.device
) -> nn.Module:
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS_FILE}: the weights do not fit the network in {DESCRIPTION_FILE}; "
            "export the model again."
        ) from error
    return network.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def _mirror_of(bundle: Bundle) -> Mirror | None:
    """How the anatomy is mirrored; None where the landmarks name no pairs."""
    order = bundle.table.mirrored_order
    if order == list(range(len(order))):
        return None
    return Mirror(find_symmetry(bundle.table.names, bundle.mean_shape).normal, order)

"""The dense engine's network in training, as a Lightning module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.dense import DenseSettings, find_landmarks
from LandmarkDetectionLib.model.losses import focal_loss
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.running.averaging import AveragedTraining


class DenseTraining(AveragedTraining[VNet]):
    """Trains a V-Net on crops and validates it by landmark error on whole scans.

    Args:
        network: to train.
        config: the run's configuration.
        validation: cases for validation; may be empty.
    """

    def __init__(self, network: VNet, config: DenseConfig, validation: Sequence[PreparedCase]) -> None:
        super().__init__(network, config.training, config.training.epochs, validation)
        self.config = config
        self.landmarks = network.settings.classes - 1

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        image, classes, known = batch
        logits = self.network(image.contiguous(memory_format=torch.channels_last_3d))
        loss = focal_loss(
            logits,
            classes,
            known=known,
            gamma=self.config.loss.gamma,
            background_weight=self.config.loss.background_weight,
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def landmark_positions(self) -> NDArray[np.float64]:
        return np.array([self.positions_in(case.whole_volume()) for case in self.validation])

    def positions_in(self, volume: Volume) -> NDArray[np.float64]:
        """What the best network finds in a prepared scan, (landmarks, 3) world mm; NaN where nothing."""
        network, settings = self.best_network.eval(), detection_settings(self.config)
        peaks = find_landmarks(network, volume, settings, self.landmarks, device=self.device)
        return np.array([peak.position for peak in peaks])


def network_settings(config: DenseConfig, landmarks: int) -> VNetSettings:
    """The V-Net of a configuration."""
    network = config.network
    return VNetSettings(
        classes=landmarks + 1, channels=network.channels, blocks=network.blocks, groups=network.groups
    )


def detection_settings(config: DenseConfig) -> DenseSettings:
    """The engine's settings: windows as large as the crops that the network was trained on."""
    return DenseSettings(
        window=config.sampling.crop,
        overlap=config.detection.overlap,
        threshold=config.detection.threshold,
        uncertain=config.detection.uncertain,
        padding=config.sampling.padding,
    )

"""The dense engine's network in training, as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from LandmarkDetectionLib.detection.dense import DenseSettings, find_landmarks
from LandmarkDetectionLib.model.losses import focal_loss
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.config import TrainingConfig


class DenseTraining(L.LightningModule):
    """Trains a V-Net on crops and validates it by landmark error on whole scans.

    Args:
        config: the run's configuration.
        landmarks: number of landmarks.
        validation: cases for validation; may be empty.
    """

    def __init__(self, config: TrainingConfig, landmarks: int, validation: Sequence[PreparedCase]) -> None:
        super().__init__()
        self.config = config
        self.landmarks = landmarks
        self.validation = validation
        self.network = VNet(network_settings(config, landmarks)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, avg_fn=self._blend) if config.training.ema else None
        if self.average is not None:
            self.average.requires_grad_(False)  # or several processes wait for its gradients

    @property
    def best_network(self) -> nn.Module:
        """The averaged network if there is one, otherwise the trained one."""
        return self.network if self.average is None else self.average.module

    def configure_optimizers(self) -> Any:
        training = self.config.training
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

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

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % self.config.training.accumulate == 0
        if self.average is not None and stepped:
            self.average.update_parameters(self.network)

    def landmark_errors(self) -> NDArray[np.float64]:
        """Distances in mm, (validation cases, landmarks); NaN where absent, infinite where missed."""
        network = self.best_network.eval()
        errors = np.full((len(self.validation), self.landmarks), np.nan)
        for row, case in enumerate(self.validation):
            peaks = find_landmarks(
                network,
                _in_float32(case),
                detection_settings(self.config),
                self.landmarks,
                device=self.device,
            )
            found = np.array([peak.position for peak in peaks])
            errors[row] = np.linalg.norm(found - case.positions, axis=1)
            errors[row, np.isfinite(case.positions).all(axis=1) & np.isnan(found).any(axis=1)] = np.inf
        self.network.train()
        return errors

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        training = self.config.training
        total = training.epochs * training.steps_per_epoch
        warm = min(1.0, (step + 1) / training.warmup)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    def _blend(self, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        """Exponential average that follows quickly at first."""
        count = float(updates)
        decay = min(self.config.training.ema, (1 + count) / (10 + count))
        return torch.lerp(average, current, 1 - decay)


def network_settings(config: TrainingConfig, landmarks: int) -> VNetSettings:
    """The V-Net of a configuration."""
    network = config.network
    return VNetSettings(
        classes=landmarks + 1, channels=network.channels, blocks=network.blocks, groups=network.groups
    )


def detection_settings(config: TrainingConfig) -> DenseSettings:
    """The engine's settings: windows as large as the crops that the network was trained on."""
    return DenseSettings(
        window=config.sampling.crop,
        overlap=config.detection.overlap,
        threshold=config.detection.threshold,
        uncertain=config.detection.uncertain,
        padding=config.sampling.padding,
    )


def _in_float32(case: PreparedCase) -> Any:
    from LandmarkDetectionLib.data.volume import Volume

    volume = case.volume()
    return Volume(voxels=np.asarray(volume.voxels, dtype=np.float32), frame=volume.frame)

"""The dense engine as a training run sees it: one network, and the bundle that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import mean_shape
from LandmarkDetectionLib.detection.calibrate import calibrate
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.training.checkpoints import load_best, measured
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.dense.crops import CropDataset
from LandmarkDetectionLib.training.dense.module import DenseTraining, detection_settings
from LandmarkDetectionLib.training.prepared_data import CasesProgress, prepare
from LandmarkDetectionLib.training.stage import Stage

_CAP_VOXELS = 10


class DenseEngine:
    """Trains a V-Net and exports it."""

    def __init__(self, config: DenseConfig, progress: CasesProgress = iter) -> None:
        self.config = config
        self.preparation = Preparation(config.image.spacing, config.image.as_normaliser())
        self.data = prepare(config, self.preparation, progress)
        self.cap = _CAP_VOXELS * config.image.spacing

    @property
    def data_digest(self) -> str:
        return self.data.digest

    def stages(self) -> tuple[Stage, ...]:
        samples = CropDataset(self.data.training, self.data.table, self.config)
        return (Stage("", self._module(), samples, self.config.training.batch, self.cap),)

    def bundle(self, run: Path, device: torch.device) -> tuple[Bundle, Mapping[str, Tensor]]:
        module = load_best(self._module(), run).to(device)
        errors = module.landmark_errors()
        settings, network = detection_settings(self.config), self.config.network
        bundle = Bundle(
            name=self.config.name,
            engine=self.config.engine,
            table=self.data.table,
            preparation=self.preparation,
            network={
                "channels": list(network.channels),
                "blocks": list(network.blocks),
                "groups": network.groups,
            },
            detection={
                "window": list(settings.window),
                "overlap": settings.overlap,
                "threshold": settings.threshold,
                "uncertain": settings.uncertain,
                "padding": settings.padding,
            },
            mean_shape=mean_shape(np.stack([case.positions for case in self.data.training])),
            calibration=calibrate(self.data.table.names, np.where(np.isfinite(errors), errors, np.nan)),
            training_data=self.data.described(),
            metrics={"validation": measured(errors, self.cap)} if len(errors) else {},
            software=f"LandmarkDetection {__version__}",
        )
        return bundle, module.best_network.state_dict()

    def _module(self) -> DenseTraining:
        return DenseTraining(self.config, len(self.data.table), self.data.validation)

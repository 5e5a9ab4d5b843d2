"""The dense engine as a training run sees it: one network, and the bundle that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel, learn_shape
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.model.vnet import VNet
from LandmarkDetectionLib.training.base import base_of
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.cases.coarser import coarser_looks
from LandmarkDetectionLib.training.cases.prepared_data import prepare
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.dense.crops import CropDataset
from LandmarkDetectionLib.training.dense.known import keys_of
from LandmarkDetectionLib.training.dense.module import DenseTraining, detection_settings, network_settings
from LandmarkDetectionLib.training.running.checkpoints import load_best
from LandmarkDetectionLib.training.running.outcomes import Outcome, calibration_of, figures_of, tabulate
from LandmarkDetectionLib.training.running.stage import Stage
from LandmarkDetectionLib.training.running.tracking import VALIDATING, Track, untracked

_CAP_VOXELS = 10


class DenseEngine:
    """Trains a V-Net and exports it."""

    def __init__(self, config: DenseConfig, track: Track = untracked) -> None:
        self.config = config
        self.base = base_of(config, keys_of)
        self.preparation = Preparation(config.image.spacing, config.image.as_normaliser())
        self.data = prepare(config, self.preparation, track)
        self.cap = _CAP_VOXELS * config.image.spacing

    @property
    def data_digest(self) -> str:
        return self.data.digest if self.base is None else f"{self.data.digest} from {self.base.digest}"

    @property
    def held_out(self) -> tuple[PreparedCase, ...]:
        return self.data.validation

    def stages(self, run: Path) -> Iterator[Stage]:
        samples = CropDataset(self.data.training, self.data.table, self.config)
        yield Stage("", self._module(), samples, self.config.training.batch, self.cap)

    def validate(self, run: Path, device: torch.device, track: Track = untracked) -> pd.DataFrame:
        module = load_best(self._module(), run).to(device)
        outcomes = []
        for case in track(self.data.validation, VALIDATING) if self.data.validation else ():
            scan = case.whole_volume()
            outcomes.append(self._outcome(case, module.positions_in(scan)))
            for coarseness, (coarse,) in coarser_looks([scan], scan, self.preparation.normaliser):
                outcomes.append(self._outcome(case, module.positions_in(coarse), coarseness))
        return tabulate(outcomes, self.data.table.names)

    def bundle(self, run: Path, outcomes: pd.DataFrame) -> tuple[Bundle, Mapping[str, Tensor]]:
        module = load_best(self._module(), run)
        settings, network, names = detection_settings(self.config), self.config.network, self.data.table.names
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
            shape=self._shape(names),
            calibration=calibration_of(outcomes, names, settings.uncertain),
            training_data=self.data.described() | (self.base.described() if self.base else {}),
            metrics={"validation": figures_of(outcomes, names, self.cap, found=settings.threshold)},
            software=f"LandmarkDetection {__version__}",
        )
        return bundle, module.best_network.state_dict()

    def _module(self) -> DenseTraining:
        network = VNet(network_settings(self.config, len(self.data.table)))
        if self.base is not None:
            self.base.carry_into(network, self.data.table.names)
        return DenseTraining(network, self.config, self.data.validation)

    def _shape(self, names: Sequence[str]) -> ShapeModel:
        shapes = np.stack([case.positions for case in self.data.training])
        return learn_shape(shapes) if self.base is None else self.base.shape_for(shapes, names)[0]

    def _outcome(self, case: PreparedCase, positions: NDArray[np.float64], coarseness: int = 1) -> Outcome:
        """What was found in a case; the engine tells neither spreads nor whether a landmark is there."""
        nothing = np.full(len(positions), np.nan)
        return Outcome(
            case=case.name,
            truth=case.positions,
            known=case.known,
            positions=positions,
            frame=case.frame,
            spreads=nothing,
            presences=nothing,
            misfits=nothing,
            resolution=self.preparation.resolution_of(case.scanned, coarseness),
            coarseness=coarseness,
        )

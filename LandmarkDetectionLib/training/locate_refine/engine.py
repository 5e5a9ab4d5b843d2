"""The locate-refine engine as a training run sees it: two networks, and the bundle that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.files import write_text
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import mean_shape
from LandmarkDetectionLib.detection.calibrate import calibrate, fit_presence
from LandmarkDetectionLib.detection.locate import LocateSettings
from LandmarkDetectionLib.detection.locate_refine import Chain, LocateRefineSettings
from LandmarkDetectionLib.detection.refine import RefineSettings
from LandmarkDetectionLib.model.bundle import Bundle, Calibration
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.training.checkpoints import load_best, measured
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.modules import LocateTraining, RefineTraining
from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
from LandmarkDetectionLib.training.locate_refine.validation import Outcome, validate
from LandmarkDetectionLib.training.prepared_data import CasesProgress, prepare
from LandmarkDetectionLib.training.stage import Stage

Array = NDArray[np.float64]

_CAP_VOXELS = 10
_LARGEST_WINDOW = 128
_WIDER = 1.5
"""Than landmarks really deviate: the first guess of an expectation that leaves a say to the image."""


class LocateRefineEngine:
    """Trains the coarse and the fine network, and exports them as one bundle."""

    def __init__(self, config: LocateRefineConfig, progress: CasesProgress = iter) -> None:
        self.config = config
        normaliser = config.image.as_normaliser()
        self.preparation = Preparation(config.image.spacing, normaliser)
        self.fine = prepare(config, self.preparation, progress)
        self.coarse = prepare(config, Preparation(config.locate.spacing, normaliser), progress)
        self.table = self.fine.table
        shape = mean_shape(np.stack([case.positions for case in self.fine.training]))
        self.chain = Chain.of(detection_settings(config), self.table, shape)

    @property
    def data_digest(self) -> str:
        return self.fine.digest

    def stages(self) -> tuple[Stage, ...]:
        config, seed = self.config, self.config.training.seed
        return (
            Stage(
                "locate",
                self._locate(),
                LocateSamples(self.coarse.training, self.table, config.locate, seed),
                config.locate.batch,
                _CAP_VOXELS * config.locate.spacing,
            ),
            Stage(
                "refine",
                self._refine(),
                RefineSamples(self.fine.training, self.table, self.chain.shape, config.refine, seed),
                config.training.batch,
                _CAP_VOXELS * config.refine.spacing,
            ),
        )

    def bundle(self, run: Path, device: torch.device) -> tuple[Bundle, Mapping[str, Tensor]]:
        locate = load_best(self._locate(), run / "locate").to(device).best_network.eval()
        refine = load_best(self._refine(), run / "refine").to(device).best_network.eval()
        assert isinstance(locate, LocateNetwork)
        assert isinstance(refine, RefineNetwork)
        cases = list(zip(self.coarse.validation, self.fine.validation, strict=True))
        outcomes = validate(self.chain, locate, refine, cases, device, self.config.training.seed)
        write_text(run / "validation.csv", tabulate(outcomes, self.table.names).to_csv(index=False))
        uncut = np.array([outcome.errors for outcome in outcomes if not outcome.cut])
        bundle = Bundle(
            name=self.config.name,
            engine=self.config.engine,
            table=self.table,
            preparation=self.preparation,
            network={
                "locate": {"channels": list(self.config.locate.channels), "reduction": 2},
                "refine": {"channels": list(self.config.refine.channels)},
            },
            detection=self.chain.settings.as_numbers(),
            mean_shape=self.chain.shape,
            calibration=calibration_of(outcomes, self.table.names),
            training_data=self.fine.described(),
            metrics={"validation": measured(uncut, _CAP_VOXELS * self.config.image.spacing)}
            if outcomes
            else {},
            software=f"LandmarkDetection {__version__}",
        )
        weights = {
            **{f"locate.{name}": value for name, value in locate.state_dict().items()},
            **{f"refine.{name}": value for name, value in refine.state_dict().items()},
        }
        return bundle, weights

    def _locate(self) -> LocateTraining:
        network = LocateNetwork(locate_network(self.config), len(self.table))
        return LocateTraining(network, self.config, self.coarse.validation, self.chain)

    def _refine(self) -> RefineTraining:
        config = self.config.refine
        expected = _WIDER * config.deviation / config.spacing
        network = RefineNetwork(refine_network(self.config), len(self.table), deviation=expected)
        return RefineTraining(network, self.config, self.fine.validation, self.chain)


def locate_network(config: LocateRefineConfig) -> UNetSettings:
    """The coarse U-Net of a configuration."""
    return UNetSettings(channels=config.locate.channels, reduction=2)


def refine_network(config: LocateRefineConfig) -> UNetSettings:
    """The fine U-Net of a configuration."""
    return UNetSettings(channels=config.refine.channels)


def detection_settings(config: LocateRefineConfig) -> LocateRefineSettings:
    """The engine's settings."""
    window = max(_LARGEST_WINDOW, config.locate.field)
    return LocateRefineSettings(
        locate=LocateSettings(spacing=config.locate.spacing, window=window),
        refine=RefineSettings(spacing=config.refine.spacing, window=config.refine.window),
        **config.detection.model_dump(),
    )


def calibration_of(outcomes: Sequence[Outcome], names: Sequence[str]) -> Calibration | None:
    """Radii from the scans as they are, presence from the cut ones too."""
    judged = [outcome.inside & outcome.known & np.isfinite(outcome.presences) for outcome in outcomes]
    if not outcomes:
        return None
    logits = np.concatenate([out.presences[row] for out, row in zip(outcomes, judged, strict=True)])
    present = np.concatenate([out.present[row] for out, row in zip(outcomes, judged, strict=True)])
    uncut = [outcome for outcome in outcomes if not outcome.cut]
    errors = np.array([outcome.errors for outcome in uncut])
    return calibrate(
        names,
        np.where(np.isfinite(errors), errors, np.nan),
        spreads=np.array([outcome.spreads for outcome in uncut]),
        presence=fit_presence(logits, present),
    )


def tabulate(outcomes: Sequence[Outcome], names: Sequence[str]) -> pd.DataFrame:
    """A row for each landmark of each scan."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        for row in np.flatnonzero(outcome.known).tolist():
            rows.append(
                {
                    "case": outcome.case,
                    "cut": outcome.cut,
                    "landmark": names[row],
                    "present": bool(outcome.present[row]),
                    "inside": bool(outcome.inside[row]),
                    "error_mm": outcome.errors[row],
                    "spread_mm": outcome.spreads[row],
                    "presence_logit": outcome.presences[row],
                }
            )
    return pd.DataFrame(rows)

"""The locate-refine engine as a training run sees it: two networks, and the bundle that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.constellation import Constellation, moving_parts
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import common_points
from LandmarkDetectionLib.data.shape_model import learn_shape
from LandmarkDetectionLib.detection.locate import LocateSettings
from LandmarkDetectionLib.detection.locate_refine import MIDLINE, Chain, LocateRefineSettings
from LandmarkDetectionLib.detection.refine import RefineSettings
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.training.base import base_of
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.cases.prepared_data import prepare
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.known import KnownLooks, keys_of
from LandmarkDetectionLib.training.locate_refine.modules import LocateTraining, RefineTraining
from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
from LandmarkDetectionLib.training.locate_refine.validation import validate
from LandmarkDetectionLib.training.running.checkpoints import epochs_done, load_best
from LandmarkDetectionLib.training.running.outcomes import calibration_of, figures_of, tabulate
from LandmarkDetectionLib.training.running.processes import started_processes
from LandmarkDetectionLib.training.running.stage import Stage
from LandmarkDetectionLib.training.running.tracking import Track, untracked

Array = NDArray[np.float64]

_CAP_VOXELS = 10
_SMALLEST_WINDOW = 128
_WIDER = 1.5
"""Than landmarks really deviate: the first guess of an expectation that leaves a say to the image."""


class LocateRefineEngine:
    """Trains the coarse and the fine network, and exports them as one bundle."""

    def __init__(self, config: LocateRefineConfig, track: Track = untracked) -> None:
        self.config = config
        self.base = base_of(config, keys_of)
        normaliser = config.image.as_normaliser()
        self.preparation = Preparation(config.image.spacing, normaliser)
        self.fine = prepare(config, self.preparation, track)
        self.coarse = prepare(config, Preparation(config.locate.spacing, normaliser), track)
        self.table = self.fine.table
        shapes = np.stack([case.positions for case in self.fine.training])
        self.shape, kept = learn_shape(shapes), False
        if self.base is not None:
            self.shape, kept = self.base.shape_for(shapes, self.table.names)
        constellation = Constellation.of(self.shape.mean, config.detection.tolerance)
        shown = [shape for shape in shapes if constellation.is_shown_by(shape)]
        if not shown:
            raise InputError(
                f"{config.data.train}: no scan shows enough of the landmarks to tell how they lie to each "
                "other; annotate more of them in one scan."
            )
        groups = [landmark.group for landmark in self.table.landmarks]
        parts = moving_parts(shapes, constellation, groups, config.detection.tolerance)
        settings = replace(detection_settings(config, shown, constellation), parts=parts)
        if self.base is not None and kept:
            settings = _as_wide_as(settings, self.base.bundle)
        self.chain = Chain.of(settings, self.table, constellation)

    @property
    def data_digest(self) -> str:
        return self.fine.digest if self.base is None else f"{self.fine.digest} from {self.base.digest}"

    @property
    def held_out(self) -> tuple[PreparedCase, ...]:
        return self.fine.validation

    def stages(self, run: Path) -> Iterator[Stage]:
        config, seed = self.config, self.config.training.seed
        yield Stage(
            "locate",
            self._locate(),
            LocateSamples(
                self.coarse.training,
                self.table,
                self.chain.constellation,
                config.locate,
                seed,
                planned=self._turning_samples(),
                midline=MIDLINE * config.refine.spacing,
            ),
            config.locate.batch,
            _CAP_VOXELS * config.locate.spacing,
        )
        yield Stage(
            "refine",
            self._refine(config.refine_epochs(epochs_done(run / "locate"))),
            RefineSamples(self.fine.training, self.table, self.chain.constellation, config.refine, seed),
            config.training.batch,
            _CAP_VOXELS * config.refine.spacing,
        )

    def validate(self, run: Path, device: torch.device, track: Track = untracked) -> pd.DataFrame:
        locate, refine = self._best(run)
        cases = list(zip(self.coarse.validation, self.fine.validation, strict=True))
        outcomes = validate(
            self.chain,
            locate.to(device),
            refine.to(device),
            cases,
            device,
            shape_model=self.shape,
            preparation=self.preparation,
            seed=self.config.training.seed,
            track=track,
        )
        return tabulate(outcomes, self.table.names)

    def bundle(self, run: Path, outcomes: pd.DataFrame) -> tuple[Bundle, Mapping[str, Tensor]]:
        config, names = self.config, self.table.names
        bundle = Bundle(
            name=config.name,
            engine=config.engine,
            table=self.table,
            preparation=self.preparation,
            network={
                "locate": asdict(config.locate.network),
                "refine": asdict(config.refine.network),
            },
            detection=self.chain.settings.as_numbers(),
            shape=self.shape,
            calibration=calibration_of(outcomes, names, config.detection.uncertain),
            training_data=self.fine.described() | (self.base.described() if self.base else {}),
            metrics={
                "validation": figures_of(
                    outcomes, names, _CAP_VOXELS * config.image.spacing, found=config.detection.found
                )
            },
            software=f"LandmarkDetection {__version__}",
        )
        locate, refine = self._best(run)
        weights = {
            **{f"locate.{name}": value.half() for name, value in locate.state_dict().items()},
            **{f"refine.{name}": value.half() for name, value in refine.state_dict().items()},
        }
        return bundle, weights

    def _turning_samples(self) -> int:
        """In which locate is taught step by step how far fields are turned; one where its model knows it."""
        locate, training = self.config.locate, self.config.training
        if self.base is not None and KnownLooks.of(self.base.bundle).rotation >= locate.augmentation.rotation:
            return 1
        here, machines = started_processes()
        steps = self.config.locate_epochs * training.steps_per_epoch
        return steps * training.accumulate * locate.batch * here * machines

    def _best(self, run: Path) -> tuple[LocateNetwork, RefineNetwork]:
        """The best networks, in evaluation mode, as exact as a bundle holds them."""
        locate = load_best(self._locate(), run / "locate").best_network.eval().half().float()
        refine = load_best(self._refine(epochs=1), run / "refine").best_network.eval().half().float()
        return locate, refine

    def _locate(self) -> LocateTraining:
        network = LocateNetwork(self.config.locate.network, len(self.table))
        if self.base is not None:
            self.base.carry_into(network, self.table.names, "locate.")
        return LocateTraining(network, self.config, self.coarse.validation, self.chain)

    def _refine(self, epochs: int) -> RefineTraining:
        config = self.config.refine
        expected = _WIDER * config.deviation / config.spacing
        torch.manual_seed(self.config.training.seed)  # whatever locate has drawn, and wherever it was stopped
        network = RefineNetwork(config.network, len(self.table), deviation=expected)
        if self.base is not None:
            self.base.carry_into(network, self.table.names, "refine.")
        return RefineTraining(network, self.config, epochs, self.fine.validation, self.chain)


def _as_wide_as(settings: LocateRefineSettings, bundle: Bundle) -> LocateRefineSettings:
    """The settings, with sizes that a model of the same mean shape allows."""
    known = LocateRefineSettings.from_numbers(bundle.detection)
    return replace(
        settings,
        smallest=min(settings.smallest, known.smallest),
        largest=max(settings.largest, known.largest),
    )


def detection_settings(
    config: LocateRefineConfig, shapes: Sequence[Array], constellation: Constellation
) -> LocateRefineSettings:
    """The engine's settings, with the sizes that the training cases have which show most of the anatomy."""
    window = max(_SMALLEST_WINDOW, config.locate.field)
    common = [common_points(shape, constellation.shape) for shape in shapes]
    sizes = [
        constellation.pose_in(shape).scale
        for shape, count in zip(shapes, common, strict=True)
        if count >= max(common) / 2
    ]
    return LocateRefineSettings(
        locate=LocateSettings(
            spacing=config.locate.spacing, window=window, taught=config.locate.augmentation.rotation
        ),
        refine=RefineSettings(spacing=config.refine.spacing, window=config.refine.window),
        smallest=min(sizes),
        largest=max(sizes),
        mirrored=config.refine.augmentation.mirror > 0,
        **config.detection.model_dump(),
    )

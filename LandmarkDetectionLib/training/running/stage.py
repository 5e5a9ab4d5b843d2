"""What a training run asks of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.training.base import Base
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.running.averaging import AveragedTraining
from LandmarkDetectionLib.training.running.tracking import Track, untracked
from LandmarkDetectionLib.training.samples.shown import Samples


@dataclass(frozen=True, eq=False)
class Stage:
    """One network to train.

    Attributes:
        folder: of its checkpoints and metrics, below the run's; empty for the run's own.
        module: the network in training.
        samples: what it learns from; any number gives a sample.
        batch: samples per forward pass.
        cap: what a missed landmark, or an error beyond it, counts where epochs are compared, mm.
    """

    folder: str
    module: AveragedTraining[Any]
    samples: Samples
    batch: int
    cap: float


class Engine(Protocol):
    """An engine with the cases of a run."""

    @property
    def data_digest(self) -> str:
        """Of all cases, and of the model that it goes on from; a run goes on only with the same."""

    @property
    def base(self) -> Base | None:
        """The model that it goes on from; None where it begins anew."""

    @property
    def held_out(self) -> tuple[PreparedCase, ...]:
        """The validation cases."""

    def stages(self, run: Path) -> Iterator[Stage]:
        """The networks to train, one after the other; a later one is planned when those before have ended."""

    def validate(self, run: Path, device: torch.device, track: Track = untracked) -> pd.DataFrame:
        """What the run's best checkpoints say of the validation cases, as `outcomes.tabulate` has it."""

    def bundle(self, run: Path, outcomes: pd.DataFrame) -> tuple[Bundle, Mapping[str, Tensor]]:
        """What the run's best checkpoints become, calibrated on such outcomes, and its weights."""

"""What the training of every network shares: optimiser, schedule, averaged weights, validation by error."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.sections import TrainingSection

Array = NDArray[np.float64]
Network = TypeVar("Network", bound=nn.Module)
Tensors = tuple[Tensor, ...] | list[Tensor]


class AveragedTraining(L.LightningModule, Generic[Network]):
    """Trains a network, and keeps an exponential average of its weights, which is the better network.

    Args:
        network: to train.
        training: how.
        epochs: in all, at most.
        validation: cases that the landmark error is measured on; may be empty.

    Attributes:
        title: what a progress bar calls it.
        ends: epochs after which it ends, by what its validations have shown so far.
    """

    title = "Training"

    def __init__(
        self, network: Network, training: TrainingSection, epochs: int, validation: Sequence[PreparedCase]
    ) -> None:
        super().__init__()
        self.settings, self.epochs, self.validation = training, epochs, validation
        self.ends = epochs
        self.network: Network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=self._blend) if training.ema else None
        if self.average is not None:
            self.average.requires_grad_(False)  # or several processes wait for its gradients

    @property
    def best_network(self) -> Network:
        """The averaged network if there is one, otherwise the trained one."""
        return self.network if self.average is None else cast(Network, self.average.module)

    @property
    def validate_every(self) -> int:
        """Epochs between two validations."""
        return self.settings.validate_every

    def ends_after(self, rows: Sequence[Mapping[str, float]]) -> int:
        """Epochs after which it ends, by the table of metrics so far."""
        return self.epochs

    def outlook(self, done: int) -> int:
        """Epochs that it will likely have had in all, for a progress bar, after so many."""
        return self.ends

    def figures(self, errors: Array) -> dict[str, float]:
        """What validation tells beside the errors in mm that `landmark_errors` gives."""
        return {}

    @abstractmethod
    def landmark_positions(self) -> Array:
        """What the best network finds, (validation cases, landmarks, 3) world mm; NaN where nothing."""

    def landmark_errors(self) -> Array:
        """Distances in mm, (validation cases, landmarks); NaN where absent, infinite where missed."""
        found = self.landmark_positions()
        self.network.train()
        truth = np.array([case.positions for case in self.validation])
        apart: Array = np.linalg.norm(found - truth, axis=2)
        return np.where(np.isfinite(truth).all(axis=2) & np.isnan(apart), np.inf, apart)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % self.settings.accumulate == 0
        if self.average is not None and stepped:
            self.average.update_parameters(self.network)

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        steps = self.epochs * self.settings.steps_per_epoch
        warm = min(1.0, (step + 1) / self.settings.warmup)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    def _blend(self, averages: Tensors, current: Tensors, updates: Tensor | int) -> None:
        """Exponential average that follows quickly at first; a GPU's count of updates stays there."""
        count = torch.as_tensor(updates)
        decay = torch.clamp((1 + count) / (10 + count), max=self.settings.ema)
        steps = torch._foreach_sub(current, averages)
        torch._foreach_mul_(steps, 1 - decay)
        torch._foreach_add_(averages, steps)

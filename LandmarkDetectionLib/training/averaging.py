"""What the training of every network shares: the optimiser, its schedule, and the averaged weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


@dataclass(frozen=True)
class Schedule:
    """How the weights are moved.

    Attributes:
        steps: of the optimiser, in all.
        learning_rate: the peak of a half cosine, after a linear warm-up.
        warmup: steps.
        weight_decay: of AdamW.
        accumulate: batches per step.
        ema: decay of the averaged weights; 0 does not average.
    """

    steps: int
    learning_rate: float
    warmup: int
    weight_decay: float
    accumulate: int
    ema: float


class AveragedTraining(L.LightningModule):
    """Trains a network, and keeps an exponential average of its weights, which is the better network.

    Args:
        network: to train.
        schedule: how.
    """

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, avg_fn=self._blend) if schedule.ema else None
        if self.average is not None:
            self.average.requires_grad_(False)  # or several processes wait for its gradients

    @property
    def best_network(self) -> nn.Module:
        """The averaged network if there is one, otherwise the trained one."""
        best: nn.Module = self.network if self.average is None else self.average.module
        return best

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.schedule.learning_rate, weight_decay=self.schedule.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = (batch_idx + 1) % self.schedule.accumulate == 0
        if self.average is not None and stepped:
            self.average.update_parameters(self.network)

    def _rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        warm = min(1.0, (step + 1) / self.schedule.warmup)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.schedule.steps)))

    def _blend(self, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        """Exponential average that follows quickly at first."""
        count = float(updates)
        decay = min(self.schedule.ema, (1 + count) / (10 + count))
        return torch.lerp(average, current, 1 - decay)

"""The progress bar of a training run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import lightning as L

from LandmarkDetectionLib.training.running.averaging import AveragedTraining
from train_cli.console import Advance, Console


class TrainingBar(L.Callback):
    """Shows steps, time left, the loss and the latest validation error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stack = ExitStack()
        self._advance: Advance | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            title = getattr(pl_module, "title", "Training")
            if trainer.current_epoch:
                self._console.say(f"{title}: goes on from the end of epoch {trainer.current_epoch}.")
            self._advance = self._stack.enter_context(self._console.progress(title))
            self._show(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stack.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._stack.close()

    def _show(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._advance is None:
            return
        assert isinstance(module, AveragedTraining)
        epochs = module.outlook(trainer.current_epoch)
        steps = int(trainer.num_training_batches) // trainer.accumulate_grad_batches
        metrics = trainer.callback_metrics
        shown = [f"epoch {trainer.current_epoch + 1}/{epochs}"]
        if "train_loss" in metrics:
            shown.append(f"loss {metrics['train_loss']:.3f}")
        if "val_median_mm" in metrics:
            shown.append(f"median error {metrics['val_median_mm']:.3g} mm")
        self._advance(trainer.global_step, steps * epochs, ", ".join(shown))

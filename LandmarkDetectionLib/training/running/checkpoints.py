"""Validation, checkpoints and the table of metrics, once an epoch."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import replacing, write_text
from LandmarkDetectionLib.training.running.averaging import AveragedTraining

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"

_log = logging.getLogger(__name__)
Module = TypeVar("Module", bound=AveragedTraining[Any])


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its name and renames it: a killed process leaves a whole one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        with replacing(Path(path)) as temporary, temporary.open("wb") as stream:
            # A stream: the writer that torch has for paths ends the process where the disk is full.
            torch.save(checkpoint, stream)


class EpochEnd(Checkpoint):
    """Validates by landmark error, keeps `last.ckpt` and `best.ckpt`, writes `metrics.csv`, stops early.

    Its state travels in the checkpoint, so a resumed run continues where the checkpoint was written.

    Args:
        folder: where they lie: of the run, or of one of its stages.
        cap: what a missed landmark, or an error beyond it, counts in the score, mm.
        data: digest of all cases, and of the model that it goes on from; a run goes on only with the same.

    Attributes:
        trained: whether an epoch has been trained since this was made.
    """

    def __init__(self, folder: Path, cap: float, data: str) -> None:
        super().__init__()
        self.folder = folder
        self.cap = cap
        self.data = data
        self.trained = False
        self.rows: list[dict[str, float]] = []
        self.best_score = float("inf")
        self.without_improvement = 0
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "best_score": self.best_score,
            "without_improvement": self.without_improvement,
            "stopped": self.stopped,
            "data": self.data,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("data") != self.data:
            raise InputError(
                f"{self.folder}: the cases have changed since this run was started, or the model that it "
                "goes on from; give another --output to train with them as they are now."
            )
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AveragedTraining)
        pl_module.ends = pl_module.ends_after(self.rows)
        trainer.should_stop = self.stopped

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, AveragedTraining)
        self.trained = True
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "step": float(trainer.global_step),
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "train_loss": float(trainer.callback_metrics["train_loss"]),
        }
        if not trainer.strategy.reduce_boolean_decision(bool(np.isfinite(row["train_loss"]))):
            raise InputError(
                f"{self.folder}: the loss is {row['train_loss']} after epoch {row['epoch']:.0f}, the network "
                "learns nothing any more; set training.learning_rate lower, or training.precision to 'off'."
            )
        training = pl_module.settings
        done = trainer.current_epoch + 1
        improved = not pl_module.validation
        if pl_module.validation and (done >= pl_module.ends or done % pl_module.validate_every == 0):
            row |= self._validate(trainer, pl_module)
            improved = row["val_score"] < self.best_score
            self.best_score = min(self.best_score, row["val_score"])
            self.without_improvement = 0 if improved else self.without_improvement + 1
            self.stopped = 0 < training.patience <= self.without_improvement
        self.rows.append(row)
        pl_module.ends = pl_module.ends_after(self.rows)
        self.stopped = self.stopped or done >= pl_module.ends
        trainer.should_stop = trainer.should_stop or self.stopped
        if trainer.logger is not None:
            trainer.logger.log_metrics(row, step=trainer.global_step)
        self._save(trainer, improved)

    def _validate(self, trainer: L.Trainer, module: AveragedTraining[Any]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if trainer.is_global_zero:
            errors = module.landmark_errors()
            metrics = summarise(errors, self.cap) | module.figures(errors)
        shared: dict[str, float] = trainer.strategy.broadcast(metrics)
        return shared

    def _save(self, trainer: L.Trainer, improved: bool) -> None:
        folder = self.folder / "checkpoints"
        if improved:
            trainer.save_checkpoint(folder / "best.ckpt")
        if trainer.is_global_zero and (folder / LAST).is_file():
            (folder / LAST).replace(self.folder / PREVIOUS)
        trainer.save_checkpoint(folder / LAST)
        if trainer.is_global_zero:
            write_text(self.folder / "metrics.csv", pd.DataFrame(self.rows).to_csv(index=False))


def summarise(errors: NDArray[np.float64], cap: float) -> dict[str, float]:
    """Validation figures: mean and median of the found, share found, and the capped mean that ranks epochs.

    Args:
        errors: distances in mm; NaN where there is nothing to find, infinite where missed.
        cap: the largest error that counts, mm.
    """
    expected = errors[~np.isnan(errors)]
    found = expected[np.isfinite(expected)]
    return {
        "val_mre_mm": float(found.mean()) if len(found) else float("nan"),
        "val_median_mm": float(np.median(found)) if len(found) else float("nan"),
        "val_found": len(found) / max(len(expected), 1),
        "val_score": float(np.minimum(expected, cap).mean()) if len(expected) else float("nan"),
    }


def measured(errors: NDArray[np.float64], cap: float) -> dict[str, float | None]:
    """`summarise` as JSON has it: None where nothing was found."""
    return {name: value if np.isfinite(value) else None for name, value in summarise(errors, cap).items()}


def newest_whole(folder: Path) -> Path | None:
    """The checkpoint to go on from: the last, or the one before where the last is damaged; None if none.

    Args:
        folder: of the run, or of one of its stages.

    Raises:
        InputError: if there are checkpoints, and none is whole.
    """
    last, previous = folder / "checkpoints" / LAST, folder / PREVIOUS
    if not (last.is_file() or previous.is_file()):
        return None
    if _is_whole(last):
        return last
    if not _is_whole(previous):
        raise InputError(
            f"{last}: the checkpoint is damaged, and there is no whole one before it; "
            f"{_to_train_anew(folder)}."
        )
    _log.warning("%s is damaged or missing: the training goes on from the epoch before.", last)
    return previous


def _to_train_anew(folder: Path) -> str:
    return f"delete {folder / 'checkpoints'} and {folder / PREVIOUS} to train this network anew"


def _is_whole(checkpoint: Path) -> bool:
    """Whether every part of a checkpoint is there and has its checksum."""
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError):
        return False


def epochs_done(folder: Path) -> int:
    """Epochs that a training has behind it, by the last checkpoint in a folder of a run; 0 without one."""
    newest = newest_whole(folder)
    if newest is None:
        return 0
    return int(torch.load(newest, map_location="cpu", weights_only=False, mmap=True)["epoch"]) + 1


def load_best(module: Module, folder: Path) -> Module:
    """The module with the weights of the best checkpoint in a folder of a run.

    Raises:
        InputError: if the checkpoint is damaged or missing.
    """
    best = folder / "checkpoints" / "best.ckpt"
    if not _is_whole(best):
        raise InputError(f"{best}: the checkpoint is damaged or missing; {_to_train_anew(folder)}.")
    checkpoint = torch.load(best, map_location="cpu", weights_only=False)
    module.load_state_dict(checkpoint["state_dict"])
    return module

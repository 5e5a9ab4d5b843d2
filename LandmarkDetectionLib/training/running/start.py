"""What a training asks for: one model, one part of a cross-validation, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.training.cases.folds import Fold
from LandmarkDetectionLib.training.config import read_config
from LandmarkDetectionLib.training.running.cross_validation import cross_validate, train_part
from LandmarkDetectionLib.training.running.loop import train
from LandmarkDetectionLib.training.running.tracking import Track, untracked


def start_training(
    config: Path,
    run: Path,
    *,
    fold: str | None,
    folds: int | None,
    changes: Sequence[str],
    seed: int | None,
    base: Path | None = None,
    device: torch.device,
    callbacks: Sequence[L.Callback] = (),
    track: Track = untracked,
) -> Path:
    """Train by a configuration file, or go on where such a training was interrupted.

    Args:
        config: the file that `plan` wrote.
        run: the run folder.
        fold: `k/n` trains one model without the k-th of n parts; with `folds`, `k` alone trains that part of
            the cross-validation.
        folds: cross-validate in so many parts, then train on all cases; None trains one model.
        changes: of the configuration, `section.key=value` with values in YAML.
        seed: instead of the configuration's, if any.
        base: the folder of a model to go on from.
        device: where to train.
        callbacks: Lightning callbacks, for progress bars.
        track: shows how far along the cases are.

    Returns:
        The bundle's folder.

    Raises:
        InputError: if fold, configuration, changes or data are wrong, or as `train`.
    """
    part = None if fold is None or folds is None else Fold.part_of(folds, fold)
    changes = [*changes, *([] if fold is None or part else [_left_out(fold)])]
    if seed is not None:
        changes.append(f"training.seed={seed}")
    settings = read_config(config, tuple(changes), base)
    if folds is None:
        return train(settings, run, device=device, callbacks=callbacks, track=track)
    if part is None:
        return cross_validate(settings, run, folds, device=device, callbacks=callbacks, track=track)
    return train_part(settings, run, part, device=device, callbacks=callbacks, track=track)


def _left_out(fold: str) -> str:
    """The change of a configuration that leaves out a part."""
    if fold.isdigit():
        raise InputError(
            f"--fold {fold}: of how many? Add --folds N, or write {fold}/N for a run of this part alone."
        )
    return f"data.fold='{Fold.parse(fold)}'"

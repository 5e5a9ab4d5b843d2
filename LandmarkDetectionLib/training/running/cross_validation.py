"""A model of all cases that knows how good it is: cross-validation first, then one run on everything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import pandas as pd
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.training.cases.folds import Fold
from LandmarkDetectionLib.training.engines import engine_for
from LandmarkDetectionLib.training.running.loop import (
    VALIDATION,
    check_run_folder,
    is_distributed,
    is_first_process,
    train,
    warn_of_seen_cases,
)
from LandmarkDetectionLib.training.running.outcomes import read_outcomes
from LandmarkDetectionLib.training.running.run_lock import locked
from LandmarkDetectionLib.training.running.tracking import Track, untracked
from LandmarkDetectionLib.training.sections import TrainingConfig


def cross_validate(
    config: TrainingConfig,
    run: Path,
    folds: int,
    *,
    device: torch.device,
    callbacks: Sequence[L.Callback] = (),
    track: Track = untracked,
) -> Path:
    """Train on all but a part of the cases, for each part; then on all, calibrated on what was left out.

    The parts are those of `data.fold`: cases of one group stay together. What is left out is looked at when
    a training has ended, and chooses nothing. Parts that `train_part` has trained are not trained again.

    Args:
        config: what to do; has neither validation cases nor a fold of its own.
        run: the run folder; holds `fold-1` and so on, run folders too, beside what every run folder holds.
        folds: how many parts.
        device: where to train.
        callbacks: Lightning callbacks, for progress bars.
        track: shows how far along the cases are.

    Returns:
        The bundle's folder, `RUN/model`.

    Raises:
        InputError: as `train`, or if the configuration has validation cases, or several processes are to
            train parts that are not trained yet.
    """
    parts = _parts(config, run, folds)
    missing = [folder.name for folder in parts if not (folder / VALIDATION).is_file()]
    if missing and is_distributed():
        raise InputError(
            f"--folds {folds}: several processes do not train part after part; train {', '.join(missing)} "
            "first, each with --fold and its number added to this command, or start it without torchrun."
        )
    engines = [engine_for(part, track) for part in parts.values()]  # what cannot be trained is known at once
    warn_of_seen_cases(engines)
    outcomes = []
    with locked(run) if is_first_process() else nullcontext():
        for folder, part in parts.items():
            train(part, folder, device=device, callbacks=callbacks, track=track, look_again=False)
            outcomes.append(read_outcomes(folder / VALIDATION))
        everything = pd.concat(outcomes)
        return train(config, run, device=device, callbacks=callbacks, track=track, outcomes=everything)


def train_part(
    config: TrainingConfig,
    run: Path,
    fold: Fold,
    *,
    device: torch.device,
    callbacks: Sequence[L.Callback] = (),
    track: Track = untracked,
) -> Path:
    """Train one part of `cross_validate`, in its folder and with its settings, beside those of the others.

    Args:
        config: what `cross_validate` is given.
        run: the same.
        fold: the part.
        device: where to train; under torchrun or Slurm, one process a GPU.
        callbacks: Lightning callbacks, for progress bars.
        track: shows how far along the cases are.

    Returns:
        The bundle's folder, `RUN/fold-k/model`.

    Raises:
        InputError: as `train`, or if the configuration has validation cases.
    """
    folder, part = list(_parts(config, run, fold.count).items())[fold.number - 1]
    return train(part, folder, device=device, callbacks=callbacks, track=track)


def _parts(config: TrainingConfig, run: Path, folds: int) -> dict[Path, TrainingConfig]:
    """Folders and configurations of all parts of a run; refuses folders of other runs."""
    if config.data.val is not None or config.data.fold is not None:
        raise InputError(
            "--folds: the configuration has validation cases already; set data.val=null and data.fold=null."
        )
    every = [Fold(number, folds) for number in range(1, folds + 1)]
    parts = {run / f"fold-{fold.number}": _configuration_of(fold, config) for fold in every}
    for folder, part in {run: config, **parts}.items():
        check_run_folder(part, folder)
    return parts


def _configuration_of(fold: Fold, config: TrainingConfig) -> TrainingConfig:
    """Of one part: validated once, at the end of each stage."""
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"fold": str(fold)}),
            "training": config.training.model_copy(
                update={"validate_every": config.training.epochs, "patience": 0}
            ),
        }
    )

"""A model of all cases that knows how good it is: cross-validation first, then one run on everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import pandas as pd
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.training.engines import engine_for
from LandmarkDetectionLib.training.loop import VALIDATION, check_run_folder, is_distributed, train
from LandmarkDetectionLib.training.outcomes import read_outcomes
from LandmarkDetectionLib.training.run_lock import locked
from LandmarkDetectionLib.training.sections import TrainingConfig
from LandmarkDetectionLib.training.tracking import Track, untracked


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
    a training has ended, and chooses nothing.

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
        InputError: as `train`, or if the configuration has validation cases, or several processes train.
    """
    if config.data.val is not None or config.data.fold is not None:
        raise InputError(
            "--folds: the configuration has validation cases already; set data.val=null and data.fold=null."
        )
    if is_distributed():
        raise InputError(
            "--folds trains on one GPU: start it without torchrun, or train the parts first with --fold k/n, "
            f"--set training.validate_every={config.training.epochs}, --set training.patience=0 and "
            "--output RUN/fold-k."
        )
    parts = {run / f"fold-{number}": fold_of(config, number, folds) for number in range(1, folds + 1)}
    for folder, part in {run: config, **parts}.items():
        check_run_folder(part, folder)
    for part in parts.values():
        engine_for(part, track)  # a part that cannot be trained is known before hours have passed
    outcomes = []
    with locked(run):
        for folder, part in parts.items():
            train(part, folder, device=device, callbacks=callbacks, track=track)
            outcomes.append(read_outcomes(folder / VALIDATION))
        everything = pd.concat(outcomes)
        return train(config, run, device=device, callbacks=callbacks, track=track, outcomes=everything)


def fold_of(config: TrainingConfig, number: int, folds: int) -> TrainingConfig:
    """The configuration of one part: validated once, at the end of each stage."""
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"fold": f"{number}/{folds}"}),
            "training": config.training.model_copy(
                update={"validate_every": config.training.epochs, "patience": 0}
            ),
        }
    )

"""The commands `plan`, `train` and `evaluate` as functions: their flags are the parameters.

What a command would show as a warning is a Python warning here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LandmarkDetectionLib.api.extras import TRAINING, needing
from LandmarkDetectionLib.data.errors import InputError

if TYPE_CHECKING:
    from LandmarkDetectionLib.evaluation.metrics import Evaluation

_SEEDS = 2**32


def plan(
    train: str | PathLike[str],
    val: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str] = "config.yaml",
    engine: str | None = None,
    name: str | None = None,
    hours: float | None = None,
    base: str | PathLike[str] | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Path:
    """Measure the cases and this machine, and write a complete configuration for `train`.

    Args:
        train: CSV of the training cases.
        val: CSV of the validation cases, if there are any; they choose the best epoch.
        output: the file to write; the landmark table that is trained is written beside it.
        engine: `locate-refine` or `dense`; None takes the first, or that of `base`.
        name: of the model; None takes that of the folder of `train`.
        hours: train for at most about this long on this machine; None for as long as the data needs.
        base: the folder of a model to go on from (the flag --from): in a tenth of the steps.
        device: where it will be trained: `auto`, `cpu`, `cuda` or `cuda:i`.
        seed: of the training.

    Returns:
        The path of the configuration, in which each value has its meaning beside it, and on top why it is so.

    Raises:
        InputError: if a case cannot be read, there is nothing to learn, an argument is wrong, or the extra
            `train` is not installed.
    """
    _check("hours", hours, least=0)
    _check("seed", seed, least=0, below=_SEEDS)
    with needing("plan", TRAINING):
        from LandmarkDetectionLib.detection.devices import resolve_device
        from LandmarkDetectionLib.training.planning.plan import make_plan, write_plan
    made = make_plan(
        Path(train),
        None if val is None else Path(val),
        Path(output),
        engine=engine,
        name=name,
        device=resolve_device(device),
        hours=None if hours is None else float(hours),
        seed=int(seed),
        base=None if base is None else Path(base),
    )
    write_plan(made, Path(output))
    _warn(made.warnings)
    return Path(output)


def train(
    config: str | PathLike[str],
    *,
    output: str | PathLike[str],
    fold: int | str | None = None,
    folds: int | None = None,
    set: Mapping[str, Any] | None = None,
    base: str | PathLike[str] | None = None,
    device: str = "auto",
    seed: int | None = None,
) -> Path:
    """Train a model, or go on with a training that was stopped.

    `metrics.csv` in the run folder, and TensorBoard, say how far it is.

    Args:
        config: what `plan` wrote.
        output: the run folder.
        fold: "k/n" leaves out the k-th of n parts; with `folds`, k alone trains only this part of the run.
        folds: cross-validate in so many parts, then train on all cases.
        set: values of the configuration to change, like {"training.epochs": 100}.
        base: the folder of a model to go on from (the flag --from).
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        seed: instead of the configuration's.

    Returns:
        The folder of the model, for `load_detector`.

    Raises:
        InputError: if the data or an argument is wrong, the run folder is another run's, memory or disk space
            runs out, or the extra `train` is not installed.
    """
    _check("folds", folds, least=2)
    _check("seed", seed, least=0, below=_SEEDS)
    with needing("train", TRAINING):
        from LandmarkDetectionLib.detection.devices import resolve_device
        from LandmarkDetectionLib.model.bundle import load_bundle
        from LandmarkDetectionLib.model.doubt import doubt_of
        from LandmarkDetectionLib.training.config import as_override
        from LandmarkDetectionLib.training.running.loop import is_first_process
        from LandmarkDetectionLib.training.running.start import start_training
    model = start_training(
        Path(config),
        Path(output),
        fold=None if fold is None else str(fold),
        folds=folds,
        changes=[as_override(key, value) for key, value in (set or {}).items()],
        seed=seed,
        base=None if base is None else Path(base),
        device=resolve_device(device),
    )
    if is_first_process():
        _warn([doubt_of(load_bundle(model))])
    return model


def evaluate(
    split: str | PathLike[str],
    *,
    detections: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    radii: Sequence[float] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Compare detections with the true landmarks.

    A case that cannot be read is left out, one without detections has missed all of its landmarks; both are
    Python warnings, as are corrections by hand that are left out.

    Args:
        split: CSV of the cases and their true landmarks.
        detections: the folder with a `CASE.csv` of each case, as `detect` and `Landmarks.save` write it.
        output: where metrics.json, the tables and the plots go; None writes nothing.
        radii: of the success detection rate, mm; None takes those for the size of the anatomy.
        seed: of the confidence intervals.

    Returns:
        The comparison: `metrics`, `points`, `per_landmark()`, `per_case()`.

    Raises:
        InputError: if no case can be evaluated, a radius is not positive, the files cannot be written, or the
            extra `train` is not installed.
    """
    _check("seed", seed, least=0, below=_SEEDS)
    with needing("evaluate", TRAINING):
        from LandmarkDetectionLib.data.batch import Batch
        from LandmarkDetectionLib.evaluation.split import evaluate_split
    failures: list[str] = []
    done = evaluate_split(
        Batch(Path(split), images=False, tell=failures.append),
        Path(detections),
        None if output is None else Path(output),
        radii=radii,
        seed=int(seed),
    )
    _warn([*failures, *done.changes])
    return done.evaluation


def _check(word: str, value: float | None, *, least: int, below: float = math.inf) -> None:
    """Refuse a number that is out of its range."""
    if value is not None and not least <= value < below:
        end = "" if below == math.inf else f", below {below}"
        raise InputError(f"{word} is {value}: give a number of {least} or more{end}.")


def _warn(sentences: Sequence[str]) -> None:
    """A Python warning for each, at the place that called the function that calls this one."""
    for sentence in filter(None, sentences):
        warnings.warn(sentence, stacklevel=3)

"""A training run from its configuration to the bundle."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch.utils.data import DataLoader

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder, replacing, write_text
from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.model.bundle import save_bundle
from LandmarkDetectionLib.training.base import warn_of_lost_calibration
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.engines import engine_for
from LandmarkDetectionLib.training.running.allocator import keep_freed_memory
from LandmarkDetectionLib.training.running.checkpoints import (
    AtomicCheckpointIO,
    EpochEnd,
    epochs_done,
    newest_whole,
)
from LandmarkDetectionLib.training.running.failures import explained
from LandmarkDetectionLib.training.running.processes import started_processes
from LandmarkDetectionLib.training.running.run_lock import locked
from LandmarkDetectionLib.training.running.stage import Engine, Stage
from LandmarkDetectionLib.training.running.tracking import Track, untracked
from LandmarkDetectionLib.training.samples.sampling import EpochSampler
from LandmarkDetectionLib.training.samples.shown import draw_samples
from LandmarkDetectionLib.training.sections import TrainingConfig

VALIDATION = "validation.csv"
"""In a run folder: what its model said of cases that it was not trained on. A run that has it has ended."""

SAMPLES = "samples.png"
"""In the folder of a stage: some of its samples with their targets, as augmented."""
_SHOWN = 8

_log = logging.getLogger(__name__)
_STOPS = (signal.SIGINT, signal.SIGTERM)


def train(
    config: TrainingConfig,
    run: Path,
    *,
    device: torch.device,
    callbacks: Sequence[L.Callback] = (),
    track: Track = untracked,
    outcomes: pd.DataFrame | None = None,
    look_again: bool = True,
) -> Path:
    """Train, or go on with a run that was interrupted, and write its bundle.

    Args:
        config: what to do.
        run: the run folder; holds config.yaml, the bundle, and the checkpoints, metrics.csv and TensorBoard
            events, in a folder for each network where there are two.
        device: where to train; under torchrun or Slurm, one process a GPU.
        callbacks: Lightning callbacks, for progress bars.
        track: shows how far along the cases are.
        outcomes: what the bundle is calibrated on, as `outcomes.tabulate` has it; None validates the run on
            its own validation cases.
        look_again: whether a run that has ended validates once more, and writes its bundle anew.

    Returns:
        The bundle's folder, `RUN/model`.

    Raises:
        InputError: if the data is wrong, the run folder belongs to another configuration or another training
            runs in it, or memory or disk space runs out.
    """
    quieten_lightning()
    keep_freed_memory()
    check_run_folder(config, run)
    precision_of(config, device)
    started_processes()
    with locked(run) if is_first_process() else nullcontext(), explained(run):
        return _train(config, run, device, callbacks, track, outcomes, look_again)


def _train(
    config: TrainingConfig,
    run: Path,
    device: torch.device,
    callbacks: Sequence[L.Callback],
    track: Track,
    outcomes: pd.DataFrame | None,
    look_again: bool,
) -> Path:
    engine = engine_for(config, track)
    if look_again:
        warn_of_seen_cases([engine])
    _claim_run_folder(config, run)
    L.seed_everything(config.training.seed, verbose=False)
    ended = (run / VALIDATION).is_file()
    for stage in engine.stages(run):
        ended &= not train_stage(config, stage, run / stage.folder, device, engine.data_digest, callbacks)
    if is_first_process() and (look_again or not ended):
        (run / VALIDATION).unlink(missing_ok=True)
        if outcomes is None:
            outcomes = engine.validate(run, device, track)
        bundle, weights = engine.bundle(run, outcomes)
        save_bundle(bundle, weights, run / "model")
        if engine.base is not None and look_again:
            warn_of_lost_calibration(engine.base, bundle)
        write_text(run / VALIDATION, outcomes.to_csv(index=False))
    return run / "model"


def warn_of_seen_cases(engines: Sequence[Engine]) -> None:
    """Say so where the model that trainings go on from has seen the cases that they are judged by."""
    base = engines[0].base
    if base is None or not is_first_process():
        return
    if caution := base.caution_about([case for engine in engines for case in engine.held_out]):
        _log.warning(caution)


def train_stage(
    config: TrainingConfig,
    stage: Stage,
    folder: Path,
    device: torch.device,
    data_digest: str,
    callbacks: Sequence[L.Callback],
) -> bool:
    """Train one network, or go on with it; gives whether there was anything left to train."""
    make_folder(folder / "checkpoints")
    epoch_end = EpochEnd(folder, cap=stage.cap, data=data_digest)
    trainer = make_trainer(config, stage.module.epochs, folder, device, [*callbacks, epoch_end])
    if is_first_process() and not (folder / SAMPLES).is_file():
        show_samples(stage, config, trainer, folder / SAMPLES)
    with _stoppable(trainer):
        trainer.fit(
            stage.module,
            make_loader(stage, config, trainer, epochs_done(folder)),
            ckpt_path=newest_whole(folder),
            weights_only=False,
        )
    return epoch_end.trained


def show_samples(stage: Stage, config: TrainingConfig, trainer: L.Trainer, path: Path) -> None:
    """Draw some of the samples of a stage, from its first to its last, as a file and in TensorBoard."""
    training = config.training
    last = stage.module.epochs * training.steps_per_epoch * training.accumulate * stage.batch - 1
    numbers = np.unique(np.linspace(0, last, _SHOWN).astype(int))
    sheet = draw_samples([stage.samples.shown(int(number)) for number in numbers])
    with replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, "PNG")
    if isinstance(trainer.logger, TensorBoardLogger):
        trainer.logger.experiment.add_image("samples", sheet, dataformats="HWC")


def make_trainer(
    config: TrainingConfig, epochs: int, folder: Path, device: torch.device, callbacks: list[Any]
) -> L.Trainer:
    """The Lightning trainer of a stage."""
    training = config.training
    processes, machines = started_processes()
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index] if device.index is not None and processes == 1 else processes,
        num_nodes=machines,
        precision=precision_of(config, device),  # type: ignore[arg-type]
        max_epochs=epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.gradient_clip or None,
        logger=TensorBoardLogger(save_dir=folder, name="", version="tensorboard"),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if processes * machines == 1 else [])],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        benchmark=device.type == "cuda",
    )


@contextmanager
def _stoppable(trainer: L.Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM through: Lightning would end the program as if it had failed.

    A spawned worker that the signal reaches while it starts dies of it, which is a RuntimeError here. Any
    other error is none of a stop, although Lightning calls every end of a training an interruption.
    """
    with _interrupts_noted() as interrupts:
        try:
            yield
        except (SystemExit, RuntimeError) as stop:
            if interrupts or trainer.received_sigterm:
                raise KeyboardInterrupt from stop
            raise


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Ctrl-C has the effect that it had; gives the signals that came."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def make_loader(stage: Stage, config: TrainingConfig, trainer: L.Trainer, done: int) -> Loader:
    """Batches of samples, the share of this process, after so many epochs.

    Workers begin to draw before Lightning tells the sampler the epoch.
    """
    training = config.training
    count = training.steps_per_epoch * training.accumulate * stage.batch
    sampler = EpochSampler(count, rank=trainer.global_rank, processes=trainer.world_size)
    sampler.set_epoch(done)
    return Loader(
        stage.samples,
        sampler=sampler,
        batch_size=stage.batch,
        num_workers=training.workers,
        persistent_workers=training.workers > 0,
        worker_init_fn=_leave_stopping_to_the_trainer,
        pin_memory=trainer.strategy.root_device.type == "cuda",
    )


class Loader(DataLoader[Any]):
    """A loader that a stop cannot reach while its workers start: neither them, nor half an iterator."""

    def __iter__(self) -> Any:
        if self._iterator is not None:
            return super().__iter__()
        with _stops_noted() as stops:
            iterator = super().__iter__()
        try:
            for stop in stops:
                signal.raise_signal(stop)
        except BaseException:
            self._iterator = None
            del iterator  # its workers end with it
            raise
        return iterator


@contextmanager
def _stops_noted() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM have no effect, here and in forked processes; gives those that came."""
    stops: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    before = {stop: signal.signal(stop, lambda number, _: stops.append(number)) for stop in _STOPS}
    try:
        yield stops
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)


def _leave_stopping_to_the_trainer(worker: int) -> None:
    """A signal to the whole job reaches the workers too; they end with the process that they work for."""
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    sys.excepthook = _silent_about_a_trainer_that_is_gone


def _silent_about_a_trainer_that_is_gone(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A thread of multiprocessing, which hands samples over, prints when nobody takes them any more."""
    if not isinstance(error, EOFError | OSError):
        sys.__excepthook__(kind, error, trace)


def precision_of(config: TrainingConfig, device: torch.device) -> str:
    """Lightning's name for the precision of a run on a device."""
    chosen = config.training.precision
    if chosen == "auto":
        chosen = "bf16" if has_bf16(device) else "off"
    if chosen == "fp16" and device.type == "cpu":
        raise InputError("training.precision is fp16, which needs a GPU; use bf16, off or auto on a CPU.")
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "off": "32-true"}[chosen]


def is_distributed() -> bool:
    """Whether torchrun or Slurm has started more than one process."""
    processes, machines = started_processes()
    return processes * machines > 1


def is_first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun or Slurm has started."""
    return getattr(rank_zero_only, "rank", 0) == 0


def quieten_lightning() -> None:
    """Keep Lightning's notices for developers away from people."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def check_run_folder(config: TrainingConfig, run: Path) -> None:
    """Refuse a run folder that holds another configuration.

    Raises:
        InputError: then.
    """
    saved = run / "config.yaml"
    if saved.is_file() and (started := read_config(saved)) != config:
        resumed = "" if config.data.fold else f", or {saved} to go on with it"
        raise InputError(
            f"{run}: this run was started with another configuration "
            f"({', '.join(_differences(started.model_dump(), config.model_dump()))}); give another "
            f"--output{resumed}."
        )


def _differences(started: Mapping[str, Any], given: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """The keys that two configurations have otherwise, and what each was and is."""
    for key in dict.fromkeys([*started, *given]):
        one, other = started.get(key), given.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{within}{key}.")
        elif one != other:
            yield f"{within}{key} was {one}, not {other}"


def _claim_run_folder(config: TrainingConfig, run: Path) -> None:
    make_folder(run)
    check_run_folder(config, run)
    if not (run / "config.yaml").is_file():
        write_config(config, run / "config.yaml", header="The configuration of this run, as it was started.")

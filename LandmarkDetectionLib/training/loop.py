"""A training run from its configuration to the bundle."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import mean_shape
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.calibrate import calibrate
from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.model.bundle import Bundle, save_bundle
from LandmarkDetectionLib.training.allocator import keep_freed_memory
from LandmarkDetectionLib.training.cache import (
    PreparedCase,
    digest_of,
    prepare_split,
    table_of,
)
from LandmarkDetectionLib.training.checkpoints import (
    AtomicCheckpointIO,
    EpochEnd,
    summarise,
)
from LandmarkDetectionLib.training.config import TrainingConfig, read_config, write_config
from LandmarkDetectionLib.training.folds import Fold, take_fold
from LandmarkDetectionLib.training.module import DenseTraining, detection_settings
from LandmarkDetectionLib.training.sampling import CropDataset, EpochSampler

CasesProgress = Callable[[list[Case]], Iterable[Case]]
_CAP_VOXELS = 10


@dataclass(frozen=True)
class TrainingData:
    """The cases of a run, prepared."""

    table: LandmarkTable
    training: tuple[PreparedCase, ...]
    validation: tuple[PreparedCase, ...]
    fingerprint: str


def train(
    config: TrainingConfig,
    run: Path,
    *,
    device: torch.device,
    callbacks: Sequence[L.Callback] = (),
    progress: CasesProgress = iter,
) -> Path:
    """Train, or go on with a run that was interrupted, and write its bundle.

    Args:
        config: what to do.
        run: the run folder; holds config.yaml, checkpoints, metrics.csv, TensorBoard events and the bundle.
        device: where to train; under torchrun or Slurm, one process a GPU.
        callbacks: Lightning callbacks, for progress bars.
        progress: wraps the list of cases to prepare, for a progress bar.

    Returns:
        The bundle's folder, `RUN/model`.

    Raises:
        InputError: if the data is wrong or the run folder belongs to another configuration.
    """
    quieten_lightning()
    keep_freed_memory()
    _check_run_folder(config, run)
    data = prepare(config, progress=progress)
    L.seed_everything(config.training.seed, verbose=False)
    module = DenseTraining(config, len(data.table), data.validation)
    seen = digest_of((*data.training, *data.validation))
    epoch_end = EpochEnd(run, cap=_CAP_VOXELS * config.image.spacing, data=seen)
    trainer = make_trainer(config, run, device, [*callbacks, epoch_end])
    _claim_run_folder(config, run)
    last = run / "checkpoints" / "last.ckpt"
    with _stoppable(trainer):
        trainer.fit(
            module,
            make_loader(data, config, trainer),
            ckpt_path=last if last.is_file() else None,
            weights_only=False,
        )
    if trainer.is_global_zero:
        export_bundle(config, data, run, device)
    return run / "model"


def prepare(config: TrainingConfig, *, progress: CasesProgress = iter) -> TrainingData:
    """All cases of a configuration, from the cache where they are in it."""
    cache = config.data.cache
    preparation = Preparation(spacing=config.image.spacing, normaliser=config.image.as_normaliser())
    table = table_of(config.data.train, config.data.landmarks, cache)

    def prepared(split: Path) -> tuple[PreparedCase, ...]:
        return prepare_split(split, table, preparation, cache, progress=progress)

    training = prepared(config.data.train)
    validation = prepared(config.data.val) if config.data.val else ()
    fit_cases, held_out = training, validation
    if config.data.fold is not None:
        fold = Fold.parse(config.data.fold)
        fit_cases, held_out = take_fold((*training, *validation), fold, seed=config.training.seed)
    if held_out and not any(np.isfinite(case.positions).any() for case in held_out):
        raise InputError(
            f"{config.data.val or config.data.train}: no validation case has a landmark that is in its scan; "
            "validate on other cases, or on none."
        )
    _check_annotations(fit_cases, table, config.data.train)
    return TrainingData(table, fit_cases, held_out, fingerprint=digest_of(fit_cases))


def _check_annotations(cases: Sequence[PreparedCase], table: LandmarkTable, where: Path) -> None:
    """Refuse a landmark that no training case speaks of: nothing would be learnt about it."""
    known = np.any([case.known for case in cases], axis=0)
    if not known.all():
        names = ", ".join(np.array(table.names)[~known])
        raise InputError(
            f"{where}: no training case speaks of {names}; annotate it, or take it out of the landmark table."
        )


def make_trainer(config: TrainingConfig, run: Path, device: torch.device, callbacks: list[Any]) -> L.Trainer:
    """The Lightning trainer of a run."""
    training = config.training
    processes, machines = _processes()
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index] if device.index is not None and processes == 1 else processes,
        num_nodes=machines,
        precision=precision_of(config, device),  # type: ignore[arg-type]
        max_epochs=training.epochs,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.gradient_clip or None,
        logger=TensorBoardLogger(save_dir=run, name="", version="tensorboard"),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if processes * machines == 1 else [])],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        benchmark=device.type == "cuda",
    )


def _processes() -> tuple[int, int]:
    """Processes on each machine, and machines, as torchrun or Slurm have started them; otherwise one."""
    started = os.environ
    if "LOCAL_WORLD_SIZE" in started:
        here = int(started["LOCAL_WORLD_SIZE"])
        return here, int(started["WORLD_SIZE"]) // here
    tasks, machines = (int(started.get(f"SLURM_STEP_NUM_{what}", 1)) for what in ("TASKS", "NODES"))
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in started:
        raise InputError(
            f"Slurm started {tasks} tasks by --ntasks: say --ntasks-per-node, a task for each GPU of a node."
        )
    return tasks // machines, machines


@contextmanager
def _stoppable(trainer: L.Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM through: Lightning would end the program as if it had failed."""
    try:
        yield
    except SystemExit as stop:
        if trainer.interrupted or trainer.received_sigterm:
            raise KeyboardInterrupt from stop
        raise


def make_loader(data: TrainingData, config: TrainingConfig, trainer: L.Trainer) -> DataLoader[Any]:
    """Batches of crops, the share of this process."""
    training = config.training
    samples = training.steps_per_epoch * training.accumulate * training.batch
    return DataLoader(
        CropDataset(data.training, data.table, config),
        sampler=EpochSampler(samples, rank=trainer.global_rank, processes=trainer.world_size),
        batch_size=training.batch,
        num_workers=training.workers,
        persistent_workers=training.workers > 0,
        worker_init_fn=_leave_stopping_to_the_trainer,
        pin_memory=trainer.strategy.root_device.type == "cuda",
    )


def _leave_stopping_to_the_trainer(worker: int) -> None:
    """A signal to the whole job reaches the workers too; they end with the process that they work for."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)


def precision_of(config: TrainingConfig, device: torch.device) -> str:
    """Lightning's name for the precision of a run on a device."""
    chosen = config.training.precision
    if chosen == "auto":
        chosen = "bf16" if has_bf16(device) else "off"
    if chosen == "fp16" and device.type == "cpu":
        raise InputError("training.precision is fp16, which needs a GPU; use bf16, off or auto on a CPU.")
    return {"bf16": "bf16-mixed", "fp16": "16-mixed", "off": "32-true"}[chosen]


def export_bundle(config: TrainingConfig, data: TrainingData, run: Path, device: torch.device) -> None:
    """Write the bundle of a run from its best checkpoint, calibrated on the validation cases."""
    module = DenseTraining(config, len(data.table), data.validation)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=False)
    module.load_state_dict(checkpoint["state_dict"])
    errors = module.to(device).landmark_errors()
    settings = detection_settings(config)
    network = module.best_network
    bundle = Bundle(
        name=config.name,
        engine=config.engine,
        table=data.table,
        preparation=Preparation(spacing=config.image.spacing, normaliser=config.image.as_normaliser()),
        network={
            "channels": list(config.network.channels),
            "blocks": list(config.network.blocks),
            "groups": config.network.groups,
        },
        detection={
            "window": list(settings.window),
            "overlap": settings.overlap,
            "threshold": settings.threshold,
            "uncertain": settings.uncertain,
            "padding": settings.padding,
        },
        mean_shape=mean_shape(np.stack([case.positions for case in data.training])),
        calibration=calibrate(data.table.names, np.where(np.isfinite(errors), errors, np.nan)),
        training_data={
            "fingerprint": data.fingerprint,
            "training_cases": len(data.training),
            "validation_cases": len(data.validation),
        },
        metrics={"validation": _measured(errors, config)} if len(errors) else {},
        software=f"LandmarkDetection {__version__}",
    )
    save_bundle(bundle, network.state_dict(), run / "model")


def _measured(errors: NDArray[np.float64], config: TrainingConfig) -> dict[str, float | None]:
    """The validation's figures as JSON has them: None where nothing was found."""
    figures = summarise(errors, _CAP_VOXELS * config.image.spacing)
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def is_first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun or Slurm has started."""
    return getattr(rank_zero_only, "rank", 0) == 0


def quieten_lightning() -> None:
    """Keep Lightning's notices for developers away from people."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _check_run_folder(config: TrainingConfig, run: Path) -> None:
    """Refuse a run folder that holds another configuration."""
    saved = run / "config.yaml"
    if saved.is_file() and read_config(saved) != config:
        raise InputError(
            f"{run}: this run was started with another configuration; give another --output, "
            f"or {saved} to go on with it."
        )


def _claim_run_folder(config: TrainingConfig, run: Path) -> None:
    make_folder(run / "checkpoints")
    _check_run_folder(config, run)
    if not (run / "config.yaml").is_file():
        write_config(config, run / "config.yaml", header="The configuration of this run, as it was started.")

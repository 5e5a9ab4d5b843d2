"""How long a step of training takes on this machine, and how many fit into the time and the memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.training.running.allocator import keep_freed_memory
from LandmarkDetectionLib.training.sections import TrainingSection

STEPS_PER_EPOCH = 50

SHORTAGE = "--hours is too short:"

_SAMPLE_SECONDS = 0.01
"""That a loading process takes for a sample, about; docs/benchmarks.md has the figures."""

Losses = Callable[[int], Callable[[], Tensor]]
"""Given a batch size, what computes the loss of one batch."""


def measure_step(
    losses: Losses, device: torch.device, *, batch: int, largest_batch: int
) -> tuple[int, float]:
    """The batch size that fits the device, and the seconds that one optimiser step with it takes.

    On a CPU these are processor seconds shared out over the threads: a step when nothing else runs. A GPU
    mostly waits for the processes that load samples.

    Args:
        losses: makes the loss of a batch of so many samples.
        device: where.
        batch: size on a CPU.
        largest_batch: size on a GPU at most.
    """
    keep_freed_memory()
    if device.type != "cuda":
        return batch, _time_step(losses(batch), device)
    torch.cuda.reset_peak_memory_stats(device)
    _time_step(losses(1), device)
    free = torch.cuda.mem_get_info(device)[0]
    fitting = int(np.clip(0.6 * free / torch.cuda.max_memory_allocated(device), 1, largest_batch))
    return fitting, max(_time_step(losses(fitting), device), fitting * _SAMPLE_SECONDS / _workers(device))


def _time_step(loss: Callable[[], Tensor], device: torch.device) -> float:
    on_gpu = device.type == "cuda"
    clock, workers = (time.perf_counter, 1) if on_gpu else (time.process_time, torch.get_num_threads())
    seconds = []
    for _ in range(3):
        start = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            value = loss()
        value.backward()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append((clock() - start) / workers)
    return min(seconds[1:])


def epochs_of(steps: float) -> int:
    """Epochs of so many steps, about; one at least."""
    return max(round(steps / STEPS_PER_EPOCH), 1)


def choose_epochs(steps: float, seconds: float, hours: float | None) -> int:
    """Epochs of so many steps of so many seconds, within the hours allowed."""
    return epochs_of(steps if hours is None else min(steps, hours * 3600 / seconds))


def hours_for(epochs: Sequence[int], seconds: Sequence[float]) -> float:
    """Hours that so many epochs of each network take, with steps of so many seconds."""
    return float(np.dot(epochs, seconds)) * STEPS_PER_EPOCH / 3600


def expectation(epochs: int, batch: int, seconds: float, device: torch.device, *, needed: int) -> str:
    """What a plan says of the time that its training takes, and of that which the data needs.

    Args:
        epochs: of the training.
        batch: samples of a step.
        seconds: that it takes in all.
        device: where.
        needed: epochs that the data needs.
    """
    less = f"; without --hours there would be {needed}, and a better model" if epochs < needed else ""
    time = f"{seconds / 3600:.2g} hours" if seconds >= 5400 else f"{max(seconds / 60, 1):.0f} minutes"
    return (
        f"training: {epochs} epochs of {STEPS_PER_EPOCH} steps of {batch} samples are about {time} here "
        f"({device}; more where other programs use it too){less}."
    )


def shortage(hours: float) -> str:
    """What a plan says where the time allowed is less than the hours without which nothing is learnt."""
    return (
        f"{SHORTAGE} the model may find little or nothing; give it {hours:.2g} hours or more here, "
        "or train it on a GPU."
    )


def training_section(
    epochs: int,
    batch: int,
    device: torch.device,
    seed: int,
    *,
    learning_rate: float,
    base: Path | None = None,
) -> TrainingSection:
    """The loop's settings for so many epochs on a device, anew or from a model."""
    return TrainingSection(
        base=base,
        epochs=epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        batch=batch,
        accumulate=1,
        learning_rate=learning_rate,
        weight_decay=1e-4,
        **timing(epochs),
        gradient_clip=5.0,
        precision="auto",
        ema=0.995,
        patience=0,
        workers=_workers(device),
        seed=seed,
    )


def timing(epochs: int, steps_per_epoch: int = STEPS_PER_EPOCH) -> dict[str, int]:
    """What of the loop's settings follows from the number of epochs."""
    return {
        "warmup": min(100, max(epochs * steps_per_epoch // 10, 1)),
        "validate_every": max(epochs // 10, 1),
    }


def _workers(device: torch.device) -> int:
    """Processes that load samples."""
    threads = torch.get_num_threads() if device.type == "cpu" else _cores()
    return max(min(threads // 2, 8), 1)


def _cores() -> int:
    """CPU cores that this process may use: on a cluster, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

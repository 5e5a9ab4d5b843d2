"""What the machine lacks, told from errors as they really come."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.training.running.failures import explain, explained


def too_much_memory() -> None:
    torch.empty(1 << 60)


def a_full_disk() -> None:
    torch.save(torch.zeros(100_000), "/dev/full")


def a_full_disk_for_text() -> None:
    Path("/dev/full").write_text("x" * 100_000)


def a_killed_worker() -> None:
    next(iter(DataLoader(TensorDataset(torch.arange(4)), num_workers=1, worker_init_fn=kill_itself)))


def kill_itself(worker: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full_shared_memory() -> None:
    raise RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
        "are out of shared memory."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and signals as Linux has them")
@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (too_much_memory, "the memory of this machine ran out"),
        (a_full_disk, "the disk is full; make room, and the same command goes on"),
        (a_full_disk_for_text, "the disk is full"),
        (a_killed_worker, "the system ended a loading process, most likely because memory ran out"),
        (full_shared_memory, r"the shared memory \(/dev/shm\) .* --set training.workers=0"),
    ],
)
def test_each_cause_has_its_sentence(fail: Callable[[], None], words: str) -> None:
    with pytest.raises(InputError, match=f"^run: {words}") as caught, explained(Path("run")):
        fail()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_cause_behind_another_error_is_found() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise RuntimeError("the step failed") from cause
    except RuntimeError as error:
        assert "memory of this machine" in (explain(error) or "")


@pytest.mark.parametrize(
    "said",
    [
        "unable to write to file </torch_7_1_0>: No space left on device (28)",
        "unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device (28)",
        "unable to mmap 64 bytes from file </torch_7_1_0>: Cannot allocate memory (12)",
        "Unexpected bus error in worker. This might be caused by insufficient shared memory (shm).",
    ],
)
def test_a_full_shared_memory_is_known_from_each_sentence_of_pytorch(said: str) -> None:
    assert "(/dev/shm)" in (explain(RuntimeError(said)) or "")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm/cache/case1.npz"),
        RuntimeError("out of resource: shared memory, Required: 131072, Hardware limit: 101376."),
        RuntimeError("unable to open shared memory object </torch_7_1_0>: File exists (17)"),
    ],
)
def test_not_everything_that_names_shared_memory_is_a_full_one(error: Exception) -> None:
    assert explain(error) is None


def test_any_other_error_goes_through() -> None:
    assert explain(RuntimeError("size mismatch for layer.weight")) is None
    with pytest.raises(RuntimeError, match="size mismatch"), explained(Path("run")):
        raise RuntimeError("size mismatch for layer.weight")

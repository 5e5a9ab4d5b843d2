"""What stops a training from outside, such as memory that runs out, in one sentence with the cure."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.devices import GPU_MEMORY, MACHINE_MEMORY

_SMALLER = (
    "make batch or the field (crop) smaller in the configuration and train into a new --output, or close "
    "other programs"
)
_SHARED_MEMORY = re.compile(
    r"killed by signal: Bus error|insufficient shared memory \(shm\)|workers are out of shared memory"
    r"|unable to [^<\n]*file </torch_[^>\n]*>[^\n]*: (No space left on device|Cannot allocate memory)"
)
"""PyTorch's own sentences; the shared memory of a GPU, or a file that lies in /dev/shm, is another matter."""
_MEMORY = (*MACHINE_MEMORY, "can't start new thread")
_KILLED_WORKER = ("killed by signal: Killed", "exited unexpectedly")
_FULL_DISK = (
    "No space left on device",
    "PytorchStreamWriter failed",
    "Disk quota exceeded",
    "unexpected pos",
)
_FULL_DISK_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def explained(run: Path) -> Iterator[None]:
    """Turn what the machine lacks into an error that people understand; all else goes through.

    Raises:
        InputError: if memory, shared memory or disk space has run out.
    """
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, MemoryError, OSError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise InputError(f"{run}: {sentence}.") from error


def explain(error: BaseException) -> str | None:
    """What the machine lacks and what to do; None if the error, and those behind it, say nothing of it."""
    errors = list(_with_causes(error))
    text = "\n".join(str(item) for item in errors)
    if any(isinstance(item, torch.OutOfMemoryError) for item in errors) or _has(text, GPU_MEMORY):
        return f"the memory of the GPU ran out; {_SMALLER}"
    if _SHARED_MEMORY.search(text):
        return (
            "the shared memory (/dev/shm) through which loading processes hand over their samples is full; "
            "give it more (docker run --shm-size=8g), or load without processes: --set training.workers=0 "
            "and a new --output"
        )
    if any(getattr(item, "errno", None) in _FULL_DISK_NUMBERS for item in errors) or _has(text, _FULL_DISK):
        return "the disk is full; make room, and the same command goes on from the end of the last epoch"
    if _has(text, _KILLED_WORKER):
        return (
            "the system ended a loading process, most likely because memory ran out; use fewer of them with "
            f"training.workers, or {_SMALLER}"
        )
    if any(isinstance(item, MemoryError) for item in errors) or _has(text, _MEMORY):
        return f"the memory of this machine ran out; {_SMALLER}"
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    seen: set[int] = set()
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _has(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)

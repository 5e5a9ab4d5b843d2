"""Where the networks can run on this machine."""

from __future__ import annotations

import errno
import re
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError

GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Words of the errors that say so; those of this machine's memory are the next."""
MACHINE_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not create a memory",
)


class ComputeDevice(NamedTuple):
    """A place to compute: `cpu` or `cuda:0`, .., and its name for people."""

    identifier: str
    name: str


def list_devices() -> tuple[ComputeDevice, ...]:
    """The GPUs of this machine by name, and the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [ComputeDevice(f"cuda:{number}", torch.cuda.get_device_name(number)) for number in range(count)]
    return *gpus, ComputeDevice("cpu", "CPU")


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:i` means here; auto is the first GPU, or else the CPU.

    Raises:
        InputError: if this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"{name}: there is no such device; use auto, cpu, cuda or cuda:0.")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise InputError(f"{name}: PyTorch finds no NVIDIA GPU on this machine; use cpu.")
        if device.index is not None and device.index >= count:
            raise InputError(f"{name}: this machine has {count} GPU; the last is cuda:{count - 1}.")
    return device


def upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array on the device; what a GPU has still to do is not waited for."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        by_processor = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return bool(by_processor and torch.ops.mkldnn._is_mkldnn_bf16_supported())  # may be switched off
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU, or this machine, has too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error) if isinstance(error, RuntimeError) else ""
    return any(words in said for words in (*GPU_MEMORY, *MACHINE_MEMORY))

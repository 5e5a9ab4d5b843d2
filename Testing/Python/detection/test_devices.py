"""Where to compute."""

import errno

import pytest
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.devices import is_out_of_memory, list_devices, resolve_device


def test_the_cpu_is_always_there_and_last() -> None:
    assert list_devices()[-1] == ("cpu", "CPU")


def test_auto_is_a_device_that_is_listed() -> None:
    assert resolve_device("auto").type in {device.identifier.split(":")[0] for device in list_devices()}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused_with_the_cure(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: PyTorch finds no NVIDIA GPU.*use cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["abacus", "meta", "cpu:7", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: there is no such device"):
        resolve_device(name)


def test_too_little_memory_is_known_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not is_out_of_memory(OSError(errno.ENOENT, "Cannot allocate memory.nii"))
    assert not is_out_of_memory(RuntimeError("sizes do not match"))

"""A GPU that is none: tensors that say they are on it, and a count of what a real one would have to wait for.

Its memory is that of this machine, so results are those of the CPU; but a tensor of it goes to the host, and
one of the host to it, by a copy only, as with a real one, and both are counted.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = torch.device("meta")
"""Which every PyTorch knows, whatever it was built for. Its tensors have no memory; ours have."""
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}
"""Their results, or the size of these, are needed on the host."""


class OnPretendGpu(Tensor):
    """A tensor of the pretended GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnPretendGpu:
        made: OnPretendGpu = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{call}: a tensor of the pretended GPU is used outside of PretendGpu.")


class PretendGpu(TorchDispatchMode):
    """While it is entered, `DEVICE` is a GPU.

    Attributes:
        to_host: elements of each copy from it, and of each result that the host waits for.
        to_gpu: elements of each copy to it.
        waited: elements of each copy to it that a real one would make the host wait for.
        calls: how many operations it was given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._patches = ExitStack()
        self.forget()

    def forget(self) -> None:
        """Count anew."""
        self.to_host: list[int] = []
        self.to_gpu: list[int] = []
        self.waited: list[int] = []
        self._pinned: list[int] = []
        self.calls = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if call is torch.ops.aten._pin_memory.default:
            self._pinned.append(id(args[0]))
            return args[0]
        tensors: list[Tensor] = []
        tree_map(lambda value: tensors.append(value) if isinstance(value, Tensor) else None, (args, kwargs))
        from_gpu = any(isinstance(tensor, OnPretendGpu) for tensor in tensors)
        asked = kwargs.get("device")
        there = from_gpu if asked is None else torch.device(asked).type == DEVICE.type
        if call in _COPIES and from_gpu and not there:
            self.to_host.append(tensors[0].numel())
        elif call in _COPIES and there and not from_gpu:
            self._note_upload(tensors[-1], bool(kwargs.get("non_blocking")))
        elif call in _WAITS and from_gpu:
            self.to_host.append(1)
        elif from_gpu:
            self._refuse_guests(call, tensors)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        self.calls += there
        result = call(*tree_map(_held, args), **tree_map(_held, kwargs))
        return tree_map(_wrapped, result) if there else result

    def __enter__(self) -> PretendGpu:
        for name, stand_in in (("autocast", _NoAutocast), ("inference_mode", torch.no_grad)):
            self._patches.enter_context(patch.object(torch, name, stand_in))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def _note_upload(self, tensor: Tensor, non_blocking: bool) -> None:
        self.to_gpu.append(tensor.numel())
        if not (non_blocking and id(tensor) in self._pinned):
            self.waited.append(tensor.numel())

    def _refuse_guests(self, call: Any, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            if not isinstance(tensor, OnPretendGpu) and tensor.dim():
                raise RuntimeError(f"{call}: a tensor of the host among tensors of the pretended GPU.")


class _NoAutocast(nullcontext[None]):
    """PyTorch knows none for this kind of device; nor wrapped tensors in inference mode."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__()


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnPretendGpu) else value


def _wrapped(value: Any) -> Any:
    return OnPretendGpu(value) if isinstance(value, Tensor) else value

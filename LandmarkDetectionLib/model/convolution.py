"""Convolutions that are as fast as the processor can compute them, whatever the size of a field.

PyTorch hands a float32 convolution on a CPU to oneDNN only where the field is large (the product of its first
four sizes above 20480) or one of several; all others take a plain loop that is some ten times slower. On a
processor without bfloat16 those are most fields.

In bfloat16 the gradient of the weights of a padded kernel of 3 is wrong, or not a number, where a field is
two voxels deep (PyTorch 2.13 on a CPU): such a field is computed in float32.

Source: `ConvParams::use_mkldnn` in aten/src/ATen/native/Convolution.cpp of PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with the same parameters and, but for rounding, the same values."""

    def forward(self, input: Tensor) -> Tensor:
        """Features (B, C, Z, Y, X)."""
        if _is_wrong_in_bfloat16(input):
            with torch.autocast("cpu", enabled=False):
                return self.forward(input.float()).to(torch.get_autocast_dtype("cpu"))
        if isinstance(self.padding, str) or not _is_for_onednn(input):
            return super().forward(input)
        convolved: Tensor = torch.mkldnn_convolution(
            input, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )
        return convolved


class Doubling(nn.ConvTranspose3d):
    """A transposed convolution of kernel 2 and stride 2: each voxel becomes 2 x 2 x 2 voxels of its own.

    As no two kernels overlap it is one matrix product.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 2, stride=2, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Features (B, C, 2 Z, 2 Y, 2 X) of features (B, C', Z, Y, X)."""
        if input.device.type != "cpu":
            return super().forward(input, output_size)
        batch, inputs, *shape = input.shape
        weights = self.weight.permute(0, 2, 3, 4, 1).reshape(inputs, -1)
        product = torch.matmul(input.permute(0, 2, 3, 4, 1), weights)
        cells = product.view(batch, *shape, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        doubled = cells.reshape(batch, *(2 * count for count in shape), -1)
        return doubled.permute(0, 4, 1, 2, 3)


def _is_wrong_in_bfloat16(features: Tensor) -> bool:
    return (
        features.device.type == "cpu"
        and features.shape[2] == 2
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
    )


def _is_for_onednn(features: Tensor) -> bool:
    return (
        features.device.type == "cpu"
        and features.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )

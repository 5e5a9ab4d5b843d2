"""Group normalisation that trains fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` with the same parameters and values, and a faster backward pass on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalised features (B, C, ...)."""
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        if not input.is_contiguous(memory_format=torch.channels_last_3d):
            input = input.contiguous()
        normalised: Tensor = _ContiguousBackward.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.num_groups, self.eps
        )
        return normalised


class _ContiguousBackward(torch.autograd.Function):
    """PyTorch's kernels, the backward one on contiguous tensors: 2 to 6 times as fast as on channels-last."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels = features.shape[:2]
        ctx.sizes = batch, channels, features[0, 0].numel(), groups
        normalised, mean, inverse_sd = torch.native_group_norm(
            features, weight, bias, batch, channels, features[0, 0].numel(), groups, eps
        )
        ctx.save_for_backward(features, weight, mean, inverse_sd)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, inverse_sd = ctx.saved_tensors
        to_features, to_weight, to_bias = torch.ops.aten.native_group_norm_backward(
            gradient.contiguous(),
            features.contiguous(),
            mean,
            inverse_sd,
            weight,
            *ctx.sizes,
            [True, True, True],
        )
        layout = torch.channels_last_3d if features.dim() == 5 else torch.contiguous_format
        return to_features.contiguous(memory_format=layout), to_weight, to_bias, None, None

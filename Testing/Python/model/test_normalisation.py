"""The group normalisation against PyTorch's."""

import pytest
import torch
from torch import nn

from LandmarkDetectionLib.model.normalisation import GroupNorm

SHAPE = (2, 6, 5, 4, 3)


def pass_through(layer: nn.GroupNorm, layout: torch.memory_format) -> list[torch.Tensor]:
    """What comes out, and the gradients of the input, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    layer.weight.data = torch.rand(6, generator=generator)
    layer.bias.data = torch.rand(6, generator=generator)
    features = (torch.randn(SHAPE, generator=generator) * 3 + 1).contiguous(memory_format=layout)
    features.requires_grad_()
    out = layer(features)
    (out * torch.randn(SHAPE, generator=generator)).sum().backward()
    gradients = [features.grad, layer.weight.grad, layer.bias.grad]
    return [out, *[gradient for gradient in gradients if gradient is not None]]


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
def test_values_and_gradients_are_those_of_pytorch(layout: torch.memory_format) -> None:
    ours = pass_through(GroupNorm(3, 6), layout)
    theirs = pass_through(nn.GroupNorm(3, 6), layout)
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_layout_that_convolutions_like_is_kept() -> None:
    features = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    out = GroupNorm(3, 6)(features)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    received: list[torch.Tensor] = []
    middle = (features * 2).contiguous(memory_format=torch.channels_last_3d)
    middle.register_hook(received.append)
    GroupNorm(3, 6)(middle).square().sum().backward()
    assert received[0].is_contiguous(memory_format=torch.channels_last_3d)


def test_half_precision_stays_half_precision_within_autocast() -> None:
    layer = GroupNorm(3, 6)
    features = torch.randn(SHAPE).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(features)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert features.grad is not None and features.grad.dtype == torch.bfloat16
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32


def test_a_view_is_taken_like_any_other() -> None:
    features = torch.randn(2, 6, 8, 8, 8)[:, :, ::2]
    torch.testing.assert_close(GroupNorm(3, 6)(features), nn.GroupNorm(3, 6)(features))


def test_weights_of_pytorch_fit() -> None:
    GroupNorm(3, 6).load_state_dict(nn.GroupNorm(3, 6).state_dict())

"""Convolutions through oneDNN: PyTorch's values and gradients, and none of its plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from LandmarkDetectionLib.model.convolution import Conv3d, Doubling
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings

ONEDNN = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN"
)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 2, 0), (1, 1, 0)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(
    kernel: int, stride: int, padding: int, batch: int, bias: bool
) -> None:
    torch.manual_seed(0)
    ours = Conv3d(4, 8, kernel, stride=stride, padding=padding, bias=bias).double()
    right = nn.Conv3d(4, 8, kernel, stride=stride, padding=padding, bias=bias).double()
    right.load_state_dict(ours.state_dict())
    _assert_alike(ours.float(), right, torch.randn(batch, 4, 8, 6, 10))


@pytest.mark.parametrize("batch", [1, 2])
def test_doubling_is_a_transposed_convolution(batch: int) -> None:
    torch.manual_seed(0)
    ours, right = Doubling(8, 4), nn.ConvTranspose3d(8, 4, 2, stride=2, bias=False)
    right.load_state_dict(ours.state_dict())
    _assert_alike(ours, right.double(), torch.randn(batch, 8, 3, 4, 5))


def _assert_alike(ours: nn.Module, right: nn.Module, features: torch.Tensor) -> None:
    results = []
    for module in (ours, right):
        given = features.detach().clone().to(next(module.parameters()).dtype).requires_grad_()
        out = module(given)
        out.square().sum().backward()
        results.append([out, given.grad, *(weights.grad for weights in module.parameters())])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine.detach().double(), theirs.detach(), rtol=1e-4, atol=1e-4)


@ONEDNN
@pytest.mark.parametrize("edge", [8, 16, 24, 32])
@pytest.mark.parametrize("training", [False, True])
def test_no_network_takes_a_plain_loop(edge: int, training: bool) -> None:
    """In float32, on fields of any size: there they are some ten times slower."""
    settings = UNetSettings(channels=(8, 16, 32))
    image = torch.randn(1, 1, edge, edge, edge).contiguous(memory_format=torch.channels_last_3d)
    networks = LocateNetwork(settings, 3), RefineNetwork(settings, 3).features, VNet(VNetSettings(classes=3))
    for network in networks:
        with profile(activities=[ProfilerActivity.CPU]) as seen, torch.set_grad_enabled(training):
            out = network(image)
            if training:
                out.sum().backward()
        names = {event.key for event in seen.key_averages()}
        assert "aten::mkldnn_convolution" in names
        assert not {name for name in names if "slow" in name or "thnn" in name}


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 4, 3), (3, 2, 2)])
def test_flat_fields_have_right_gradients_in_bfloat16(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer = Conv3d(64, 64, 3, padding=1, bias=False)
    image = torch.randn(2, 64, *shape).contiguous(memory_format=torch.channels_last_3d)
    gradients: list[torch.Tensor] = []
    for rounded in (False, True):
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            seen = layer(image)
        assert seen.dtype == (torch.bfloat16 if rounded else torch.float32)
        seen.float().square().mean().backward()
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad.clone())
    exact, of_rounded = gradients
    assert (of_rounded - exact).abs().max() < 0.05 * exact.abs().max()

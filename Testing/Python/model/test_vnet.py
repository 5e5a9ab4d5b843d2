"""The V-Net and its start."""

import pytest
import torch

from LandmarkDetectionLib.model.vnet import STRIDE, VNet, VNetSettings


def test_gives_a_logit_per_class_at_every_voxel() -> None:
    network = VNet(VNetSettings(classes=5))
    logits = network(torch.zeros(2, 1, 8, 12, 16))
    assert logits.shape == (2, 5, 8, 12, 16)


def test_the_reference_sizes_have_16_32_64_channels_at_strides_1_2_4() -> None:
    network = VNet(VNetSettings(classes=3))
    image = torch.zeros(1, 1, 16, 16, 16)
    full = network.stem(image)
    half = network.down_half(full)
    quarter = network.down_quarter(half)
    assert [tuple(level.shape[1:3]) for level in (full, half, quarter)] == [
        (16, 16),
        (32, 8),
        (64, 16 // STRIDE),
    ]


def test_starts_by_expecting_background() -> None:
    torch.manual_seed(0)
    network = VNet(VNetSettings(classes=46)).eval()
    probability = torch.softmax(network(torch.randn(1, 1, 16, 16, 16)), dim=1)
    assert probability[:, 0].mean() > 0.9


def test_every_weight_takes_part() -> None:
    network = VNet(VNetSettings(classes=3, channels=(8, 8, 8)))
    network(torch.randn(1, 1, 8, 8, 8)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"classes": 3, "channels": (12, 32, 64)}])
def test_refuses_sizes_that_make_no_network(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        VNetSettings(**wrong)  # type: ignore[arg-type]

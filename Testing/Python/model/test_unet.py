"""The U-Net of locate and refine."""

from __future__ import annotations

import pytest
import torch

from LandmarkDetectionLib.model.unet import UNet, UNetSettings


def test_the_features_have_the_images_size_or_half_of_it() -> None:
    image = torch.randn(2, 1, 16, 24, 32)
    full = UNetSettings(channels=(8, 16, 24))
    half = UNetSettings(channels=(8, 16, 24), reduction=2)
    assert UNet(full)(image).shape == (2, 8, 16, 24, 32) and full.stride == 4
    assert UNet(half)(image).shape == (2, 8, 8, 12, 16) and half.stride == 8


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = UNet(UNetSettings(channels=(8, 16, 24), blocks=2))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(4):
        loss = (network(torch.randn(2, 1, 8, 8, 8)) * torch.randn(2, 8, 8, 8, 8)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []


@pytest.mark.parametrize("settings", [{"channels": (12, 16)}, {"channels": (8, 16), "reduction": 3}])
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        UNetSettings(**settings)  # type: ignore[arg-type]

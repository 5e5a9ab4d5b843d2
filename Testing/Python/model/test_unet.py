"""The U-Net of locate and refine."""

from __future__ import annotations

import pytest
import torch

from LandmarkDetectionLib.model.unet import UNet, UNetSettings


def test_the_result_has_the_images_size_or_half_of_it() -> None:
    image = torch.randn(2, 1, 16, 24, 32)
    full = UNet(UNetSettings(outputs=5, channels=(8, 16, 24)))
    half = UNet(UNetSettings(outputs=5, channels=(8, 16, 24), reduction=2))
    assert full(image).shape == (2, 5, 16, 24, 32) and full.settings.stride == 4
    assert half(image).shape == (2, 5, 8, 12, 16) and half.settings.stride == 8


def test_what_is_looked_for_changes_the_result_and_only_where_it_was_asked_for() -> None:
    torch.manual_seed(0)
    network = UNet(UNetSettings(outputs=1, channels=(8, 16), landmarks=3))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image = torch.randn(1, 1, 8, 8, 8).expand(3, -1, -1, -1, -1)
    first, again, other = network(image, torch.tensor([1, 1, 2]))
    torch.testing.assert_close(first, again)
    assert (first - other).abs().max() > 1e-3


def test_its_size_does_not_grow_with_the_landmarks_but_for_their_codes() -> None:
    def size(landmarks: int) -> int:
        settings = UNetSettings(outputs=1, channels=(16, 32), landmarks=landmarks)
        return sum(parameter.numel() for parameter in UNet(settings).parameters())

    assert size(175) - size(45) == 130 * 2 * (16 + 32 + 16)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = UNet(UNetSettings(outputs=2, channels=(8, 16, 24), landmarks=2, blocks=2))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for _ in range(3):
        loss = network(torch.randn(2, 1, 8, 8, 8), torch.tensor([0, 1])).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []


@pytest.mark.parametrize("settings", [{"channels": (12, 16)}, {"channels": (8, 16), "reduction": 3}])
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        UNetSettings(outputs=1, **settings)  # type: ignore[arg-type]

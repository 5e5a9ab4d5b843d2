"""Asking features for landmarks."""

from __future__ import annotations

import pytest
import torch

from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork, cut_windows
from LandmarkDetectionLib.model.unet import UNetSettings

SETTINGS = UNetSettings(channels=(8, 16))


def test_the_heat_of_some_landmarks_is_that_of_all() -> None:
    network = LocateNetwork(UNetSettings(channels=(8, 16), reduction=2), 5).eval()
    image = torch.randn(2, 1, 16, 16, 24)
    whole = network(image)
    assert whole.shape == (2, 5, 8, 8, 12)
    some = network.heat(network.features(image), torch.tensor([3, 1]))
    torch.testing.assert_close(some, whole[:, [3, 1]])


@pytest.mark.parametrize("kind", [LocateNetwork, RefineNetwork])
def test_its_size_hardly_grows_with_the_landmarks(kind: type[LocateNetwork | RefineNetwork]) -> None:
    def size(landmarks: int) -> int:
        return sum(parameter.numel() for parameter in kind(SETTINGS, landmarks).parameters())

    assert size(175) - size(45) <= 130 * (2 * 8 + 2)


def test_windows_hold_the_cells_that_they_name() -> None:
    features = torch.arange(2 * 10 * 10 * 10, dtype=torch.float32).reshape(2, 1, 10, 10, 10)
    cut = cut_windows(features, torch.tensor([1, 0]), torch.tensor([[4, 2, 1], [0, 5, 6]]), 3)
    torch.testing.assert_close(cut[0, 0], features[1, 0, 1:4, 2:5, 4:7])
    torch.testing.assert_close(cut[1, 0], features[0, 0, 6:9, 5:8, 0:3])


@pytest.mark.parametrize("windows", [1, 7])
def test_windows_and_their_gradients_are_those_of_slices(windows: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 4, 6, 7, 8, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last_3d
    )
    features.requires_grad_()
    fields = torch.randint(0, 3, (windows,))
    corners = torch.stack([torch.randint(0, edge - 4 + 1, (windows,)) for edge in (8, 7, 6)], dim=1)
    slices = [
        features[field, :, z : z + 4, y : y + 4, x : x + 4]
        for field, (x, y, z) in zip(fields.tolist(), corners.tolist(), strict=True)
    ]
    assert torch.equal(cut_windows(features, fields, corners, 4), torch.stack(slices))
    assert torch.autograd.gradcheck(lambda cells: cut_windows(cells, fields, corners, 4), features)


def test_what_is_said_of_a_landmark_does_not_depend_on_how_many_are_asked_for() -> None:
    torch.manual_seed(0)
    network = RefineNetwork(UNetSettings(channels=(16, 16)), 5)
    features = torch.randn(2, 16, 20, 20, 20).contiguous(memory_format=torch.channels_last_3d)
    rows, fields, corners = torch.arange(5), torch.tensor([0, 0, 1, 1, 1]), torch.randint(0, 6, (5, 3))
    together = network.evidence(cut_windows(features, fields, corners, 15), rows)
    alone = network.evidence(cut_windows(features, fields[3:4], corners[3:4], 15), rows[3:4])
    assert torch.equal(alone[0], together[3])


def test_where_nothing_is_seen_a_landmark_lies_where_it_is_expected() -> None:
    network = RefineNetwork(SETTINGS, 3, deviation=1.5)
    offsets = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    heat, _ = network.ask(torch.zeros(2, 8, 17, 17, 17), torch.tensor([2, 0]), offsets)
    share = torch.softmax(heat.flatten(1), 1).reshape(heat.shape)
    cells = torch.arange(17) - 8.0
    for axis, others in enumerate([(1, 2), (1, 3), (2, 3)]):
        profile = share.sum(dim=others)
        middle = (profile * cells).sum(dim=1)
        torch.testing.assert_close(middle, offsets[:, axis], atol=0.02, rtol=0)
        variance = (profile * (cells - middle[:, None]) ** 2).sum(dim=1)
        torch.testing.assert_close(variance.sqrt(), torch.full((2,), 1.5), atol=0.05, rtol=0)


def test_each_landmark_has_a_presence_of_its_own() -> None:
    torch.manual_seed(0)
    network = RefineNetwork(SETTINGS, 2)
    windows = torch.rand(1, 8, 9, 9, 9).expand(3, -1, -1, -1, -1)
    _, presence = network.ask(windows, torch.tensor([0, 0, 1]), torch.zeros(3, 3))
    assert presence[0] == presence[1] != presence[2]


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = RefineNetwork(SETTINGS, 2)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    rows, offsets = torch.tensor([0, 1]), torch.rand(2, 3)
    for _ in range(3):
        features = network.features(torch.randn(2, 1, 8, 8, 8))
        heat, presence = network.ask(features, rows, offsets)
        loss = torch.softmax(heat.flatten(1), 1)[:, 40].log().mean() + presence.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []

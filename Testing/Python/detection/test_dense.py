"""The dense engine with a network whose answer is known: it classifies voxels by their intensity."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.canonical import to_canonical
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.dense import (
    DenseSettings,
    _read_peak,
    classify_voxels,
    connected_parts,
    find_landmarks,
)

CPU = torch.device("cpu")
LEVELS = np.array([0.2, 0.5, 0.8])


class ByIntensity(nn.Module):
    """Class k where the voxel is near level k, background elsewhere."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.largest_input = 0

    def forward(self, image: Tensor) -> Tensor:
        self.largest_input = max(self.largest_input, image.shape[-1])
        image = image.float()
        levels = torch.tensor(LEVELS, dtype=torch.float32).view(1, -1, 1, 1, 1)
        near = 12 - 2000 * (image - levels) ** 2
        return torch.cat([torch.full_like(image, 4.0), near], dim=1)


def balls(frame: Frame, centres: NDArray[np.float64], radius: float) -> Volume:
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in frame.shape], indexing="ij"), axis=-1)[..., ::-1]
    world = frame.index_to_world(grid)
    voxels = np.full(frame.shape, -1, dtype=np.float32)
    for level, centre in zip(LEVELS, centres, strict=True):
        voxels[np.linalg.norm(world - centre, axis=-1) <= radius] = level
    return Volume(voxels, frame)


def positions(volume: Volume, window: int = 16, overlap: float = 0.25) -> NDArray[np.float64]:
    network = ByIntensity()
    peaks = find_landmarks(network, volume, DenseSettings((window,) * 3, overlap), len(LEVELS), device=CPU)
    assert network.largest_input <= window
    return np.array([peak.position for peak in peaks])


CENTRES = np.array([[6.0, 8.5, 9.0], [14.0, 20.25, 7.0], [21.0, 11.0, 16.5]])


def test_finds_the_centre_of_every_ball_across_windows() -> None:
    frame = Frame(size=(30, 27, 23))
    volume = balls(frame, CENTRES, 3.0)
    found = positions(volume)
    assert np.linalg.norm(found - CENTRES, axis=1).max() < 0.35
    np.testing.assert_allclose(found, positions(volume, window=32, overlap=0.0), atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    origin=st.lists(st.floats(-200, 200), min_size=3, max_size=3),
)
def test_48_storage_orders_and_any_direction_give_the_same_world_points(
    quaternion: list[float], origin: list[float]
) -> None:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    spacing = np.array([0.5, 0.5, 0.5])
    straight = balls(Frame(size=(22, 24, 20), spacing=spacing), CENTRES[:, [0, 1, 2]] * 0.45, 1.5)
    in_scan = positions(to_canonical(straight))
    turned = Frame(size=straight.frame.size, origin=origin, spacing=spacing, direction=rotation)
    expected = turned.index_to_world(straight.frame.world_to_index(in_scan))
    orders = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for order, signs in [orders[0], orders[17], orders[46], orders[47]]:
        stored = restored(Volume(straight.voxels, turned), order, signs)
        np.testing.assert_allclose(positions(to_canonical(stored)), expected, atol=1e-3 * 0.5)


def test_all_48_storage_orders_give_the_same_world_points() -> None:
    origin = np.array([5.0, -7.0, 3.0])
    volume = balls(Frame(size=(30, 27, 23), origin=origin), CENTRES + origin, 3.0)
    expected = positions(to_canonical(volume))
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            np.testing.assert_allclose(
                positions(to_canonical(restored(volume, order, signs))), expected, atol=1e-3
            )


def restored(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same scan with its axes stored in another order and direction."""
    frame = volume.frame
    first = np.zeros(3)
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = 0 if sign > 0 else frame.size[axis] - 1
    voxels = volume.voxels.transpose([2 - axis for axis in order[::-1]])
    voxels = voxels[tuple(slice(None, None, sign) for sign in signs[::-1])]
    return Volume(
        np.ascontiguousarray(voxels),
        Frame(
            size=[frame.size[axis] for axis in order],
            origin=frame.index_to_world(first),
            spacing=frame.spacing[list(order)],
            direction=frame.direction[:, list(order)] * np.array(signs),
        ),
    )


def test_the_largest_part_wins_over_a_stray_voxel() -> None:
    volume = balls(Frame(size=(30, 27, 23)), CENTRES, 3.0)
    volume.voxels[1, 1, 28] = LEVELS[0]
    assert np.linalg.norm(positions(volume)[0] - CENTRES[0]) < 0.35


def test_an_uncertain_landmark_is_where_its_peak_is() -> None:
    volume = Volume(np.zeros((8, 8, 8), np.float32), Frame(size=(8, 8, 8)))
    voxels = np.ravel_multi_index(([1] * 9 + [6], [1] * 9 + [5], [*range(8), 0, 4]), (8, 8, 8))
    voxels[8] = 0
    probability = np.array([0.15] * 9 + [0.25], np.float32)
    peak = _read_peak(np.asarray(voxels), probability, volume, DenseSettings((16, 16, 16)))
    np.testing.assert_allclose(peak.position, (4, 5, 6))
    assert peak.probability == pytest.approx(0.25)


def test_a_landmark_that_is_not_there_has_no_position() -> None:
    volume = balls(Frame(size=(30, 27, 23)), CENTRES, 3.0)
    volume.voxels[volume.voxels == np.float32(LEVELS[1])] = -1
    network = ByIntensity()
    peaks = find_landmarks(network, volume, DenseSettings((16, 16, 16)), len(LEVELS), device=CPU)
    assert np.isnan(peaks[1].position).all() and peaks[1].probability < 0.2
    assert np.isfinite(peaks[0].position).all() and peaks[0].probability > 0.5


def test_keeps_only_the_voxels_that_matter() -> None:
    volume = balls(Frame(size=(30, 27, 23)), CENTRES, 3.0)
    kept = classify_voxels(ByIntensity(), volume, DenseSettings((16, 16, 16)), device=CPU)
    assert len(kept.voxel) < 0.02 * volume.voxels.size * len(LEVELS)
    reference = torch.softmax(ByIntensity()(torch.from_numpy(volume.voxels)[None, None]), dim=1)[
        0, 1:
    ].numpy()
    expected = np.where(reference >= 0.01, reference, 0)
    dense = np.zeros_like(expected).reshape(len(LEVELS), -1)
    dense[kept.landmark, kept.voxel] = kept.probability
    np.testing.assert_allclose(dense.reshape(expected.shape), expected, atol=1e-5)


def test_a_scan_smaller_than_a_window_is_searched_too() -> None:
    centres = np.array([[2.0, 3.0, 2.0], [9.0, 3.0, 2.0], [16.0, 3.0, 2.0]])
    volume = balls(Frame(size=(19, 6, 5)), centres, 1.5)
    assert np.linalg.norm(positions(volume, window=32) - centres, axis=1).max() < 0.5


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (5, 4, 6)))
def test_connected_parts_are_those_of_a_flood_fill(mask: NDArray[np.bool_]) -> None:
    voxels = np.argwhere(mask)
    part = connected_parts(voxels)
    assert len(part) == len(voxels)
    number = {tuple(voxel): index for index, voxel in enumerate(voxels.tolist())}
    unseen = set(number)
    while unseen:
        stack = [unseen.pop()]
        members = []
        while stack:
            voxel = stack.pop()
            members.append(number[voxel])
            for step in itertools.product((-1, 0, 1), repeat=3):
                neighbour = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if neighbour in unseen:
                    unseen.remove(neighbour)
                    stack.append(neighbour)
        label = part[members[0]]
        assert set(np.flatnonzero(part == label).tolist()) == set(members)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": (15, 16, 16)},
        {"overlap": 1.0},
        {"threshold": 0.1},
        {"uncertain": 0.001},
        {"window": (16, 16)},
    ],
)
def test_refuses_settings_that_cannot_work(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        DenseSettings(**({"window": (16, 16, 16)} | wrong))  # type: ignore[arg-type]

"""Refine reads positions to a fraction of a voxel, however the scan lies and is stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.canonical import to_canonical
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection import refine
from LandmarkDetectionLib.detection.refine import (
    FineScan,
    Mirror,
    Refined,
    RefineSettings,
    cover,
    read_heat,
)
from LandmarkDetectionLib.model.queries import RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from Testing.pretend_gpu import DEVICE, PretendGpu

Array = NDArray[np.float64]
CPU = torch.device("cpu")
SETTINGS = RefineSettings(spacing=0.5, window=15)
WIDTH = 0.8


class LogOfTheImage(RefineNetwork):
    """The evidence is what the image shows; remembers which landmarks it was asked for."""

    def __init__(self, deviation: float = 1e3) -> None:
        super().__init__(UNetSettings(channels=(8, 8)), 3, deviation=deviation)
        self.features = nn.Identity()  # type: ignore[assignment]
        self.asked: list[int] = []

    def evidence(self, windows: Tensor, landmarks: Tensor) -> Tensor:
        self.asked += landmarks.tolist()
        return windows[:, 0]

    def presence_logits(self, windows: Tensor, heat: Tensor, landmarks: Tensor) -> Tensor:
        return landmarks.float()


def seen(
    network: RefineNetwork,
    volume: Volume,
    starts: Array,
    rotation: Array,
    *,
    settings: RefineSettings = SETTINGS,
    mirror: Mirror | None = None,
) -> Refined:
    scan = FineScan(network, volume, CPU)
    return scan.read(scan.look(starts, rotation, settings, mirror=mirror), starts)


def turned(seed: int) -> Array:
    turn: Array = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return turn * np.sign(np.linalg.det(turn))


def scan(points: Array, direction: Array) -> Volume:
    """The logarithm of a Gaussian around the nearest of some points."""
    size = (40, 44, 48)
    spacing = np.array([0.6, 0.6, 0.6])
    origin = np.array([3.0, -4, 5]) - direction @ (spacing * (np.array(size) - 1) / 2)
    frame = Frame(size=size, spacing=spacing, origin=origin, direction=direction)
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    squared = ((places[..., None, :] - points) ** 2).sum(axis=-1).min(axis=-1)
    return Volume((-squared / (2 * WIDTH**2)).astype(np.float32), frame)


POINTS = np.array([[1.23, -6.4, 3.1], [7.7, -1.1, 6.6], [2.2, 1.9, 9.4]])


@pytest.mark.parametrize("seed", range(4))
def test_positions_are_right_to_a_few_hundredths_of_a_voxel_in_any_pose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume, network = scan(POINTS, turned(seed)), LogOfTheImage()
    starts = POINTS + rng.uniform(-1, 1, POINTS.shape)
    found = seen(network, volume, starts, turned(seed + 9))
    assert np.linalg.norm(found.positions - POINTS, axis=1).max() < 0.03 * SETTINGS.spacing
    np.testing.assert_allclose(found.spreads, WIDTH, rtol=0.15)
    assert sorted(network.asked) == [0, 1, 2]
    np.testing.assert_array_equal(found.presences, [0, 1, 2])


def test_a_mirrored_look_asks_for_the_counterparts_and_agrees() -> None:
    volume, network = scan(POINTS, np.eye(3)), LogOfTheImage()
    mirror = Mirror(normal=np.array([0.6, 0.8, 0.0]), order=[1, 0, 2], alone=np.zeros(3, dtype=bool))
    found = seen(network, volume, POINTS + 0.4, turned(3), mirror=mirror)
    assert sorted(network.asked) == [0, 1, 2]
    assert np.linalg.norm(found.positions - POINTS, axis=1).max() < 0.03 * SETTINGS.spacing
    np.testing.assert_array_equal(found.presences, [1, 0, 2])


def test_the_order_in_which_a_scan_is_stored_changes_nothing() -> None:
    stored = scan(POINTS, turned(5))
    flipped = Volume(
        stored.voxels[::-1],
        Frame(
            size=stored.frame.size,
            spacing=stored.frame.spacing,
            origin=stored.frame.index_to_world((0, 0, stored.frame.size[2] - 1)),
            direction=stored.frame.direction * [1, 1, -1],
        ),
    )
    first, second = (
        seen(LogOfTheImage(), volume, POINTS + 0.3, turned(6)) for volume in (to_canonical(flipped), stored)
    )
    np.testing.assert_allclose(first.positions, second.positions, atol=1e-4)


def test_what_was_seen_is_read_anew_where_landmarks_are_expected_elsewhere() -> None:
    """With an expectation as firm as the evidence, the place is halfway between them."""
    volume, network = scan(POINTS, turned(2)), LogOfTheImage(deviation=WIDTH / SETTINGS.spacing)
    fine_scan = FineScan(network, volume, CPU)
    view = fine_scan.look(POINTS + 0.7, turned(4), SETTINGS)
    for offset in ([0.4, 0, 0], [0, -0.9, 0.3]):
        found = fine_scan.read(view, POINTS + offset)
        np.testing.assert_allclose(found.positions - POINTS, np.tile(np.divide(offset, 2), (3, 1)), atol=0.03)
    unsure = fine_scan.read(view, POINTS + 0.4, doubt=1e3)
    np.testing.assert_allclose(unsure.positions, POINTS, atol=0.03)
    assert sorted(network.asked) == [0, 1, 2]


def test_two_opinions_are_averaged_and_one_stands_alone() -> None:
    nobody = [np.nan] * 3
    first = Refined(
        np.array([[0.0, 0, 0], [1, 1, 1], nobody]), np.array([1, 2, np.nan]), np.array([-1.0, 4, 3])
    )
    second = Refined(
        np.array([[1.0, 2, 4], nobody, nobody]), np.array([3, np.nan, np.nan]), np.array([2, np.nan, 5])
    )
    for both in (first.averaged_with(second), second.averaged_with(first)):
        np.testing.assert_array_equal(both.positions, [[0.5, 1, 2], [1, 1, 1], nobody])
        np.testing.assert_array_equal(both.spreads, [2, 2, np.nan])
        np.testing.assert_array_equal(both.presences, [0.5, 4, 4])


def test_heat_in_two_places_is_read_at_the_stronger() -> None:
    heat = torch.full((1, 20, 20, 20), -20.0)
    heat[0, 4, 5, 6], heat[0, 15, 14, 13] = 1.0, 2.0
    places, spreads = read_heat(heat, 1.0)
    np.testing.assert_allclose(places[0], np.array([13, 14, 15]) - 9.5, atol=1e-3)
    assert spreads[0] < 0.05


def test_many_small_fields_find_what_a_large_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "_LARGEST", 64_000)
    volume = scan(POINTS, turned(1))
    small = RefineSettings(SETTINGS.spacing, SETTINGS.window, largest=1)
    whole, parts = (
        seen(LogOfTheImage(), volume, POINTS + 0.2, turned(2), settings=settings)
        for settings in (SETTINGS, small)
    )
    assert len(list(cover(POINTS, SETTINGS, 8))) == 1 and len(list(cover(POINTS, small, 8))) == 3
    np.testing.assert_allclose(parts.positions, whole.positions, atol=0.01)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([30_000, 100_000, 1_000_000]))
def test_fields_cover_every_window_once_and_are_no_larger_than_allowed(
    seed: int, count: int, largest: int
) -> None:
    places = np.random.default_rng(seed).uniform(-20, 20, (count, 3))
    places[::7] = np.nan
    settings = RefineSettings(spacing=0.5, window=15, largest=largest)
    fields = list(cover(places, settings, 8))
    rows = np.concatenate([field.rows for field in fields]) if fields else np.array([])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(np.isfinite(places).all(axis=1)))
    for field in fields:
        size = np.array(field.size)
        assert (size % 8 == 0).all()
        assert len(field.rows) == 1 or size.prod() <= largest
        reach = (size / 2 - settings.window / 2) * settings.spacing
        assert (np.abs(places[field.rows] - field.middle) <= reach).all()


def test_what_nobody_expects_anywhere_is_not_found_and_disturbs_nothing() -> None:
    volume = scan(POINTS, np.eye(3))
    starts = np.vstack([POINTS[:2] + 0.2, np.full((1, 3), np.nan)])
    found = seen(LogOfTheImage(), volume, starts, turned(3))
    assert np.linalg.norm(found.positions[:2] - POINTS[:2], axis=1).max() < 0.03 * SETTINGS.spacing
    assert np.isnan(found.positions[2]).all() and np.isnan(found.presences[2])


def test_fields_are_seen_together_as_far_as_the_settings_allow() -> None:
    fields = [refine.Field(np.array([row]), np.zeros(3), (24, 24, 24)) for row in range(100)]
    fields.append(refine.Field(np.array([100]), np.zeros(3), (40, 40, 40)))
    for device, largest, together in (("cpu", 64_000, 4), ("cpu", 16_000, 1), ("cuda", 16_000, 37)):
        settings = RefineSettings(0.5, 15, largest=largest)
        groups = refine._alike(fields, settings, torch.device(device))
        assert [field for group in groups for field in group] == fields
        assert max(map(len, groups)) == together and len(groups[-1]) == 1, "another size"


def test_a_gpu_has_nothing_to_wait_for_however_many_landmarks_there_are() -> None:
    """The scan goes to it once, what it was asked for comes back once, and neither work nor copies grow."""
    torch.manual_seed(0)
    volume, network = scan(POINTS, np.eye(3)), RefineNetwork(UNetSettings(channels=(8, 8)), 60).eval()
    around = POINTS[0] + np.random.default_rng(0).uniform(-0.4, 0.4, (60, 3))
    asked = [np.where(np.arange(60)[:, None] < count, around, np.nan) for count in (2, 60)]
    on_cpu = [seen(network, volume, starts, np.eye(3)) for starts in asked]
    with PretendGpu() as gpu:
        network.to(DEVICE)
        counts = []
        for starts, expected in zip(asked, on_cpu, strict=True):
            gpu.forget()
            fine_scan = FineScan(network, volume, DEVICE)
            found = fine_scan.read(fine_scan.look(starts, np.eye(3), SETTINGS), starts)
            np.testing.assert_allclose(found.positions, expected.positions, atol=1e-4 * SETTINGS.spacing)
            assert max(gpu.to_gpu) == volume.voxels.size and sum(gpu.to_gpu) < 1.02 * volume.voxels.size
            assert gpu.waited == [] and len(gpu.to_host) == 1
            counts.append((gpu.calls, len(gpu.to_gpu)))
    assert counts[0] == counts[1]

"""Locate reads candidates off heat maps, in one window or many, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Candidates
from LandmarkDetectionLib.detection.locate import LocateSettings, _highest_around, find_candidates
from LandmarkDetectionLib.model.queries import LocateNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from Testing.pretend_gpu import DEVICE, PretendGpu

CPU = torch.device("cpu")
BLOBS = [(20.6, 30.4, 12.3), (44.5, 9.5, 30.2)]


class Half(nn.Module):
    """As a convolution with stride 2: cell i over voxel 2 i."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float()[..., ::2, ::2, ::2]


class Brightness(LocateNetwork):
    """Heat maps at half resolution: where the image is bright, seen sharply and dimly in turn."""

    def __init__(self, landmarks: int = 2) -> None:
        super().__init__(UNetSettings(channels=(8, 8, 8), reduction=2), landmarks)
        self.features = Half()  # type: ignore[assignment]
        self.codes = nn.Parameter(torch.tensor([2.0, 1.5]).repeat(landmarks // 2)[:, None])


def scan(size: tuple[int, int, int]) -> Volume:
    """Two blobs, one stronger, in an oblique scan."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    frame = Frame(size=size, spacing=(0.4, 0.4, 0.4), origin=(3, -20, 8), direction=turn)
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = np.stack([i, j, k], axis=-1)
    voxels = np.zeros(frame.shape, dtype=np.float32)
    for strength, centre in zip((6.0, 5.5), BLOBS, strict=True):
        voxels += strength * np.exp(-((places - centre) ** 2).sum(axis=-1) / 18).astype(np.float32)
    return Volume(voxels, frame)


def find(volume: Volume, window: int, candidates: int = 2, landmarks: int = 2) -> Candidates:
    settings = LocateSettings(spacing=0.4, window=window, candidates=candidates)
    return find_candidates(Brightness(landmarks), volume, settings, device=CPU)


@pytest.mark.parametrize("window", [64, 32, 24])
def test_candidates_lie_where_the_heat_is_the_strongest_first(window: int) -> None:
    volume = scan((53, 50, 45))
    found = find(volume, window)
    assert found.positions.shape == (2, 2, 3) and found.values.shape == (2, 2)
    for positions in found.positions:
        np.testing.assert_allclose(positions, volume.frame.index_to_world(BLOBS), atol=0.2)
    assert (found.values[:, 0] > 1.5 * found.values[:, 1]).all()
    assert (found.values.sum(axis=1) <= 1 + 1e-6).all()


def test_windows_change_nothing_about_what_is_found() -> None:
    volume = scan((53, 50, 45))
    whole, parts = find(volume, 64), find(volume, 32)
    np.testing.assert_allclose(parts.positions, whole.positions, atol=0.05)
    np.testing.assert_allclose(parts.values, whole.values, rtol=0.02)


def test_a_scan_with_fewer_places_than_candidates_gives_as_many_rows() -> None:
    found = find(scan((48, 40, 40)), 64, candidates=40)
    assert found.positions.shape == (2, 40, 3) and np.isfinite(found.positions).all()
    assert (found.values[:, :2] > 0.2).all() and (found.values[:, -1] == 0).all(), (
        "what is no peak is nothing"
    )
    assert (found.values.sum(axis=1) <= 1 + 1e-6).all()


def test_any_number_of_landmarks_is_looked_for_a_few_at_a_time() -> None:
    volume = scan((48, 40, 40))
    two, many = find(volume, 64), find(volume, 64, landmarks=38)
    np.testing.assert_array_equal(many.positions, np.tile(two.positions, (19, 1, 1)))
    np.testing.assert_array_equal(many.values, np.tile(two.values, (19, 1)))


def test_the_highest_value_around_is_that_of_max_pool() -> None:
    heat = torch.randn(3, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(heat, [2] * 6, value=-torch.inf)
    pooled = torch.nn.functional.max_pool3d(heat[None], 5, stride=1, padding=2)[0]
    assert torch.equal(_highest_around(padded, 5), pooled)


def test_a_gpu_is_given_the_scan_once_and_asked_once_for_all_windows_and_landmarks() -> None:
    volume = scan((53, 50, 45))
    counts = []
    for landmarks in (2, 40):
        on_cpu = find(volume, 32, landmarks=landmarks)
        with PretendGpu() as gpu:
            network = Brightness(landmarks).to(DEVICE)
            gpu.forget()
            settings = LocateSettings(spacing=0.4, window=32, candidates=2)
            found = find_candidates(network, volume, settings, device=DEVICE)
        np.testing.assert_allclose(found.positions, on_cpu.positions, atol=1e-6)
        assert gpu.to_gpu == [volume.voxels.size] and gpu.waited == [] and len(gpu.to_host) == 1
        counts.append(gpu.calls)
    assert counts[0] == counts[1]

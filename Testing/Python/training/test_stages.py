"""Samples of locate and refine: what they say of a landmark's place is where the image shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.config import AugmentationSection
from LandmarkDetectionLib.training.stages import LocateSamples, LocateSampling, RefineSamples, RefineSampling

Array = NDArray[np.float64]
FindBlob = Callable[[NDArray[np.float32]], Array]
TABLE = LandmarkTable(
    (
        Landmark("eye_L", 1, pair="eye_R"),
        Landmark("eye_R", 2, pair="eye_L"),
        Landmark("chin", 3),
        Landmark("crown", 4),
    )
)
SHAPE = np.array([[-9.0, 4, 2], [9, 4, 2], [0, -9, -5], [0, 1, 11]])
HEIGHTS = (1.0, 0.75, 0.5, 0.25)
QUIET = AugmentationSection(
    rotation=180,
    scale=0.15,
    shear=0.05,
    mirror=0.5,
    elastic=0.5,
    elastic_spacing=12,
    elastic_amplitude=1.0,
    noise=0,
    gamma=0,
    contrast=0,
    motion=0,
    motion_shift=0,
)


def a_case(folder: Path, seed: int, *, without: int | None = None) -> PreparedCase:
    """A head in some pose with a blob at each landmark, each of another height."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    positions = SHAPE @ turn.T + rng.uniform(-30, 30, 3)
    frame = Frame(size=(50, 48, 52), origin=positions.mean(axis=0) - [25, 24, 26])
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    voxels = np.full(frame.shape, -1.0)
    for point, height in zip(positions, HEIGHTS, strict=True):
        voxels += 1.5 * height * np.exp(-((places - point) ** 2).sum(axis=-1) / (2 * 2.5**2))
    if without is not None:
        positions[without] = np.nan
    path = folder / f"{seed}.npy"
    np.save(path, voxels.astype(np.float16))
    return PreparedCase(str(seed), "", path, frame, positions, np.isfinite(positions).all(axis=1))


def height_at(image: NDArray[np.float32], place: Array) -> float:
    """The largest value within two voxels."""
    z, y, x = (round(at) for at in place[::-1].tolist())
    near = tuple(slice(max(at - 2, 0), at + 3) for at in (z, y, x))
    return float((image[near].max() + 1) / 1.5)


@pytest.mark.parametrize("reduction", [1, 2])
def test_a_field_shows_each_landmark_where_it_says_under_its_own_name(tmp_path: Path, reduction: int) -> None:
    cases = [a_case(tmp_path, seed) for seed in range(3)]
    sampling = LocateSampling(spacing=1.0, field=48, reduction=reduction, jitter=4.0, anywhere=0.0)
    samples = LocateSamples(cases, TABLE, sampling, QUIET, seed=5)
    orders = set()
    for number in range(12):
        image, places = samples[number]
        assert image.shape == (1, 48, 48, 48) and places.shape == (4, 3)
        voxels = places.double().numpy() * reduction
        visible = ((voxels > 3) & (voxels < 44)).all(axis=1)
        shown = [height_at(image[0].numpy(), place) for place in voxels[visible]]
        as_it_is, mirrored = np.array(HEIGHTS), np.array(HEIGHTS)[TABLE.mirrored_order]
        apart = [np.abs(shown - heights[visible]).max() for heights in (as_it_is, mirrored)]
        assert min(apart) < 0.1
        orders.add(int(np.argmin(apart)))
    assert orders == {0, 1}


def test_a_landmark_that_is_absent_has_no_place(tmp_path: Path) -> None:
    sampling = LocateSampling(spacing=1.0, field=32, reduction=2, jitter=2.0, anywhere=0.0)
    samples = LocateSamples([a_case(tmp_path, 1, without=3)], TABLE, sampling, QUIET, seed=1)
    for number in range(4):
        assert np.isnan(samples[number][1].numpy()).all(axis=1).tolist() == [False, False, False, True]


def test_some_fields_lie_anywhere(tmp_path: Path) -> None:
    sampling = LocateSampling(spacing=1.0, field=16, reduction=2, jitter=0.0, anywhere=1.0)
    samples = LocateSamples([a_case(tmp_path, 1)], TABLE, sampling, QUIET, seed=1)
    middles = np.array([samples[number][1].numpy().mean(axis=0) for number in range(30)])
    assert middles.std(axis=0).min() > 3


def test_a_crop_shows_its_landmark_where_it_says(tmp_path: Path, find_blob: FindBlob) -> None:
    cases = [a_case(tmp_path, seed, without=2 if seed else None) for seed in range(3)]
    settings = QUIET.model_copy(update={"rotation": 8.0, "scale": 0.07, "elastic_amplitude": 0.3})
    sampling = RefineSampling(spacing=0.5, crop=24, jitter=0.8)
    samples = RefineSamples(cases, TABLE, SHAPE, sampling, settings, seed=3)
    shown = set()
    for number in range(60):
        image, landmark, place = samples[number]
        shown.add(int(landmark))
        height = height_at(image[0].numpy(), place.double().numpy())
        heights = {HEIGHTS[int(landmark)], HEIGHTS[TABLE.mirrored_order[int(landmark)]]}
        assert min(abs(height - expected) for expected in heights) < 0.1
        if int(landmark) < 2:  # the others are too dim beside their neighbours
            assert np.linalg.norm(find_blob(image[0].numpy() + np.float32(1.01)) - place.numpy()) < 0.35
    assert shown == {0, 1, 2, 3}


def test_crops_lie_as_the_mean_shape_does(tmp_path: Path) -> None:
    """With no variation at all, what is to the left of a landmark is to the left in every case."""
    still = QUIET.model_copy(
        update={"rotation": 0.0, "scale": 0.0, "shear": 0.0, "mirror": 0.0, "elastic": 0.0}
    )
    sampling = RefineSampling(spacing=1.0, crop=40, jitter=0.0)
    samples = RefineSamples(
        [a_case(tmp_path, seed) for seed in range(4)], TABLE, SHAPE, sampling, still, seed=2
    )
    for number in range(8):
        image, landmark, _ = samples[number]
        for other, height in enumerate(HEIGHTS):
            place = SHAPE[other] - SHAPE[int(landmark)] + 19.5
            if ((place > 3) & (place < 36)).all():
                assert height_at(image[0].numpy(), place) == pytest.approx(height, abs=0.1)


def test_sample_n_is_the_same_whenever_it_is_drawn(tmp_path: Path) -> None:
    sampling = RefineSampling(spacing=0.5, crop=16, jitter=0.5)

    def draw(seed: int, number: int) -> NDArray[np.float32]:
        samples = RefineSamples([a_case(tmp_path, 1)], TABLE, SHAPE, sampling, QUIET, seed=seed)
        return np.asarray(samples[number][0])

    np.testing.assert_array_equal(draw(1, 4), draw(1, 4))
    assert not np.array_equal(draw(1, 4), draw(2, 4))

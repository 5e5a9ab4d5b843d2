"""Samples of locate and refine: what they say of a landmark's place is where the image shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.detection.refine import read_heat
from LandmarkDetectionLib.model.losses import heat_loss
from LandmarkDetectionLib.model.unet import UNet, UNetSettings
from LandmarkDetectionLib.training.averaging import Schedule
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.config import AugmentationSection
from LandmarkDetectionLib.training.stages import (
    LocateSamples,
    LocateSampling,
    LocateTraining,
    RefineSamples,
    RefineSampling,
    RefineTraining,
)

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


def fit(module: L.LightningModule, samples: Dataset[Any], *, batch: int, steps: int) -> None:
    numbers = range(batch * steps)
    loader = DataLoader(samples, sampler=list(numbers), batch_size=batch)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)


def test_both_networks_learn_to_find_the_landmarks(tmp_path: Path) -> None:
    """From two cases, in a few seconds: blobs of four heights, in any pose."""
    torch.manual_seed(0)
    cases = [a_case(tmp_path, seed) for seed in range(2)]
    schedule = Schedule(steps=60, learning_rate=5e-3, warmup=5, weight_decay=0, accumulate=1, ema=0.9)
    fine = UNet(UNetSettings(outputs=1, channels=(8, 16), landmarks=4))
    refine = RefineTraining(fine, schedule, width=1.0)
    gentle = QUIET.model_copy(update={"rotation": 10.0, "scale": 0.05, "elastic": 0.0})
    sampling = RefineSampling(spacing=0.75, crop=16, jitter=1.0)
    samples = RefineSamples(cases, TABLE, SHAPE, sampling, gentle, seed=1)
    fit(refine, samples, batch=8, steps=60)
    images, rows, places = (
        torch.stack(column) for column in zip(*map(samples.__getitem__, range(900, 930)), strict=True)
    )
    with torch.inference_mode():
        heat = refine.best_network.eval()(images, rows)[:, 0]
    found = read_heat(heat, sampling.spacing)[0] / sampling.spacing + (sampling.crop - 1) / 2
    assert np.median(np.linalg.norm(found - places.numpy(), axis=1)) < 0.6

    coarse = LocateTraining(UNet(UNetSettings(outputs=4, channels=(8, 16), reduction=2)), schedule, width=1.0)
    fields = LocateSamples(cases, TABLE, LocateSampling(1.0, 32, 2, 3.0, 0.0), QUIET, seed=2)
    image, where = (
        torch.stack(column) for column in zip(*map(fields.__getitem__, range(900, 904)), strict=True)
    )
    with torch.inference_mode():
        before = heat_loss(coarse.network.eval()(image), where, width=1.0)
    coarse.network.train()
    fit(coarse, fields, batch=2, steps=60)
    with torch.inference_mode():
        after = heat_loss(coarse.best_network.eval()(image), where, width=1.0)
    assert after < before - 1.5

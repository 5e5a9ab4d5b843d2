"""Training crops: image and classes of one sample belong together, and number n is always the same."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.masks import mask_centres
from LandmarkDetectionLib.data.shape import symmetry_plane
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.dense.crops import CropDataset
from LandmarkDetectionLib.training.samples.sampling import EpochSampler
from Testing.resampling import resample

Array = NDArray[np.float64]
FindBlob = Callable[[NDArray[np.float32]], Array]

SIZE = (36, 32, 40)
MIDDLE = (np.array(SIZE) - 1) / 2
ALL_MOVES = {"rotation": 180, "scale": 0.15, "shear": 0.05, "elastic": 0.5}
PAIRED = LandmarkTable(
    (
        Landmark("left", 1, pair="right"),
        Landmark("right", 2, pair="left"),
        Landmark("chin", 3),
        Landmark("aside", 4),
    )
)


def make_config(**changes: dict[str, Any]) -> DenseConfig:
    """No augmentation, every crop on a landmark; `changes` by section."""
    sections: dict[str, dict[str, Any]] = {
        "data": {"train": "train.csv", "val": None, "landmarks": None, "cache": "cache"},
        "image": {"spacing": 1, "normaliser": "fixed", "low": -1, "high": 1},
        "target": {"positive": 3, "negative": 6},
        "sampling": {"crop": SIZE, "landmark_fraction": 1, "padding": "minimum"},
        "augmentation": {
            "rotation": 0,
            "scale": 0,
            "shear": 0,
            "mirror": 0,
            "elastic": 0,
            "elastic_spacing": 16,
            "elastic_amplitude": 3,
            "noise": 0,
            "gamma": 0,
            "contrast": 0,
            "motion": 0,
            "motion_shift": 0,
        },
        "network": {"channels": [8, 8, 8], "blocks": [1, 1, 1, 1], "groups": 4},
        "loss": {"gamma": 2, "background_weight": 1},
        "training": {
            "epochs": 1,
            "steps_per_epoch": 1,
            "batch": 1,
            "accumulate": 1,
            "learning_rate": 1e-3,
            "weight_decay": 0,
            "warmup": 1,
            "gradient_clip": 5,
            "precision": "off",
            "ema": 0,
            "validate_every": 1,
            "patience": 0,
            "workers": 0,
            "seed": 7,
        },
        "detection": {"threshold": 0.5, "uncertain": 0.2, "overlap": 0.25},
    }
    merged = {name: {**section, **changes.get(name, {})} for name, section in sections.items()}
    return DenseConfig.model_validate({"version": 1, "name": "test", "engine": "dense", **merged})


def frame_of(seed: int) -> Frame:
    """Oblique, as scans stay when they are prepared."""
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return Frame(size=(70, 72, 74), origin=(-30, 200, 5), direction=rotation * np.linalg.det(rotation))


def world_of(frame: Frame) -> Array:
    k, j, i = np.indices(frame.shape)
    return frame.index_to_world(np.stack([i, j, k], axis=-1))


def prepared(folder: Path, name: str, voxels: Array, frame: Frame, positions: Array) -> PreparedCase:
    path = folder / f"{name}.npy"
    np.save(path, voxels.astype(np.float32))
    known, lowest = np.ones(len(positions), bool), float(voxels.min())
    return PreparedCase(name, "", path, frame, frame.spacing, positions, known, lowest)


def blobs(frame: Frame, positions: Array, heights: Sequence[float]) -> Array:
    """Smooth blobs, the background is -1."""
    world, scan = world_of(frame), np.full(frame.shape, -1.0)
    for place, height in zip(positions, heights, strict=True):
        scan += height * np.exp(-0.5 * ((world - place) ** 2).sum(axis=-1) / 5**2)
    return scan


def names(count: int) -> LandmarkTable:
    return LandmarkTable.from_names([f"L{number}" for number in range(1, count + 1)])


def draw(dataset: CropDataset, number: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    image, classes, known = dataset[number]
    assert image.shape == (1, *SIZE[::-1])
    assert image.dtype == torch.float32
    assert classes.shape == SIZE[::-1]
    assert classes.dtype == torch.int16
    assert known.dtype == torch.bool and known[0]
    return image[0].numpy(), classes.numpy()


@pytest.mark.parametrize("mirror", [0, 1])
def test_the_blob_in_the_image_is_the_ball_in_the_classes(
    find_blob: FindBlob, tmp_path: Path, mirror: float
) -> None:
    frame = frame_of(1)
    sides = frame.centre + np.array([[25.0, 0, 0], [-25.0, 0, 0]]) @ frame.direction.T
    positions = np.stack([sides[0], sides[1], frame.centre])
    table = LandmarkTable((Landmark("l", 1, pair="r"), Landmark("r", 2, pair="l"), Landmark("c", 3)))
    case = prepared(tmp_path, "scan", blobs(frame, positions[2:], [1.5]), frame, positions)
    config = make_config(augmentation={**ALL_MOVES, "mirror": mirror}, target={"positive": 5, "negative": 8})
    dataset = CropDataset([case], table, config)
    apart = []
    for number in range(60):
        image, classes = draw(dataset, number)
        if np.count_nonzero(classes == 3) > 450 and not touches_the_edge(classes == 3, 1):
            centre = mask_centres(classes, Frame(size=SIZE))[3]
            apart.append(find_blob((image + 1).clip(1e-6)) - centre)
    assert len(apart) >= 8
    assert np.quantile(np.linalg.norm(apart, axis=1), 0.8) < 0.05


def touches_the_edge(mask: NDArray[np.bool_], margin: int) -> bool:
    inner = mask[margin:-margin, margin:-margin, margin:-margin]
    return bool(inner.sum() < mask.sum())


def places_shown(folder: Path, frame: Frame, positions: Array, config: DenseConfig, number: int) -> Array:
    """The world position that each voxel of a sample without a warp shows, (z, y, x, 3).

    They are read off the middle of samples of three scans whose intensities are the world coordinates.
    """
    index = np.moveaxis(np.indices(SIZE[::-1])[::-1], 0, -1)
    middle = tuple(slice(count // 2 - 3, count // 2 + 4) for count in SIZE[::-1])
    where = np.zeros((*SIZE[::-1], 3))
    for axis in range(3):
        ramp = (world_of(frame)[..., axis] - frame.centre[axis]) / 80
        case = prepared(folder, f"axis {axis}", ramp, frame, positions)
        shown = draw(CropDataset([case], names(len(positions)), config), number)[0]
        terms = np.column_stack([index[middle].reshape(-1, 3), np.ones(7**3)])
        *slope, start = np.linalg.lstsq(terms, shown[middle].ravel(), rcond=None)[0]
        where[..., axis] = frame.centre[axis] + 80 * (index @ slope + start)
    return where


def test_the_classes_are_balls_and_shells_in_mm_around_the_nearest_landmark(tmp_path: Path) -> None:
    frame = frame_of(2)
    rng = np.random.default_rng(0)
    positions = frame.centre + np.concatenate([rng.uniform(-6, 6, (4, 3)), [[0.0, 0, 14], [np.nan] * 3]])
    config = make_config(
        augmentation={"rotation": 180}, target={"positive": 3.3, "negative": 5.2}, image={"spacing": 0.9}
    )
    case = prepared(tmp_path, "scan", np.zeros(frame.shape), frame, positions)
    kinds = 0
    for number in range(6):
        where = places_shown(tmp_path, frame, positions, config, number)
        distances = np.linalg.norm(where[..., None, :] - positions[:5], axis=-1)
        first, second = np.moveaxis(np.sort(distances, axis=-1)[..., :2], -1, 0)
        expected = np.where(first <= 3.3, distances.argmin(axis=-1) + 1, np.where(first <= 5.2, -1, 0))
        clear = np.minimum(np.abs(first - 3.3), np.abs(first - 5.2)) > 1e-3
        clear &= second - first > 1e-3
        classes = draw(CropDataset([case], names(6), config), number)[1]
        np.testing.assert_array_equal(classes[clear], expected[clear])
        kinds += len(np.unique(expected[clear]))
    assert kinds > 18


def test_with_everything_off_a_crop_is_the_scan_resampled(tmp_path: Path) -> None:
    frame = frame_of(6)
    voxels = np.random.default_rng(0).uniform(-1, 1, frame.shape).astype(np.float32).astype(np.float64)
    case = prepared(tmp_path, "scan", voxels, frame, frame.centre[None])
    config = make_config()
    image, _ = draw(CropDataset([case], names(1), config), 3)
    where = places_shown(tmp_path, frame, frame.centre[None], config, 3)
    grid = Frame(size=SIZE, origin=where[0, 0, 0])
    np.testing.assert_allclose(where, world_of(grid), atol=1e-3)
    index = frame.world_to_index(where)
    inside = ((index > 0) & (index < np.array(frame.size) - 1)).all(axis=-1)
    assert inside.mean() > 0.9
    expected = resample(Volume(voxels, frame), grid).voxels
    np.testing.assert_allclose(image[inside], expected[inside], atol=2e-3)


def sides_case(folder: Path) -> tuple[PreparedCase, Array]:
    """Left a bright blob, right a dark one, a chin in the middle, and one landmark aside with no twin."""
    frame = frame_of(3)
    offsets = np.array([[12.0, 0, 0], [-12, 0, 0], [0, 9, 0], [11, 0, 14]])
    positions = frame.centre + offsets @ frame.direction.T
    scan = blobs(frame, positions[:3], [1.6, 0.8, 1.2])
    return prepared(folder, "sides", scan, frame, positions), positions


def value_at(image: NDArray[np.float32], place: Array) -> float:
    i, j, k = np.rint(place).astype(int)
    return float(image[k, j, i])


@pytest.mark.parametrize("moves", [{}, {"rotation": 180, "elastic": 1}])
def test_a_mirrored_sample_swaps_left_and_right_and_no_other(tmp_path: Path, moves: dict[str, float]) -> None:
    case, _ = sides_case(tmp_path)
    heights = {}
    for mirror in (0, 1):
        config = make_config(augmentation={**moves, "mirror": mirror})
        dataset = CropDataset([case], PAIRED, config)
        found: dict[int, list[float]] = {1: [], 2: [], 3: []}
        for number in range(30):
            image, classes = draw(dataset, number)
            for label in found:
                if np.count_nonzero(classes == label) > 90:
                    centre = mask_centres(classes, Frame(size=SIZE))[label]
                    found[label].append(value_at(image, centre))
        heights[mirror] = {label: np.median(values) for label, values in found.items()}
    bright, dark, middle = (heights[0][label] for label in (1, 2, 3))
    assert bright > middle > dark
    assert heights[1][1] == pytest.approx(dark, abs=0.1), "in a mirrored scan, the right side looks left"
    assert heights[1][2] == pytest.approx(bright, abs=0.1)
    assert heights[1][3] == pytest.approx(middle, abs=0.1)


@pytest.mark.parametrize("mirror", [0, 1])
def test_a_mirrored_sample_does_not_know_a_landmark_aside_without_twin(tmp_path: Path, mirror: int) -> None:
    case, _ = sides_case(tmp_path)
    dataset = CropDataset([case], PAIRED, make_config(augmentation={"mirror": mirror}))
    for number in range(10):
        _, classes, known = dataset[number]
        assert known.tolist() == [True, True, True, True, not mirror]
        assert not (mirror and (classes == 4).any())


def test_what_an_annotation_does_not_speak_of_is_unknown_and_swaps_sides_too(tmp_path: Path) -> None:
    case, positions = sides_case(tmp_path)
    without_left = np.where(np.arange(4)[:, None] == 0, np.nan, positions)
    case = replace(case, positions=without_left, known=np.array([False, True, True, True]))
    assert CropDataset([case], PAIRED, make_config())[0][2].tolist() == [True, False, True, True, True]
    case = replace(case, positions=positions, known=np.array([False, True, True, True]))
    mirrored = CropDataset([case], PAIRED, make_config(augmentation={"mirror": 1}))[0][2]
    assert mirrored.tolist() == [True, True, False, True, False]


def test_a_case_without_a_pair_is_never_mirrored(tmp_path: Path) -> None:
    case, positions = sides_case(tmp_path)
    alone = positions.copy()
    alone[1] = np.nan
    one_sided = replace(case, positions=alone)
    crops = [
        CropDataset([one_sided], PAIRED, make_config(augmentation={"mirror": mirror}))[4] for mirror in (0, 1)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*crops, strict=True))


def noisy_dataset(folder: Path, *, seed: int = 7) -> CropDataset:
    rng = np.random.default_rng(0)
    cases = []
    for number in range(3):
        frame = frame_of(number)
        positions = frame.centre + rng.uniform(-20, 20, (3, 3))
        cases.append(prepared(folder, f"c{number}", rng.uniform(-1, 1, frame.shape), frame, positions))
    strong = {**ALL_MOVES, "noise": 0.1, "gamma": 0.3, "contrast": 0.1, "motion": 0.5, "motion_shift": 2}
    return CropDataset(cases, names(3), make_config(augmentation=strong, training={"seed": seed}))


def test_sample_n_is_the_same_in_any_order_and_in_any_process(tmp_path: Path) -> None:
    dataset = noisy_dataset(tmp_path)
    backwards = {number: dataset[number] for number in (5, 3, 1, 0)}
    fresh = noisy_dataset(tmp_path)
    for number in (0, 1):
        assert all(torch.equal(a, b) for a, b in zip(fresh[number], backwards[number], strict=True))
    numbers = [0, 1, 3, 5]
    loader: DataLoader[Any] = DataLoader(fresh, sampler=numbers, batch_size=1, num_workers=2)
    for number, (image, classes, _) in zip(numbers, loader, strict=True):
        assert torch.equal(image[0], backwards[number][0])
        assert torch.equal(classes[0], backwards[number][1])


def test_other_numbers_and_other_seeds_are_other_samples(tmp_path: Path) -> None:
    dataset, other = noisy_dataset(tmp_path), noisy_dataset(tmp_path, seed=8)
    images = [dataset[number][0] for number in range(4)] + [other[0][0]]
    assert not any(torch.equal(a, b) for row, a in enumerate(images) for b in images[:row])


def test_the_scans_are_not_carried_to_other_processes(tmp_path: Path) -> None:
    assert len(pickle.dumps(noisy_dataset(tmp_path))) < 50_000


def test_every_landmark_gets_its_share_of_the_crops(tmp_path: Path) -> None:
    frame = Frame(size=(70, 72, 74), spacing=[3] * 3)
    positions = frame.index_to_world([[10, 10, 10], [60, 60, 60], [10, 60, 35], [60, 10, 35]])
    positions = np.concatenate([positions, np.full((1, 3), np.nan)])
    case = prepared(tmp_path, "scan", np.zeros(frame.shape), frame, positions)
    config = make_config(image={"spacing": 0.5}, target={"positive": 1, "negative": 2})
    dataset = CropDataset([case], names(5), config)
    counts = np.zeros(6)
    for number in range(120):
        found = np.unique(dataset[number][1])
        counts[found[found > 0]] += 1
    assert counts.sum() == 120, "every crop holds the landmark that it is placed on"
    assert counts[5] == 0
    assert counts[1:5].min() > 15


def test_the_rest_of_the_crops_lies_anywhere_in_the_scan(tmp_path: Path) -> None:
    frame = frame_of(4)
    world = world_of(frame)
    centred = (world - frame.centre) / 100
    inside = []
    for axis in range(3):
        case = prepared(tmp_path, str(axis), centred[..., axis], frame, frame.centre[None])
        config = make_config(sampling={"landmark_fraction": 0, "crop": (16, 16, 16)})
        dataset = CropDataset([case], names(1), config)
        values = [float(dataset[number][0][0, 7:9, 7:9, 7:9].mean()) for number in range(60)]
        inside.append(values)
    spread = np.array(inside).T * 100 @ frame.direction
    assert (spread.max(axis=0) > 20).all()
    assert (spread.min(axis=0) < -20).all()


def test_a_case_without_a_landmark_is_background(tmp_path: Path) -> None:
    frame = frame_of(5)
    case = prepared(tmp_path, "scan", np.zeros(frame.shape), frame, np.full((2, 3), np.nan))
    dataset = CropDataset([case], names(2), make_config(augmentation={**ALL_MOVES, "mirror": 1}))
    for number in range(4):
        assert not draw(dataset, number)[1].any()


@pytest.mark.parametrize(("padding", "outside"), [("minimum", -0.75), ("zero", 0.0)])
def test_outside_the_scan_is_air_or_the_middle_of_the_window(
    tmp_path: Path, padding: str, outside: float
) -> None:
    frame = Frame(size=(4, 4, 4))
    voxels = np.full(frame.shape, 0.5)
    voxels[0, 0, 0] = -0.75
    case = prepared(tmp_path, "scan", voxels, frame, frame.centre[None])
    config = make_config(sampling={"padding": padding})
    image, _ = draw(CropDataset([case], names(1), config), 0)
    assert np.median(image) == pytest.approx(outside)


@given(
    st.integers(1, 20), st.integers(1, 5), st.lists(st.integers(0, 100), min_size=1, max_size=4, unique=True)
)
def test_no_process_and_no_epoch_draws_a_number_again(
    samples: int, processes: int, epochs: list[int]
) -> None:
    drawn: list[int] = []
    for rank in range(processes):
        sampler = EpochSampler(samples, rank=rank, processes=processes)
        assert len(sampler) == samples
        for epoch in epochs:
            sampler.set_epoch(epoch)
            numbers = list(sampler)
            assert len(numbers) == samples
            assert list(sampler) == numbers
            drawn += numbers
    assert len(set(drawn)) == len(drawn) == samples * processes * len(epochs)


def test_two_processes_draw_together_what_one_would_draw_alone() -> None:
    one = EpochSampler(6)
    two = [EpochSampler(3, rank=rank, processes=2) for rank in range(2)]
    for sampler in (one, *two):
        sampler.set_epoch(3)
    assert sorted([*two[0], *two[1]]) == list(one)


@given(st.integers(0, 2**32 - 1))
def test_the_plane_of_symmetry_lies_between_the_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    point = rng.uniform(-50, 50, 3)
    left = point + rng.uniform(-20, 20, (3, 3)) + 10 * normal
    right = left - 2 * ((left - point) @ normal)[:, None] * normal
    positions = np.concatenate([left, right, np.full((2, 3), np.nan)])
    plane = symmetry_plane(positions, [3, 4, 5, 0, 1, 2, 7, 6])
    assert plane is not None
    assert abs(plane.normal @ normal) == pytest.approx(1)
    np.testing.assert_allclose(plane.distance(left), np.abs((left - point) @ normal), atol=1e-6)
    np.testing.assert_allclose(plane.distance(right), plane.distance(left), atol=1e-6)


def test_without_a_whole_pair_there_is_no_plane() -> None:
    positions = np.array([[0.0, 0, 0], [np.nan] * 3, [5, 5, 5]])
    assert symmetry_plane(positions, [1, 0, 2]) is None
    assert symmetry_plane(positions, [0, 1, 2]) is None

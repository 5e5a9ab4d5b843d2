"""A data set and a configuration small enough to train in seconds, and where a blob lies in a crop."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.training.dense.config import DenseConfig

NAMES = ("bright", "dark", "far")


def write_small_split(folder: Path, name: str, cases: int, seed: int) -> Path:
    """Cases with two marked blobs, one bright and one dark, and a third landmark that some cases lack."""
    rng = np.random.default_rng(seed)
    written = []
    for number in range(cases):
        frame = Frame(size=(24, 20, 22), spacing=(1.0, 1.0, 1.0), origin=rng.uniform(-50, 50, 3))
        index = np.stack(np.meshgrid(*[np.arange(n) for n in frame.shape], indexing="ij"), axis=-1)[..., ::-1]
        points = np.array([[6, 6, 6], [16, 6, 14], [8, 14, 15]]) + rng.uniform(-2, 2, (3, 3))
        voxels = rng.normal(0, 5, frame.shape)
        positions = frame.index_to_world(points)
        if number % 2:
            positions[2] = np.nan
        for centre, height, present in zip(
            points, (200, -200, 90), np.isfinite(positions[:, 0]), strict=True
        ):
            voxels += present * height * np.exp(-0.5 * (np.linalg.norm(index - centre, axis=-1) / 2) ** 2)
        case = f"{name}{number}"
        write_volume(Volume(voxels.astype(np.float32), frame), folder / f"{case}.nii.gz")
        write_landmarks(LandmarkSet(NAMES, positions), folder / f"{case}.mrk.json")
        written.append(Case(case, folder / f"{case}.nii.gz", folder / f"{case}.mrk.json"))
    write_split(written, folder / f"{name}.csv")
    return folder / f"{name}.csv"


@pytest.fixture
def a_config(tmp_path: Path) -> DenseConfig:
    """Three training cases, two validation cases, a V-Net of 8 channels, three epochs of four steps."""
    return DenseConfig.model_validate(
        {
            "version": 1,
            "name": "small",
            "engine": "dense",
            "data": {
                "train": write_small_split(tmp_path, "train", 3, seed=1),
                "val": write_small_split(tmp_path, "val", 2, seed=2),
                "landmarks": None,
                "cache": tmp_path / "cache",
            },
            "image": {"spacing": 1.0, "normaliser": "adaptive", "low": 0.5, "high": 99.5},
            "target": {"positive": 2.0, "negative": 4.0},
            "sampling": {"crop": (16, 16, 16), "landmark_fraction": 0.8, "padding": "minimum"},
            "augmentation": {
                "rotation": 15,
                "scale": 0.1,
                "shear": 0.05,
                "mirror": 0.0,
                "elastic": 0.3,
                "elastic_spacing": 8,
                "elastic_amplitude": 1,
                "noise": 0.1,
                "gamma": 0.2,
                "contrast": 0.1,
                "motion": 0.1,
                "motion_shift": 2,
            },
            "network": {"channels": (8, 8, 8), "blocks": (1, 1, 1, 1), "groups": 4},
            "loss": {"gamma": 2, "background_weight": 1},
            "training": {
                "epochs": 3,
                "steps_per_epoch": 4,
                "batch": 2,
                "accumulate": 1,
                "learning_rate": 0.005,
                "weight_decay": 1e-4,
                "warmup": 2,
                "gradient_clip": 5,
                "precision": "auto",
                "ema": 0.9,
                "validate_every": 1,
                "patience": 0,
                "workers": 0,
                "seed": 3,
            },
            "detection": {"threshold": 0.5, "uncertain": 0.2, "overlap": 0.25},
        }
    )


@pytest.fixture(scope="session")
def find_blob() -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Where a bright, smooth blob has its peak in an image [z, y, x], as an index (x, y, z).

    A cubic polynomial is fitted to the logarithm around the brightest voxel (a warped Gaussian is uneven),
    and Newton's method finds its maximum.
    """
    radius = 5
    steps = np.array(list(itertools.product(range(-radius, radius + 1), repeat=3)))
    ball = steps[(steps**2).sum(axis=1) <= radius**2]
    powers = np.array([power for power in itertools.product(range(4), repeat=3) if sum(power) <= 3])

    def derivatives(place: NDArray[np.float64], *axes: int) -> NDArray[np.float64]:
        factors, left = np.ones(len(powers)), powers.copy()
        for axis in axes:
            factors *= left[:, axis]
            left[:, axis] = np.maximum(left[:, axis] - 1, 0)
        return factors * (place**left).prod(axis=1)

    def find(image: NDArray[np.float32]) -> NDArray[np.float64]:
        brightest = np.array(np.unravel_index(image.argmax(), image.shape))
        values = np.log(image[tuple((brightest + ball).T)].astype(np.float64))
        terms = ((ball / radius)[:, None] ** powers).prod(axis=2)
        polynomial = np.linalg.lstsq(terms, values, rcond=None)[0]
        place = np.zeros(3)
        for _ in range(10):
            slope = [derivatives(place, axis) @ polynomial for axis in range(3)]
            curvature = [
                [derivatives(place, *axes) @ polynomial for axes in ((a, 0), (a, 1), (a, 2))]
                for a in range(3)
            ]
            place = place - np.linalg.solve(curvature, slope)
        return np.asarray((brightest + radius * place)[::-1])

    return find

"""A head in an oblique, flipped frame, and detectors of synthetic heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import LandmarkDetectionLib as ld
from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import PhantomCase, make_case
from LandmarkDetectionLib.resources import synthetic_model
from Testing.small_model import write_small_model

VOXEL = 8.0


@pytest.fixture(scope="session")
def head() -> PhantomCase:
    """A coarse synthetic head whose axes are stored in another order, flipped, and lie obliquely."""
    settings = PhantomSettings(
        spacing=VOXEL,
        anisotropic_fraction=1.0,
        reorient_fraction=1.0,
        max_oblique_degrees=20.0,
        cut_fraction=0.0,
        metal_fraction=0.0,
    )
    made = make_case(settings, 10)
    axes = made.volume.frame.direction
    assert np.linalg.det(axes) < 0 and np.abs(axes).max() < 0.99
    return made


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> ld.LandmarkDetector:
    """A detector of an untrained network: quick, and it puts two landmarks somewhere."""
    folder = write_small_model(tmp_path_factory.mktemp("model") / "small", spacing=VOXEL)
    return ld.load_detector(folder, device="cpu")


@pytest.fixture(scope="session")
def detector() -> ld.LandmarkDetector:
    """A detector that knows synthetic heads."""
    return ld.load_detector(synthetic_model(), device="cpu")


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `cases.csv` of five coarse synthetic heads."""
    folder = tmp_path_factory.mktemp("heads")
    settings = PhantomSettings(spacing=10.0, cut_fraction=0.0, metal_fraction=0.0, anisotropic_fraction=0.0)
    write_dataset(folder, 5, seed=3, settings=settings)
    return folder / "cases.csv"

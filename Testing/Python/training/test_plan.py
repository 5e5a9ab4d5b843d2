"""A plan fits the data: small and large anatomy, calibrated and other intensities, any pose, little time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.training.plan import (
    NETWORK,
    SMALL_NETWORK,
    CaseMeasures,
    choose_network,
    choose_spacing,
    design_for,
    measure_case,
)

CPU = torch.device("cpu")
NAMES = tuple(f"P{number}" for number in range(12))


def shape(extent: float, seed: int = 0) -> NDArray[np.float64]:
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (12, 3))
    largest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    return points / largest * extent


def measures(extent: float, voxel: float, *, turn: float = 0.0, lowest: float = 0.0) -> list[CaseMeasures]:
    """Five cases of one anatomy, each turned by `turn` degrees more than the last."""
    cases = []
    for number in range(5):
        angle = np.deg2rad(turn * number)
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        cases.append(
            CaseMeasures(
                spacing=np.full(3, voxel),
                extent=np.full(3, 1.2 * extent),
                percentiles=(lowest, 1500.0),
                lowest=lowest,
                positions=shape(extent) @ rotation.T,
            )
        )
    return cases


@pytest.mark.parametrize(
    ("extent", "voxel", "spacing"),
    [(22.0, 0.2, 0.2), (22.0, 0.1411, 0.1411), (22.0, 0.02, 0.138), (250.0, 1.0, 1.56), (250.0, 0.5, 1.56)],
)
def test_mouse_and_man_come_out_on_a_grid_of_their_own(extent: float, voxel: float, spacing: float) -> None:
    design = design_for(measures(extent, voxel), LandmarkTable.from_names(NAMES), Path("train.csv"))
    assert design.image.spacing == pytest.approx(spacing, rel=0.01)
    assert design.target.positive == pytest.approx(3 * spacing, rel=0.02)
    assert design.target.negative == pytest.approx(6 * spacing, rel=0.02)
    assert design.sampling.crop == (64, 64, 64)
    assert design.augmentation.elastic_amplitude <= 0.4 * design.augmentation.elastic_spacing
    assert design.augmentation.elastic_amplitude < 0.05 * extent


def test_a_small_scan_gets_a_small_crop() -> None:
    design = design_for(measures(22.0, 1.0), LandmarkTable.from_names(NAMES), Path("train.csv"))
    assert design.sampling.crop == (32, 32, 32)


def test_the_reason_says_which_spacing_won() -> None:
    assert "own" in choose_spacing(measures(22.0, 0.2))[1]
    assert "160 voxels" in choose_spacing(measures(250.0, 0.5))[1]


def test_hounsfield_units_get_a_fixed_window_and_other_intensities_percentiles() -> None:
    table = LandmarkTable.from_names(NAMES)
    fixed = design_for(measures(250, 1.0, lowest=-1024.0), table, Path("train.csv")).image
    assert (fixed.normaliser, fixed.low, fixed.high) == ("fixed", -1024.0, 1500.0)
    assert design_for(measures(250, 1.0), table, Path("train.csv")).image.normaliser == "adaptive"


def test_poses_decide_the_rotation() -> None:
    table = LandmarkTable.from_names(NAMES)
    assert design_for(measures(22, 0.2, turn=4), table, Path("train.csv")).augmentation.rotation < 30
    assert design_for(measures(22, 0.2, turn=40), table, Path("train.csv")).augmentation.rotation == 180


def test_only_symmetric_anatomy_is_mirrored() -> None:
    half = shape(22.0)[:5] + np.array([12.0, 0.0, 0.0])
    middle = shape(22.0, seed=1)[:2] * np.array([0.0, 1.0, 1.0])
    symmetric = np.concatenate([half, half * np.array([-1.0, 1.0, 1.0]), middle])
    table = LandmarkTable.from_names(NAMES)
    cases = [replace(case, positions=symmetric) for case in measures(22, 0.2)]
    design = design_for(cases, table, Path("train.csv"))
    assert design.augmentation.mirror == 0.5
    assert [design.table.mirrored_order[row] for row in range(12)] == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 10, 11]
    few = [
        replace(
            case,
            positions=case.positions * np.nan_to_num(np.r_[[1.0] * 3, [np.nan] * 9], nan=np.nan)[:, None],
        )
        for case in cases
    ]
    assert design_for(few, table, Path("train.csv")).augmentation.mirror == 0


def test_little_time_gets_the_small_network() -> None:
    crop = (16, 16, 16)
    assert choose_network(3, crop, CPU, None)[0] == NETWORK
    assert choose_network(3, crop, CPU, 100.0)[0] == NETWORK
    network, batch, seconds, reason = choose_network(3, crop, CPU, 1e-6)
    assert network == SMALL_NETWORK and batch == 2 and seconds > 0 and "too short" in reason


def test_a_case_is_measured_around_its_landmarks(tmp_path: Path) -> None:
    frame = Frame(size=(20, 22, 24), spacing=(0.5, 0.5, 2.0), origin=(-3, 4, 5))
    voxels = np.full(frame.shape, -1000, dtype=np.int16)
    voxels[8:16, 8:14, 8:12] = 700
    write_volume(Volume(voxels, frame), tmp_path / "a.nii.gz")
    points = frame.index_to_world([[8, 8, 8], [11, 13, 15], [9, 10, 11]])
    write_landmarks(LandmarkSet(("a", "b", "c"), points), tmp_path / "a.csv")
    case = Case("a", tmp_path / "a.nii.gz", tmp_path / "a.csv")
    measured = measure_case(case, LandmarkTable.from_names(("a", "b", "c", "d")))
    assert measured.percentiles == (700.0, 700.0) and measured.lowest == -1000
    np.testing.assert_allclose(measured.extent, [10, 11, 48])
    assert np.isnan(measured.positions[3]).all() and np.isfinite(measured.positions[:3]).all()

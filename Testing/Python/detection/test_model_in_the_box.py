"""The model in the box: whole, small, and right on real scans in any pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.detector import Detector, load_detector
from LandmarkDetectionLib.detection.doubts import doubts
from LandmarkDetectionLib.detection.locate_refine import largest_voxel
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.model.bundle import AS_COARSE, load_bundle
from LandmarkDetectionLib.resources import bundled_model

Array = NDArray[np.float64]
QUARTER_VOXEL = 0.25


@pytest.fixture(scope="module")
def model() -> Path:
    folder = bundled_model()
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    return load_detector(model, torch.device("cpu"))


def a_scan(skulls: Path, name: str) -> tuple[Volume, Array]:
    landmarks = read_landmarks(skulls / f"{name}.mrk.json")
    names = [f"L{number}" for number in range(1, 52) if f"L{number}" in landmarks.names]
    return read_volume(skulls / f"{name}.nii.gz"), landmarks.positions_of(names)


def positions_in(detector: Detector, volume: Volume) -> Array:
    return np.array([detection.position for detection in detector.detect(volume)])


def test_it_says_what_it_is_and_is_small(model: Path) -> None:
    bundle = load_bundle(model)
    assert bundle.engine == "locate-refine" and len(bundle.table) == 45
    assert bundle.licence == "GPL-3.0" and "not" in bundle.intended_use
    assert bundle.calibration is not None and bundle.calibration.presence_at(0.14) is not None
    assert bundle.metrics["validation"]["val_found"] == 1.0
    assert sum(path.stat().st_size for path in model.iterdir()) < 15e6
    assert (model / "model-card.md").is_file()


def test_its_card_and_the_program_name_the_same_voxel_sizes(model: Path) -> None:
    """What it was calibrated on, up to where it gives radii, and up to where it looks at all."""
    bundle = load_bundle(model)
    assert bundle.calibration is not None
    calibrated, looks = bundle.calibration.levels[-1].resolution, largest_voxel(bundle)
    radii = AS_COARSE * calibrated
    said = (
        f"calibrated on, {calibrated:.2g} mm: beyond {radii:.2g} mm nobody knows how far off it is, and it "
        f"gives no radius; beyond {looks:.2g} mm it does not look"
    )
    assert said in (model / "model-card.md").read_text(encoding="utf-8")
    assert np.isfinite(bundle.calibration.radius_of("L1", 0.999 * radii, 0.1))
    assert np.isnan(bundle.calibration.radius_of("L1", 1.001 * radii, 0.1))
    nothing = tuple(Detection.missing(name) for name in bundle.table.names)
    coarse = Frame(size=(30, 30, 30), spacing=[1.01 * looks] * 3)
    (sentence,) = doubts(nothing, bundle, Volume(np.arange(27000.0).reshape(coarse.shape), coarse))
    assert f"was calibrated on voxels of up to {calibrated:.2g} mm" in sentence


def test_a_scan_of_larger_voxels_than_it_looks_at_is_not_looked_at(detector: Detector, model: Path) -> None:
    looks = largest_voxel(load_bundle(model))
    assert "locate" in stages_of(detector, 0.99 * looks)
    assert "locate" not in stages_of(detector, 1.01 * looks)


def stages_of(detector: Detector, voxel: float) -> set[str]:
    """What the detector does in a scan of noise."""
    stages: set[str] = set()
    frame = Frame(size=(20, 20, 20), spacing=[voxel] * 3)
    noise = Volume(np.random.default_rng(0).normal(size=frame.shape), frame)
    detector.detect(noise, progress=lambda stage, _: stages.add(stage))
    return stages


def test_landmarks_are_where_the_annotator_put_them(detector: Detector, mouse_skulls: Path) -> None:
    volume, truth = a_scan(mouse_skulls, "LG_J")
    errors = np.linalg.norm(positions_in(detector, volume) - truth, axis=1)
    assert errors.mean() < 0.2 and np.median(errors) < 0.15


def test_two_landmarks_one_coarse_voxel_apart_keep_their_names(
    detector: Detector, model: Path, mouse_skulls: Path
) -> None:
    volume, truth = a_scan(mouse_skulls, "C57BL6_J")
    names = load_bundle(model).table.names
    pair = [names.index("L30"), names.index("L31")]
    apart = np.linalg.norm(truth[pair[0]] - truth[pair[1]])
    assert apart < 1.5 * load_bundle(model).detection["locate"]["spacing"]
    found = positions_in(detector, volume)[pair]
    distances = np.linalg.norm(found[:, None] - truth[pair], axis=2)
    assert distances.argmin(axis=1).tolist() == [0, 1]
    assert np.diagonal(distances).max() < apart / 2


@pytest.mark.parametrize("seed", range(2))
def test_any_pose_gives_the_same_landmarks(
    detector: Detector, model: Path, mouse_skulls: Path, seed: int
) -> None:
    """The scan turned, its axes oblique, permuted and flipped: to a quarter of a fine voxel."""
    volume, _ = a_scan(mouse_skulls, "DBA_1J")
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    order = rng.permutation(3)
    flips = rng.choice([-1, 1], 3)
    frame = volume.frame
    corner = np.where(flips < 0, np.array(frame.size) - 1, 0)
    voxels = volume.voxels[tuple(slice(None, None, flip) for flip in flips[::-1])]
    turned = Volume(
        np.ascontiguousarray(voxels.transpose([2 - axis for axis in order][::-1])),
        Frame(
            size=[frame.size[axis] for axis in order],
            spacing=frame.spacing[order],
            origin=turn @ frame.index_to_world(corner) + [5, -3, 8],
            direction=turn @ (frame.direction * flips)[:, order],
        ),
    )
    expected = positions_in(detector, volume)
    found = (positions_in(detector, turned) - [5, -3, 8]) @ turn
    fine = load_bundle(model).detection["refine"]["spacing"]
    assert np.linalg.norm(found - expected, axis=1).max() < QUARTER_VOXEL * fine


def test_air_around_the_head_changes_nothing(detector: Detector, mouse_skulls: Path) -> None:
    """The percentiles that scale the intensities are those of far fewer bright voxels then."""
    volume = a_scan(mouse_skulls, "A_J")[0]
    before, size, margin = positions_in(detector, volume), volume.frame.size, 80
    frame = Frame(
        size=[count + 2 * margin for count in size],
        spacing=volume.frame.spacing,
        origin=volume.frame.index_to_world([-margin] * 3),
        direction=volume.frame.direction,
    )
    voxels = np.pad(volume.voxels, margin, constant_values=int(np.percentile(volume.voxels, 1)))
    after = positions_in(detector, Volume(voxels, frame))
    assert np.linalg.norm(after - before, axis=1).mean() < 0.05


def test_what_a_cut_takes_away_is_absent(detector: Detector, mouse_skulls: Path) -> None:
    volume, truth = a_scan(mouse_skulls, "PL_J")
    axis = int(np.ptp(volume.frame.world_to_index(truth), axis=0).argmax())
    end = int(np.quantile(volume.frame.world_to_index(truth)[:, axis], 0.6))
    part = volume.part(axis, 0, end)
    there = part.frame.contains(truth)
    said = np.array([detection.status != "absent" for detection in detector.detect(part)])
    assert 10 < there.sum() < 40
    assert (said == there).mean() > 0.9


def test_a_scan_of_something_else_shows_none_of_the_landmarks(detector: Detector, shared_data: Path) -> None:
    torso = read_volume(shared_data / "ct" / "torso_ct_3mm.nii.gz")
    assert {detection.status for detection in detector.detect(torso)} == {"absent"}

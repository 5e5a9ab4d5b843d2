"""The model of synthetic heads that comes with the program, in heads that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.detection.detector import Detector, load_detector
from LandmarkDetectionLib.model.bundle import load_bundle
from LandmarkDetectionLib.model.doubt import doubt_of
from LandmarkDetectionLib.phantom.dataset import case_seed
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import landmark_table, make_case
from LandmarkDetectionLib.resources import resource_path, synthetic_model

OTHER_SEED = 18
"""Than the one of the heads that it was trained with, which its card names; the head is the demo's first."""
VOXEL = 3.0


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(synthetic_model(), torch.device("cpu"))


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_it_finds_the_landmarks_of_a_head_that_it_has_not_seen(detector: Detector, cut: float) -> None:
    made = make_case(PhantomSettings(cut_fraction=cut), case_seed(OTHER_SEED, 1))
    detections = detector.detect(made.volume)
    assert tuple(item.name for item in detections) == made.landmarks.names
    there = made.landmarks.present
    assert [item.present for item in detections] == there.tolist() and there.all() == (cut == 0)
    positions = np.array([item.position for item in detections])
    errors = np.linalg.norm(positions - made.landmarks.positions, axis=1)[there]
    assert errors.mean() < VOXEL / 3 and errors.max() < VOXEL


def test_it_says_what_it_is_and_is_small() -> None:
    folder = synthetic_model()
    bundle = load_bundle(folder)
    assert bundle.table == landmark_table()
    assert "Synthetic heads" in bundle.intended_use and bundle.licence == "Apache-2.0"
    assert doubt_of(bundle) == ""
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.1e6
    assert f"--seed {OTHER_SEED}" not in (folder / "model-card.md").read_text(encoding="utf-8")


def test_nobody_is_offered_it_for_a_scan() -> None:
    assert not synthetic_model().is_relative_to(resource_path("Models"))

"""The example of the documentation, beside our own detector, in a Python without PyTorch and without us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.volume import read_volume, write_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.exchange.onnx_export import export_onnx
from LandmarkDetectionLib.phantom.dataset import case_seed
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import make_case
from LandmarkDetectionLib.resources import bundled_model, synthetic_model

EXAMPLE = Path(__file__).parents[3] / "docs" / "detect_with_onnx.py"
ALONE = """
import runpy, sys
for package in ("torch", "LandmarkDetectionLib", "SimpleITK", "onnx"):
    sys.modules[package] = None  # importing it raises ImportError
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def by_the_example(model: Path, scan: Path) -> dict[str, NDArray[np.float64]]:
    command = [sys.executable, "-c", ALONE, str(EXAMPLE), str(model), str(scan)]
    finished = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert finished.returncode == 0, finished.stderr
    rows = [line.rsplit(maxsplit=3) for line in finished.stdout.splitlines() if not line.endswith(" absent")]
    return {name: np.array([float(number) for number in place]) for name, *place in rows}


def distances(model: Path, exported: Path, scan: Path) -> tuple[NDArray[np.float64], int]:
    """Between what the example and our detector find, mm, and how many landmarks we find."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    export_onnx(model, exported)
    theirs = by_the_example(exported, scan)
    found = load_detector(model, torch.device("cpu")).detect(read_volume(scan))
    ours = {item.name: item.position for item in found if item.present}
    return np.array([np.linalg.norm(theirs[name] - ours[name]) for name in theirs.keys() & ours]), len(ours)


def test_in_a_synthetic_head_it_finds_what_the_detector_finds(tmp_path: Path) -> None:
    scan = tmp_path / "head.nii.gz"
    write_volume(make_case(PhantomSettings(cut_fraction=0.0), case_seed(18, 1)).volume, scan)
    apart, count = distances(synthetic_model(), tmp_path / "exported", scan)
    assert len(apart) == count == 16
    assert apart.mean() < 0.6 and apart.max() < 1.5  # in voxels of 3 mm


def test_in_a_mouse_skull_it_finds_what_the_detector_finds(mouse_skulls: Path, tmp_path: Path) -> None:
    model = bundled_model()
    assert model is not None
    apart, count = distances(model, tmp_path / "exported", mouse_skulls / "A_J.nii.gz")
    assert len(apart) == count == 45
    assert apart.mean() < 0.05 and apart.max() < 0.2  # in voxels of 0.14 mm

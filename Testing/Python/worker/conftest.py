"""A scan to try the worker with."""

from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.worker.shared_volume import SharedVolume, write_in_pieces


@pytest.fixture
def a_scan() -> Volume:
    """Oblique and anisotropic."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    frame = Frame(size=(40, 36, 20), spacing=(1, 1, 2), origin=(5, -60, 30), direction=turn)
    return Volume(np.random.default_rng(0).integers(-900, 900, frame.shape).astype(np.int16), frame)


@pytest.fixture
def a_shared_scan(a_scan: Volume, tmp_path: Path) -> SharedVolume:
    for _ in write_in_pieces(a_scan.voxels, tmp_path / "shared.npy"):
        pass
    return SharedVolume(tmp_path / "shared.npy", a_scan.frame)


@pytest.fixture
def a_scan_file(a_scan: Volume, tmp_path: Path) -> Path:
    write_volume(a_scan, tmp_path / "Schädel 1.nrrd")
    return tmp_path / "Schädel 1.nrrd"

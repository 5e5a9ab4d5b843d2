"""A small model and a scan to try the worker with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.model.bundle import Bundle, save_bundle
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.worker.shared_volume import SharedVolume, write_in_pieces


@pytest.fixture
def a_model(tmp_path: Path) -> Path:
    """A bundle of an untrained network, which finds two of its three landmarks somewhere in any scan."""
    torch.manual_seed(3)
    network = VNet(VNetSettings(classes=4, channels=(8, 8, 8)))
    assert network.head.bias is not None
    network.head.bias.data = torch.tensor([0.0, 0.0, 0.3, -9.0])
    bundle = Bundle(
        name="small",
        engine="dense",
        table=LandmarkTable.from_names(["nasion", "bregma", "lambda"]),
        preparation=Preparation(1.0, Normaliser("adaptive", 0.5, 99.5)),
        network={"channels": [8, 8, 8], "blocks": [2, 3, 2, 1], "groups": 8},
        detection={"window": [32, 32, 32], "threshold": 0.4},
        mean_shape=np.full((3, 3), np.nan),
    )
    save_bundle(bundle, network.state_dict(), tmp_path / "small model")
    return tmp_path / "small model"


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

"""What all floors' tests share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.model.bundle import Bundle, save_bundle
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings

settings.register_profile("floors", deadline=None)  # how long an example takes says nothing about it
settings.load_profile("floors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests say that they are skipped where there is no GPU."""
    if any(item.get_closest_marker("gpu") for item in items) and not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU on this machine"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real scans, which are no part of the project."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def mouse_skulls(shared_data: Path) -> Path:
    """The skulls as scanned."""
    return shared_data / "mouse-skull" / "raw"


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
        shape=ShapeModel.of_mean(np.full((3, 3), np.nan)),
    )
    save_bundle(bundle, network.state_dict(), tmp_path / "small model")
    return tmp_path / "small model"

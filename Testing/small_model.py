"""A model for tests and benchmarks in which the network is not what matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.model.bundle import Bundle, save_bundle
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings


def write_small_model(folder: Path, *, spacing: float = 1.0) -> Path:
    """A bundle of an untrained network, which finds two of its three landmarks somewhere in any scan."""
    torch.manual_seed(3)
    network = VNet(VNetSettings(classes=4, channels=(8, 8, 8)))
    assert network.head.bias is not None
    network.head.bias.data = torch.tensor([0.0, 0.0, 0.3, -9.0])
    bundle = Bundle(
        name="small",
        engine="dense",
        table=LandmarkTable.from_names(["nasion", "bregma", "lambda"]),
        preparation=Preparation(spacing, Normaliser("adaptive", 0.5, 99.5)),
        network={"channels": [8, 8, 8], "blocks": [2, 3, 2, 1], "groups": 8},
        detection={"window": [32, 32, 32], "threshold": 0.4},
        shape=ShapeModel.of_mean(np.full((3, 3), np.nan)),
    )
    save_bundle(bundle, network.state_dict(), folder)
    return folder

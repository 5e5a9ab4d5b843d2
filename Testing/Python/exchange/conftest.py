"""Models, exported once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from LandmarkDetectionLib.exchange.onnx_export import export_onnx
from LandmarkDetectionLib.model.bundle import load_bundle, save_bundle
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.resources import synthetic_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of synthetic heads with smaller networks, of which nothing is zero."""
    torch.manual_seed(1)
    bundle, groups = load_bundle(synthetic_model()), 4
    coarse, fine = UNetSettings((8, 16), reduction=2, groups=groups), UNetSettings((8, 16), groups=groups)
    networks = {
        "locate": LocateNetwork(coarse, len(bundle.table)),
        "refine": RefineNetwork(fine, len(bundle.table)),
    }
    weights = {
        f"{stage}.{name}": value + 0.1 * torch.randn_like(value)
        for stage, network in networks.items()
        for name, value in network.state_dict().items()
    }
    sizes = {
        "locate": {"channels": [8, 16], "reduction": 2, "groups": groups},
        "refine": {"channels": [8, 16], "groups": groups},
    }
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    save_bundle(replace(bundle, name="tiny", network=sizes), weights, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path) -> Path:
    """The same as ONNX files."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    folder = tiny_model.parent / "exported"
    export_onnx(tiny_model, folder)
    return folder

"""The panel in the host, a model that really finds something, and scans to find it in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.masks import draw_mask
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.model.bundle import Bundle, Calibration, Level, save_bundle
from LandmarkDetectionLib.model.losses import focal_loss
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings

Array = NDArray[np.float64]
MODULE = Path(__file__).parents[3] / "LandmarkDetection" / "LandmarkDetection.py"
TABLE = LandmarkTable(
    (
        Landmark("bright", 1, group="blobs", definition="the middle of the bright blob"),
        Landmark("dark", 2, group="blobs", definition="the middle of the dark blob"),
        Landmark("nowhere", 3, group="others", definition="what no scan has"),
    )
)


def blobs(frame: Frame, points: Array, noise: np.random.Generator) -> Volume:
    """A scan of noise with a bright blob around the first point and a dark one around the second."""
    voxels = noise.normal(0, 0.3, frame.shape)
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    for point, sign in zip(points, (3, -3), strict=True):
        voxels += sign * np.exp(-((places - point) ** 2).sum(axis=-1) / (2 * 2.0**2))
    return Volume((1000 + 100 * voxels).astype(np.int16), frame)


@pytest.fixture(scope="session")
def a_trained_model() -> Path:
    """A bundle that finds the bright and the dark blob, after 60 steps of training."""
    torch.manual_seed(0)
    noise = np.random.default_rng(0)
    network = VNet(VNetSettings(classes=4, channels=(8, 8, 8)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    cube = Frame(size=(32, 32, 32), spacing=(1, 1, 1))
    preparation = Preparation(1.0, Normaliser("fixed", 600, 1400))
    for _ in range(60):
        images, masks = [], []
        for _ in range(2):
            points = noise.permutation(np.stack([noise.uniform(4, 13, 3), noise.uniform(18, 28, 3)]))
            images.append(torch.from_numpy(preparation(blobs(cube, points, noise)).voxels)[None])
            masks.append(draw_mask(cube, points, (1, 2), positive=2, negative=3))
        logits = network(torch.stack(images))
        loss = focal_loss(logits, torch.from_numpy(np.stack(masks)).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    bundle = Bundle(
        name="blobs",
        engine="dense",
        table=TABLE,
        preparation=preparation,
        network={"channels": [8, 8, 8], "blocks": [2, 3, 2, 1], "groups": 8},
        detection={"window": [32, 32, 32], "threshold": 0.5, "uncertain": 0.3},
        shape=ShapeModel.of_mean(np.array([[0.0, 0, 0], [12, 0, 0], [0, 9, 4]])),
        calibration=Calibration(0.9, (Level(1.0, 40, 1.25, {"dark": 0.75}),)),
        training_data={"training_cases": 60, "validation_cases": 0},
        licence="CC0-1.0",
        intended_use="Blobs for tests.",
    )
    folder = Path(tempfile.mkdtemp(prefix="blobs-")) / "blobs"
    save_bundle(bundle, network.state_dict(), folder)
    return folder


@pytest.fixture(scope="session")
def host() -> Any:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    pytest.importorskip("slicer", reason="slicer-core is not installed (pip install slicer-core)")
    pytest.importorskip("PySide6", reason="PySide6 is not installed (pip install PySide6-Essentials)")
    from host.application import Host

    return Host()


@pytest.fixture
def a_module(host: Any) -> Iterator[Any]:
    """The module as Slicer has loaded it, in an empty scene; whatever a slot raises fails the test."""
    from host import pythonqt
    from PySide6.QtCore import QSettings

    QSettings().clear()
    host.new_scene()
    pythonqt.errors.clear()
    yield host.load_module(MODULE)
    assert pythonqt.errors == []


@pytest.fixture
def a_widget(host: Any, a_module: Any, a_trained_model: Path) -> Iterator[Any]:
    """The module, opened, with the trained model in a folder of the user's."""
    from PySide6.QtCore import QSettings

    QSettings().setValue("LandmarkDetection/ModelFolder", str(a_trained_model.parent))
    widget = host.open_widget(a_module)
    yield widget
    widget.cleanup()


@pytest.fixture
def a_frame() -> Frame:
    """Oblique, with a flipped axis."""
    turn = np.linalg.qr(np.random.default_rng(7).standard_normal((3, 3)))[0] * [1, -1, 1]
    return Frame(size=(40, 36, 44), spacing=(1, 1, 1), origin=(5, -60, 30), direction=turn)


@pytest.fixture
def the_points(a_frame: Frame) -> Array:
    """Where the bright and the dark blob are, LPS."""
    points: Array = a_frame.index_to_world([(12.3, 14.6, 15.2), (27.5, 22.4, 30.1)])
    return points


@pytest.fixture
def a_scan(a_frame: Frame, the_points: Array) -> Volume:
    return blobs(a_frame, the_points, np.random.default_rng(1))


@pytest.fixture
def a_volume_node(host: Any, a_widget: Any, a_scan: Volume) -> Any:
    """The scan in the scene; the panel has noticed it."""
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    node = add_volume(a_scan, "head", slicer.mrmlScene)
    host.run_until(lambda: a_widget.ui.detectButton.enabled)
    return node

"""The training steps of locate and refine teach what detection reads."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.devices import upload
from LandmarkDetectionLib.detection.locate import LocateSettings, find_candidates
from LandmarkDetectionLib.detection.locate_refine import Chain, LocateRefineSettings
from LandmarkDetectionLib.detection.refine import FineScan, RefineSettings
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.engine import detection_settings
from LandmarkDetectionLib.training.locate_refine.modules import LocateTraining, RefineTraining
from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
from Testing.pretend_gpu import DEVICE, PretendGpu

Array = NDArray[np.float64]
CPU = torch.device("cpu")
TABLE = LandmarkTable.from_names(["nose", "ear", "chin", "neck"])
SHAPE = np.array([[0.0, 12, 3], [10, -4, 6], [-6, 7, -10], [-8, -9, 2]])
WIDTHS = 1.3, 1.9, 2.7, 3.8
VARIED = {
    "rotation": 10,
    "scale": 0.05,
    "shear": 0,
    "mirror": 0,
    "elastic": 0,
    "elastic_spacing": 12,
    "elastic_amplitude": 0,
    "noise": 0,
    "gamma": 0,
    "contrast": 0,
    "motion": 0,
    "motion_shift": 0,
}
MEAN = Constellation(SHAPE, 0.0)


@pytest.fixture
def blobs_config(a_config: DenseConfig) -> LocateRefineConfig:
    """Both networks, with the loop's settings of the dense configuration."""
    shared = a_config.model_dump(include={"version", "data", "image", "training"})
    look = {"spacing": 1.0, "channels": (8, 16), "augmentation": VARIED, "cut": 0.3}
    coarse = {"field": 48, "heat_width": 2.0, "jitter": 4.0, "anywhere": 0.0, "batch": 2, "share": 0.5}
    fine = {"field": 32, "window": 13, "heat_width": 0.7, "deviation": 1.5}
    return LocateRefineConfig.model_validate(
        {
            **shared,
            "name": "blobs",
            "engine": "locate-refine",
            "locate": {**look, **coarse},
            "refine": {**look, **fine},
            "detection": {"tolerance": 2.0, "support": 0.3, "found": 0.8, "uncertain": 0.5},
        }
    )


@pytest.fixture
def a_chain() -> Chain:
    settings = LocateRefineSettings(
        locate=LocateSettings(1.0, 64),
        refine=RefineSettings(1.0, 13),
        smallest=0.9,
        largest=1.1,
        mirrored=False,
        tolerance=2.0,
        support=0.3,
        found=0.8,
        uncertain=0.5,
    )
    return Chain.of(settings, TABLE, MEAN)


def a_case(folder: Path, seed: int) -> PreparedCase:
    """A blob at each landmark, each of another width, about upright."""
    rng = np.random.default_rng(seed)
    positions = SHAPE + rng.normal(0, 0.5, SHAPE.shape) + rng.uniform(-30, 30, 3)
    frame = Frame(size=(46, 48, 44), origin=positions.mean(axis=0) - [23, 24, 22])
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    voxels = np.full(frame.shape, -1.0)
    for point, width in zip(positions, WIDTHS, strict=True):
        voxels += 1.5 * np.exp(-((places - point) ** 2).sum(axis=-1) / (2 * width**2))
    path = folder / f"{seed}.npy"
    np.save(path, voxels.astype(np.float16))
    return PreparedCase(str(seed), "", path, frame, frame.spacing, positions, np.ones(4, dtype=bool), -1.0)


def teach(module: Any, samples: Any, steps: int) -> None:
    """As the loop does it, without the loop."""
    module.log = lambda *args, **more: None
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=0.01)
    numbers = count()
    for step in range(steps):
        batch = [torch.stack(part) for part in zip(*(samples[next(numbers)] for _ in range(2)), strict=True)]
        optimiser.zero_grad()
        module.training_step(tuple(batch), step).backward()
        optimiser.step()
    module.network.eval()


def test_training_teaches_locate_where_landmarks_are(
    tmp_path: Path, blobs_config: LocateRefineConfig, a_chain: Chain
) -> None:
    torch.manual_seed(0)
    module = LocateTraining(LocateNetwork(blobs_config.locate.network, len(TABLE)), blobs_config, (), a_chain)
    cases = [a_case(tmp_path, seed) for seed in range(4)]
    teach(
        module,
        LocateSamples(cases, TABLE, MEAN, blobs_config.locate, seed=0, planned=1, midline=1.0),
        steps=60,
    )
    case = a_case(tmp_path, 9)
    found = find_candidates(module.network, case.whole_volume(), a_chain.settings.locate, device=CPU)
    assert np.linalg.norm(found.positions[:, 0] - case.positions, axis=1).max() < 2


def test_training_teaches_refine_where_landmarks_are_and_whether(
    tmp_path: Path, blobs_config: LocateRefineConfig, a_chain: Chain
) -> None:
    torch.manual_seed(0)
    module = RefineTraining(
        RefineNetwork(blobs_config.refine.network, len(TABLE), 2.0), blobs_config, 1, (), a_chain
    )
    cases = [a_case(tmp_path, seed) for seed in range(4)]
    teach(module, RefineSamples(cases, TABLE, MEAN, blobs_config.refine, seed=0), steps=90)
    case = a_case(tmp_path, 9)
    scan = FineScan(module.network, case.whole_volume(), CPU)
    starts = np.add(case.positions, [[2, 0, -1], [0, -2, 1], [-1, 1, 2], [1, 2, 0]])
    view = scan.look(starts, np.eye(3), a_chain.settings.refine)
    found = scan.read(view, starts)
    assert np.linalg.norm(found.positions - case.positions, axis=1).max() < 0.8
    nothing = scan.look(starts + 14, np.eye(3), a_chain.settings.refine)
    assert nothing.presences.max() < found.presences.min()


@pytest.mark.parametrize(("kind", "waits"), [("locate", 0), ("refine", 1)])
def test_a_gpu_is_waited_for_once_in_a_step_of_refine_and_never_in_one_of_locate(
    tmp_path: Path, blobs_config: LocateRefineConfig, a_chain: Chain, kind: str, waits: int
) -> None:
    """Refine has to know which landmarks its fields show: their number, before anything else is done."""
    cases = [a_case(tmp_path, 0)]
    samples: Any
    module: Any
    if kind == "locate":
        samples = LocateSamples(cases, TABLE, MEAN, blobs_config.locate, seed=0, planned=1, midline=1.0)
        network: Any = LocateNetwork(blobs_config.locate.network, len(TABLE))
        module = LocateTraining(network, blobs_config, (), a_chain)
    else:
        samples = RefineSamples(cases, TABLE, MEAN, blobs_config.refine, seed=0)
        network = RefineNetwork(blobs_config.refine.network, len(TABLE), 2.0)
        module = RefineTraining(network, blobs_config, 1, (), a_chain)
    module.log = lambda *args, **more: None
    batch = [torch.stack(part) for part in zip(*(samples[number] for number in range(2)), strict=True)]
    loss = module.training_step(tuple(batch), 0)
    with PretendGpu() as gpu:
        module.network.to(DEVICE)
        there = tuple(upload(part.numpy(), DEVICE) for part in batch)
        gpu.forget()
        again = module.training_step(there, 0)
        again.backward()
        assert len(gpu.to_host) == waits and gpu.to_gpu == []
        assert again.item() == pytest.approx(loss.item(), rel=1e-4)


def test_sizes_are_those_of_the_cases_that_show_most(blobs_config: LocateRefineConfig) -> None:
    settings = detection_settings(blobs_config, [SHAPE, 1.2 * SHAPE], MEAN)
    assert (settings.smallest, settings.largest) == pytest.approx((1.0, 1.2))
    many = np.random.default_rng(0).uniform(-10, 10, (12, 3))
    few = np.where(np.arange(12)[:, None] < 4, 3 * many, np.nan)
    settings = detection_settings(blobs_config, [many, few], Constellation(many, 0.0))
    assert (settings.smallest, settings.largest) == pytest.approx((1.0, 1.0))

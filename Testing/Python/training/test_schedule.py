"""How long each network is trained: by the plan, and by what locate still lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.locate import LocateSettings
from LandmarkDetectionLib.detection.locate_refine import Chain, LocateRefineSettings
from LandmarkDetectionLib.detection.refine import RefineSettings
from LandmarkDetectionLib.model.queries import LocateNetwork
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.modules import LocateTraining, RefineTraining
from LandmarkDetectionLib.training.running.loop import train

SHAPE = np.array([[0.0, 12, 3], [10, -4, 6], [-6, 7, -10], [-8, -9, 2]])
TABLE = LandmarkTable.from_names(["nose", "ear", "chin", "neck"])
STILL = dict.fromkeys(
    ("rotation", "scale", "shear", "mirror", "elastic", "elastic_amplitude", "noise"), 0.0
) | {"gamma": 0.0, "contrast": 0.0, "motion": 0.0, "motion_shift": 0.0, "elastic_spacing": 12.0}
CPU = torch.device("cpu")
A_CASE: Any = object()
"""That there is one is all that the schedule asks."""


@pytest.fixture
def config(a_config: DenseConfig) -> LocateRefineConfig:
    """40 of 100 epochs for locate, whose steps take a quarter of the time: 70 of refine in all."""
    shared = a_config.model_dump(include={"version", "data", "image", "training"})
    shared["training"] |= {"epochs": 100, "steps_per_epoch": 10, "warmup": 10, "validate_every": 10}
    look = {"spacing": 1.0, "channels": (8, 16), "augmentation": STILL, "cut": 0.0}
    coarse = {"field": 16, "heat_width": 2.0, "jitter": 4.0, "anywhere": 0.0, "batch": 2}
    return LocateRefineConfig.model_validate(
        {
            **shared,
            "name": "head",
            "engine": "locate-refine",
            "locate": {**look, **coarse, "share": 0.4, "cost": 0.25},
            "refine": {**look, "field": 32, "window": 13, "heat_width": 0.7, "deviation": 1.5},
            "detection": {"tolerance": 2.0, "support": 0.3, "found": 0.8, "uncertain": 0.5},
        }
    )


def locate(config: LocateRefineConfig, *validation: Any) -> LocateTraining:
    settings = LocateRefineSettings(
        locate=LocateSettings(1.0, 64, taught=60.0),
        refine=RefineSettings(1.0, 13),
        smallest=0.9,
        largest=1.1,
        mirrored=False,
        **config.detection.model_dump(),
    )
    chain = Chain.of(settings, TABLE, Constellation(SHAPE, 0.0))
    return LocateTraining(LocateNetwork(config.locate.network, 4), config, validation, chain)


def seen(**shares: float) -> list[dict[str, float]]:
    """A table of metrics: `e10=0.9` has 90 % of the poses right after epoch 10."""
    last = max(int(name[1:]) for name in shares)
    rows: list[dict[str, float]] = [{"epoch": float(epoch)} for epoch in range(1, last + 1)]
    for name, share in shares.items():
        rows[int(name[1:]) - 1] |= {"val_right": share, "val_score": 10.0 - int(name[1:]) / 5}
    return rows


def test_what_locate_does_not_need_refine_gets(config: LocateRefineConfig) -> None:
    assert (config.locate_epochs, config.refine_epochs(40)) == (40, 60)
    assert config.refine_epochs(20) == 65 and config.refine_epochs(80) == 50
    assert config.most_locate_epochs == 140, "half of the time of 70 epochs of refine"
    assert config.refine_epochs(140) == 35
    assert config.refine_epochs(10_000) == 1


def test_without_validation_locate_ends_as_planned(config: LocateRefineConfig) -> None:
    module = locate(config)
    assert module.epochs == module.ends_after([]) == module.ends_after(seen(e30=1.0)) == 40
    once = config.training.model_copy(update={"validate_every": 100})
    module = locate(config.model_copy(update={"training": once}), A_CASE)
    assert module.epochs == 40 and module.validate_every == 100, (
        "what validates the end alone chooses nothing"
    )


def test_locate_ends_as_planned_where_the_poses_are_right_by_then(config: LocateRefineConfig) -> None:
    module = locate(config, A_CASE)
    assert module.validate_every == 5
    assert module.ends_after(seen(e5=0.2)) == 140
    assert module.ends_after(seen(e5=0.2, e30=1.0)) == 140
    assert module.ends_after(seen(e5=0.2, e30=0.9, e32=1.0)) == 40


def test_locate_goes_on_where_they_are_not_until_half_of_the_time_is_over(config: LocateRefineConfig) -> None:
    module = locate(config, A_CASE)
    assert module.ends_after(seen(e30=0.2, e35=0.5, e40=0.9)) == 140
    assert module.ends_after(seen(e30=0.2, e60=0.96)) == 75, "and has a fifth of its time to cool down"
    assert module.ends_after(seen(e30=0.2, e60=0.96, e70=0.2)) == 75
    assert module.ends_after(seen(e30=0.2, e130=0.96)) == 140


def test_locate_ends_early_where_the_poses_are_right_and_get_no_better(config: LocateRefineConfig) -> None:
    module = locate(config, A_CASE)
    better = seen(e10=1.0, e15=1.0, e20=1.0, e25=1.0)
    assert module.ends_after(better) == 140, "they get better"
    for row in better[10:]:
        if "val_score" in row:
            row["val_score"] = 7.99
    assert module.ends_after(better) == 32
    assert module.ends_after(better[:20]) == 140, "fields are not turned as far as ever yet"
    better[14]["val_right"] = 0.9
    assert module.ends_after(better) == 140, "they did not stay right"


def test_a_progress_bar_shows_what_is_planned_until_more_is_known(config: LocateRefineConfig) -> None:
    module = locate(config, A_CASE)
    assert (module.outlook(0), module.outlook(39), module.outlook(40)) == (40, 40, 140)
    module.ends = 75
    assert module.outlook(10) == module.outlook(60) == 75


def test_the_rate_stays_and_falls_to_nothing_in_the_last_fifth(config: LocateRefineConfig) -> None:
    module = locate(config)
    rates = np.array([module._rate(step) for step in range(401)])
    assert rates[:9].tolist() == pytest.approx(((np.arange(9) + 1) / 10).tolist())
    assert (rates[10:321] == 1).all() and rates[360] == pytest.approx(0.5) and rates[400] == 0
    module.ends = 25
    assert module._rate(199) == 1 and module._rate(225) == pytest.approx(0.5)


def test_a_pose_is_right_within_two_tolerances(config: LocateRefineConfig) -> None:
    module = locate(config, A_CASE)
    errors = np.array([[1.0, 6, np.nan, 2], [4, 4, 4, 4.5], [np.inf] * 4, [np.nan] * 4])
    assert module.figures(errors) == {"val_right": pytest.approx(1 / 3)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stopped_in_either_network_ends_with_the_same_weights(
    a_config: DenseConfig, tmp_path: Path, workers: int
) -> None:
    """Also where a process draws samples ahead."""
    shared = a_config.model_dump(include={"version", "data", "image", "training"})
    shared["training"] |= {"epochs": 6, "steps_per_epoch": 2, "batch": 1, "workers": workers}
    look = {"spacing": 1.0, "channels": (8, 8), "augmentation": STILL | {"rotation": 180.0}, "cut": 0.3}
    coarse = {"field": 16, "heat_width": 2.0, "jitter": 4.0, "anywhere": 0.0, "batch": 1, "share": 0.5}
    fine = {"field": 16, "window": 9, "heat_width": 0.7, "deviation": 1.5}
    config = LocateRefineConfig.model_validate(
        {
            **shared,
            "name": "small",
            "engine": "locate-refine",
            "locate": {**look, **coarse},
            "refine": {**look, **fine},
            "detection": {"tolerance": 2.0, "support": 0.3, "found": 0.8, "uncertain": 0.5},
        }
    )
    whole = train(config, tmp_path / "whole", device=CPU)
    for network in (LocateTraining, RefineTraining):
        with pytest.raises(LostError):
            train(config, tmp_path / "stopped", device=CPU, callbacks=[StopsIn(network)])
    stopped = train(config, tmp_path / "stopped", device=CPU)
    for name in ("weights.safetensors", "model.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


class LostError(Exception):
    """As a machine that is lost."""


class StopsIn(L.Callback):
    """A stop in the second epoch that it sees of a network."""

    def __init__(self, network: type) -> None:
        self.network, self.seen = network, 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen += isinstance(pl_module, self.network)
        if self.seen == 2:
            raise LostError

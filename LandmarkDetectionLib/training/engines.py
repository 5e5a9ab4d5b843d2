"""The engines that can be trained: what each is configured, planned and trained by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.dense.engine import DenseEngine
from LandmarkDetectionLib.training.dense.plan import plan_dense
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.engine import LocateRefineEngine
from LandmarkDetectionLib.training.locate_refine.plan import plan_locate_refine
from LandmarkDetectionLib.training.running.stage import Engine
from LandmarkDetectionLib.training.running.tracking import Track, untracked
from LandmarkDetectionLib.training.sections import TrainingConfig


@dataclass(frozen=True)
class EngineParts:
    """What makes an engine.

    Attributes:
        config: the class of its configuration.
        plan: chooses one for a data set and a machine; gives it, and why it is so.
        prepare: the engine of a configuration, with the cases of its run.
    """

    config: type[TrainingConfig]
    plan: Callable[..., tuple[TrainingConfig, tuple[str, ...]]]
    prepare: Callable[[Any, Track], Engine]


DEFAULT_ENGINE = "locate-refine"
ENGINES = {
    "locate-refine": EngineParts(LocateRefineConfig, plan_locate_refine, LocateRefineEngine),
    "dense": EngineParts(DenseConfig, plan_dense, DenseEngine),
}


def engine_for(config: TrainingConfig, track: Track = untracked) -> Engine:
    """The engine of a configuration, its cases prepared.

    Args:
        config: what to train.
        track: shows how far along the cases are.

    Raises:
        InputError: if a case is wrong, or there is nothing to learn.
    """
    return ENGINES[config.engine].prepare(config, track)

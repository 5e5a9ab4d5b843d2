"""The engines that can be trained."""

from __future__ import annotations

from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.dense.engine import DenseEngine
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.engine import LocateRefineEngine
from LandmarkDetectionLib.training.prepared_data import CasesProgress
from LandmarkDetectionLib.training.sections import TrainingConfig
from LandmarkDetectionLib.training.stage import Engine


def engine_for(config: TrainingConfig, progress: CasesProgress = iter) -> Engine:
    """The engine of a configuration, its cases prepared.

    Args:
        config: what to train.
        progress: wraps the list of cases to prepare, for a progress bar.

    Raises:
        InputError: if a case is wrong, or there is nothing to learn.
    """
    if isinstance(config, DenseConfig):
        return DenseEngine(config, progress)
    assert isinstance(config, LocateRefineConfig)
    return LocateRefineEngine(config, progress)

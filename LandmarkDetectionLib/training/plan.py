"""From a data set to a complete configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from LandmarkDetectionLib.data.cases import Case, discover_table, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.training.budget import SHORTAGE
from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.training.sections import DataSection, TrainingConfig
from LandmarkDetectionLib.training.survey import Survey, measure_case, survey_of

FEWEST_LANDMARKS = 4
"""With fewer there is no constellation whose pose could be found: that is work for the dense engine."""


@dataclass(frozen=True)
class Plan:
    """A configuration, the landmark table it trains, and why it is as it is."""

    config: TrainingConfig
    table: LandmarkTable
    reasons: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the reasons that speak against training by this plan."""
        return tuple(reason for reason in self.reasons if reason.startswith(SHORTAGE))


def make_plan(
    train: Path,
    val: Path | None,
    output: Path,
    *,
    engine: str | None,
    name: str,
    device: torch.device,
    hours: float | None,
    seed: int,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> Plan:
    """Measure a data set and this machine, and choose every value of the configuration.

    Args:
        train: CSV of the training cases.
        val: CSV of the validation cases, or None.
        output: where the configuration will be written; the cache and the table lie beside it.
        engine: one of `ENGINES`; None takes locate-refine where there are enough landmarks for it.
        name: of the model.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
        progress: wraps the list of cases, for a progress bar.

    Raises:
        InputError: if a case cannot be read, there are no landmarks to learn, or too few for the engine.
    """
    cases = read_split(train, supervised=True)
    if val is not None:
        read_split(val, supervised=True)
    table = discover_table(cases, train)
    survey = survey_of([measure_case(case, table) for case in progress(cases)], table, train)
    data = DataSection(
        train=train,
        val=val,
        landmarks=output.parent / f"{output.stem}-landmarks.csv",
        cache=output.parent / "cache",
    )
    engine, why = choose_engine(engine, survey, train)
    config, reasons = ENGINES[engine].plan(name, data, survey, device=device, hours=hours, seed=seed)
    return Plan(config, survey.table, (why, *survey.reasons, *reasons))


def choose_engine(engine: str | None, survey: Survey, train: Path) -> tuple[str, str]:
    """The engine that a person asks for, or the one that suits the data, and why.

    Raises:
        InputError: if there are too few landmarks for the engine asked for.
    """
    count = int(np.isfinite(survey.shape).all(axis=1).sum())
    if engine == "locate-refine" and count < FEWEST_LANDMARKS:
        raise InputError(
            f"{train}: {count} landmarks are too few for the engine locate-refine, which needs "
            f"{FEWEST_LANDMARKS}; use --engine dense."
        )
    if engine is not None:
        return engine, f"engine {engine}: as asked for."
    if count < FEWEST_LANDMARKS:
        return "dense", f"engine dense: {count} landmarks, and locate-refine needs {FEWEST_LANDMARKS}."
    return "locate-refine", "engine locate-refine: the default."

"""From a data set to a complete configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from LandmarkDetectionLib.data.cases import Case, discover_table, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.table import LandmarkTable, write_table
from LandmarkDetectionLib.training.base import Base
from LandmarkDetectionLib.training.config import write_config
from LandmarkDetectionLib.training.engines import DEFAULT_ENGINE, ENGINES
from LandmarkDetectionLib.training.planning.budget import SHORTAGE
from LandmarkDetectionLib.training.planning.survey import measure_case, survey_of
from LandmarkDetectionLib.training.sections import DataSection, TrainingConfig

_TELLS_NOTHING = re.compile(r"splits?|folds?|fold_\d+|masks?|cases", re.IGNORECASE)
"""Names of folders that say nothing of what is in them."""


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
    name: str | None,
    device: torch.device,
    hours: float | None,
    seed: int,
    base: Path | None = None,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> Plan:
    """Measure a data set and this machine, and choose every value of the configuration.

    Args:
        train: CSV of the training cases.
        val: CSV of the validation cases, or None.
        output: where the configuration will be written; the cache and the table lie beside it.
        engine: one of `ENGINES`; None takes that of the model, or locate-refine.
        name: of the model; None takes that of the folder of `train`.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
        base: the folder of a model to go on from: its grids, windows, networks and intensity scale are
            taken, its pairs, groups and definitions where the table has none, and a tenth of the steps.
        progress: wraps the list of cases, for a progress bar.

    Raises:
        InputError: if there is no such engine, a case cannot be read, there are no landmarks to learn, or the
            model cannot be used.
    """
    if engine is not None and engine not in ENGINES:
        raise InputError(f"--engine {engine}: there is no such engine; use {' or '.join(ENGINES)}.")
    model = None if base is None else Base.read(base, engine)
    cases = read_split(train, supervised=True)
    if val is not None:
        read_split(val, supervised=True)
    table = discover_table(cases, train)
    if model is not None:
        table = model.carried(table)
    measures = [measure_case(case, table) for case in progress(cases)]
    survey = survey_of(measures, table, train, None if model is None else model.image)
    data = DataSection(
        train=train,
        val=val,
        landmarks=output.parent / f"{output.stem}-landmarks.csv",
        cache=output.parent / "cache",
    )
    chosen = engine or DEFAULT_ENGINE
    why = f"engine {chosen}: the default." if engine is None else f"engine {chosen}: as asked for."
    if model is not None:
        chosen, why = model.bundle.engine, model.reason_for(survey.table.names)
    config, reasons = ENGINES[chosen].plan(
        name or data_set_name(train), data, survey, device=device, hours=hours, seed=seed, base=model
    )
    return Plan(config, survey.table, (why, *survey.reasons, *reasons))


def data_set_name(train: Path) -> str:
    """What a model is called after its data: the nearest folder that is not one of a split or of masks."""
    folders = [folder.name for folder in train.resolve().parents]
    telling = (name for name in folders if name and not _TELLS_NOTHING.fullmatch(name))
    return next(telling, train.stem)


def write_plan(plan: Plan, output: Path) -> None:
    """Write the configuration, with the reasons on top, and the landmark table that it names.

    Args:
        plan: of `make_plan` with the same output.
        output: the file of the configuration.

    Raises:
        InputError: if the folder cannot be written.
    """
    if plan.config.data.landmarks is not None:
        write_table(plan.table, plan.config.data.landmarks)
    write_config(plan.config, output, header="\n".join(plan.reasons))

"""The cases of a run: prepared, checked, and parted into those that teach and those that validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.training.cases.cache import (
    CACHE_VERSION,
    PreparedCase,
    digest_of,
    prepare_split,
    table_of,
)
from LandmarkDetectionLib.training.cases.folds import Fold, take_fold
from LandmarkDetectionLib.training.running.tracking import Track, untracked
from LandmarkDetectionLib.training.sections import DataSection, TrainingConfig


@dataclass(frozen=True)
class TrainingData:
    """The cases of a run, prepared."""

    table: LandmarkTable
    training: tuple[PreparedCase, ...]
    validation: tuple[PreparedCase, ...]
    fingerprint: str

    @property
    def digest(self) -> str:
        """Of all that a run sees; it goes on only with the same."""
        return digest_of((*self.training, *self.validation))

    def described(self) -> dict[str, Any]:
        """What a bundle tells of the cases that it was trained on."""
        return {
            "fingerprint": self.fingerprint,
            "training_cases": len(self.training),
            "validation_cases": len(self.validation),
            "scans": {"recipe": CACHE_VERSION, "digests": sorted(case.scan for case in self.training)},
        }


def prepare(config: TrainingConfig, preparation: Preparation, track: Track = untracked) -> TrainingData:
    """All cases of a configuration, from the cache where they are in it.

    Raises:
        InputError: if a case is wrong, or there is nothing to learn or to validate on.
    """
    cache = config.data.cache
    table = table_of(config.data.train, config.data.landmarks, cache)

    def prepared(split: Path) -> tuple[PreparedCase, ...]:
        return prepare_split(
            split, table, preparation, cache, progress=lambda cases: track(cases, "Preparing scans")
        )

    training = prepared(config.data.train)
    validation = prepared(config.data.val) if config.data.val else ()
    fit_cases, held_out = training, validation
    if config.data.fold is not None:
        fold = Fold.parse(config.data.fold)
        _check_names(training, validation, config.data)
        fit_cases, held_out = take_fold((*training, *validation), fold, seed=config.training.seed)
    if held_out and not any(np.isfinite(case.positions).any() for case in held_out):
        raise InputError(
            f"{config.data.val or config.data.train}: no validation case has a landmark that is in its scan; "
            "validate on other cases, or on none."
        )
    _check_annotations(fit_cases, table, config.data.train)
    return TrainingData(table, fit_cases, held_out, fingerprint=digest_of(fit_cases))


def _check_names(
    training: Sequence[PreparedCase], validation: Sequence[PreparedCase], data: DataSection
) -> None:
    """Refuse a name that is in both splits: folds are made of all cases, by name."""
    twice = {case.name for case in training} & {case.name for case in validation}
    if twice:
        raise InputError(
            f"{data.val}: {', '.join(sorted(twice))} is in {data.train} too; for folds of both, give each "
            "case a name of its own."
        )


def _check_annotations(cases: Sequence[PreparedCase], table: LandmarkTable, where: Path) -> None:
    """Refuse a landmark that no training case speaks of: nothing would be learnt about it."""
    known = np.any([case.known for case in cases], axis=0)
    if not known.all():
        names = ", ".join(np.array(table.names)[~known])
        raise InputError(
            f"{where}: no training case speaks of {names}; annotate it, or take it out of the landmark table."
        )

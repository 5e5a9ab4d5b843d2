"""Cross-validation within one configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.splits import k_folds
from LandmarkDetectionLib.training.cases.cache import PreparedCase


@dataclass(frozen=True)
class Fold:
    """Fold `number` of `count`, counted from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Fold:
        """Read `k/n`.

        Raises:
            InputError: if it is anything else.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]) or int(match[2]) < 2:
            raise InputError(f"--fold {text}: write k/n with k from 1 to n, for example 2/5.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def part_of(cls, count: int, text: str) -> Fold:
        """Read `k`, where it is said already how many folds there are.

        Raises:
            InputError: if it is anything else.
        """
        if not re.fullmatch(r"[0-9]+", text) or not 1 <= int(text) <= count:
            raise InputError(f"--fold {text} --folds {count}: write --fold k with k from 1 to {count}.")
        return cls(int(text), count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def take_fold(
    cases: Sequence[PreparedCase], fold: Fold, *, seed: int
) -> tuple[tuple[PreparedCase, ...], tuple[PreparedCase, ...]]:
    """Training and validation cases of a fold; cases of one group stay together."""
    stand_ins = [Case(case.name, case.voxels_path, None, None, case.group) for case in cases]
    held_out = {
        case.name for case in k_folds(stand_ins, folds=fold.count, seed=seed, val=0)[fold.number - 1]["test"]
    }
    return (
        tuple(case for case in cases if case.name not in held_out),
        tuple(case for case in cases if case.name in held_out),
    )

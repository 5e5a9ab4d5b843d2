"""Dividing cases into training, validation and test, or into folds, without tearing a group apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.cases import TABLE_NAME, Case, natural_key, write_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.table import LandmarkTable, write_table

PARTS = ("train", "val", "test")
Parts = dict[str, list[Case]]


def split_by_group(cases: Sequence[Case], *, val: float, test: float, seed: int) -> Parts:
    """Divide cases into train, val and test; all cases of a group go to one of them.

    The parts come as near to the fractions, in cases, as the groups allow. The result depends on the seed and
    the cases, not on their order.

    Args:
        cases: with unique names.
        val: fraction of the cases for validation; 0 leaves the part empty.
        test: fraction for test; 0 leaves the part empty.
        seed: another seed, another division.

    Raises:
        InputError: if the fractions do not leave cases for training, or there are fewer groups than parts.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise InputError(f"val {val:g} and test {test:g} must not be negative and must sum to less than 1.")
    shares = dict(zip(PARTS, (1 - val - test, val, test), strict=True))
    wanted = [part for part in PARTS if shares[part] > 0]
    groups = _groups(cases)
    if len(groups) < len(wanted):
        raise InputError(
            f"{len(groups)} group(s) cannot fill {len(wanted)} parts ({', '.join(wanted)}); "
            "add cases of other groups, or ask for fewer parts."
        )
    bins = _distribute(groups, [shares[part] for part in wanted], seed)
    return {part: bins[wanted.index(part)] if part in wanted else [] for part in PARTS}


def k_folds(cases: Sequence[Case], *, folds: int, seed: int, val: float = 0.2) -> list[Parts]:
    """Divide cases into `folds` test parts of about one size; what is left of each is train and val.

    Args:
        cases: with unique names.
        folds: at least 2.
        seed: another seed, another division.
        val: fraction of the cases outside the fold's test part for validation.

    Raises:
        InputError: if there are fewer groups than folds, or too few for train and val in a fold.
    """
    groups = _groups(cases)
    if not 2 <= folds <= len(groups):
        raise InputError(f"folds is {folds}; with {len(groups)} group(s) it must be 2 to {len(groups)}.")
    tests = _distribute(groups, [1 / folds] * folds, seed)
    parts = []
    for fold, held_out in enumerate(tests):
        rest = [case for other in tests if other is not held_out for case in other]
        parts.append(split_by_group(rest, val=val, test=0, seed=seed + fold) | {"test": held_out})
    return parts


def write_splits(
    parts: Mapping[str, Sequence[Case]], folder: Path, table: LandmarkTable | None = None
) -> list[Path]:
    """Write `PART.csv` for each part that has cases, and the table if there is one, into `folder`.

    The file that an earlier split left for a part that is empty now is removed, so that what stands in the
    folder is one division.

    Returns:
        the paths of the split files.
    """
    written = []
    for part, cases in parts.items():
        path = Path(folder) / f"{part}.csv"
        if cases:
            write_split(cases, path)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    if table is not None:
        write_table(table, Path(folder) / TABLE_NAME)
    return written


def write_folds(folds: Sequence[Parts], folder: Path, table: LandmarkTable | None = None) -> list[Path]:
    """Write `fold_0` .. `fold_{K-1}` into `folder`, each as `write_splits`; returns the split files.

    The split files of further folds, left by an earlier division, are removed.
    """
    for stale in Path(folder).glob("fold_*"):
        number = re.fullmatch(r"fold_(\d+)", stale.name)
        if number and int(number[1]) >= len(folds) and stale.is_dir():
            write_splits(dict.fromkeys(PARTS, ()), stale)
    return [
        path
        for number, parts in enumerate(folds)
        for path in write_splits(parts, Path(folder) / f"fold_{number}", table)
    ]


def _groups(cases: Sequence[Case]) -> list[list[Case]]:
    """The groups in an order that does not depend on the order of the cases."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: natural_key(case.name)):
        groups.setdefault((case.group, "" if case.group else case.name), []).append(case)
    return list(groups.values())


def _distribute(groups: Sequence[list[Case]], shares: Sequence[float], seed: int) -> list[list[Case]]:
    """Give shuffled groups, the largest first, to the bin that lacks most; no bin stays empty."""
    shuffled = [groups[row] for row in np.random.default_rng(seed).permutation(len(groups))]
    shuffled.sort(key=len, reverse=True)
    lacking = np.array(shares) * sum(map(len, groups))
    bins: list[list[Case]] = [[] for _ in shares]
    for number, group in enumerate(shuffled):
        empty = [row for row, content in enumerate(bins) if not content]
        open_bins = empty if len(empty) == len(groups) - number else range(len(bins))
        chosen = max(open_bins, key=lambda row: lacking[row])
        bins[chosen].extend(group)
        lacking[chosen] -= len(group)
    return [sorted(content, key=lambda case: natural_key(case.name)) for content in bins]

"""The command `split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

EXAMPLES = """
Examples:

  train_cli split masks/cases.csv --output splits

  train_cli split masks/cases.csv --output splits --val 0.1 --test 0.3 --seed 7

  train_cli split masks/cases.csv --output folds --folds 5 --group patient
"""


def run(
    cases: Annotated[Path, typer.Argument(metavar="CASES.csv", help="The cases to divide.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where train.csv, val.csv and test.csv go.")],
    val: Annotated[float, typer.Option(min=0, max=1, help="Fraction of the cases for validation.")] = 0.2,
    test: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the cases for test; --folds decides it itself.")
    ] = 0.2,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Write K folds, fold_0 to fold_K-1, each with its own test cases."),
    ] = None,
    group: Annotated[
        str, typer.Option(metavar="COLUMN", help="Cases alike in this column stay in one part.")
    ] = "group",
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Divide cases for training, validation and test.

    Cases of one group (a patient, a family) stay together. The same seed gives
    the same division, whatever the order of the cases.
    """
    from LandmarkDetectionLib.data.cases import GROUP, find_table, group_by, read_split
    from LandmarkDetectionLib.data.splits import k_folds, split_by_group, write_folds, write_splits

    console = Console(quiet=quiet, json=json)
    listed = read_split(cases, supervised=True)
    if group != GROUP:
        listed = group_by(listed, cases, column=group)
    table = find_table(cases, listed)
    if folds is None:
        parts = split_by_group(listed, val=val, test=test, seed=seed)
        divisions, files = [parts], write_splits(parts, output, table)
    else:
        divisions = k_folds(listed, folds=folds, seed=seed, val=val)
        files = write_folds(divisions, output, table)
    counts = [{part: len(inside) for part, inside in parts.items()} for parts in divisions]
    console.result({"files": files, "counts": counts})
    if folds is None:
        console.table([*counts[0]], [[*counts[0].values()]])
    else:
        console.table(
            ("fold", *counts[0]), ([number, *count.values()] for number, count in enumerate(counts))
        )
    console.say(f"Written to {output}.")

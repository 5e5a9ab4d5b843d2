"""The command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

EXAMPLES = """
Examples:

  train_cli check cases.csv

  train_cli check train.csv val.csv test.csv
"""


def run(
    splits: Annotated[
        list[Path],
        typer.Argument(metavar="CSV...", help="One or more split files of one data set.", show_default=False),
    ],
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look for what would spoil a training or make its test meaningless.

    Missing and damaged files; images, masks and landmarks that do not lie
    together; names that differ between cases; one image or one patient in two
    splits; swapped, mirrored or misplaced landmarks.

    A landmarks.csv among the files, as in splits/*.csv, is the table of the
    others and not a split.

    Exit code 2 if there is an error; warnings want a look, and do not change
    the exit code.
    """
    from LandmarkDetectionLib.data.cases import TABLE_NAME
    from LandmarkDetectionLib.data.checks import check_splits

    console = Console(quiet=quiet, json=json)
    splits = [path for path in splits if path.name != TABLE_NAME] or splits
    with console.progress("Checking") as progress:
        findings = check_splits(splits, progress=progress)
    errors = sum(finding.severity == "error" for finding in findings)
    console.result(
        {
            "errors": errors,
            "warnings": len(findings) - errors,
            "findings": [vars(finding) for finding in findings],
        }
    )
    if quiet and not json:
        for finding in findings:
            console.warn(f"{finding.severity}: {finding.message}")
    elif findings:
        columns = ("severity", "kind", "case", "message")
        console.table(columns, ([getattr(finding, column) for column in columns] for finding in findings))
    console.say(f"Errors: {errors}. Warnings: {len(findings) - errors}.")
    if errors:
        raise typer.Exit(2)

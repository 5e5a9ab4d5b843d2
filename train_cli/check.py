"""The command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.checks import Finding
    from LandmarkDetectionLib.data.landmarks import LandmarkSet

EXAMPLES = """
Examples:

  train_cli check cases.csv

  train_cli check train.csv val.csv test.csv

  train_cli check cases.csv --report report
"""


def run(
    splits: Annotated[
        list[Path],
        typer.Argument(metavar="CSV...", help="One or more split files of one data set.", show_default=False),
    ],
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write a report: of every landmark the pictures of all cases, to open in a browser.",
            show_default=False,
        ),
    ] = None,
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
    from LandmarkDetectionLib.report.folder import FRONT, refuse_report_around

    console = Console(quiet=quiet, json=json)
    if report is not None:
        refuse_report_around(report, splits)
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
    if report is not None:
        _write_report(splits, findings, report, console)
        console.say(f"Report: open {report / FRONT} in a browser.")
    console.say(f"Errors: {errors}. Warnings: {len(findings) - errors}.")
    if errors:
        raise typer.Exit(2)


def _write_report(splits: list[Path], findings: list[Finding], path: Path, console: Console) -> None:
    """The pictures of all cases whose landmarks can be read; the others stand in the findings."""
    from LandmarkDetectionLib.data.cases import case_landmarks, files_of_cases, find_table, read_rows
    from LandmarkDetectionLib.data.errors import InputError
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.report.annotations import Checked, write_report

    landmarks: dict[str, LandmarkSet] = {}
    images, folders = {}, []
    for split in splits:
        cases = [row.case for row in read_rows(split, supervised=True)]
        table = find_table(split, cases)
        folders += [file.parent for file in (split, *files_of_cases(cases))]
        for case in cases:
            name = case.name if case.name not in landmarks else f"{case.name} ({split.name})"
            try:
                landmarks[name] = case_landmarks(case, table)
            except InputError:
                continue
            images[name] = case.image_path
    if not landmarks:
        raise InputError(f"{splits[0]}: no case has landmarks that can be read, so there is nothing to show.")
    title = f"Annotations of {', '.join(split.name for split in splits)}"
    missing = write_report(
        Checked(title, landmarks, findings, folders),
        lambda case: read_volume(images[case]),
        path,
        lambda names: console.track(names, "pictures"),
    )
    for name, reason in missing.items():
        console.warn(f"{name} has no pictures: {reason}")

"""The command `cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

EXAMPLES = """
Examples:

  train_cli cases scans --output cases.csv

  train_cli cases scans --landmarks markups --output cases.csv --group "^patient[0-9]+"
"""


def run(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder with the scans.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(metavar="CASES.csv", help="The list to write.")] = Path("cases.csv"),
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the landmark files are.", show_default="beside the scans"),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="What cases of one patient or family share in their names; a split keeps them together.",
            show_default=False,
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|UID|WORDS",
            help="Which DICOM series, where a patient has several: its number, its UID or words of its "
            "description.",
            show_default=False,
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Take every DICOM series but localisers.")] = False,
    anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous",
            help="Numbers in place of the names of cases and patients; paths stay as they are.",
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """List the scans of a folder with their landmark files and masks.

    The landmarks of CASE.nii.gz are in CASE.mrk.json, CASE.fcsv or CASE.csv,
    its mask is CASE_mask.nii.gz. Scans without either are left out. The list
    is an ordinary table: edit it as you like.

    A folder without images is searched for DICOM to the bottom, and what is
    there is shown: patients, series, sizes, spacings. CASE is then the folder
    of the series. Series of one patient are one group.
    """
    from LandmarkDetectionLib.data.cases import write_split
    from LandmarkDetectionLib.data.collect import anonymised, collect_cases, series_facts
    from LandmarkDetectionLib.data.errors import InputError

    console = Console(quiet=quiet, json=json)
    there = series_facts(folder, anonymous=anonymous)
    if there:
        columns = [column for column in there[0] if column != "uid"]
        console.table(columns, ([item[column] for column in columns] for item in there))
    try:
        found = collect_cases(folder, landmarks=landmarks, group=group, series=series, each=each)
    except InputError:
        console.result({"cases": [], "groups": [], "csv": None, "series": there})
        raise
    found = anonymised(found) if anonymous else found
    write_split(found, output)
    groups = sorted({case.group for case in found if case.group})
    console.result({"cases": [case.name for case in found], "groups": groups, "csv": output, "series": there})
    if group is not None and not groups:
        console.warn(
            f"--group {group} matches no case: each is a group of its own. Correct it if there are relatives."
        )
    grouped = f" Groups: {', '.join(groups)}." if groups else ""
    console.say(f"{len(found)} cases in {output}.{grouped}")

"""The command `landmarks`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

EXAMPLES = """
Examples:

  train_cli landmarks scan.fcsv --output scan.csv

  train_cli landmarks markups/*.mrk.json --output fiducials --to .fcsv --frame RAS

  train_cli landmarks skullengine/*.csv --from skullengine --output markups
"""


class Kind(StrEnum):
    """The kinds of landmark files."""

    MARKUPS = ".mrk.json"
    FIDUCIALS = ".fcsv"
    TABLE = ".csv"


class CoordinateFrame(StrEnum):
    """What positions are in."""

    LPS = "LPS"
    RAS = "RAS"


class Convention(StrEnum):
    """In what other programs differ."""

    PLAIN = "plain"
    SKULLENGINE = "skullengine"
    AFIDS = "afids"


class Source(StrEnum):
    """Whose files are read, where these do not say it."""

    PLAIN = "plain"
    SKULLENGINE = "skullengine"


def run(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE..", help=".mrk.json, .fcsv or .csv files.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE|DIR", help="The file to write, or the folder for several.")
    ],
    to: Annotated[Kind, typer.Option(help="The kind of the files in a folder.")] = Kind.MARKUPS,
    frame: Annotated[
        CoordinateFrame, typer.Option(help="What a .mrk.json or .fcsv is in; a .csv is always LPS.")
    ] = CoordinateFrame.LPS,
    read_as: Annotated[
        Source,
        typer.Option(
            "--from",
            help="skullengine: landmarks at 0 0 0, 1 1 1 and -1 -1 -1 are absent. AFIDs are known anyway.",
        ),
    ] = Source.PLAIN,
    write_as: Annotated[
        Convention,
        typer.Option(
            "--as",
            help="skullengine: absent landmarks at -1 -1 -1; afids: labels are the AFIDs' numbers.",
        ),
    ] = Convention.PLAIN,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Convert landmark files between Slicer, tables, SkullEngine and AFIDs.

    Suffixes say the kinds; each file says itself whether it is in LPS or RAS.
    An absent landmark stays absent. AFIDs are known by their numbers and
    names, and get the names. docs/exchange.md says what each kind keeps.
    """
    from LandmarkDetectionLib.data.files import make_folder, refuse_overwriting
    from LandmarkDetectionLib.data.landmark_files import LANDMARK_SUFFIXES
    from LandmarkDetectionLib.exchange.landmarks import convert_landmarks, target_of

    if output.name.lower().endswith(LANDMARK_SUFFIXES):
        targets = dict.fromkeys(files, output)
    else:
        targets = {file: target_of(file, output, to.value) for file in files}
        make_folder(output)
    if len({*targets.values()}) < len(targets):
        raise InputError(f"--output {output}: several files would have one name; convert them into folders.")
    refuse_overwriting(targets.values(), files)
    there = [target for target in targets.values() if target.exists()]
    if there and not overwrite:
        raise InputError(
            f"{there[0]}: this file is there; give another --output, or --overwrite to replace it."
        )
    console, failed = Console(quiet=quiet, json=json), {}
    for file, target in targets.items():
        try:
            convert_landmarks(
                file, target, read_as=read_as.value, write_as=write_as.value, system=frame.value
            )
        except InputError as error:
            failed[str(file)] = str(error)
            console.warn(str(error))
    written = [target for file, target in targets.items() if str(file) not in failed]
    console.result({"files": written, "failed": failed})
    console.say(f"{len(written)} of {len(targets)} files converted, in {output}.")
    if failed:
        raise typer.Exit(2)

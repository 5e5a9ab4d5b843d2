"""The command `phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

EXAMPLES = """
Examples:

  train_cli phantom phantom --cases 12

  train_cli phantom phantom --cases 4 --spacing 2 --rotation 180 --seed 7
"""


def run(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the cases go; made if need be.", show_default=False)
    ],
    cases: Annotated[int, typer.Option(metavar="N", min=1, help="How many cases.")],
    spacing: Annotated[float, typer.Option(metavar="MM", help="Voxel size, mm.")] = 3.0,
    rotation: Annotated[
        float, typer.Option(metavar="DEGREES", help="Heads turn by up to this angle; 180 reaches any pose.")
    ] = 15.0,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make synthetic skull CTs with exactly known landmarks, to try things out.

    Heads of random shape and pose, some with metal streaks, some cut off by
    the field of view so that landmarks are absent. No accuracy on real scans
    follows from them.

    Writes images/CASE.nii.gz, landmarks/CASE.mrk.json, landmarks.csv and cases.csv.
    """
    from LandmarkDetectionLib.phantom.dataset import CASES_NAME, write_dataset
    from LandmarkDetectionLib.phantom.settings import PhantomSettings

    settings = PhantomSettings(spacing=spacing, max_rotation_degrees=rotation)
    console = Console(quiet=quiet, json=json)
    with console.progress("Making phantoms") as progress:
        written = write_dataset(folder, cases, seed, settings, progress)
    console.result({"cases": [case.name for case in written], "csv": folder / CASES_NAME})
    console.say(f"{len(written)} cases in {folder / CASES_NAME}.")

"""The command `demo`."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "demo"
CASES = 32
EPOCHS = 33
"""Enough for every landmark to be found, in four minutes on two cores that are free."""
LOCATE_SHARE = 0.57
"""Of the epochs: a training as short as this one spends more of them on finding the pose."""


def run(
    context: typer.Context,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("demo"),
    cases: Annotated[int, typer.Option(min=8, help="Synthetic cases.")] = CASES,
    epochs: Annotated[int, typer.Option(min=2, help="How long to train; each has 50 steps.")] = EPOCHS,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run the whole loop on synthetic skulls: annotate, check, plan, train, detect, evaluate.

    Each step is one of the other commands and is shown as you would type it.
    The numbers it ends with say that the program works; they say nothing about
    real scans.
    """
    console = Console(quiet=quiet, json=json)
    remove_last_demo(output)
    program = context.find_root().command
    for arguments in steps(output, cases=cases, epochs=epochs, device=device, seed=seed):
        console.say(f"\n$ train_cli {shlex.join(arguments)}")
        flags = ["--quiet"] if quiet or json else []
        run_step(program, [*arguments, *flags])
    pictures = draw_pictures(output)
    markups = sorted((output / "detections").glob("*.mrk.json"))
    console.result(
        {"metrics": output / "evaluation" / "metrics.json", "markups": markups, "pictures": pictures}
    )
    console.say(f"\nOpen in Slicer, with the image of the same name in {output / 'data' / 'images'}:")
    for path in markups:
        console.say(f"  {path}")
    console.say("Slices through landmarks, truth and detection drawn:")
    for path in pictures:
        console.say(f"  {path}")


def remove_last_demo(output: Path) -> None:
    """Remove the run and the detections of an earlier demo: they belong to another plan.

    Raises:
        InputError: if the run in the folder is not a demo's.
    """
    saved = output / "run" / "config.yaml"
    if not saved.is_file():
        return
    if f"\nname: {NAME} " not in saved.read_text(encoding="utf-8"):
        raise InputError(f"{output}: a run that is not a demo's lies in it; give another --output.")
    shutil.rmtree(output / "run")
    shutil.rmtree(output / "detections", ignore_errors=True)


def steps(output: Path, *, cases: int, epochs: int, device: str, seed: int) -> Iterator[list[str]]:
    """The commands of the demo, as words."""
    data, masks, splits = output / "data", output / "masks", output / "splits"
    config, run_folder, detections = output / "config.yaml", output / "run", output / "detections"
    computing = ["--device", device, "--seed", str(seed)]
    lines: list[list[str | Path]] = [
        ["phantom", data, "--cases", str(cases), "--seed", str(seed)],
        ["masks", data / "cases.csv", "--output", masks],
        [
            "split",
            masks / "cases.csv",
            "--output",
            splits,
            "--val",
            "0.15",
            "--test",
            "0.2",
            "--seed",
            str(seed),
        ],
        ["check", splits / "train.csv", splits / "val.csv", splits / "test.csv"],
        [
            "plan",
            splits / "train.csv",
            splits / "val.csv",
            "--output",
            config,
            "--name",
            NAME,
            *computing,
        ],
        [
            "train",
            config,
            "--output",
            run_folder,
            "--set",
            f"training.epochs={epochs}",
            "--set",
            f"locate.share={LOCATE_SHARE}",
            *computing,
        ],
        [
            "detect",
            splits / "test.csv",
            "--model",
            run_folder / "model",
            "--output",
            detections,
            "--allow-empty",
            "--device",
            device,
        ],
        ["evaluate", splits / "test.csv", "--detections", detections, "--output", output / "evaluation"],
    ]
    return ([str(word) for word in line] for line in lines)


def run_step(program: Any, arguments: list[str]) -> None:
    """Run one command in this process; a step that fails ends the demo with its exit code."""
    code = program.main(args=arguments, prog_name="train_cli", standalone_mode=False)
    if code:
        raise typer.Exit(code)


def draw_pictures(output: Path) -> list[Path]:
    """Slices through landmarks of each test case, with truth and detection."""
    from LandmarkDetectionLib.data.cases import case_landmarks, find_table, read_split
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.detection.results import read_case
    from LandmarkDetectionLib.evaluation.figures import draw_case

    split = output / "splits" / "test.csv"
    cases = read_split(split, supervised=True)
    table = find_table(split, cases)
    pictures = []
    for case in cases:
        path = output / "pictures" / f"{case.name}.png"
        draw_case(
            read_volume(case.image_path),
            case_landmarks(case, table),
            read_case(output / "detections", case.name),
            path,
        )
        pictures.append(path)
    return pictures

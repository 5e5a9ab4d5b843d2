"""The command `demo`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.resources import synthetic_model
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.data.landmarks import LandmarkSet
    from LandmarkDetectionLib.detection.results import CaseDetections

NAME = "demo"
CASES = 32
EPOCHS = 20
"""Enough for every landmark to be found, in less than five minutes on two cores without bfloat16."""
SETTINGS = (
    "locate.share=0.2",
    "locate.channels=[16,32,64]",
    "refine.channels=[8,16,32]",
    "refine.field=24",
)
"""Small networks and small fields: synthetic heads are simple, and far more alike than people's."""
FIRST_SEED = 18
"""Of the first head, one landmark of which is cut away. The model that looks at it has seen seed 0 only."""


def run(
    context: typer.Context,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("demo"),
    cases: Annotated[int, typer.Option(min=8, help="Synthetic cases to train on and to test with.")] = CASES,
    epochs: Annotated[int, typer.Option(min=2, help="How long to train; each has 50 steps.")] = EPOCHS,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the landmarks of a synthetic head, then train a model that does, on synthetic heads.

    First a detection with a model that comes with the program, in a head that
    it has not seen. Then the whole loop: annotate, check, plan, train, detect,
    evaluate. Each step is one of the other commands and is shown as you would
    type it. The numbers say that the program works; they say nothing about
    real scans.
    """
    console = Console(quiet=quiet, json=json)
    remove_last_demo(output)
    follow = partial(run_steps, context.find_root().command, console)
    console.say("Part 1 of 2: find the landmarks of a synthetic head, with a model that has not seen it.")
    follow(first_steps(output, device=device))
    first = Look(output / "first" / "data" / "cases.csv", output / "first" / "detections")
    show_landmarks(first, console)
    first_pictures = show_pictures(first, output / "first" / "pictures", console)

    console.say("\nPart 2 of 2: make such a model of synthetic heads, and test it on others. Some minutes.")
    follow(steps(output, cases=cases, epochs=epochs, device=device, seed=seed))
    tested = Look(output / "splits" / "test.csv", output / "detections")
    pictures = show_pictures(tested, output / "pictures", console)
    console.result(
        {
            "first": {"markups": first.markups, "pictures": first_pictures},
            "metrics": output / "evaluation" / "metrics.json",
            "markups": tested.markups,
            "pictures": pictures,
        }
    )


@dataclass(frozen=True)
class Look:
    """What was detected in some cases.

    Attributes:
        split: CSV of the cases.
        detections: folder of the results.
    """

    split: Path
    detections: Path

    @property
    def markups(self) -> list[Path]:
        """The files of the landmarks, which Slicer opens."""
        return sorted(self.detections.glob("*.mrk.json"))

    def cases(self) -> Iterator[tuple[Case, LandmarkSet, CaseDetections]]:
        """Each case with the truth and with what was detected."""
        from LandmarkDetectionLib.data.cases import case_landmarks, find_table, read_split
        from LandmarkDetectionLib.detection.results import read_case

        cases = read_split(self.split, supervised=True)
        table = find_table(self.split, cases)
        for case in cases:
            yield case, case_landmarks(case, table), read_case(self.detections, case.name)


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
    for detections in (output / "detections", output / "first" / "detections"):
        shutil.rmtree(detections, ignore_errors=True)


def first_steps(output: Path, *, device: str) -> list[list[str]]:
    """The commands of the detection with the model that comes with the program, as words."""
    data = output / "first" / "data"
    lines: list[list[str | Path]] = [
        ["phantom", data, "--cases", "1", "--seed", str(FIRST_SEED)],
        [
            "detect",
            data / "images",
            "--model",
            synthetic_model(),
            "--output",
            output / "first" / "detections",
            "--device",
            device,
        ],
    ]
    return [[str(word) for word in line] for line in lines]


def steps(output: Path, *, cases: int, epochs: int, device: str, seed: int) -> list[list[str]]:
    """The commands of the whole loop, as words."""
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
            *(word for value in (f"training.epochs={epochs}", *SETTINGS) for word in ("--set", value)),
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
        [
            "evaluate",
            splits / "test.csv",
            "--detections",
            detections,
            "--output",
            output / "evaluation",
            "--report",
            output / "report",
        ],
    ]
    return [[str(word) for word in line] for line in lines]


def run_steps(program: Any, console: Console, commands: list[list[str]]) -> None:
    """Run commands in this process; one that fails ends the demo with its exit code."""
    flags = ["--quiet"] if console.quiet or console.json else []
    for arguments in commands:
        console.say(f"\n$ train_cli {shlex.join(arguments)}")
        code = program.main(args=[*arguments, *flags], prog_name="train_cli", standalone_mode=False)
        if code:
            raise typer.Exit(code)


def show_landmarks(look: Look, console: Console) -> None:
    """A table of the landmarks of each case, and how far each is from the truth."""
    import numpy as np

    for case, truth, detections in look.cases():
        rows = []
        for name, place in zip(truth.names, truth.positions, strict=True):
            found = detections.by_name[name]
            error = float(np.linalg.norm(found.position - place))
            rows.append((name, found.status, found.confidence, found.radius_mm, error))
        console.table((case.name, "status", "confidence", "radius, mm", "off by, mm"), rows)


def show_pictures(look: Look, folder: Path, console: Console) -> list[Path]:
    """Draw slices through landmarks of each case, with truth and detection, and say where the results are."""
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.evaluation.figures import draw_case

    pictures = []
    for case, truth, detections in look.cases():
        pictures.append(folder / f"{case.name}.png")
        draw_case(read_volume(case.image_path), truth, detections, pictures[-1])
    console.say("Slices through landmarks, truth and detection drawn:")
    for path in pictures:
        console.say(f"  {path}")
    console.say("The landmarks, to open in Slicer with the image of the same name:")
    for path in look.markups:
        console.say(f"  {path}")
    return pictures

"""The command `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed, resolve_device

EXAMPLES = """
Examples:

  train_cli plan splits/train.csv splits/val.csv --output config.yaml

  train_cli plan splits/train.csv --output config.yaml --hours 8 --name mouse-skull

  train_cli plan corrected/cases.csv --output config.yaml --from run/model
"""

ENGINES = ("locate-refine", "dense")  # as training.engines has them, which takes seconds to import


def run(
    train: Annotated[Path, typer.Argument(metavar="TRAIN.csv", help="The training cases.")],
    val: Annotated[
        Path | None,
        typer.Argument(
            metavar="VAL.csv", help="The validation cases; they choose the best epoch.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="config.yaml", help="The configuration to write.")] = Path(
        "config.yaml"
    ),
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(ENGINES),
            help="The method.",
            show_default="locate-refine, or that of the model",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name.", show_default="that of the data set's folder")
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            min=0.0,
            help="Train for at most about this long on this machine; validation comes on top.",
            show_default="what the data needs",
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Go on from the weights of this model, in a tenth of the steps, with its spacings, networks "
            "and intensity scale.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure the cases and this machine, and write a complete configuration.

    Chooses engine, voxel spacings, what the networks see at a time, intensity
    window, augmentation, batch and epochs, and says why. Every value in
    config.yaml has its meaning beside it; edit what you like. The landmark table
    that is trained, with its left-right pairs, is written beside it.
    """
    from LandmarkDetectionLib.training.planning.plan import make_plan, write_plan

    console = Console(quiet=quiet, json=json)
    plan = make_plan(
        train,
        val,
        output,
        engine=engine,
        name=name,
        device=resolve_device(device),
        hours=hours,
        seed=seed,
        base=base,
        progress=lambda cases: console.track(cases, "Measuring cases"),
    )
    write_plan(plan, output)
    console.result({"config": output, "reasons": list(plan.reasons), "warnings": list(plan.warnings)})
    for reason in plan.reasons:
        if reason in plan.warnings:
            console.warn(reason)
        else:
            console.say(reason)
    console.say(f"Written to {output}; next: train_cli train {output} --output RUN")

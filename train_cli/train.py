"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train_cli.console import Console
from train_cli.options import LARGEST_SEED, Device, Json, Quiet, resolve_device

EXAMPLES = """
Examples:

  train_cli train config.yaml --output run

  train_cli train config.yaml --output run-2 --fold 2/5 --set training.epochs=100 --set augmentation.mirror=0
"""


def run(
    config: Annotated[
        Path, typer.Argument(metavar="config.yaml", help="What plan wrote.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(metavar="RUN", help="The run folder.")],
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="k/n", help="Cross-validation: leave out the k-th of n parts.", show_default=False
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of the configuration.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=LARGEST_SEED,
            help="On a CPU the same seed gives the same result.",
            show_default="the configuration's",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a model and write it as a bundle to RUN/model.

    Stopped at any moment, the same command goes on from the last epoch. On a
    CPU it ends with the same model, bit for bit.

    RUN holds config.yaml, checkpoints/last.ckpt and best.ckpt, metrics.csv,
    TensorBoard events and model/.
    """
    from LandmarkDetectionLib.training.config import read_config
    from LandmarkDetectionLib.training.folds import Fold
    from LandmarkDetectionLib.training.loop import is_first_process, train

    overrides = list(changes or ())
    if fold is not None:
        Fold.parse(fold)
        overrides.append(f"data.fold='{fold}'")
    if seed is not None:
        overrides.append(f"training.seed={seed}")
    settings = read_config(config, tuple(overrides))
    speaks = is_first_process()
    console = Console(quiet=quiet or not speaks, json=json and speaks)
    chosen = resolve_device(device)
    from train_cli.training_bar import TrainingBar

    try:
        bundle = train(
            settings,
            output,
            device=chosen,
            callbacks=[TrainingBar(console)],
            progress=lambda cases: console.track(cases, "Preparing scans"),
        )
    except KeyboardInterrupt:
        if speaks:
            console.warn("Stopped. The same command goes on from the end of the last epoch.")
        raise
    console.result({"bundle": bundle, "run": output})
    console.say(
        f"The model is in {bundle}; next: train_cli detect INPUT --model {bundle} --output detections"
    )

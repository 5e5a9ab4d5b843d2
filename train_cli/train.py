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

  train_cli train config.yaml --output run-2 --from run/model

  train_cli train config.yaml --output run-cv --folds 5

  train_cli train config.yaml --output run-cv --folds 5 --fold 2

  train_cli train config.yaml --output run-2 --fold 2/5 --set training.epochs=100 --set refine.cut=0
"""


def run(
    config: Annotated[
        Path, typer.Argument(metavar="config.yaml", help="What plan wrote.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(metavar="RUN", help="The run folder.")],
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="k/n",
            help="Cross-validation: leave out the k-th of n parts. With --folds n, k alone: train only this "
            "part of the run, in RUN/fold-k.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Cross-validate in N parts, then train on all cases: the model knows its error on cases "
            "that it had not seen. Takes N + 1 times as long.",
            show_default=False,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of the configuration.", show_default=False
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Go on from the weights of this model, with the same landmarks or others, in a tenth of the "
            "epochs and at a third of the learning rate (unless plan --from or --set has chosen them).",
            show_default=False,
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

    RUN holds config.yaml, validation.csv (what was found in each validation
    case), model/, and report/, a page to look at in a browser with learning
    curves and what the networks were shown. Each network has checkpoints/last.ckpt and best.ckpt,
    metrics.csv and TensorBoard events: in RUN, or in RUN/locate and RUN/refine.
    With --folds there is a run folder for each part, RUN/fold-1 and so on.
    Commands with --fold 1, --fold 2 .. added train parts at the same time; the
    one without --fold then trains what is missing, and the model of all cases.

    With --from, landmarks that the model knows, by their names, begin as it
    knows them. Spacings, intensity scale and networks must be the model's.
    """
    from LandmarkDetectionLib.data.errors import InputError
    from LandmarkDetectionLib.model.bundle import load_bundle
    from LandmarkDetectionLib.model.doubt import doubt_of
    from LandmarkDetectionLib.report.training import write_report
    from LandmarkDetectionLib.training.running.loop import is_first_process
    from LandmarkDetectionLib.training.running.start import start_training
    from train_cli.training_bar import TrainingBar

    speaks = is_first_process()
    console = Console(quiet=quiet or not speaks, json=json and speaks)
    try:
        bundle = start_training(
            config,
            output,
            fold=fold,
            folds=folds,
            changes=changes or (),
            base=base,
            seed=seed,
            device=resolve_device(device),
            callbacks=[TrainingBar(console)],
            track=console.track,
        )
    except KeyboardInterrupt:
        if speaks:
            console.warn("Stopped. The same command goes on from the end of the last epoch.")
        raise
    doubt = doubt_of(load_bundle(bundle)) if speaks else ""
    if speaks:
        try:
            write_report(bundle.parent, bundle.parent / "report")
        except InputError as error:  # the model is there; a page about it does not make it a failure
            console.warn(str(error))
    console.result({"bundle": bundle, "run": bundle.parent, "warnings": [doubt] if doubt else []})
    if doubt:
        console.warn(doubt)
    following = f"train_cli detect INPUT --model {bundle} --output detections"
    if fold is not None and folds is not None:
        following = "the other parts, then the same command without --fold, for the model of all cases"
    console.say(f"The model is in {bundle}; next: {following}")

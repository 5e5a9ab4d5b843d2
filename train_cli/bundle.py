"""The commands `bundle show`, `verify`, `describe` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.model.bundle import Bundle

EXAMPLES = """
Examples:

  train_cli bundle show run/model

  train_cli bundle verify run/model

  train_cli bundle describe run/model --licence CC0-1.0 --intended-use "Research on adult mice."

  train_cli bundle export run/model --output model.zip

  train_cli bundle export run/model --onnx --output model-onnx
"""

app = typer.Typer(
    no_args_is_help=True, help="Look at a model, check it, say what it is for, or pack it.", epilog=EXAMPLES
)

BundleFolder = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="The model's folder.", show_default=False)
]


@app.command("show")
def show(
    bundle: BundleFolder, device: Device = "auto", seed: Seed = 0, quiet: Quiet = False, json: Json = False
) -> None:
    """Show what a model finds, how it was trained and how good it is.

    Exit code 2 if its weights are missing or damaged: it is shown, but cannot
    be used.
    """
    from LandmarkDetectionLib.data.errors import InputError
    from LandmarkDetectionLib.model.bundle import check_weights, load_bundle
    from LandmarkDetectionLib.model.doubt import doubt_of

    model, problem = load_bundle(bundle), ""
    try:
        check_weights(bundle)
    except InputError as error:
        problem = str(error)
    console = Console(quiet=quiet, json=json)
    training = dict(model.training_data)
    training.pop("scans", None)
    if before := training.pop("from", None):
        training["from"] = before["name"]
    facts = {
        "name": model.name,
        "engine": model.engine,
        "landmarks": len(model.table),
        "spacing_mm": model.preparation.spacing,
        "training_fingerprint": training.pop("fingerprint", None),
        **training,
        "validation": _validation(model),
        **model.metrics.get("validation", {}),
        "licence": model.licence or "not stated",
        "intended_use": model.intended_use or "not stated",
        "software": model.software,
    }
    console.result({**facts, "names": list(model.table.names), "whole": not problem})
    console.table(("", ""), [(key.replace("_", " "), value) for key, value in facts.items()])
    rows = [(item.label, item.name, item.pair, item.group, item.definition) for item in model.table.landmarks]
    console.table(("label", "name", "pair", "group", "definition"), rows)
    if doubt := doubt_of(model):
        console.warn(doubt)
    if problem:
        console.warn(problem)
        raise typer.Exit(2)


def _validation(model: Bundle) -> str:
    """On what its figures stand."""
    if not model.metrics.get("validation"):
        return "none: nobody knows how far off it is"
    if model.training_data.get("validation_cases"):
        return "on cases of their own"
    return "in folds: each case by networks that had not seen it"


@app.command("verify")
def verify(
    bundle: BundleFolder, device: Device = "auto", seed: Seed = 0, quiet: Quiet = False, json: Json = False
) -> None:
    """Check that a model is whole and can be used: version, fields, weights, network."""
    import torch

    from LandmarkDetectionLib.detection.detector import load_detector

    load_detector(bundle, torch.device("cpu"))
    console = Console(quiet=quiet, json=json)
    console.result({"bundle": bundle, "whole": True})
    console.say(f"{bundle} is whole.")


@app.command("describe")
def describe(
    bundle: BundleFolder,
    licence: Annotated[
        str | None, typer.Option(help="Under which it may be used.", show_default="as it is")
    ] = None,
    intended_use: Annotated[
        str | None,
        typer.Option(help="What it is for, and what it must not be used for.", show_default="as it is"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say of a model under which licence it stands and what it is for; the panel shows it."""
    from LandmarkDetectionLib.model.bundle import describe_bundle

    model = describe_bundle(bundle, licence=licence, intended_use=intended_use)
    console = Console(quiet=quiet, json=json)
    console.result({"name": model.name, "licence": model.licence, "intended_use": model.intended_use})
    console.say(
        f"{model.name}, licence {model.licence or 'not stated'}: {model.intended_use or 'no use stated'}"
    )


@app.command("export")
def export(
    bundle: BundleFolder,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.zip|DIR",
            help="The file to write; with --onnx the folder.",
            show_default="the model's name, here",
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx", help="Write its networks as ONNX files, for programs without PyTorch, and check them."
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check a model and pack it into one .zip file, or write its networks as ONNX files.

    What the ONNX files take and give stands in docs/exchange.md. They are run
    in ONNX Runtime, where it is installed, and must give what PyTorch gives.
    """
    import torch

    from LandmarkDetectionLib.detection.detector import load_detector
    from LandmarkDetectionLib.model.bundle import pack_bundle

    console = Console(quiet=quiet, json=json)
    name = load_detector(bundle, torch.device("cpu")).bundle.name
    if onnx:
        _export_onnx(bundle, output or Path(f"{name}-onnx"), console)
        return
    archive = output or Path(f"{name}.zip")
    pack_bundle(bundle, archive)
    console.result({"file": archive})
    console.say(f"Packed into {archive}.")


def _export_onnx(bundle: Path, output: Path, console: Console) -> None:
    from LandmarkDetectionLib.exchange.onnx_export import export_onnx

    exported = export_onnx(bundle, output)
    console.result({"files": exported.files, "differences": exported.differences})
    console.say(f"{', '.join(file.name for file in exported.files)} in {output}.")
    for name, difference in exported.differences.items():
        console.say(f"{name} in ONNX Runtime differs from PyTorch by {difference:.1g} of the largest value.")
    if not exported.differences:
        console.warn("The files were not checked: onnxruntime is not installed here.")

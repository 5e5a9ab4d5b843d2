"""The command `detect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed, resolve_device

if TYPE_CHECKING:
    from LandmarkDetectionLib.detection.detector import Detector
    from LandmarkDetectionLib.detection.inputs import Input
    from LandmarkDetectionLib.detection.results import CaseOutcome

EXAMPLES = """
Examples:

  train_cli detect mouse.nii.gz --output detections

  train_cli detect scan.nii.gz --model run/model --output detections

  train_cli detect splits/test.csv --model run/model --output detections --device cuda
"""


def run(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="An image, a DICOM folder, a folder of images, or a split CSV.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE", help="The model's folder.", show_default="the model in the box: mouse skulls"
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw CASE.png, slices through some landmarks.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the landmarks of a model in one scan or many.

    Writes CASE.mrk.json, which Slicer opens, CASE.csv, and summary.csv over
    all cases. Coordinates are LPS millimetres in the world of the scan. A scan
    that cannot be used is reported and the others go on; the exit code is 2.
    """
    from LandmarkDetectionLib.data.files import make_folder
    from LandmarkDetectionLib.detection.detector import load_detector
    from LandmarkDetectionLib.detection.inputs import find_inputs
    from LandmarkDetectionLib.detection.results import write_summary
    from LandmarkDetectionLib.resources import bundled_model

    console = Console(quiet=quiet, json=json)
    inputs = find_inputs(source)
    if model is None:
        model = bundled_model()
        if model is None:
            raise InputError("There is no model in the box here; give a model's folder, --model BUNDLE.")
        console.say(f"With the model in the box: {model.name}")
    detector = load_detector(model, resolve_device(device))
    make_folder(output)
    outcomes = []
    for number, given in enumerate(inputs, start=1):
        what = f"{given.case.name} ({number} of {len(inputs)})"
        outcomes.append(detect_case(detector, given, output, what, console, pictures))
        write_summary(outcomes, output)
    failed = {outcome.case: outcome.error for outcome in outcomes if outcome.error}
    console.result({"cases": [outcome.case for outcome in outcomes], "output": output, "failed": failed})
    _show(outcomes, console)
    if len(failed) < len(outcomes):
        console.say(f"Written to {output}; open the .mrk.json files in Slicer, look at summary.csv first.")
    _doubt(outcomes, console)
    if detector.bundle.calibration is not None:
        _tell_missing_radii(outcomes, console)
    if failed:
        raise typer.Exit(2)


def detect_case(
    detector: Detector, given: Input, output: Path, what: str, console: Console, pictures: bool
) -> CaseOutcome:
    """Detect in one case and write its files; a wrong input is reported, not raised."""
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.detection.results import CaseDetections, CaseOutcome, write_case

    case = given.case
    try:
        if given.problem:
            raise InputError(given.problem)
        with console.progress(what) as advance:
            volume = read_volume(case.image_path)
            detections = detector.detect(
                volume, progress=lambda stage, fraction: advance(round(100 * fraction), 100, stage)
            )
        result = CaseDetections(case.name, detections)
        write_case(result, output)
        if pictures:
            from LandmarkDetectionLib.evaluation.figures import draw_case

            draw_case(volume, None, result, output / f"{case.name}.png")
    except InputError as error:
        console.warn(str(error))
        return CaseOutcome(case.name, case.image_path, None, str(error))
    return CaseOutcome(case.name, case.image_path, result)


def _doubt(outcomes: list[CaseOutcome], console: Console) -> None:
    """Say it where nothing or hardly anything was found: a wrong model or pose, too short a training."""
    empty = [
        outcome.case
        for outcome in outcomes
        if outcome.result and all(item.status == "absent" for item in outcome.result.detections)
    ]
    if empty and not console.quiet:
        console.warn(
            f"None of the landmarks is in {', '.join(empty)}, or the model does not know such scans: another "
            "anatomy, or voxels much larger than those that it was trained on."
        )
    statuses = [
        item.status
        for outcome in outcomes
        if outcome.result and outcome.case not in empty
        for item in outcome.result.detections
    ]
    found = statuses.count("found")
    if found < len(statuses) / 3 and not console.quiet:
        console.warn(
            f"Only {found} of {len(statuses)} landmarks were found: are these scans of what "
            "the model was trained on (lying as those were, for the engine dense), and was it trained "
            "long enough?"
        )


def _tell_missing_radii(outcomes: list[CaseOutcome], console: Console) -> None:
    """Say it where a calibrated model does not know how far off its landmarks may be."""
    from LandmarkDetectionLib.detection.results import lack_radii

    coarse = [
        outcome.case for outcome in outcomes if outcome.result and lack_radii(outcome.result.detections)
    ]
    if coarse and not console.quiet:
        console.warn(
            f"No error radii in {', '.join(coarse)}: the voxels are much larger than those of the scans "
            "that the model was calibrated on."
        )


def _show(outcomes: list[CaseOutcome], console: Console) -> None:
    rows = []
    for outcome in outcomes:
        statuses = [item.status for item in outcome.result.detections] if outcome.result else []
        counts = [statuses.count(status) for status in ("found", "uncertain", "absent")]
        rows.append((outcome.case, *counts, "failed" if outcome.error else ""))
    console.table(("case", "found", "uncertain", "absent", ""), rows)

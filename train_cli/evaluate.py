"""The command `evaluate`."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.batch import batch_of, end, ending_without_cases
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.batch import Batch
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.data.landmarks import LandmarkSet
    from LandmarkDetectionLib.evaluation.comparison import Comparison
    from LandmarkDetectionLib.evaluation.metrics import Evaluation
    from LandmarkDetectionLib.evaluation.split import SplitEvaluation

EXAMPLES = """
Examples:

  train_cli evaluate splits/test.csv --detections detections --output evaluation

  train_cli evaluate splits/test.csv --detections detections --output evaluation --radii 2,2.5,3,4

  train_cli evaluate splits/test.csv --detections detections --output evaluation --report report

  train_cli evaluate splits/test.csv --detections new --output evaluation --report report --compare old
"""


def run(
    split: Annotated[Path, typer.Argument(metavar="SPLIT.csv", help="The cases and their true landmarks.")],
    detections: Annotated[Path, typer.Option(metavar="DIR", help="The folder that detect wrote.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the numbers and plots go.")],
    radii: Annotated[
        str | None,
        typer.Option(
            metavar="MM,MM,..",
            help="Radii of the success detection rate, mm.",
            show_default="by the size of the anatomy; 2,2.5,3,4 for human heads",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write a report: a folder of pages with pictures, to open in a browser.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Other detections of the same cases, set beside in the report; may be given several times.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Compare detections with the true landmarks.

    Writes metrics.json, per_landmark.csv, per_case.csv, points.csv, the
    cumulative error curve errors.png, and landmarks.png.

    Landmarks are paired by name. A case without detections counts as missed in
    all its landmarks; it is reported, and the exit code is 2. A landmark with
    a position counts as found, be it uncertain. The images are looked at for
    --report only.

    What is evaluated is CASE.csv: a CASE.mrk.json that was corrected since is
    told, and its corrections are left out.
    """
    from LandmarkDetectionLib.evaluation.split import evaluate_split
    from LandmarkDetectionLib.report.folder import FRONT, refuse_report_around

    if compare and report is None:
        raise InputError("--compare: the comparison stands in the report; give --report DIR too.")
    limits = parse_radii(radii)
    if report is not None:
        refuse_report_around(report, [output, detections, split, *(compare or ())])
    console = Console(quiet=quiet, json=json)
    batch = batch_of(split, console, images=False)
    with ending_without_cases(batch, console):
        done = evaluate_split(batch, detections, output, radii=limits, seed=seed)
    evaluation = done.evaluation
    for sentence in done.changes:
        console.warn(sentence)

    console.result(
        {**evaluation.metrics, "output": output, "failed": batch.failures, "warnings": done.changes}
    )
    _show(evaluation, console)
    console.say(
        f"Written to {output}: metrics.json, points.csv, per_landmark.csv, per_case.csv, errors.png and "
        "landmarks.png."
    )
    if report is not None:
        _write_report(done, batch, [detections, *(compare or ())], report, seed, console)
        console.say(f"Report: open {report / FRONT} in a browser.")
    end(batch, console)


def _write_report(
    done: SplitEvaluation, batch: Batch, folders: list[Path], path: Path, seed: int, console: Console
) -> None:
    """The report of an evaluation, the detections of the other folders set beside."""
    from LandmarkDetectionLib.data.cases import files_of_cases
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.report.evaluation import Compared, write_report

    name, *names = _names(folders)
    cases = [case for case in done.cases if case.name in done.truths]
    comparisons = [
        _comparison(other, other_name, done.truths, cases, done.evaluation, seed, console)
        for other, other_name in zip(folders[1:], names, strict=True)
    ]
    given = [batch.split, *files_of_cases(cases), *(folder / "detections" for folder in folders)]
    compared = Compared(
        title=f"Evaluation of {name} on {batch.split.name}",
        truths=done.truths,
        detections=done.detections,
        evaluation=done.evaluation,
        table=done.table,
        failures=batch.failures,
        comparisons=comparisons,
        name=name,
        folders=[file.parent for file in given],
    )
    images = {case.name: case.image_path for case in cases}
    missing = write_report(
        compared,
        lambda case: read_volume(images[case]),
        path,
        lambda names: console.track(names, "pictures"),
    )
    for case, reason in missing.items():
        console.warn(f"{case} has no pictures: {reason}")


def _names(folders: list[Path]) -> list[str]:
    """What folders are called in a report: by their last part, or wholly where these are not unique."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _comparison(
    folder: Path,
    name: str,
    truths: dict[str, LandmarkSet],
    cases: list[Case],
    ours: Evaluation,
    seed: int,
    console: Console,
) -> Comparison:
    """Evaluate other detections of the same cases and compare them; a case that they lack is told."""
    from LandmarkDetectionLib.evaluation.comparison import compare
    from LandmarkDetectionLib.evaluation.detections import DetectionsFolder
    from LandmarkDetectionLib.evaluation.metrics import evaluate

    others, results = DetectionsFolder(folder), {}
    for case in cases:
        try:
            results[case.name] = others.read(case, truths[case.name])
        except InputError as error:
            console.warn(str(error))
    if not results:
        raise InputError(
            f"{folder}: there are no detections of these cases; give the folder that detect wrote."
        )
    for sentence in others.changes():
        console.warn(sentence)
    return compare(ours, evaluate(truths, results, radii=ours.radii, seed=seed), name, seed=seed)


def parse_radii(text: str | None) -> list[float] | None:
    """The lengths in "0.1,0.2"; None stands for the default ones.

    Raises:
        InputError: if a part is not a number.
    """
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--radii {text}: give lengths in mm with commas between, like 2,2.5,3,4."
        ) from error


def _show(evaluation: Evaluation, console: Console) -> None:
    metrics = evaluation.metrics
    error, presence = metrics["mre_mm"], metrics["presence"]
    low, high = error["ci95"]
    measured = metrics["missed"] < metrics["n_points"]
    interval = "" if isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
    mean = f"{error['mean']:.3f}{interval}"
    rows = [
        ("mean error, mm", mean if measured else "none was given a position"),
        ("median error, mm", f"{error['median']:.3f}" if measured else ""),
        *((f"within {radius} mm", f"{rate:.1%}") for radius, rate in metrics["sdr"].items()),
        ("missed", f"{metrics['missed']} of {metrics['n_points']}"),
        ("found where absent", f"{presence['fp']} of {presence['fp'] + presence['tn']}"),
    ]
    if metrics["n_failed"]:
        rows.append(("cases without detections", f"{metrics['n_failed']}, missed in all landmarks"))
    console.table((f"{metrics['n_cases']} cases, {metrics['n_landmarks']} landmarks", ""), rows)

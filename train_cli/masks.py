"""The command `masks`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.batch import batch_of, end, ending_without_cases
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case

EXAMPLES = """
Examples:

  train_cli masks cases.csv --output masks

  train_cli masks cases.csv --output masks --positive 1.5 --negative 3 --table landmarks.csv
"""


def run(
    cases: Annotated[Path, typer.Argument(metavar="CASES.csv", help="The cases, with landmark files.")],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where CASE_mask.nii.gz, landmarks.csv and cases.csv go.")
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="landmarks.csv",
            help="The landmarks' labels and left-right pairs.",
            show_default="landmarks.csv beside CASES.csv, else worked out from the landmark files",
        ),
    ] = None,
    positive: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Radius of the balls, mm.",
            show_default="half of --negative; without it 3 voxels of the image",
        ),
    ] = None,
    negative: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Outer radius of the ignored shells, mm.",
            show_default="twice the balls' radius",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace also masks in DIR that were changed, or that another program wrote."
        ),
    ] = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draw a mask for every case: a ball around each landmark, and a shell that training ignores.

    Each mask lies on its image's own grid. A voxel between two landmarks
    belongs to the nearer one; an absent landmark is not drawn. cases.csv in
    DIR lists the cases with their masks. A mask in DIR that you have changed,
    or that was not drawn here, is kept.
    """
    from LandmarkDetectionLib.data.annotation import infer_table, mask_of
    from LandmarkDetectionLib.data.cases import (
        TABLE_NAME,
        case_landmarks,
        check_names_are_shared,
        files_of_cases,
        find_table,
        write_split,
    )
    from LandmarkDetectionLib.data.files import folded_name, refuse_overwriting
    from LandmarkDetectionLib.data.table import read_table, write_table
    from LandmarkDetectionLib.data.volume import read_volume, write_volume
    from LandmarkDetectionLib.data.written import WrittenFiles, not_own

    check_radii(positive, negative)
    listing = output / "cases.csv"
    if listing.resolve() == cases.resolve():
        raise InputError(
            f"--output {output}: {cases} lies there and would be overwritten; give another folder."
        )
    console = Console(quiet=quiet, json=json)
    batch = batch_of(cases, console)
    known = read_table(table) if table is not None else find_table(cases, batch.cases)
    with ending_without_cases(batch, console):
        landmarks = batch.each("Reading landmarks", lambda case: case_landmarks(case, known))
    if known is None:
        check_names_are_shared({case: points.names for case, points in landmarks.items()}, cases)
    labels = known or infer_table(landmarks.values(), cases)
    if known is None:
        pairs = [f"{item.name}/{item.pair}" for item in labels.landmarks if item.name < item.pair]
        console.say(f"Left-right pairs, by name or by symmetry: {', '.join(pairs) or 'none'}.")

    given = [cases, *files_of_cases(batch.cases)]
    refuse_overwriting([output / TABLE_NAME], given)
    if table is None or table.resolve() != (output / TABLE_NAME).resolve():
        write_table(labels, output / TABLE_NAME)
    drawn: dict[str, str] = {}
    written = WrittenFiles(output / "mask-records")

    def draw(case: Case) -> Path:
        frame = read_volume(case.image_path).frame
        path = output / f"{case.name}_mask{'.nii.gz' if frame.has_right_angles else '.nrrd'}"
        refuse_overwriting([path], given)
        if drawn.setdefault(folded_name(case.name), case.name) != case.name:
            raise InputError(
                f"{path}: the mask of '{case.name}' would overwrite that of "
                f"'{drawn[folded_name(case.name)]}' on disks where upper and lower case are one; rename one."
            )
        if not (overwrite or written.may_replace(path)):
            raise not_own(path, "masks", known=written.knows_of(path))
        mask = mask_of(
            landmarks[case.name],
            frame,
            labels,
            positive=positive,
            negative=negative,
            where=f"{case.landmark_path or case.mask_path}, on {case.image_path}",
        )
        with written.replacing(path) as temporary:
            write_volume(mask, temporary)
        return path

    with ending_without_cases(batch, console):
        masks = batch.each("Drawing masks", draw)
    write_split([replace(case, mask_path=masks[case.name]) for case in batch.cases], listing)
    console.result({"masks": masks, "landmarks": len(labels), "output": output, "failed": batch.failures})
    console.say(f"{len(masks)} masks of {len(labels)} landmarks in {output}; cases.csv there lists them.")
    end(batch, console)


def check_radii(positive: float | None, negative: float | None) -> None:
    """Refuse radii that are not positive, or a shell within its ball.

    Raises:
        InputError: one sentence.
    """
    for flag, radius in (("--positive", positive), ("--negative", negative)):
        if radius is not None and not 0 < radius < float("inf"):
            raise InputError(f"{flag} {radius:g}: a radius must be more than 0 mm; give a length in mm.")
    if positive is not None and negative is not None and negative < positive:
        raise InputError(
            f"--negative {negative:g} is less than --positive {positive:g}: "
            "the shell lies outside the ball, so give it the larger radius."
        )

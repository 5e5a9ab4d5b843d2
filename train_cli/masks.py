"""The command `masks`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.batch import Batch
from train_cli.console import Console
from train_cli.options import Device, Json, Quiet, Seed

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.landmarks import LandmarkSet
    from LandmarkDetectionLib.data.table import LandmarkTable

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
        typer.Option(metavar="MM", help="Radius of the balls, mm.", show_default="3 voxels of the image"),
    ] = None,
    negative: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Outer radius of the ignored shells, mm.",
            show_default="twice the balls' radius",
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draw a mask for every case: a ball around each landmark, and a shell that training ignores.

    Each mask lies on its image's own grid. A voxel between two landmarks
    belongs to the nearer one; an absent landmark is not drawn. cases.csv in
    DIR lists the cases with their masks.
    """
    from LandmarkDetectionLib.data.cases import case_landmarks, find_table, write_split
    from LandmarkDetectionLib.data.table import read_table, write_table

    check_radii(positive, negative)
    console = Console(quiet=quiet, json=json)
    batch = Batch(cases, console)
    known = read_table(table) if table is not None else find_table(cases, batch.cases)
    landmarks = batch.each("Reading landmarks", lambda case: case_landmarks(case, known))
    labels = known or infer_table(landmarks.values(), cases)
    if known is None:
        pairs = [f"{item.name}/{item.pair}" for item in labels.landmarks if item.name < item.pair]
        console.say(f"Left-right pairs, by name or by symmetry: {', '.join(pairs) or 'none'}.")

    write_table(labels, output / "landmarks.csv")

    def draw(case: Case) -> Path:
        path = output / f"{case.name}_mask.nii.gz"
        write_mask(case, landmarks[case.name], labels, path, positive=positive, negative=negative)
        return path

    masks = batch.each("Drawing masks", draw)
    write_split([replace(case, mask_path=masks[case.name]) for case in batch.cases], output / "cases.csv")
    console.result({"masks": masks, "landmarks": len(labels), "output": output, "failed": batch.failures})
    console.say(f"{len(masks)} masks of {len(labels)} landmarks in {output}; cases.csv there lists them.")
    batch.end()


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


def infer_table(sets: Iterable[LandmarkSet], cases: Path) -> LandmarkTable:
    """The table of landmarks that a data set without one has: all names in natural order, pairs inferred.

    Raises:
        InputError: if there is no landmark at all.
    """
    import numpy as np

    from LandmarkDetectionLib.data.cases import natural_key
    from LandmarkDetectionLib.data.shape import infer_pairs, mean_shape
    from LandmarkDetectionLib.data.table import Landmark, LandmarkTable

    known = list(sets)
    names = sorted({name for landmarks in known for name in landmarks.names}, key=natural_key)
    if not names:
        raise InputError(f"{cases}: no case has a landmark to draw; name their files in landmark_file_path.")
    try:
        order = infer_pairs(
            names, mean_shape(np.stack([landmarks.positions_of(names) for landmarks in known]))
        )
    except ValueError:  # too few landmarks to have a symmetry
        order = list(range(len(names)))
    pairs = ["" if partner == row else names[partner] for row, partner in enumerate(order)]
    rows = zip(names, range(1, len(names) + 1), pairs, strict=True)
    return LandmarkTable(tuple(Landmark(name, label, pair) for name, label, pair in rows))


def write_mask(
    case: Case,
    landmarks: LandmarkSet,
    table: LandmarkTable,
    path: Path,
    *,
    positive: float | None,
    negative: float | None,
) -> None:
    """Draw the mask of one case on its image's grid and write it.

    Raises:
        InputError: if the image cannot be read, a landmark lies outside it, or the mask cannot be written.
    """
    from LandmarkDetectionLib.data.masks import draw_mask
    from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume

    frame = read_volume(case.image_path).frame
    outside = landmarks.present & ~frame.contains(landmarks.positions)
    if outside.any():
        names = ", ".join(
            name for name, is_outside in zip(landmarks.names, outside, strict=True) if is_outside
        )
        raise InputError(
            f"{case.landmark_path or case.mask_path}: {names} outside the image {case.image_path}; "
            "correct the position, or mark the landmark as absent."
        )
    ball, shell = radii_on(frame, positive, negative)
    voxels = draw_mask(
        frame, landmarks.positions_of(table.names), table.labels, positive=ball, negative=shell
    )
    write_volume(Volume(voxels, frame), path)


def radii_on(frame: Frame, positive: float | None, negative: float | None) -> tuple[float, float]:
    """The radii in mm, with what is not given in the proportion of the defaults."""
    from LandmarkDetectionLib.data.masks import default_radii

    ball, shell = default_radii(frame.spacing)
    if positive is None:
        positive = ball if negative is None else negative * ball / shell
    return positive, positive * shell / ball if negative is None else negative

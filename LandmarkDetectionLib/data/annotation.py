"""What annotated landmarks become: the table of a data set, and the mask of a scan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.cases import natural_key
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import default_radii, draw_mask
from LandmarkDetectionLib.data.shape import clear_symmetry, mean_shape
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume


def infer_table(sets: Iterable[LandmarkSet], where: Path) -> LandmarkTable:
    """The table of a data set that has none: all names in natural order, clear left-right pairs inferred.

    Args:
        sets: the landmarks of each case.
        where: the list of the cases, for the error.

    Raises:
        InputError: if there is no landmark at all.
    """
    known = list(sets)
    names = sorted({name for landmarks in known for name in landmarks.names}, key=natural_key)
    if not names:
        raise InputError(f"{where}: no case has a landmark to draw; name their files in landmark_file_path.")
    table = LandmarkTable.from_names(names)
    shapes = np.stack([landmarks.positions_of(names) for landmarks in known])
    symmetry = clear_symmetry(names, mean_shape(shapes))
    return table if symmetry is None else table.with_pairs(symmetry.order)


def mask_of(
    landmarks: LandmarkSet,
    frame: Frame,
    table: LandmarkTable,
    *,
    positive: float | None = None,
    negative: float | None = None,
    where: str,
) -> Volume:
    """The mask of one scan, on its own grid.

    Args:
        landmarks: of the scan.
        frame: of the scan.
        table: names and labels.
        positive: radius of the balls, mm; None is half of `negative`, or 3 voxels without it.
        negative: outer radius of the shells, mm; None is twice the balls' radius.
        where: the landmarks' file, for the error.

    Raises:
        InputError: if a landmark lies outside the scan.
    """
    outside = landmarks.present & ~frame.contains(landmarks.positions)
    if outside.any():
        names = ", ".join(np.array(landmarks.names)[outside])
        raise InputError(
            f"{where}: {names} outside the image; correct the position, or mark the landmark as absent."
        )
    ball, shell = default_radii(frame.spacing)
    if positive is None:
        positive = ball if negative is None else negative * ball / shell
    if negative is None:
        negative = positive * shell / ball
    positions = landmarks.positions_of(table.names)
    return Volume(draw_mask(frame, positions, table.labels, positive=positive, negative=negative), frame)

"""What a data set is like, whatever engine is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, case_landmarks
from LandmarkDetectionLib.data.constellation import Constellation, Part, moving_parts
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.intensity import cleaned
from LandmarkDetectionLib.data.shape import clear_symmetry, mean_shape
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.training.sections import ImageSection

Array = NDArray[np.float64]

ACROSS = 160
"""Voxels across the landmarks, at most: finer detail than this does not help."""
NOISE = 0.035
"""Of their span: how far landmarks are off before anything else is known of them."""
LEAST_SEEN = 1 / 3
"""Of a scan's shortest edge: few landmarks, or those that lie close together, are told from other places by
what lies around them."""
STANDARD_POSE_DEGREES = 30.0
ANY_POSE = 180.0
BIAS = 1.4
"""Largest logarithm of how much brighter one side of the anatomy is, where brightness has no scale."""
ALIKE_DEGREES, MOST_ALIKE = 45.0, 0.9
"""Scans lie alike where such a share of them is turned by no more from one of them."""
HOUNSFIELD_AIR = -3100.0, -500.0
"""A scan that shows air ends here on a scale on which it is about -1000; some programs fill with -3024."""
HOUNSFIELD_FAT = -30.0
"""A scan that shows no air ends below this, and other scales than Hounsfield's at 0."""
HOUNSFIELD_TEETH = 3000.0
"""Nothing is denser but metal."""


@dataclass(frozen=True)
class CaseMeasures:
    """What is measured on one case.

    Attributes:
        spacing: (3,) of the voxels, mm.
        extent: (3,) edge lengths of the scan, mm.
        percentiles: of the intensities in the box around the landmarks, but for fill and metal: 0.5, 99.5.
        lowest: intensity of the scan, but for fill.
        positions: (K, 3) world mm, NaN where absent.
    """

    spacing: Array
    extent: Array
    percentiles: tuple[float, float]
    lowest: float
    positions: Array


@dataclass(frozen=True, eq=False)
class Survey:
    """What all engines need to know of a data set.

    Attributes:
        cases: how many.
        table: the landmarks, with their left-right pairs.
        shape: (K, 3) the mean shape, mm; NaN where never seen.
        span: the largest distance between two landmarks of a scan, mm (median).
        extent: the longest edge of a scan, mm (median).
        seen: what one has to see of a scan at a time to know where one is, mm: all landmarks, or more.
        deviation: of a landmark from the mean shape in its best pose, along one axis, mm (root mean square).
        parts: of the anatomy that move against each other; none where it is one.
        image: grid and intensity scale.
        rotation: how far heads are turned, degrees; 180 is any pose.
        lie_alike: whether nearly all scans have the same pose but for a few dozen degrees.
        mirrors: whether a mirrored case is a case: the landmarks come in pairs.
        reasons: why, a sentence each.
    """

    cases: int
    table: LandmarkTable
    shape: Array
    span: float
    extent: float
    seen: float
    deviation: float
    parts: tuple[Part, ...]
    image: ImageSection
    rotation: float
    lie_alike: bool
    mirrors: bool
    reasons: tuple[str, ...]

    def bias_across(self, extent: float) -> float:
        """Largest logarithm of how much brighter one side of a crop is, whose edges measure `extent` mm."""
        if self.image.normaliser == "fixed":
            return 0.0
        return rounded(BIAS * min(extent / max(self.span, extent), 1.0))


def survey_of(
    measures: Sequence[CaseMeasures],
    table: LandmarkTable,
    where: Path,
    base: ImageSection | None = None,
) -> Survey:
    """Sum up the measures of the training cases.

    Args:
        measures: of the training cases.
        table: the landmarks, in the order of the measures' positions.
        where: the training CSV, for the error.
        base: grid and intensity scale of the model that the training goes on from; None chooses them.

    Raises:
        InputError: if no case has a landmark.
    """
    shapes = np.stack([measure.positions for measure in measures])
    if not np.isfinite(shapes).all(axis=2).any():
        raise InputError(f"{where}: no case has a landmark; annotate at least one landmark.")
    shape = mean_shape(shapes)
    table, mirrors, mirror_reason = _with_pairs(table, shape)
    image, image_reasons = _choose_image(measures) if base is None else _image_of(base)
    span = float(np.median([_span(measure.positions) for measure in measures]))
    noise = max(NOISE * span, image.spacing)
    constellation = Constellation.of(shape, noise)
    groups = [landmark.group for landmark in table.landmarks]
    shortest = float(np.median([measure.extent.min() for measure in measures]))
    turns = _turns(shapes, constellation)
    rotation, rotation_reason = _choose_rotation(turns, constellation)
    return Survey(
        cases=len(measures),
        table=table,
        shape=shape,
        span=span,
        extent=float(np.median([measure.extent.max() for measure in measures])),
        seen=max(span, LEAST_SEEN * shortest),
        deviation=_deviation(shapes, constellation),
        parts=moving_parts(shapes, constellation, groups, noise),
        image=image,
        rotation=rotation,
        lie_alike=_lie_alike(turns),
        mirrors=mirrors,
        reasons=(
            f"{len(measures)} training cases, {len(table)} landmarks.",
            *image_reasons,
            rotation_reason,
            mirror_reason,
        ),
    )


def measure_case(case: Case, table: LandmarkTable) -> CaseMeasures:
    """Read a case and measure it."""
    volume = read_volume(case.image_path)
    volume = Volume(cleaned(volume.voxels), volume.frame)
    positions = case_landmarks(case, table).positions_of(table.names)
    frame = volume.frame
    low, high = np.percentile(_around(volume, positions), [0.5, 99.5])
    return CaseMeasures(
        spacing=frame.spacing,
        extent=frame.extent,
        percentiles=(float(low), float(high)),
        lowest=float(volume.voxels.min()),
        positions=positions,
    )


def choose_spacing(measures: Sequence[CaseMeasures]) -> tuple[float, str]:
    """The grid's spacing: the scans' own, or coarser where the landmarks would span over `ACROSS` voxels."""
    own = float(np.median([np.prod(measure.spacing) ** (1 / 3) for measure in measures]))
    span = float(np.median([_span(measure.positions) for measure in measures]))
    if span / ACROSS > 1.1 * own:
        spacing, because = rounded(span / ACROSS), f"{ACROSS} voxels across the landmarks"
    else:
        spacing, because = float(f"{own:.6g}"), "the scans' own"
    reason = f"image.spacing {spacing:g} mm: {because} (landmarks span {span:.3g} mm, voxels {own:.3g} mm)."
    return spacing, reason


def _image_of(base: ImageSection) -> tuple[ImageSection, tuple[str, ...]]:
    """The grid and the intensity scale of a model, and why."""
    reason = (
        f"image.spacing {base.spacing:g} mm, image.normaliser {base.normaliser}, {base.low:g} .. "
        f"{base.high:g}: as the model has them that the training goes on from."
    )
    return base, (reason,)


def _choose_image(measures: Sequence[CaseMeasures]) -> tuple[ImageSection, tuple[str, ...]]:
    """A fixed window for Hounsfield units, otherwise percentiles of each scan."""
    spacing, spacing_reason = choose_spacing(measures)
    low = float(np.median([measure.percentiles[0] for measure in measures]))
    high = min(float(np.median([measure.percentiles[1] for measure in measures])), HOUNSFIELD_TEETH)
    if _in_hounsfield(measures) and round(high) > round(low):
        chosen: tuple[Literal["fixed", "adaptive"], float, float] = ("fixed", round(low), round(high))
        reason = (
            "image.normaliser fixed: Hounsfield units; 99 % around the landmarks lie in "
            f"{low:.0f} .. {high:.0f}."
        )
    else:
        chosen = ("adaptive", 0.5, 99.5)
        reason = (
            "image.normaliser adaptive: the intensities are not Hounsfield units; percentiles of each scan."
        )
    image = ImageSection(spacing=spacing, normaliser=chosen[0], low=chosen[1], high=chosen[2])
    return image, (spacing_reason, reason)


def _in_hounsfield(measures: Sequence[CaseMeasures]) -> bool:
    """Whether at least half of the scans end at the air of Hounsfield's scale, and the others at its fat.

    A scan that is cut within the body shows no air; one of a single value says nothing.
    """
    lowest = np.array([m.lowest for m in measures if m.percentiles[0] < m.percentiles[1]])
    airy = (lowest >= HOUNSFIELD_AIR[0]) & (lowest <= HOUNSFIELD_AIR[1])
    fat = (lowest > HOUNSFIELD_AIR[1]) & (lowest <= HOUNSFIELD_FAT)
    return bool(airy.size and airy.mean() >= 0.5 and (airy | fat).all())


def _turns(shapes: Array, constellation: Constellation) -> Array:
    """(N, 3, 3) rotations of the mean shape into the scans that show enough of it."""
    shown = [points for points in shapes if constellation.is_shown_by(points)]
    turns = [constellation.pose_in(points).rotation for points in shown]
    return np.array(turns).reshape(-1, 3, 3)


def _lie_alike(turns: Array) -> bool:
    """Whether nearly all scans lie within a few dozen degrees of one of them; where nobody knows, they do."""
    traces = np.einsum("mij,nij->mn", turns, turns)
    near = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1))) <= ALIKE_DEGREES
    return not len(turns) or bool(near.mean(axis=1).max() >= MOST_ALIKE)


def _choose_rotation(turns: Array, constellation: Constellation) -> tuple[float, str]:
    """How far heads are turned from the mean shape, at least 15 degrees; any pose beyond 30."""
    angles = [np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) for turn in turns]
    if not (angles and constellation.tells_rotation):
        return STANDARD_POSE_DEGREES, (
            "Landmarks in one line, or fewer than three, do not tell how a scan is turned; all scans, also "
            "those to detect in, are taken to lie as their headers say. Annotate one more to the side for "
            "any pose."
        )
    largest = float(max(angles))
    chosen = ANY_POSE if largest > STANDARD_POSE_DEGREES else max(15.0, float(np.ceil(largest)))
    return chosen, f"The scans are turned by up to {largest:.0f} degrees from how most of them lie."


def _with_pairs(table: LandmarkTable, shape: Array) -> tuple[LandmarkTable, bool, str]:
    """The table with left-right pairs, whether cases may be mirrored, and why."""
    if any(landmark.pair for landmark in table.landmarks):
        return table, True, "augmentation.mirror on: the landmark table names left-right pairs."
    symmetry = clear_symmetry(table.names, shape)
    if symmetry is None:
        return table, False, "augmentation.mirror off: the landmarks are not clearly symmetric."
    pairs = sum(row < partner for row, partner in enumerate(symmetry.order))
    residual = float(np.median(symmetry.residuals))
    return (
        table.with_pairs(symmetry.order),
        True,
        f"augmentation.mirror on: {pairs} left-right pairs inferred by reflecting the mean shape "
        f"(median {residual:.2g} mm apart); look at the landmark table.",
    )


def _deviation(shapes: Array, constellation: Constellation) -> float:
    """Root mean square along one axis of what the best fit of the mean shape leaves; 0 if nothing fits."""
    shown = [points for points in shapes if constellation.is_shown_by(points)]
    left = [constellation.pose_in(points).apply(constellation.shape) - points for points in shown]
    squares = np.square(left)
    return float(np.sqrt(np.nanmean(squares))) if np.isfinite(squares).any() else 0.0


def _around(volume: Volume, positions: Array) -> NDArray[Any]:
    """Voxels in the box that the landmarks span, the whole scan where there is none."""
    index = volume.frame.world_to_index(positions[np.isfinite(positions).all(axis=1)])
    if len(index) < 2:
        return volume.voxels
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, np.array(volume.frame.size) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, low + 1, volume.frame.size)
    return volume.voxels[low[2] : high[2], low[1] : high[1], low[0] : high[0]]


def _span(positions: Array) -> float:
    """Largest distance between two landmarks, mm; 0 with fewer than two."""
    points = positions[np.isfinite(positions).all(axis=1)]
    if len(points) < 2:
        return 0.0
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def rounded(value: float) -> float:
    """Three digits, as people write a number."""
    return float(f"{value:.3g}")

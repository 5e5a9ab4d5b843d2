"""DICOM: position, orientation, pixel spacing and order of slices, of single slices and of multi-frame files.

ITK stacks slices as a straight box whatever their positions say (a tilted gantry), takes 1 mm where a tag is
missing and believes the first slice for all. Here the frame comes from the position and the orientation of
every slice, and what else is said of spacing and tilt is held against it. What pydicom gives are the tags;
the pixels are left to GDCM.

Sources: DICOM PS3.3 C.7.6.2 (image plane) and C.7.6.16 (multi-frame functional groups).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.geometry.sources import MOST_VOXELS_APART, frame_of_matrix

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UNEVEN = 0.25
"""How far the step from one slice to the next may be from the usual one, as a share of it."""

_STRAIGHT = 0.1  # a drift of the slices by so many voxels in all is rounding
_ALIKE = 1e-3  # cosines; shares of a spacing
_ROUNDING = 0.01  # the share of a step by which a tag may be rounded
_MOST_TILT = 45.0  # degrees: what leans more is no tilted gantry but another plane
_TELLING = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoNumbers",
    "TriggerTime",
    "AcquisitionTime",
    "ImageType",
)
_TAGS = {
    "ImagePositionPatient": "0020,0032",
    "ImageOrientationPatient": "0020,0037",
    "PixelSpacing": "0028,0030",
    "SpacingBetweenSlices": "0018,0088",
    "GantryDetectorTilt": "0018,1120",
    "Rows and Columns": "0028,0010 and 0028,0011",
    "Rows": "0028,0010",
    "Columns": "0028,0011",
    "NumberOfFrames": "0028,0008",
    "PerFrameFunctionalGroupsSequence": "5200,9230",
    "RescaleSlope and RescaleIntercept": "0028,1053 and 0028,1052",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice as its tags describe it.

    Attributes:
        file: where its pixels are.
        number: its number among the frames of the file.
        position: (3,) centre of the first pixel, LPS mm.
        axes: (2, 3) directions in which columns and rows are counted.
        spacing: (2,) between columns and between rows, mm.
        shape: rows, columns.
        between: what SpacingBetweenSlices says, mm; NaN if nothing.
        thickness: mm; NaN if it is not said.
        rescale: slope and intercept of the pixels.
        tags: the dataset that holds the other tags.
    """

    file: Path
    number: int
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: NDArray[np.float64]
    shape: tuple[int, int]
    between: float
    thickness: float
    rescale: tuple[float, float]
    tags: Dataset


def slices_of(file: Path, tags: Dataset) -> list[Slice]:
    """The slices of a file.

    Raises:
        InputError: if a tag is missing or holds no numbers.
    """
    shape = _whole(file, tags, "Rows"), _whole(file, tags, "Columns")
    count = _whole(file, tags, "NumberOfFrames", 1)
    frames = tags.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        if count > 1:
            raise _missing(file, "PerFrameFunctionalGroupsSequence")
        return [_slice(file, 0, [tags], shape, tags)]
    shared = tags.get("SharedFunctionalGroupsSequence") or []
    if len(frames) != count:
        raise InputError(
            f"{file}: the DICOM file says that it has {count} frames and describes {len(frames)}; "
            "export it again."
        )
    return [
        _slice(
            file,
            number,
            [*_groups(frame), *(inside for item in shared for inside in _groups(item))],
            shape,
            tags,
        )
        for number, frame in enumerate(frames)
    ]


def stack(folder: Path, slices: Sequence[Slice]) -> tuple[list[Slice], Frame]:
    """Slices in the order of their places, and the frame of the volume that they make.

    Where the slices do not lie straight above each other (a tilted gantry), the frame is sheared.

    Args:
        folder: where they are, for the sentences.
        slices: all slices of one series.

    Raises:
        InputError: if they are not one even stack, or tags contradict it.
    """
    _check_alike(folder, slices)
    right, down = slices[0].axes
    normal = np.cross(right, down)
    ordered = sorted(slices, key=lambda item: float(item.position @ normal))
    if len(ordered) < 2:
        raise InputError(
            f"{folder}: the DICOM series has one slice, not a 3D volume; give the folder with all its slices."
        )
    positions = np.array([item.position for item in ordered])
    step = _even_step(folder, ordered, positions, normal)
    matrix = np.column_stack([right * slices[0].spacing[0], down * slices[0].spacing[1], step])
    rows, columns = slices[0].shape
    try:
        frame = frame_of_matrix((columns, rows, len(ordered)), matrix, positions[0])
    except ValueError as error:
        raise InputError(f"{folder}: the slices do not make a volume ({error}); export it again.") from error
    _check_spacing_between(folder, ordered, step, normal)
    _check_tilt(folder, ordered, step, normal)
    return ordered, frame


def _groups(item: Dataset) -> Iterator[Dataset]:
    """The functional groups of a frame that have to do with geometry and values."""
    for group in (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "FrameContentSequence",
    ):
        yield from item.get(group) or []


def _slice(
    file: Path, number: int, sources: Sequence[Dataset], shape: tuple[int, int], tags: Dataset
) -> Slice:
    position = _numbers(file, sources, "ImagePositionPatient", 3)
    axes = _numbers(file, sources, "ImageOrientationPatient", 6).reshape(2, 3)
    rows, columns = _numbers(file, sources, "PixelSpacing", 2)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise InputError(
            f"{file}: ImageOrientationPatient ({_TAGS['ImageOrientationPatient']}) is "
            f"{_listed(axes.ravel())}, not two directions at right angles; export the series again."
        )
    if min(rows, columns) <= 0:
        raise InputError(
            f"{file}: PixelSpacing ({_TAGS['PixelSpacing']}) is {rows:g} x {columns:g} mm; export the series "
            "again, both must be positive."
        )
    optional = [
        _numbers(file, sources, keyword, 1, default)[0]
        for keyword, default in (
            ("SpacingBetweenSlices", math.nan),
            ("SliceThickness", math.nan),
            ("RescaleSlope", 1.0),
            ("RescaleIntercept", 0.0),
        )
    ]
    return Slice(
        file=file,
        number=number,
        position=position,
        axes=axes / lengths[:, None],
        spacing=np.array([columns, rows]),
        shape=shape,
        between=abs(optional[0]),
        thickness=optional[1],
        rescale=(optional[2], optional[3]),
        tags=tags,
    )


def _whole(file: Path, tags: Dataset, keyword: str, default: int | None = None) -> int:
    """A positive whole number.

    Raises:
        InputError: if it is none, or missing without a default.
    """
    value = None
    try:
        value = tags.get(keyword)
        if value in (None, "") and default is not None:
            return default
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise InputError(
            f"{file}: {keyword} ({_TAGS[keyword]}) is '{value!s}', not a number from 1; export the series "
            "again."
        )
    return number


def _numbers(
    file: Path, sources: Sequence[Dataset], keyword: str, count: int, default: float | None = None
) -> NDArray[np.float64]:
    """What the first dataset that has it says, (count,).

    Raises:
        InputError: if none has it and there is no default, or it is not as many numbers.
    """
    value = None
    try:
        value = next((item.get(keyword) for item in sources if item.get(keyword) not in (None, "")), None)
        if value is None:
            if default is None:
                raise _missing(file, keyword)
            return np.full(count, default)
        numbers = np.array(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        if default is not None:
            return np.full(count, default)
        raise InputError(
            f"{file}: {keyword} ({_TAGS[keyword]}) is {value!s}, not {count} numbers; "
            "export the series again."
        )
    return numbers


def _missing(file: Path, keyword: str) -> InputError:
    return InputError(
        f"{file}: the DICOM file has no {keyword} ({_TAGS[keyword]}), so nobody knows where its pixels lie; "
        "export the series again, not as secondary capture."
    )


def _check_alike(folder: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices that are not of one kind, such as a localiser among them."""
    kinds: list[tuple[str, float, list[tuple[float, ...]]]] = [
        ("Rows and Columns", 0, [tuple(map(float, item.shape)) for item in slices]),
        ("ImageOrientationPatient", _ALIKE, [tuple(item.axes.ravel()) for item in slices]),
        (
            "PixelSpacing",
            _ALIKE * float(slices[0].spacing.min()),
            [tuple(item.spacing[::-1]) for item in slices],
        ),
    ]
    for keyword, limit, values in kinds:
        usual = Counter(values).most_common(1)[0][0]
        odd = [row for row, value in enumerate(values) if np.abs(np.subtract(value, usual)).max() > limit]
        if odd:
            first = slices[odd[0]].file.name
            raise InputError(
                f"{folder}: {len(odd)} of the {len(slices)} slices, the first in {first}, differ from the "
                f"others in {keyword} ({_TAGS[keyword]}): {_listed(values[odd[0]])} and {_listed(usual)}; "
                "move them out of the folder (a localiser?) or export the series again."
            )
    of_frames = {(item.file, item.rescale) for item in slices}
    if len(of_frames) > len({file for file, _ in of_frames}):
        raise InputError(
            f"{folder}: the frames of a multi-frame file differ in RescaleSlope and RescaleIntercept "
            f"({_TAGS['RescaleSlope and RescaleIntercept']}); export the series as single slices."
        )


def _even_step(
    folder: Path, ordered: Sequence[Slice], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(3,) from slice to slice, world LPS mm."""
    heights = positions @ normal
    steps = np.diff(heights)
    usual = float(np.median(steps))
    low = int(steps.argmin())
    if steps[low] <= _ALIKE * (heights[-1] - heights[0]) / len(steps):
        raise InputError(
            f"{folder}: two slices lie at the same place, {_named(ordered[low])} and "
            f"{_named(ordered[low + 1])}{_difference(ordered[low], ordered[low + 1])}; "
            "put one of the volumes in a folder of its own."
        )
    far = int(np.abs(steps - usual).argmax())
    if abs(steps[far] - usual) > UNEVEN * usual:
        raise InputError(
            f"{folder}: the slices are not evenly spaced: {steps[far]:.3f} mm between {_named(ordered[far])} "
            f"and {_named(ordered[far + 1])}, {usual:.3f} mm elsewhere (limit: {UNEVEN:.0%} more or less); "
            "export the whole series."
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(ordered) - 1)
    drift = np.outer(np.arange(len(ordered)), step) + positions[0] - positions
    plane = np.array([*ordered[0].axes, normal])
    voxels = np.abs(drift @ plane.T) / [*ordered[0].spacing, usual]
    if voxels.max() > MOST_VOXELS_APART:
        worst = int(voxels.max(axis=1).argmax())
        raise InputError(
            f"{folder}: the slices are not evenly spaced: {_named(ordered[worst])} is "
            f"{np.linalg.norm(drift[worst]):.3f} mm ({voxels.max():.2g} voxels) from where the others "
            "put it; export the series again."
        )
    aside = step - (step @ normal) * normal
    total = np.abs(plane[:2] @ aside) * (len(ordered) - 1) / ordered[0].spacing
    return (step @ normal) * normal if total.max() <= _STRAIGHT else step


def _check_spacing_between(
    folder: Path, ordered: Sequence[Slice], step: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    """Hold SpacingBetweenSlices, which some take for the gap, against the positions."""
    between, thickness = ordered[0].between, ordered[0].thickness
    if not between > 0 or _is_default(ordered[0]):
        return
    distance = float(step @ normal)
    readings = (distance, float(np.linalg.norm(step)), distance - thickness)
    moved = min(abs(between - reading) for reading in readings if not math.isnan(reading))
    if max(moved - _ROUNDING * distance, 0) * (len(ordered) - 1) > MOST_VOXELS_APART * distance:
        raise InputError(
            f"{folder}: SpacingBetweenSlices ({_TAGS['SpacingBetweenSlices']}) is {between:.4g} mm and the "
            f"slices' positions are {distance:.4g} mm apart; find out which is right and export again."
        )


def _is_default(item: Slice) -> bool:
    """Whether SpacingBetweenSlices is the 1 mm that ITK writes for an image of two dimensions."""
    meta = getattr(item.tags, "file_meta", {})
    written_by_itk = str(meta.get("ImplementationVersionName", "")).startswith("GDCM")
    return written_by_itk and item.between == 1 and math.isnan(item.thickness)


def _check_tilt(
    folder: Path, ordered: Sequence[Slice], step: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    """Hold GantryDetectorTilt against the positions: planes lean, or the stack of them does."""
    tags = ordered[0].tags
    stated = abs(float(_numbers(ordered[0].file, [tags], "GantryDetectorTilt", 1, 0.0)[0]))
    length = float(np.linalg.norm(step))
    leaning = math.degrees(math.acos(min(1.0, abs(float(step @ normal)) / length)))
    planes = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    if planes > _MOST_TILT or "DERIVED" in [str(word) for word in tags.get("ImageType") or []]:
        return
    apart = min(
        abs(math.sin(math.radians(stated)) - math.sin(math.radians(angle))) for angle in (leaning, planes)
    )
    if stated and apart * length * (len(ordered) - 1) > MOST_VOXELS_APART * ordered[0].spacing.min():
        raise InputError(
            f"{folder}: GantryDetectorTilt ({_TAGS['GantryDetectorTilt']}) is {stated:.4g} degrees and the "
            f"slices' positions lean by {leaning:.4g}; find out which is right and export again."
        )


def _named(item: Slice) -> str:
    return item.file.name if item.number == 0 else f"{item.file.name} (frame {item.number + 1})"


def _difference(first: Slice, second: Slice) -> str:
    """What tells two slices at one place apart, in brackets."""
    for keyword in _TELLING:
        here, there = first.tags.get(keyword), second.tags.get(keyword)
        if here != there:
            return f" ({keyword} {here} and {there}: several phases, echoes or reconstructions?)"
    return ""


def _listed(numbers: Sequence[float] | NDArray[np.float64]) -> str:
    return "\\".join(f"{number:.6g}" for number in numbers)

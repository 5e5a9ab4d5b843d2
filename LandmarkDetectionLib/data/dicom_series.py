"""The DICOM series of a folder, as hospitals export them: many in one folder, other objects beside them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.geometry.dicom import Slice, slices_of, stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_KEYWORDS = (
    "AcquisitionNumber",
    "AcquisitionTime",
    "BitsAllocated",
    "Columns",
    "EchoNumbers",
    "GantryDetectorTilt",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "Modality",
    "NumberOfFrames",
    "PatientID",
    "PerFrameFunctionalGroupsSequence",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TemporalPositionIdentifier",
    "TriggerTime",
)
_DAMAGED = (OSError, EOFError, ValueError, KeyError, NotImplementedError, AttributeError)
_NO_SCANS = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "PR", "SR", "KO", "REG", "DOC"}


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series of a folder.

    Attributes:
        folder: where its files are.
        uid: SeriesInstanceUID.
        headers: the tags of its files, by file, each object once.
    """

    folder: Path
    uid: str
    headers: dict[Path, Dataset] = field(repr=False)

    @property
    def first(self) -> Path:
        """The file that stands for the series in a list of cases."""
        return min(self.headers, key=lambda file: (_whole(self.headers[file], "InstanceNumber"), file))

    @property
    def number(self) -> int:
        """SeriesNumber, 0 if it has none."""
        return _whole(self._tags, "SeriesNumber")

    @property
    def description(self) -> str:
        """SeriesDescription, or the modality."""
        return str(self._tags.get("SeriesDescription") or self._tags.get("Modality") or "").strip()

    @property
    def patient(self) -> str:
        """PatientID."""
        return str(self._tags.get("PatientID") or "").strip()

    @property
    def derived(self) -> bool:
        """Whether it says to be made of other images, or to be a localiser."""
        kinds = {str(word).upper() for word in self._tags.get("ImageType") or []}
        return bool(kinds & {"DERIVED", "SECONDARY", "LOCALIZER"})

    def volume(self) -> tuple[list[Slice], Frame]:
        """Its slices in the order of their places, and their frame.

        Raises:
            InputError: if they are not one even stack.
        """
        slices = [item for file, tags in self.headers.items() for item in slices_of(file, tags)]
        return stack(self.folder, slices)

    @property
    def _tags(self) -> Dataset:
        return next(iter(self.headers.values()))


def series_in(folder: Path) -> list[Series]:
    """The series of images of one folder, without its sub-folders, by number.

    Reports, segmentations, plans and a DICOMDIR are no images. An object that is there twice counts once.

    Raises:
        InputError: if the folder cannot be read.
    """
    found: defaultdict[str, dict[Path, Dataset]] = defaultdict(dict)
    known: set[str] = set()
    for file in sorted(item for item in folder.iterdir() if item.is_file()):
        tags = _header(file)
        if tags is None or "Rows" not in tags or str(tags.get("Modality")) in _NO_SCANS:
            continue
        instance = str(tags.get("SOPInstanceUID") or file)
        if instance in known:
            continue
        known.add(instance)
        found[str(tags.get("SeriesInstanceUID") or "")][file] = tags
    series = [Series(folder, uid, headers) for uid, headers in found.items()]
    return sorted(series, key=lambda item: (item.number, item.uid))


def series_of(path: Path) -> Series:
    """The series that a path stands for: the one of a folder, or the one that a file of it belongs to.

    Raises:
        InputError: if there is none, or the folder holds several.
    """
    if path.is_file():
        return next(item for item in series_in(path.parent) if path in item.headers)
    series = series_in(path)
    if not series:
        raise InputError(f"{path}: no DICOM series in this folder; give the folder that holds the slices.")
    if len(series) > 1:
        shown = "; ".join(describe(item) for item in series[:5])
        raise InputError(
            f"{path}: {len(series)} DICOM series in one folder ({shown}); say which with --series, or give a "
            "file of the one that you want."
        )
    return series[0]


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, whatever its name."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_voxels(slices: Sequence[Slice]) -> NDArray[np.generic]:
    """[z, y, x] rescaled values of slices, in their order.

    Raises:
        InputError: if a file is damaged or has colours.
    """
    import SimpleITK as sitk

    planes: list[NDArray[np.generic]] = []
    frames: NDArray[np.generic] | None = None
    before: Path | None = None
    for item in slices:
        if item.file != before:
            _check_pixels(item)
            try:
                image = sitk.ReadImage(str(item.file), imageIO="GDCMImageIO")
            except RuntimeError as error:
                raise InputError(
                    f"{item.file}: the DICOM file cannot be read (damaged, or packed in an unknown way); "
                    "export it again."
                ) from error
            frames, before = sitk.GetArrayFromImage(image), item.file
            frames = frames.reshape(-1, *item.shape)
        planes.append(frames[item.number])  # type: ignore[index]
    return np.stack(planes)


def describe(series: Series) -> str:
    """A series in words: number, description, files."""
    return f"{series.number}: {series.description or 'without description'}, {len(series.headers)} files"


def _check_pixels(item: Slice) -> None:
    tags = item.tags
    if int(tags.get("SamplesPerPixel", 1)) != 1:
        raise InputError(
            f"{item.file}: the image has several values per voxel (colour?); give a grey-scale one."
        )
    pixels = item.shape[0] * item.shape[1] * int(tags.get("NumberOfFrames", 1) or 1)
    syntax = tags.file_meta.get("TransferSyntaxUID") if hasattr(tags, "file_meta") else None
    packed = syntax is not None and (syntax.is_compressed or syntax.is_deflated)
    if not packed and item.file.stat().st_size < pixels * int(tags.get("BitsAllocated", 8)) // 8:
        raise InputError(f"{item.file}: the file is damaged or cut short; copy or export it again.")


def _header(file: Path) -> Dataset | None:
    """The tags of a DICOM file without its pixels; None for any other file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_KEYWORDS])
        except InvalidDicomError:
            return _header_without_preamble(file)
        except _DAMAGED as error:
            raise InputError(f"{file}: the DICOM file is damaged; copy or export it again.") from error


def _header_without_preamble(file: Path) -> Dataset | None:
    """Old files have none; what is no DICOM at all starts with another tag."""
    import pydicom

    with file.open("rb") as stream:
        start = stream.read(4)
    if start[:2] not in (b"\x08\x00", b"\x02\x00"):  # the group of the first tag
        return None
    try:
        tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_KEYWORDS], force=True)
    except _DAMAGED:
        return None
    return tags if "SOPClassUID" in tags else None


def _whole(tags: Dataset, keyword: str) -> int:
    try:
        return int(tags.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0

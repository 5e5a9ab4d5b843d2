"""The DICOM series of a folder, as hospitals export them: many in one folder, other objects beside them."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    "BitsStored",
    "Columns",
    "EchoNumbers",
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "Modality",
    "NumberOfFrames",
    "PatientID",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelRepresentation",
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
    "StudyInstanceUID",
    "TemporalPositionIdentifier",
    "TriggerTime",
)
Kind = Literal["scan", "derived", "localiser"]
_ORDER: tuple[Kind, ...] = ("scan", "derived", "localiser")
_NUMBER = re.compile(r"\d+")
_DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, NotImplementedError, AttributeError, TypeError),
    *(RecursionError, struct.error),
)
_NUMBERS = {"DS", "IS", "US", "SS", "UL", "SL", "FD", "FL"}
_SHOWN = 8
_NO_SCANS = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "PR", "SR", "KO", "REG", "DOC"}


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series of a folder.

    Attributes:
        folder: where its files are.
        uid: SeriesInstanceUID.
        headers: the tags of its files, by file, each object once.
        damaged: says that a file of the folder, which may be one of its own, cannot be read; '' if all can.
    """

    folder: Path
    uid: str
    headers: dict[Path, Dataset] = field(repr=False)
    damaged: str = ""

    @property
    def first(self) -> Path:
        """The file that stands for the series in a list of cases."""
        files = sorted(self.headers, key=lambda file: (_whole(self.headers[file], "InstanceNumber"), file))
        return files[0] if files else self.folder

    @property
    def objects(self) -> frozenset[str]:
        """The SOPInstanceUIDs of its files."""
        return frozenset(str(tags.get("SOPInstanceUID") or file) for file, tags in self.headers.items())

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
    def whose(self) -> tuple[str, str]:
        """The patient, or the folder where none is named, and the study."""
        return self.patient or str(self.folder), str(self._tags.get("StudyInstanceUID") or "")

    @property
    def kind(self) -> Kind:
        """What it is by its ImageType and the number of its slices."""
        words = {str(word).upper() for word in self._tags.get("ImageType") or []}
        frames = sum(_whole(tags, "NumberOfFrames") or 1 for tags in self.headers.values())
        if "LOCALIZER" in words or frames == 1:
            return "localiser"
        return "derived" if words & {"DERIVED", "SECONDARY"} else "scan"

    def facts(self) -> dict[str, str]:
        """What a person chooses by, in words."""
        try:
            _, frame = self.volume()
        except InputError as error:
            size, spacing, problem = "", "", str(error)
        else:
            size = " x ".join(map(str, frame.size))
            spacing, problem = " x ".join(f"{step:.4g}" for step in frame.spacing), ""
        return {
            "patient": self.patient,
            "series": str(self.number),
            "description": self.description,
            "kind": self.kind,
            "files": str(len(self.headers)),
            "size": size,
            "spacing_mm": spacing,
            "uid": self.uid,
            "folder": str(self.folder),
            "problem": problem,
        }

    def answers_to(self, wish: str) -> bool:
        """Whether a wish is its number, its UID, or words that all stand in its description."""
        description = self.description.casefold()
        words = wish.casefold().split()
        return wish in (str(self.number), self.uid) or bool(
            words and all(word in description for word in words)
        )

    def volume(self) -> tuple[list[Slice], Frame]:
        """Its slices in the order of their places, and their frame.

        Raises:
            InputError: if they are not one even stack, or a file is damaged.
        """
        if self.damaged:
            raise InputError(self.damaged)
        slices = [item for file, tags in self.headers.items() for item in slices_of(file, tags)]
        return stack(self.folder, slices)

    @property
    def _tags(self) -> Mapping[str, Any] | Dataset:
        return next(iter(self.headers.values()), {})


def series_in(folder: Path) -> list[Series]:
    """The series of images of one folder, without its sub-folders, by number.

    Reports, segmentations, plans and a DICOMDIR are no images. An object that is there twice counts once.
    """
    found: defaultdict[str, dict[Path, Dataset]] = defaultdict(dict)
    known: set[tuple[str, ...]] = set()
    others: list[Path] = []
    damaged = ""
    try:
        files = sorted(item for item in folder.iterdir() if item.is_file())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return [Series(folder, "", {}, f"{folder}: cannot be read ({reason}); check its permissions.")]
    for file in files:
        try:
            tags = _header(file)
        except InputError as error:
            damaged = damaged or str(error)
            continue
        if tags is not None and str(tags.get("Modality")) in _NO_SCANS:
            continue
        if tags is None or "Rows" not in tags:
            others += [file] if tags is None or _should_be_image(tags) else []
            continue
        uid = str(tags.get("SeriesInstanceUID") or "")
        object_ = (uid, str(tags.get("SOPInstanceUID") or file), str(tags.get("ImagePositionPatient")))
        if object_ not in known:
            known.add(object_)
            found[uid][file] = tags
    cut = _named_like_slices(others, [file for headers in found.values() for file in headers])
    if cut and not damaged:
        damaged = f"{cut}: the DICOM file is damaged or cut short; copy or export it again."
    if damaged and not found:
        return [Series(folder, "", {}, damaged)]
    series = [Series(folder, uid, headers, damaged) for uid, headers in found.items()]
    return sorted(series, key=lambda item: (item.number, item.uid))


def series_below(folder: Path) -> list[Series]:
    """The series of a folder and of all folders in it, hidden ones apart, in the order of their folders.

    Parts of one series in several folders are none: each says that it is damaged.
    """
    series = [item for place in _folders_below(folder) for item in series_in(place)]
    objects: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    for item in series:
        objects[item.uid].append(item.objects)
    parted = {uid for uid, parts in objects.items() if uid and len(set(parts)) > 1}
    return [
        replace(item, damaged=item.damaged or _parted(item)) if item.uid in parted else item
        for item in series
    ]


def choose_series(series: Sequence[Series], *, wanted: str | None = None, each: bool = False) -> list[Series]:
    """The series to work on.

    Args:
        series: what there is.
        wanted: a number, a UID, or words of the description of those to take.
        each: take every one that is not a localiser.

    Returns:
        What is wanted. Without a wish the scan of each study of a patient, where it has no more than one:
        what is derived counts only where there is nothing else, localisers where there is nothing at all.

    Raises:
        InputError: if there is no such series, or it takes a choice; the sentence lists what there is.
    """
    if each:
        chosen = [item for item in series if item.kind != "localiser"]
    elif wanted is not None:
        chosen = [item for item in series if item.answers_to(wanted)]
    else:
        best: dict[tuple[str, str], Kind] = {}
        for item in series:
            best[item.whose] = min(best.get(item.whose, item.kind), item.kind, key=_ORDER.index)
        chosen = [item for item in series if item.kind == best[item.whose]]
        if len({item.whose for item in chosen}) < len(chosen):
            raise InputError(
                f"{_common(series)}: several DICOM series of one patient ({_listed(series)}); say which with "
                "--series NUMBER, UID or words of the description, or take all with --each."
            )
    if not chosen:
        asked = f"no DICOM series '{wanted}'" if wanted is not None else "nothing but localisers"
        raise InputError(f"{_common(series)}: {asked} here; there are {_listed(series)}.")
    return chosen


def series_of(path: Path) -> Series:
    """The series that a path stands for: the one of a folder, or the one that a file of it belongs to.

    Raises:
        InputError: if there is none, or the folder holds several.
    """
    if path.is_file():
        tags = _header(path)
        uid = str(tags.get("SeriesInstanceUID") or "") if tags is not None else None
        own = [item for item in series_in(path.parent) if item.uid == uid or item.damaged]
        if not own:
            raise InputError(f"{path}: the DICOM file holds no image; give a file of the scan.")
        return own[0]
    series = series_in(path)
    if not series:
        raise InputError(f"{path}: no DICOM series in this folder; give the folder that holds the slices.")
    if len(series) > 1:
        raise InputError(
            f"{path}: {len(series)} DICOM series in one folder ({_listed(series)}); give a file of the one "
            "that you want, or put it in a folder of its own."
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
    frames: NDArray[np.generic] = np.empty(0)
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
            if image.GetNumberOfComponentsPerPixel() != 1:
                raise _coloured(item.file)
            frames, before = sitk.GetArrayFromImage(image), item.file
            if frames.size != (_whole(item.tags, "NumberOfFrames") or 1) * item.shape[0] * item.shape[1]:
                raise InputError(f"{item.file}: the file is damaged or cut short; copy or export it again.")
            frames = _upright(frames.reshape(-1, *item.shape), item)
        planes.append(frames[item.number])
    return np.stack(planes)


def _check_pixels(item: Slice) -> None:
    tags = item.tags
    if _whole(tags, "SamplesPerPixel") > 1 or "MONOCHROME" not in _photometric(tags):
        raise _coloured(item.file)
    pixels = item.shape[0] * item.shape[1] * (_whole(tags, "NumberOfFrames") or 1)
    if not _is_packed(tags) and item.file.stat().st_size < pixels * (_whole(tags, "BitsAllocated") or 8) // 8:
        raise InputError(f"{item.file}: the file is damaged or cut short; copy or export it again.")


def _is_packed(tags: Dataset) -> bool:
    syntax = tags.file_meta.get("TransferSyntaxUID") if hasattr(tags, "file_meta") else None
    try:
        return syntax is not None and bool(syntax.is_compressed or syntax.is_deflated)
    except (ValueError, AttributeError):  # one that nobody knows: GDCM says so
        return True


def _upright(values: NDArray[np.generic], item: Slice) -> NDArray[np.generic]:
    """The values as they are stored and rescaled: GDCM inverts those to be shown dark on bright."""
    if _photometric(item.tags) != "MONOCHROME1":
        return values
    signed = _whole(item.tags, "PixelRepresentation") == 1
    most = -1 if signed else (1 << _whole(item.tags, "BitsStored")) - 1
    slope, intercept = item.rescale
    return (slope * most + 2 * intercept - values.astype(np.float64)).astype(np.float32)


def _photometric(tags: Dataset) -> str:
    return str(tags.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()


def _coloured(file: Path) -> InputError:
    return InputError(f"{file}: the image has several values per voxel (colour?); give a grey-scale one.")


def _should_be_image(tags: Dataset) -> bool:
    """Whether what is left of a file is not that of a report or plan, which have no pixels."""
    from pydicom.uid import UID

    kind = tags.get("SOPClassUID")
    return kind is None or "Image" in UID(str(kind)).name


def _named_like_slices(others: Sequence[Path], slices: Sequence[Path]) -> Path | None:
    """A file that is no DICOM image though it is named like those that are, but for its numbers."""
    patterns = {_NUMBER.sub("#", file.name) for file in slices if _NUMBER.search(file.name)}
    return next(
        (
            file
            for file in others
            if file.suffix.lower() in (".dcm", ".ima") or _NUMBER.sub("#", file.name) in patterns
        ),
        None,
    )


def _folders_below(folder: Path) -> list[Path]:
    """A folder and all in it, also behind links, each once; hidden ones apart."""
    folders, known = [], set()
    for place, inside, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in known:
            inside.clear()
            continue
        known.add(real)
        folders.append(Path(place))
        inside[:] = [name for name in inside if not name.startswith(".")]
    return sorted(folders)


def _parted(series: Series) -> str:
    return (
        f"{series.folder}: a part of the DICOM series {series.number}, other parts of which lie in other "
        "folders; put its files into one."
    )


def _header(file: Path) -> Dataset | None:
    """The tags of a DICOM file without its pixels; None for any other file."""
    from pydicom.errors import InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _tags_of(file)
        except InvalidDicomError:
            return _header_without_preamble(file)
        except _DAMAGED as error:
            raise InputError(f"{file}: the DICOM file is damaged; copy or export it again.") from error


def _header_without_preamble(file: Path) -> Dataset | None:
    """Old files have none; what is no DICOM at all starts with another tag."""
    with file.open("rb") as stream:
        start = stream.read(4)
    if start[:2] not in (b"\x08\x00", b"\x02\x00"):  # the group of the first tag
        return None
    try:
        tags = _tags_of(file, force=True)
    except _DAMAGED:
        return None
    return tags if "SOPClassUID" in tags else None


class _Measured(io.BufferedReader):
    """A file of which never more is asked than there is.

    Python makes room first for what it is asked for, and the lengths in a damaged file are gigabytes.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(left if size is None or size < 0 else min(size, max(left, 0)))


def _tags_of(file: Path, *, force: bool = False) -> Dataset:
    """The tags that are looked at, each of them understood; of what should be numbers, others say so."""
    import pydicom
    from pydicom.errors import BytesLengthException

    try:
        with _Measured(io.FileIO(file)) as stream:
            tags = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[*_KEYWORDS], force=force)
        _understand(tags)
    except BytesLengthException as error:  # an `Exception` and nothing more
        raise EOFError from error
    return tags


def _understand(tags: Dataset) -> None:
    """Have pydicom, which does so when it is asked for one, make sense of all tags.

    Raises:
        One of `_DAMAGED`: if it cannot.
    """
    for tag in list(tags.keys()):
        try:
            element = tags[tag]
        except ValueError:
            if tags.get_item(tag).VR not in _NUMBERS:
                raise
        else:
            for item in element.value if element.VR == "SQ" else ():
                _understand(item)


def _whole(tags: Mapping[str, Any] | Dataset, keyword: str) -> int:
    try:
        return int(tags.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0


def _listed(series: Sequence[Series]) -> str:
    """Series in words: number, description, files."""
    shown = "; ".join(
        f"{item.number}: {item.description or 'without description'}, {len(item.headers)} files"
        for item in series[:_SHOWN]
    )
    return shown + (f"; and {len(series) - _SHOWN} more" if len(series) > _SHOWN else "")


def _common(series: Sequence[Series]) -> str:
    return os.path.commonpath([item.folder for item in series])

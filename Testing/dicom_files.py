"""DICOM files for tests: series of slices and multi-frame files, every tag of which one can choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE = (7, 8, 12)
BRIGHT = (2, 5, 6)  # the voxel (x, y, z) that is brighter than all others
VOXELS = np.random.default_rng(0).integers(0, 100, SIZE[::-1]).astype(np.int16)
VOXELS[BRIGHT[::-1]] = 900
SPACING = (0.5, 0.75)  # between columns and between rows
ORIGIN = np.array([-3.0, 4.0, 5.0])
STRAIGHT = np.array([0.0, 0.0, 2.0])
AXIAL = (1.0, 0, 0, 0, 1, 0)
Change = Callable[[int, Dataset], object]


def unchanged(number: int, tags: Dataset) -> None:
    """Leave a slice as it is."""


def new_file(uid: str) -> Dataset:
    tags = Dataset()
    tags.file_meta = FileMetaDataset()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = CTImageStorage
    tags.file_meta.MediaStorageSOPInstanceUID = tags.SOPInstanceUID = generate_uid(None)
    tags.Modality, tags.SeriesInstanceUID, tags.StudyInstanceUID = "CT", uid, "1.2.3"
    tags.SamplesPerPixel, tags.PhotometricInterpretation, tags.PixelRepresentation = 1, "MONOCHROME2", 1
    tags.BitsAllocated, tags.BitsStored, tags.HighBit = 16, 16, 15
    tags.RescaleSlope, tags.RescaleIntercept = 2, -10
    tags.Columns, tags.Rows = SIZE[:2]
    return tags


def save(tags: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags.save_as(path, enforce_file_format=True)


def write_series(
    folder: Path,
    *,
    step: NDArray[np.float64] = STRAIGHT,
    axes: tuple[float, ...] = AXIAL,
    uid: str = "1.2.3.4",
    change: Change = unchanged,
    prefix: str = "slice",
    **common: Any,
) -> Path:
    """A series of VOXELS, its files named in another order than that of the slices."""
    for number in range(SIZE[2]):
        tags = new_file(uid)
        tags.InstanceNumber = number + 1
        tags.ImagePositionPatient = [round(float(x), 6) for x in ORIGIN + number * step]
        tags.ImageOrientationPatient = list(axes)
        tags.PixelSpacing = [SPACING[1], SPACING[0]]
        tags.SliceThickness = 2
        tags.PixelData = VOXELS[number].tobytes()
        for keyword, value in common.items():
            setattr(tags, keyword, value)
        change(number, tags)
        save(tags, folder / f"{prefix}{(number * 5) % SIZE[2]:03d}")
    return folder


def write_multi_frame(path: Path, order: list[int], *, change: Change = unchanged, **common: Any) -> Path:
    """An enhanced CT of VOXELS in one file, its frames in an order of their own."""
    tags = new_file("1.2.3.5")
    tags.file_meta.MediaStorageSOPClassUID = tags.SOPClassUID = EnhancedCTImageStorage
    tags.NumberOfFrames = len(order)
    del tags.RescaleSlope, tags.RescaleIntercept
    shared, measures, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], 2
    plane.ImageOrientationPatient = list(AXIAL)
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -10, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [values]
    tags.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = list(ORIGIN + number * STRAIGHT)
        frame.PlanePositionSequence = [place]
        change(number, frame)
        frames.append(frame)
    tags.PerFrameFunctionalGroupsSequence = frames
    tags.PixelData = VOXELS[order].tobytes()
    for keyword, value in common.items():
        setattr(tags, keyword, value)
    save(tags, path)
    return path

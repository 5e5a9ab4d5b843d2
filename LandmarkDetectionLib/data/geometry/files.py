"""The geometry of an image file, whatever its format."""

from __future__ import annotations

import zlib
from pathlib import Path

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.geometry.metaimage import read_metaimage
from LandmarkDetectionLib.data.geometry.nifti import read_nifti
from LandmarkDetectionLib.data.geometry.nrrd import read_nrrd
from LandmarkDetectionLib.data.geometry.sources import Reading

_FORMATS = {
    ".nii": ("NiftiImageIO", read_nifti),
    ".nii.gz": ("NiftiImageIO", read_nifti),
    ".nrrd": ("NrrdImageIO", read_nrrd),
    ".nhdr": ("NrrdImageIO", read_nrrd),
    ".mha": ("MetaImageIO", read_metaimage),
    ".mhd": ("MetaImageIO", read_metaimage),
}
IMAGE_SUFFIXES = tuple(_FORMATS)


def read_geometry(path: Path) -> tuple[Reading, str]:
    """How ITK's image of a file is to be taken, and the name of ITK's reader for it.

    Raises:
        InputError: if the file is damaged or cut short, states no geometry or one that contradicts itself, or
            is of a kind that holds none.
    """
    for suffix, (reader, read) in _FORMATS.items():
        if path.name.lower().endswith(suffix):
            try:
                return read(path), reader
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(
                    f"{path}: the file is damaged or cut short; copy or export it again."
                ) from error
    raise InputError(
        f"{path}: not a kind of image that says how its voxels lie; use {', '.join(_FORMATS)}, or DICOM."
    )

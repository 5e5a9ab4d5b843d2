"""The ways in which a program can give a scan."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from numpy.typing import ArrayLike

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import (
    Volume,
    checked_volume,
    read_volume,
    volume_of_array,
    volume_of_image,
)

if TYPE_CHECKING:
    import SimpleITK

Image: TypeAlias = (
    "str | PathLike[str] | Volume | SimpleITK.Image | tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]"
)
"""A path, a volume, a SimpleITK image, or (array [z, y, x], spacing, origin, direction) in LPS mm."""

_WAYS = (
    "give a path, a SimpleITK image, a Volume, or the tuple (array, spacing, origin, direction), which says "
    "where the voxels lie"
)


def volume_of(image: Image) -> Volume:
    """The scan behind an image that a program gives.

    Args:
        image: a file, a folder with one DICOM series, what is in memory already, or a tuple of

            - the array, shape [z, y, x], integers, floats or bools,
            - the spacing of its voxels along x, y, z, mm,
            - the origin, world LPS mm of the centre of the voxel [0, 0, 0],
            - the direction, 3 x 3, whose columns are the world directions of the voxel axes x, y, z.

    Raises:
        InputError: if it is none of these, not 3D, not one finite number per voxel, or without a geometry.
        MemoryError: if there is too little memory to read it.
    """
    if isinstance(image, str | PathLike):
        return read_volume(Path(image))
    if isinstance(image, Volume):
        return checked_volume(image, "The volume")
    if isinstance(image, tuple):
        if len(image) != 4:
            raise InputError(f"The scan is a tuple of {len(image)}: {_WAYS}.")
        return volume_of_array(*image, where="The array")
    import SimpleITK as sitk

    if isinstance(image, sitk.Image):
        return volume_of_image(image, "The SimpleITK image")
    raise InputError(f"The scan is of the type {type(image).__name__}: {_WAYS}.")

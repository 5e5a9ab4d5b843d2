"""A scan in memory, and reading and writing it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from LandmarkDetectionLib.data.dicom_series import is_dicom, read_voxels, series_of
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import is_there, replacing
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.geometry.files import IMAGE_SUFFIXES, read_geometry
from LandmarkDetectionLib.data.geometry.sources import Reading
from LandmarkDetectionLib.data.geometry.stored import NOT_FINITE, no_image

if TYPE_CHECKING:
    import SimpleITK

WRITABLE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
_UNIT = 1e-3
"""The length of a direction may be so far from 1."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they are.

    Attributes:
        voxels: array [z, y, x].
        frame: the geometry; `frame.shape == voxels.shape`.
    """

    voxels: NDArray[Any]
    frame: Frame

    def __post_init__(self) -> None:
        if self.voxels.shape != self.frame.shape:
            raise ValueError(f"voxels of shape {self.voxels.shape} do not fit a frame of {self.frame.shape}")

    def part(self, axis: int, first: int, end: int) -> Volume:
        """The slices from `first` up to, not including, `end` along an axis (x, y, z = 0, 1, 2)."""
        frame = self.frame
        step = [slice(None)] * 3
        step[2 - axis] = slice(first, end)
        corner = np.zeros(3)
        corner[axis] = first
        size = list(frame.size)
        size[axis] = end - first
        shifted = Frame(
            size=size, spacing=frame.spacing, origin=frame.index_to_world(corner), direction=frame.direction
        )
        return Volume(self.voxels[tuple(step)], shifted)

    def averaged(self, counts: tuple[int, int, int]) -> Volume:
        """The means of blocks of `counts` voxels along x, y, z, as a coarser scanner sees it.

        What is left over at the far ends is cut off.

        Raises:
            ValueError: if there are fewer voxels along an axis.
        """
        frame, block = self.frame, np.array(counts)
        size = np.array(frame.size) // block
        x, y, z = size * block
        parted = self.voxels[:z, :y, :x].reshape(np.column_stack([size, block])[::-1].ravel())
        coarser = Frame(
            size=size,
            spacing=frame.spacing * block,
            origin=frame.index_to_world((block - 1) / 2),
            direction=frame.direction,
        )
        return Volume(parted.mean(axis=(1, 3, 5), dtype=np.float32), coarser)


def read_volume(path: Path) -> Volume:
    """Read a 3D scalar scan: NIfTI, NRRD, MetaImage, a folder with one DICOM series, or a file of a series.

    Raises:
        InputError: if the file is missing, damaged, not 3D, not scalar, holds voxels that are complex or not
            finite, or does not say without contradiction where its voxels lie.
        MemoryError: if there is too little memory for it.
    """
    path = Path(path)
    if not is_there(path):
        raise InputError(f"{path}: there is no such file; check the path.")
    return _read_dicom(path) if path.is_dir() or is_dicom(path) else _read_file(path)


def volume_of_image(image: SimpleITK.Image, where: str) -> Volume:
    """A copy of a SimpleITK image with its voxels and its geometry, which is in mm.

    Args:
        image: 3D, one value per voxel.
        where: what the sentence of an error begins with.

    Raises:
        InputError: if it is not 3D, not scalar, or holds voxels that are complex or not finite.
    """
    return _volume_of(image, where)


def volume_of_array(
    array: ArrayLike, spacing: ArrayLike, origin: ArrayLike, direction: ArrayLike, where: str
) -> Volume:
    """An array and where its voxels lie, checked.

    Args:
        array: voxels [z, y, x], integers, floats or bools.
        spacing: distance between voxel centres along x, y, z, mm.
        origin: world LPS mm of the voxel [0, 0, 0].
        direction: 3 x 3 or its nine numbers row by row; column a is the world direction of voxel axis a (x,
            y, z), of length 1. The columns need not be at right angles.
        where: what the sentence of an error begins with.

    Raises:
        InputError: if the array is not 3D or holds no finite numbers, or the geometry makes no sense.
    """
    voxels = np.asarray(array)
    _check_size(voxels.shape[::-1], where)
    voxels = _usable(voxels, where)
    try:
        axes = np.asarray(direction, dtype=np.float64)
        frame = Frame(size=voxels.shape[::-1], spacing=spacing, origin=origin, direction=axes)
        lengths = np.linalg.norm(frame.direction, axis=0)
        if not np.allclose(lengths, 1.0, atol=_UNIT):
            raise ValueError(
                f"the columns of the direction matrix have the lengths {lengths.round(3).tolist()}"
            )
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: the geometry is not usable ({error}); give spacing and origin as three numbers each, "
            "along x, y, z in mm, and direction as 3 x 3 with columns of length 1."
        ) from error
    return Volume(voxels=voxels, frame=frame)


def checked_volume(volume: Volume, where: str) -> Volume:
    """A volume whose voxels are real, finite numbers, bools as 0 and 1.

    Args:
        volume: that somebody made.
        where: what the sentence of an error begins with.

    Raises:
        InputError: if it is no such volume.
    """
    _check_size(volume.frame.size, where)
    return Volume(_usable(volume.voxels, where), volume.frame)


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume; the suffix of `path` chooses the format. Compressed where the format allows it.

    Raises:
        InputError: if the suffix is none of `WRITABLE_SUFFIXES`, the folder cannot be written, or the format
            is NIfTI and the axes are not at right angles (SimpleITK would straighten them).
    """
    import SimpleITK as sitk

    path = Path(path)
    name = path.name.lower()
    if not name.endswith(WRITABLE_SUFFIXES):
        raise InputError(
            f"{path}: cannot write this kind of file; use one of {', '.join(WRITABLE_SUFFIXES)}."
        )
    if name.endswith((".nii", ".nii.gz")) and not volume.frame.has_right_angles:
        raise InputError(f"{path}: NIfTI cannot hold axes that are not at right angles; write .nrrd or .mha.")
    with replacing(path) as temporary:
        try:
            sitk.WriteImage(_to_image(volume), str(temporary), useCompression=True)
        except RuntimeError as error:
            raise _not_whole(path) from error
        _check_written(temporary, path)


def is_image_path(path: Path) -> bool:
    """Whether the name ends like an image file that can be read."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def image_stem(path: Path) -> str:
    """The file's name without its image suffix: `A/B.nii.gz` gives `B`."""
    name = path.name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk

    reading, kind = read_geometry(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    try:
        with _no_itk_warnings(), _readable(path, reading) as file:
            reader.SetFileName(str(file))
            image: SimpleITK.Image = reader.Execute()
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError(f"{path}: there is too little memory to read it") from error
        raise no_image(path) from error
    return _to_volume(image, reading, path)


def _read_dicom(path: Path) -> Volume:
    slices, frame = series_of(path).volume()
    with _no_itk_warnings():
        return Volume(read_voxels(slices), frame)


def _check_written(file: Path, path: Path) -> None:
    """Read what was written as far as to count its bytes: ITK says nothing of a full disk.

    Raises:
        InputError: if it is not whole.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        with _no_itk_warnings():
            reader.ReadImageInformation()
        read_geometry(file)
    except (RuntimeError, InputError) as error:
        raise _not_whole(path) from error


def _not_whole(path: Path) -> InputError:
    return InputError(
        f"Cannot write {path} (what is there is not whole; is the disk full?): make room, or choose another "
        "folder."
    )


@contextmanager
def _readable(path: Path, reading: Reading) -> Iterator[Path]:
    """A name under which ITK reads `path` alone, or what stands for it.

    Where `A.nii` lies beside `A.nii.gz`, ITK takes the header from the one and the voxels from the other.
    """
    twin = path.name.lower().endswith(".nii.gz") and path.with_suffix("").exists()
    if reading.substitute is None and not twin:
        yield path
        return
    with TemporaryDirectory() as folder:
        if reading.substitute is None:
            yield Path(shutil.copy(path, folder))
        else:
            name = path.name if path.suffix.lower() != ".gz" else path.name[: -len(path.suffix)]
            (Path(folder) / name).write_bytes(reading.substitute)
            yield Path(folder) / name


@contextmanager
def _no_itk_warnings() -> Iterator[None]:
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _to_volume(image: SimpleITK.Image, reading: Reading, path: Path) -> Volume:
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    return _volume_of(image, str(path), frame=reading.frame, millimetres=reading.millimetres)


def _volume_of(
    image: SimpleITK.Image, where: str, *, frame: Frame | None = None, millimetres: float = 1.0
) -> Volume:
    """An image whose geometry is `frame`, or else its own in a unit of so many millimetres."""
    import SimpleITK as sitk

    size = image.GetSize()
    _check_size(size, where)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{where}: the image has several values per voxel (colour?); give a grey-scale volume."
        )
    voxels = _usable(sitk.GetArrayFromImage(image), where)
    try:
        frame = frame or Frame(
            size=size,
            origin=np.array(image.GetOrigin()) * millimetres,
            spacing=np.array(image.GetSpacing()) * millimetres,
            direction=image.GetDirection(),
        )
    except ValueError as error:
        raise InputError(
            f"{where}: the image's geometry is not usable ({error}); correct its header."
        ) from error
    return Volume(voxels=voxels, frame=frame)


def _usable(voxels: NDArray[Any], where: str) -> NDArray[Any]:
    """Voxels as integers or floats; refuses those that are no real, finite numbers."""
    if voxels.dtype.kind == "c":
        raise InputError(f"{where}: the voxels are complex numbers; give a scan of their magnitudes.")
    if voxels.dtype.kind not in "biuf":
        raise InputError(f"{where}: the voxels are of the type {voxels.dtype}; give integers or floats.")
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(f"{where}: {NOT_FINITE}")
    return voxels.astype(np.uint8) if voxels.dtype == bool else voxels


def _check_size(size: Sequence[int], where: str) -> None:
    if len(size) != 3 or min(size) < 2:
        shown = " x ".join(map(str, size))
        raise InputError(f"{where}: the image is {shown} voxels, not a 3D volume; give a single 3D volume.")


def _to_image(volume: Volume) -> SimpleITK.Image:
    import SimpleITK as sitk

    voxels = volume.voxels.astype(np.uint8) if volume.voxels.dtype == bool else volume.voxels
    image = sitk.GetImageFromArray(voxels)
    _set_frame(image, volume.frame)
    return image


def _set_frame(image: SimpleITK.Image, frame: Frame) -> None:
    image.SetOrigin(frame.origin.tolist())
    image.SetSpacing(frame.spacing.tolist())
    image.SetDirection(frame.direction.ravel().tolist())

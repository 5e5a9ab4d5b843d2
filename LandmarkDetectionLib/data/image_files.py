"""What image libraries let pass in silence: files cut short, NaN, and voxel sizes of zero or less.

SimpleITK fills the missing half of a truncated NIfTI file with zeros, and its NaN too; it reads a voxel size
of zero as 1 and turns a negative one into a flipped axis. A scan that is wrong in one of these ways looks
like any other, so the file itself is looked at before it is read.

Sources: nifti1.h and nifti2.h (nifti.nimh.nih.gov), the NRRD definition
(teem.sourceforge.net/nrrd/format.html) and the MetaIO documentation.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from LandmarkDetectionLib.data.errors import InputError

NOT_FINITE = "the image has voxels that are NaN or infinite; replace them by a number."

_TEXT_HEADER_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 22
_DATA_FILE_FLAGS = re.MULTILINE | re.IGNORECASE | re.DOTALL


@dataclass(frozen=True)
class _Layout:
    """Where a NIfTI version keeps its fields: byte offset and struct format."""

    dim: tuple[int, str]
    datatype: tuple[int, str]
    bitpix: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]


_NIFTI = {
    348: _Layout(
        dim=(40, "8h"), datatype=(70, "h"), bitpix=(72, "h"), pixdim=(76, "8f"), vox_offset=(108, "f")
    ),
    540: _Layout(
        dim=(16, "8q"), datatype=(12, "h"), bitpix=(14, "h"), pixdim=(104, "8d"), vox_offset=(168, "q")
    ),
}
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's number for the type of a voxel


def files_of(path: Path) -> list[Path]:
    """All files that a scan consists of: itself, the voxels that its header names, a DICOM folder's."""
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.is_file())
    if not path.name.lower().endswith((".mhd", ".nhdr")):
        return [path]
    named = re.search(r"^(?:ElementDataFile\s*=|data ?file\s*:)(.*)\Z", _text_header(path), _DATA_FILE_FLAGS)
    first, *rest = [line.strip() for line in named[1].splitlines()] if named else [""]
    names = rest if first.upper().startswith("LIST") else _numbered(first)
    return [path, *(path.parent / name for name in names if name and _is_file(path.parent / name))]


def _numbered(name: str) -> list[str]:
    """The files of a header's `slice%03d.raw 1 50 1`, or the one file that it names."""
    pattern = re.fullmatch(r"(.*%\d*d.*?)\s+(-?\d+)\s+(-?\d+)(?:\s+([1-9]\d*))?(?:\s+\d+)?", name)
    if pattern is None:
        return [name]
    first, last, step = int(pattern[2]), int(pattern[3]), int(pattern[4] or 1)
    return [pattern[1] % number for number in range(first, last + 1, step)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long to be one
        return False


def check_file(path: Path) -> None:
    """Refuse an image file that is cut short or damaged, holds NaN, or whose voxels have no size.

    Raises:
        InputError: one sentence about the file.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            _check_nifti(path)
        elif name.endswith((".mha", ".mhd")):
            _check_spacing(path, _text_spacing(path, r"^ElementSpacing\s*=(.*)$"))
        elif name.endswith((".nrrd", ".nhdr")):
            _check_spacing(path, _text_spacing(path, r"^spacings\s*:(.*)$"))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the file is damaged or cut short; copy or export it again.") from error


def _check_nifti(path: Path) -> None:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with cast(BinaryIO, gzip.open(path)) if packed else path.open("rb") as stream:
        header = stream.read(max(_NIFTI))
        order = next((order for order in "<>" if _first_number(header, order) in _NIFTI), None)
        if order is None:
            return  # not NIfTI: the reader says so
        layout = _NIFTI[_first_number(header, order)]
        try:
            rank, *counts = _unpack(header, order, layout.dim)
            (datatype,) = _unpack(header, order, layout.datatype)
            (bits,) = _unpack(header, order, layout.bitpix)
            spacing = _unpack(header, order, layout.pixdim)[1:4]
            start = int(_unpack(header, order, layout.vox_offset)[0])
        except (struct.error, ValueError, OverflowError) as error:
            raise EOFError from error
        counts = [max(count, 1) for count in counts[:rank]]
        _check_spacing(path, [step for step, count in zip(spacing, counts, strict=False) if count > 1])
        stream.seek(max(start, 0))
        floats = np.dtype(order + _FLOATS[datatype]) if datatype in _FLOATS else None
        _check_voxels(path, stream, math.prod(counts) * bits // 8, floats)


def _check_voxels(path: Path, stream: BinaryIO, size: int, floats: np.dtype[np.floating] | None) -> None:
    """Read `size` bytes, and the rest of the file, for there gzip verifies its checksum."""
    while size > 0:
        chunk = stream.read(min(size, _CHUNK_BYTES))
        if len(chunk) < min(size, _CHUNK_BYTES):
            raise EOFError
        size -= len(chunk)
        if floats is not None and not np.isfinite(np.frombuffer(chunk, floats)).all():
            raise InputError(f"{path}: {NOT_FINITE}")
    while stream.read(_CHUNK_BYTES):
        pass


def _first_number(header: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "i", header.ljust(4, b"\0"))[0])


def _unpack(header: bytes, order: str, field: tuple[int, str]) -> tuple[Any, ...]:
    offset, kind = field
    return struct.unpack_from(order + kind, header, offset)


def _text_spacing(path: Path, line: str) -> list[float]:
    """The numbers of the header line that matches, none if there is no such line."""
    found = re.search(line, _text_header(path), re.MULTILINE)
    if not found:
        return []
    try:
        return [float(word) for word in found[1].split()]
    except ValueError:
        return [math.nan]


def _text_header(path: Path) -> str:
    """What stands before the first empty line."""
    with path.open("rb") as stream:
        header = stream.read(_TEXT_HEADER_BYTES).decode("latin-1")
    return re.split(r"\r?\n\r?\n", header)[0]


def _check_spacing(path: Path, spacing: list[float]) -> None:
    if not all(step > 0 and math.isfinite(step) for step in spacing):
        shown = " x ".join(f"{step:g}" for step in spacing)
        raise InputError(
            f"{path}: the voxel size in the header is {shown} mm; correct it, each must be positive."
        )

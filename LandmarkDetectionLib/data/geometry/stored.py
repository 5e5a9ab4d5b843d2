"""The bytes of an image file: are they all there, and not more than the header says?"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from LandmarkDetectionLib.data.errors import InputError

NOT_FINITE = "the image has voxels that are NaN or infinite; replace them by a number."

_CHUNK_BYTES = 1 << 22
_PADDING_BYTES = 1024
"""Writers may fill up the last block of a file."""


def open_maybe_packed(path: Path) -> BinaryIO:
    """The file's content, unpacked where gzip packed it, whatever its name says."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def count_bytes(path: Path, stream: BinaryIO, size: int, floats: np.dtype[np.floating] | None = None) -> None:
    """Read to the end of a stream, where gzip verifies its checksum.

    Args:
        path: the file, for the sentence.
        stream: stands at the first voxel.
        size: bytes of all voxels by the header.
        floats: the type of the voxels, if they may be NaN.

    Raises:
        EOFError: if there are fewer bytes.
        InputError: if there are more, or voxels are not finite.
    """
    left = size
    while left > 0:
        chunk = stream.read(min(left, _CHUNK_BYTES))
        if len(chunk) < min(left, _CHUNK_BYTES):
            raise EOFError
        left -= len(chunk)
        if floats is not None and not np.isfinite(np.frombuffer(chunk, floats)).all():
            raise InputError(f"{path}: {NOT_FINITE}")
    excess = 0
    while chunk := stream.read(_CHUNK_BYTES):
        excess += len(chunk)
    check_excess(path, size, size + excess)


def check_excess(path: Path, size: int, there: int) -> None:
    """Refuse a file that holds more voxels than its header says.

    Raises:
        InputError: then.
    """
    if there > size + _PADDING_BYTES:
        raise InputError(
            f"{path}: by the header the voxels take {size} bytes and the file has {there}: the header is not "
            "of this image; export it again."
        )

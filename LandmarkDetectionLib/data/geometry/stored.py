"""The bytes of an image file: are they all there, and not more than the header says?"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from LandmarkDetectionLib.data.errors import InputError

NOT_FINITE = "the image has voxels that are NaN or infinite; replace them by a number."

_WHOLE = re.compile(r"[0-9]{1,18}")
_CHUNK_BYTES = 1 << 22
_HEADER_CHUNK_BYTES = 1 << 16
_MOST_HEADER_BYTES = 1 << 24


def no_image(path: Path) -> InputError:
    """The error for a file that is not of the kind that its name says. ITK, asked about it, may crash."""
    return InputError(
        f"{path}: cannot be read as an image (damaged, cut short or of another kind); copy or export it "
        "again as NIfTI, NRRD or MetaImage."
    )


def open_maybe_packed(path: Path) -> BinaryIO:
    """The file's content, unpacked where gzip packed it, whatever its name says."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def read_header(path: Path, end: re.Pattern[bytes]) -> bytes:
    """A file up to the end of the first match; up to 16 MiB of it where there is none."""
    content = b""
    with path.open("rb") as stream:
        while len(content) < _MOST_HEADER_BYTES and (chunk := stream.read(_HEADER_CHUNK_BYTES)):
            content += chunk
            if found := end.search(content):
                return content[: found.end()]
    return content


def data_files(path: Path, named: str, listed: str) -> list[Path]:
    """The files that a header names for its voxels.

    Args:
        path: the header.
        named: the file, a pattern with its numbers as in 'slice%03d.raw 1 50 1', or LIST.
        listed: what follows the header, the files where it says LIST.
    """
    names = listed.splitlines() if named.upper().split()[:1] == ["LIST"] else _numbered(named)
    return [path.parent / name.strip() for name in names if name.strip()]


def _numbered(name: str) -> list[str]:
    """The files of a pattern, or the one file that it names."""
    pattern = re.fullmatch(r"(.*%\d*d.*?)\s+(-?\d+)\s+(-?\d+)(?:\s+(-?[1-9]\d*))?(?:\s+\d+)?", name)
    if pattern is None:
        return [name]
    first, last, step = int(pattern[2]), int(pattern[3]), int(pattern[4] or 1)
    end = last + (1 if step > 0 else -1)
    return [pattern[1] % number for number in range(first, end, step)]


def check_there(path: Path, files: Sequence[Path]) -> None:
    """Refuse a header whose voxels are not there.

    Raises:
        InputError: with the first file that is missing.
    """
    for file in files:
        if not is_file(file):
            raise InputError(
                f"{path}: its voxels are to be in {file.name}, which is not there; copy the two together."
            )


def whole_numbers(text: str) -> list[int]:
    """The words of a text that are whole numbers from 0, without those that no file can mean."""
    return [int(word) for word in text.split() if _WHOLE.fullmatch(word)]


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name too long to be one is none."""
    try:
        return path.is_file()
    except OSError:
        return False


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
    _check_excess(path, size, excess)


def check_raw(path: Path, files: Sequence[Path], first: int, size: int) -> None:
    """Hold the bytes of raw voxels against what the header says.

    Args:
        path: the image, for the sentence.
        files: those that the voxels are in.
        first: where they start in each of the files.
        size: bytes of all voxels by the header.

    Raises:
        EOFError: if there are fewer bytes.
        InputError: if there are more.
    """
    there = sum(max(file.stat().st_size - first, 0) for file in files)
    if there < size:
        raise EOFError
    _check_excess(path, size, there - size)


def _check_excess(path: Path, size: int, excess: int) -> None:
    """Bytes that nobody speaks of may lie before the voxels as well as behind, and move them all."""
    if excess:
        raise InputError(
            f"{path}: by the header the voxels take {size} bytes and {excess} bytes more are there: the "
            "header is not of this image or leaves out where in the file they start; export it again."
        )

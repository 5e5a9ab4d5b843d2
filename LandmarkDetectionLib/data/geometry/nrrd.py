"""NRRD: space, its directions and their unit, spacings, and the voxels that are there.

ITK takes millimetres whatever 'space units' says, 1 mm where no spacing stands, and axes without a named
space as if they were those of the body.

Source: the NRRD definition (teem.sourceforge.net/nrrd/format.html).
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.geometry.sources import (
    Reading,
    check_spacing,
    check_spacings_agree,
    millimetres_of,
)
from LandmarkDetectionLib.data.geometry.stored import (
    check_raw,
    check_there,
    count_bytes,
    data_files,
    no_image,
    read_header,
    whole_numbers,
)

_ANATOMICAL = re.compile(r"(left|right)-(posterior|anterior)-superior|lps|ras|las", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_STATEMENT = re.compile(rb"$|#|[^:]+(: |:=)")
_LONGEST_LINE = 1000
_UNSAID = re.compile(rb"\r?\n(?:encoding|data ?file|byte ?skip):[^\n]*", re.IGNORECASE)
"""What does not hold of voxels that stand unpacked behind their header."""
_VOXEL_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32"), 4),
    **dict.fromkeys(("uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "double": 8,
}
_UNPACKED: dict[str, Callable[..., Any]] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
}


def read_nrrd(path: Path) -> Reading:
    """Check an NRRD file; gives the unit of its lengths.

    Raises:
        InputError: if its statements contradict each other, or it states no orientation or voxel size.
        OSError, EOFError, zlib.error: if it is damaged or cut short.
    """
    header = _read(path)
    if header is None:
        raise no_image(path)
    _check_lines(header)
    fields = header.fields
    sizes = whole_numbers(fields.get("sizes", ""))
    spacings = _numbers(fields.get("spacings", ""))
    check_spacing(path, spacings if len(spacings) == 3 else [step for step in spacings if step == step])
    directions = _directions(path, fields)
    steps = np.linalg.norm(directions, axis=1)
    check_spacing(path, steps.tolist())
    if len(spacings) == len(sizes) == len(steps) == 3:
        check_spacings_agree(path, sizes, ("spacings", spacings), ("space directions", steps))
    substitute = _check_voxels(path, header, sizes)
    units = re.findall(r'"([^"]*)"', fields.get("space units", "")) or fields.get("space units", "").split()
    return Reading(millimetres=millimetres_of(path, "space units", units), substitute=substitute)


def voxel_files(path: Path) -> list[Path]:
    """The files in which the voxels are: `path` itself, or those that it names."""
    header = _read(path)
    return header.files if header is not None else [path]


@dataclass(frozen=True)
class _Header:
    """What stands before the voxels.

    Attributes:
        fields: by their names in small letters.
        content: all of it.
        files: in which the voxels are.
    """

    fields: dict[str, str]
    content: bytes
    files: list[Path]


def _read(path: Path) -> _Header | None:
    content = read_header(path, _END)
    if not content.startswith(b"NRRD"):
        return None
    text = _decoded(content)
    fields = {
        match[1].strip().lower(): match[2].strip()
        for match in re.finditer(r"^([^#:\n]+):(?!=)[ \t]*(.*)$", text, re.MULTILINE)
    }
    named = fields.get("data file", fields.get("datafile", ""))
    after = re.search(r"^data ?file:.*$", text, re.MULTILINE | re.IGNORECASE)
    listed = text[after.end() :] if after else ""
    return _Header(fields, content, data_files(path, named, listed) if named else [path])


def _check_lines(header: _Header) -> None:
    """Refuse what no NRRD header has: ITK writes beyond its memory where it complains of it.

    Raises:
        EOFError: then.
    """
    for line in header.content.splitlines()[1:]:
        statement = _STATEMENT.match(line)
        if statement is None or (statement[1] == b": " and len(line) > _LONGEST_LINE):
            raise EOFError
        if line.lower().startswith((b"data file:", b"datafile:")):
            break  # the files that are listed follow


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _directions(path: Path, fields: dict[str, str]) -> NDArray[np.float64]:
    """(n, 3) steps along the axes of space, in the header's unit."""
    space = fields.get("space", "")
    vectors = [_numbers(inside) for inside in re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))]
    if not (_ANATOMICAL.fullmatch(space) and vectors and all(len(vector) >= 3 for vector in vectors)):
        named = f"its space is '{space}'" if space else "it names no space"
        raise InputError(
            f"{path}: the header does not say how the scan lies in the body ({named}, and "
            f"{'has' if vectors else 'lacks'} space directions); save it with its orientation, "
            "as Slicer does."
        )
    return np.array([vector[:3] for vector in vectors])


def _check_voxels(path: Path, header: _Header, sizes: list[int]) -> bytes | None:
    """Count what is stored raw or packed; text, and lines to be skipped, are left to the reader.

    Gives the file with its voxels unpacked where they are packed with bzip2, which ITK does not unpack.
    """
    fields, files = header.fields, header.files
    check_there(path, files)
    voxel = _VOXEL_BYTES.get(fields.get("type", "").lower())
    encoding = fields.get("encoding", "").lower()
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    lines = fields.get("line skip", fields.get("lineskip", "0"))
    if voxel is None or not sizes or lines != "0" or not whole_numbers(skip):
        return None
    expected = math.prod(sizes) * voxel
    start = len(header.content) if files == [path] else 0
    if encoding == "raw":
        check_raw(path, files, start + int(skip), expected)
    elif encoding in _UNPACKED and len(files) == 1:
        with files[0].open("rb") as stream:
            stream.seek(start)
            with _UNPACKED[encoding](stream) as unpacked:
                unpacked.read(int(skip))
                count_bytes(path, unpacked, expected)
    if not encoding.startswith("bz") or len(files) != 1:
        return None
    voxels = bz2.decompress(files[0].read_bytes()[start:])[int(skip) :]
    return _UNSAID.sub(b"", header.content.rstrip()) + b"\nencoding: raw\n\n" + voxels


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in re.split(r"[\s,]+", text.strip()) if word]
    except ValueError:
        return [math.nan]

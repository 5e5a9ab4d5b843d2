"""MetaImage: spacing, unit, orientation, and the voxels that are there.

ITK takes 1 mm where no spacing stands and millimetres whatever the unit, and it unpacks a damaged or
unmeasured stream as far as it goes.

Source: the MetaIO documentation.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

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
    data_files,
    no_image,
    read_header,
    whole_numbers,
)

_KEYS = {
    "Offset": "Offset",
    "Position": "Offset",
    "Origin": "Offset",
    "TransformMatrix": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementSpacing": "ElementSpacing",
    "ElementSize": "ElementSize",
    "AnatomicalOrientation": "AnatomicalOrientation",
    "DistanceUnits": "DistanceUnits",
    "DimSize": "DimSize",
    "NDims": "NDims",
    "ElementType": "ElementType",
    "ElementNumberOfChannels": "ElementNumberOfChannels",
    "HeaderSize": "HeaderSize",
    "BinaryData": "BinaryData",
    "CompressedData": "CompressedData",
    "CompressedDataSize": "CompressedDataSize",
    "ElementDataFile": "ElementDataFile",
}
"""What this reader looks at, with its synonyms; readers tell capitals from small letters."""

_POWERS = {"Offset": 1, "TransformMatrix": 2, "ElementSpacing": 1, "ElementSize": 1}
"""A field has as many numbers as there are axes, or that squared."""

_VOXEL_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_FROM = ("RL", "AP", "IS")  # where an axis of the world, LPS, comes from, and where it leads
_PLAIN = 0.8  # the cosine from which an axis of the scan is one of the body
_MOST = 1e12
"""Of what is not a length or cosine of anything any more; ITK does not come to an end with them."""
_CHUNK_BYTES = 1 << 22
_END = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*?)[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


def read_metaimage(path: Path) -> Reading:
    """Check a MetaImage file; gives the unit of its lengths.

    Raises:
        InputError: if its statements contradict each other, or it states no voxel size or orientation.
        OSError, EOFError, zlib.error: if it is damaged or cut short.
    """
    content = read_header(path, _END)
    if not _END.search(content):
        raise no_image(path)
    fields = _fields(path, content)
    counts = whole_numbers(fields.get("DimSize", ""))
    if fields.get("NDims", "") != str(len(counts)) or len(counts) != len(fields["DimSize"].split()):
        raise EOFError
    stated = {
        key: _numbers(path, key, fields[key], len(counts) ** power)
        for key, power in _POWERS.items()
        if key in fields
    }
    _check_spacing(path, counts, stated.get("ElementSpacing"), stated.get("ElementSize"))
    if len(counts) == 3:
        _check_orientation(path, fields, stated.get("TransformMatrix"))
    substitute = _check_voxels(path, fields, counts, len(content))
    units = fields.get("DistanceUnits", "").split()
    return Reading(millimetres=millimetres_of(path, "DistanceUnits", units), substitute=substitute)


def voxel_files(path: Path) -> list[Path]:
    """The files in which the voxels are: `path` itself, or those that it names."""
    content = read_header(path, _END)
    found = _END.search(content)
    if found is None or found[1].upper() == b"LOCAL":
        return [path]
    listed = path.read_bytes()[len(content) :]
    return data_files(path, found[1].decode("utf-8", "replace"), listed.decode("utf-8", "replace"))


def _fields(path: Path, content: bytes) -> dict[str, str]:
    """The header by its keys, synonyms under one name.

    Raises:
        InputError: if one is there twice with different values, or spelt so that readers pass it over.
    """
    right = {key.lower(): key for key in _KEYS}
    fields: dict[str, str] = {}
    text = content.decode("utf-8", "replace")
    for match in re.finditer(r"^[ \t]*(\w+)[ \t]*[=:][ \t]*([^\r\n]*)", text, re.MULTILINE):
        written, value = match[1], match[2].strip()
        if written not in _KEYS and written.lower() in right:
            raise InputError(
                f"{path}: the header has {written}, which readers pass over; it is spelt "
                f"{right[written.lower()]}."
            )
        key = _KEYS.get(written, written)
        if key in _KEYS and key in fields and not _is_same(fields[key], value):
            raise InputError(
                f"{path}: the header has {written} twice, {fields[key]} and {value}; remove the wrong one."
            )
        fields[key] = value
    return fields


def _is_same(first: str, second: str) -> bool:
    """Whether two values are the same words or numbers."""
    try:
        return [float(word) for word in first.split()] == [float(word) for word in second.split()]
    except ValueError:
        return first.split() == second.split()


def _numbers(path: Path, key: str, text: str, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.array(text.split(), dtype=np.float64)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count or (np.abs(numbers) >= _MOST).any():
        raise InputError(
            f"{path}: {key} is '{text}', not {count} numbers with points before their decimals; correct it."
        )
    return numbers


def _check_spacing(
    path: Path,
    counts: Sequence[int],
    spacing: NDArray[np.float64] | None,
    size: NDArray[np.float64] | None,
) -> None:
    for lengths in (spacing, size):
        if lengths is not None:
            check_spacing(path, lengths.tolist())
    if spacing is None and size is None:
        raise InputError(
            f"{path}: the header does not say how large the voxels are (no ElementSpacing); add it."
        )
    if spacing is not None and size is not None:
        check_spacings_agree(path, counts, ("ElementSpacing", spacing), ("ElementSize", size))


def _check_orientation(path: Path, fields: dict[str, str], matrix: NDArray[np.float64] | None) -> None:
    """Hold the letters of AnatomicalOrientation, which come from or lead to, against the matrix."""
    letters = fields.get("AnatomicalOrientation", "").upper()
    has_letters = re.fullmatch(r"[RLAPIS]{3}", letters) is not None
    if matrix is None and not has_letters:
        raise InputError(
            f"{path}: the header does not say how the scan lies, so left and right are not known (it has no "
            "TransformMatrix); save it with its orientation, as Slicer does."
        )
    if not has_letters:
        return
    matrix = np.eye(3) if matrix is None else matrix
    axes = matrix.reshape(3, 3)  # row a is the direction of axis a
    main = np.abs(axes).argmax(axis=1)
    cosines = axes[range(3), main]
    if (np.abs(cosines) < _PLAIN * np.linalg.norm(axes, axis=1)).any():
        return
    coming = "".join(_FROM[axis][int(cosine < 0)] for axis, cosine in zip(main, cosines, strict=True))
    leading = "".join(_FROM[axis][int(cosine > 0)] for axis, cosine in zip(main, cosines, strict=True))
    if letters not in (coming, leading):
        raise InputError(
            f"{path}: AnatomicalOrientation says {letters} and TransformMatrix {coming}; find out which is "
            "right and correct the other."
        )


def _check_voxels(path: Path, fields: dict[str, str], counts: Sequence[int], header: int) -> bytes | None:
    """Count the voxels; gives the file with its sizes stated where ITK needs them and the header has none."""
    voxel = _VOXEL_BYTES.get(fields.get("ElementType", "").upper())
    if voxel is None or not counts or fields.get("BinaryData", "true").lower() in ("false", "f", "0"):
        return None
    channels = whole_numbers(fields.get("ElementNumberOfChannels", "1"))
    if len(channels) != 1:
        raise EOFError
    expected = math.prod(counts) * voxel * channels[0]
    files = voxel_files(path)
    check_there(path, files)
    local = files == [path]
    if fields.get("CompressedData", "false").lower() not in ("true", "t", "1"):
        skip = fields.get("HeaderSize", "0")
        if skip == "-1" and not local:
            return None  # the voxels are the last bytes, which ITK counts
        if not whole_numbers(skip) or (local and skip != "0"):
            raise InputError(
                f"{path}: HeaderSize is '{skip}', not the bytes before the voxels in a file of their own; "
                "correct it."
            )
        check_raw(path, files, header if local else int(skip), expected)
        return None
    if len(files) != 1:
        raise EOFError
    said = fields.get("CompressedDataSize", "")
    stated = next(iter(whole_numbers(said)), None)
    packed = _unpack(files[0], header if local else 0, stated, expected)
    if stated == packed:
        return None
    if not local:
        raise InputError(f"{path}: the header has no CompressedDataSize; it is {packed}, add it.")
    content = path.read_bytes()
    lines = re.sub(rb"(?mi)^[ \t]*CompressedDataSize[^\n]*\n", b"", content[:header])
    size = b"CompressedDataSize = %d\n" % packed
    lines = re.sub(rb"(?mi)^([ \t]*ElementDataFile)", lambda match: size + match[1], lines)
    return lines + content[header:]


def _unpack(file: Path, first: int, stated: int | None, expected: int) -> int:
    """Unpack a stream to its end, where zlib verifies its checksum; gives the bytes that it takes.

    Raises:
        EOFError, zlib.error: if it is damaged or holds another number of bytes than `expected`.
    """
    unpacker, unpacked, taken = zlib.decompressobj(wbits=47), 0, 0
    left = stated if stated else file.stat().st_size - first
    with file.open("rb") as stream:
        stream.seek(first)
        while left > 0 and not unpacker.eof:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            taken += len(chunk)
            unpacked += len(unpacker.decompress(chunk))
    if not unpacker.eof or unpacked != expected:
        raise EOFError
    return taken - len(unpacker.unused_data)

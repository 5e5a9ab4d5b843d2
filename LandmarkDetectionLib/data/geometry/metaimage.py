"""MetaImage: spacing, unit, orientation, and the voxels that are there.

ITK takes 1 mm where no spacing stands and millimetres whatever the unit, and it unpacks a damaged or
unmeasured stream as far as it goes.

Source: the MetaIO documentation.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.geometry.sources import Reading, check_spacing, millimetres_of
from LandmarkDetectionLib.data.geometry.stored import check_excess
from LandmarkDetectionLib.data.image_files import files_of

_SYNONYMS = {"rotation": "transformmatrix", "orientation": "transformmatrix", "position": "offset"} | {
    "origin": "offset"
}
_VOXEL_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_FROM = ("RL", "AP", "IS")  # where an axis of the world, LPS, comes from, and where it leads
_PLAIN = 0.8  # the cosine from which an axis of the scan is one of the body
_HEADER_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 22


def read_metaimage(path: Path) -> Reading:
    """Check a MetaImage file; gives the unit of its lengths.

    Raises:
        InputError: if its statements contradict each other, or it states no voxel size.
        OSError, EOFError, zlib.error: if it is damaged or cut short.
    """
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    end = re.search(rb"^[ \t]*ElementDataFile\s*=[^\n]*(\n|\Z)", start, re.MULTILINE | re.IGNORECASE)
    if end is None:
        return Reading()  # another format: the reader says so
    fields = _fields(path, start[: end.end()].decode("latin-1"))
    spacing = fields.get("elementspacing", fields.get("elementsize"))
    if spacing is None:
        raise InputError(
            f"{path}: the header does not say how large the voxels are (no ElementSpacing); add it."
        )
    check_spacing(path, _numbers(spacing))
    _check_orientation(path, fields)
    substitute = _check_voxels(path, fields, end.end())
    units = fields.get("distanceunits", "").split()
    return Reading(millimetres=millimetres_of(path, "DistanceUnits", units), substitute=substitute)


def _fields(path: Path, header: str) -> dict[str, str]:
    """The header by its keys in small letters, synonyms under one name."""
    fields: dict[str, str] = {}
    for match in re.finditer(r"^[ \t]*(\w+)[ \t]*=[ \t]*([^\r\n]*)", header, re.MULTILINE):
        key, value = match[1].lower(), match[2].strip()
        key = _SYNONYMS.get(key, key)
        if _numbers(fields.get(key, value)) != _numbers(value) and key in ("transformmatrix", "offset"):
            raise InputError(
                f"{path}: the header has {match[1]} twice, {fields[key]} and {value}; remove the wrong one."
            )
        fields[key] = value
    return fields


def _check_orientation(path: Path, fields: dict[str, str]) -> None:
    """Hold the letters of AnatomicalOrientation, which come from or lead to, against the matrix."""
    letters = fields.get("anatomicalorientation", "").upper()
    matrix = np.array(_numbers(fields.get("transformmatrix", "1 0 0 0 1 0 0 0 1")))
    if matrix.size != 9 or not np.isfinite(matrix).all() or not re.fullmatch(r"[RLAPIS]{3}", letters):
        return
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


def _check_voxels(path: Path, fields: dict[str, str], header: int) -> bytes | None:
    """Count the voxels; gives the file with its sizes stated where ITK needs them and the header has none."""
    counts = [int(word) for word in fields.get("dimsize", "").split() if word.isdigit()]
    voxel = _VOXEL_BYTES.get(fields.get("elementtype", "").upper())
    if voxel is None or not counts or fields.get("binarydata", "true").lower() in ("false", "f", "0"):
        return None
    channels = fields.get("elementnumberofchannels", "1")
    expected = math.prod(counts) * voxel * (int(channels) if channels.isdigit() else 1)
    files = files_of(path)
    local = fields["elementdatafile"].upper() == "LOCAL"
    first = header if local else 0
    parts = files[:1] if local else files[1:]
    if fields.get("compresseddata", "false").lower() not in ("true", "t", "1"):
        skip = int(fields.get("headersize", "0").lstrip("+") or 0) if not local else 0
        there = sum(part.stat().st_size for part in parts) - first - max(skip, 0) * len(parts)
        if there < expected:
            raise EOFError
        if skip == 0:
            check_excess(path, expected, there)
        return None
    if len(parts) != 1:
        raise EOFError
    stated = int(fields["compresseddatasize"]) if fields.get("compresseddatasize", "").isdigit() else None
    packed = _unpack(parts[0], first, stated, expected)
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


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return [math.nan]

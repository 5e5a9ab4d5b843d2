"""NIfTI-1 and -2: sform, qform, voxel size and unit.

ITK believes one of sform and qform, whatever the other says, and refuses a sheared one (a tilted gantry as
dcm2niix writes it) only where nothing else is there. A file without either does not say which side is left.

Sources: nifti1.h and nifti2.h (nifti.nimh.nih.gov).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.geometry.sources import (
    Reading,
    check_agreement,
    check_spacing,
    check_spacings_agree,
    frame_of_matrix,
)
from LandmarkDetectionLib.data.geometry.stored import count_bytes, no_image, open_maybe_packed

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the number in xyzt_units; 0: not said
_VOXEL_BYTES = {
    2: 1,
    4: 2,
    8: 4,
    16: 4,
    32: 8,
    64: 8,
    128: 3,
    256: 1,
    512: 2,
    768: 4,
    1024: 8,
    1280: 8,
    1536: 16,
    1792: 16,
    2048: 32,
    2304: 4,
}  # by NIfTI's number for the type of a voxel
_ROUNDING = 1e-5  # of what single precision makes of a spacing in three numbers; pixdim has it in one
_FLOATS = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class _Layout:
    """Where a NIfTI version keeps its fields: byte offset and struct format."""

    magic: tuple[int, str]
    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    bitpix: tuple[int, str]
    vox_offset: tuple[int, str]
    scale: tuple[int, str]  # slope and intercept
    units: tuple[int, str]
    codes: tuple[tuple[int, str], tuple[int, str]]  # of qform and sform
    quaternion: tuple[int, str]  # b, c, d and the offset
    sform: tuple[int, str]
    start: bytes
    end: int


_LAYOUTS = {
    348: _Layout(
        magic=(344, "4s"),
        dim=(40, "8h"),
        datatype=(70, "h"),
        pixdim=(76, "8f"),
        bitpix=(72, "h"),
        vox_offset=(108, "f"),
        scale=(112, "2f"),
        units=(123, "B"),
        codes=((252, "h"), (254, "h")),
        quaternion=(256, "6f"),
        sform=(280, "12f"),
        start=b"n+1\0",
        end=352,
    ),
    540: _Layout(
        magic=(4, "4s"),
        dim=(16, "8q"),
        datatype=(12, "h"),
        pixdim=(104, "8d"),
        bitpix=(14, "h"),
        vox_offset=(168, "q"),
        scale=(176, "2d"),
        units=(500, "i"),
        codes=((344, "i"), (348, "i")),
        quaternion=(352, "6d"),
        sform=(400, "12d"),
        start=b"n+2\0",
        end=544,
    ),
}


@dataclass(frozen=True)
class _Header:
    """The fields of a header that matter here, lengths in mm; `start` of the voxels, which may be unsaid."""

    size: tuple[int, ...]
    datatype: int
    start: int
    states_start: bool
    spacing: NDArray[np.float64]
    qform: NDArray[np.float64] | None
    sform: NDArray[np.float64] | None


def read_nifti(path: Path) -> Reading:
    """Check a NIfTI file; gives the frame that it states.

    Raises:
        InputError: if its statements contradict each other, or it states no orientation.
        OSError, EOFError, zlib.error: if it is damaged or cut short.
    """
    with open_maybe_packed(path) as stream:
        raw = stream.read(max(_LAYOUTS))
        order = next((order for order in "<>" if _first_number(raw, order) in _LAYOUTS), None)
        if order is None:
            raise no_image(path)
        layout = _LAYOUTS[_first_number(raw, order)]
        try:
            header = _parse(path, raw, order, layout)
            stream.seek(header.start)
        except InputError:
            raise
        except (struct.error, ValueError, OverflowError) as error:
            raise EOFError from error
        if header.datatype not in _VOXEL_BYTES:
            raise InputError(
                f"{path}: NIfTI voxels of type {header.datatype} (binary?) cannot be read; save the image "
                "with numbers of 8 or 16 bits."
            )
        floats = np.dtype(order + _FLOATS[header.datatype]) if header.datatype in _FLOATS else None
        count_bytes(path, stream, math.prod(header.size) * _VOXEL_BYTES[header.datatype], floats)
    if len(header.size) < 3:
        return Reading()  # not 3D: the reader says so
    frame = _frame(path, header)
    readable = frame.has_right_angles and layout is _LAYOUTS[348] and header.states_start
    return Reading(frame, substitute=None if readable else _plain(path, order, layout, header.start))


def _parse(path: Path, raw: bytes, order: str, layout: _Layout) -> _Header:
    def field(place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + place[1], raw, place[0])

    if field(layout.magic)[0] != layout.start:
        raise InputError(
            f"{path}: the header is that of Analyze 7.5 or of a pair of files, which does not say how the "
            "scan lies; save it as one NIfTI file."
        )
    rank, *counts = field(layout.dim)
    size = tuple(max(int(count), 1) for count in counts[:rank])
    unit = field(layout.units)[0] & 7
    if unit not in _MILLIMETRES:
        raise InputError(
            f"{path}: xyzt_units has no unit of length (its number is {unit}); save the image in mm."
        )
    millimetres = _MILLIMETRES[unit]
    handedness, *steps = field(layout.pixdim)[:4]
    check_spacing(path, [step for step, count in zip(steps, size, strict=False) if count > 1])
    spacing = np.array([step if step > 0 and math.isfinite(step) else 1.0 for step in steps])
    qform_code, sform_code = (field(place)[0] for place in layout.codes)
    numbers = np.array(field(layout.quaternion))
    qform = _qform(numbers, spacing, -1.0 if handedness < 0 else 1.0) if qform_code > 0 else None
    sform = np.array(field(layout.sform)).reshape(3, 4) if sform_code > 0 else None
    scaled = [None if form is None else form * millimetres for form in (qform, sform)]
    start = int(field(layout.vox_offset)[0])
    if start and start < layout.end:
        raise InputError(
            f"{path}: vox_offset is {start}, where the header ends at {layout.end}; save the image again."
        )
    return _Header(
        size, field(layout.datatype)[0], start or layout.end, bool(start), spacing * millimetres, *scaled
    )


def _qform(
    numbers: NDArray[np.float64], spacing: NDArray[np.float64], handedness: float
) -> NDArray[np.float64]:
    """(3, 4) from voxel index to RAS, in the header's unit."""
    b, c, d = numbers[:3] / max(1.0, float(np.linalg.norm(numbers[:3])))
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    return np.column_stack([rotation * spacing * (1, 1, handedness), numbers[3:]])


def _frame(path: Path, header: _Header) -> Frame:
    """The frame of the sform, of the qform where there is none; both and the voxel size agree."""
    size = header.size[:3]
    frames = {}
    for name, form in (("sform", header.sform), ("qform", header.qform)):
        if form is not None:
            try:
                frames[name] = frame_of_matrix(size, _RAS_TO_LPS @ form[:, :3], _RAS_TO_LPS @ form[:, 3])
            except ValueError as error:
                raise InputError(
                    f"{path}: the {name} in the header is not a geometry ({error}); correct it."
                ) from error
    if not frames:
        raise InputError(
            f"{path}: the header does not say how the scan lies, so left and right are not known (qform_code "
            "and sform_code are 0); save it with its orientation, as Slicer does."
        )
    if len(frames) == 2:
        check_agreement(path, ("sform", frames["sform"]), ("qform", frames["qform"]))
    frame = next(iter(frames.values()))
    check_spacings_agree(path, size, ("pixdim", header.spacing), (next(iter(frames)), frame.spacing))
    if not np.allclose(frame.spacing, header.spacing, rtol=_ROUNDING, atol=0):
        return frame
    return Frame(size=size, origin=frame.origin, spacing=header.spacing, direction=frame.direction)


def _plain(path: Path, order: str, layout: _Layout, start: int) -> bytes:
    """The voxels as NIfTI-1 without orientation: ITK reads neither NIfTI-2 nor axes not at right angles."""
    with open_maybe_packed(path) as stream:
        content = stream.read()
    header = bytearray(348 + 4)
    struct.pack_into(order + "i", header, 0, 348)
    for field in ("dim", "datatype", "bitpix", "scale"):
        offset, kind = getattr(layout, field)
        place, written = getattr(_LAYOUTS[348], field)
        struct.pack_into(order + written, header, place, *struct.unpack_from(order + kind, content, offset))
    for (place, kind), values in (
        (_LAYOUTS[348].pixdim, [1.0] * 8),
        (_LAYOUTS[348].vox_offset, [len(header)]),
        (_LAYOUTS[348].codes[0], [1]),
        (_LAYOUTS[348].magic, [b"n+1"]),
    ):
        struct.pack_into(order + kind, header, place, *values)
    return bytes(header) + content[start:]


def _first_number(header: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "i", header.ljust(4, b"\0"))[0])

"""What the panel asks and the worker answers: one message a line, in JSON.

The panel writes requests to the worker's standard input, the worker writes events to its standard output.
When its input ends, because the panel closed it or is gone, the worker ends.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from LandmarkDetectionLib.data.digests import NO_SCAN, ScanIdentity
from LandmarkDetectionLib.data.files import parse_json
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.worker.shared_volume import SharedVolume

FailureKind = Literal["out of memory", "model", "volume", "device", "cancelled", "fault"]


@dataclass(frozen=True)
class Detect:
    """Request: find the landmarks of a model in a scan.

    Attributes:
        number: of the request; its events carry it.
        model: the bundle's folder.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        scan: voxels that both processes map, or the path of an image or a DICOM folder.
    """

    number: int
    model: Path
    device: str
    scan: SharedVolume | Path


@dataclass(frozen=True)
class Cancel:
    """Request: stop the detection with this number, or do not start it."""

    number: int


@dataclass(frozen=True)
class Ready:
    """Event: the worker has started.

    Attributes:
        devices: identifier and name of each, the CPU last.
        process: its identifier for the operating system; a launcher that started it has another.
    """

    devices: tuple[tuple[str, str], ...]
    process: int


@dataclass(frozen=True)
class Progress:
    """Event: how far a detection is.

    Attributes:
        number: of the request.
        stage: what is being done.
        fraction: of the stage, 0 to 1.
        seconds_left: of the stage; None while it cannot be told.
    """

    number: int
    stage: str
    fraction: float
    seconds_left: float | None


@dataclass(frozen=True)
class Notice:
    """Event: something about a detection that a person should know, in one sentence."""

    number: int
    text: str


@dataclass(frozen=True)
class Result:
    """Event: the end of a detection that succeeded.

    Attributes:
        number: of the request.
        detections: one per landmark of the model.
        seconds: that the detection took.
        device: where it ran in the end.
        warnings: what a person should know of the result, a sentence each.
        scan: the identity of the scan that was read; empty for voxels that both processes map.
    """

    number: int
    detections: tuple[Detection, ...]
    seconds: float
    device: str
    warnings: tuple[str, ...] = ()
    scan: ScanIdentity = NO_SCAN


@dataclass(frozen=True)
class Failure:
    """Event: the end of a detection that did not succeed.

    Attributes:
        number: of the request.
        kind: what was wrong.
        text: one sentence: what, where, what to do.
        details: a traceback where the fault is ours, otherwise ''.
    """

    number: int
    kind: FailureKind
    text: str
    details: str = ""


Request = Detect | Cancel
Event = Ready | Progress | Notice | Result | Failure
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*get_args(Request), *get_args(Event))}


def encode(message: Request | Event) -> str:
    """One line, with its end."""
    fields = {"message": type(message).__name__, **vars(message)}
    return json.dumps(fields, default=_plain, allow_nan=False) + "\n"


def decode(line: str) -> Request | Event:
    """The message of a line.

    Raises:
        ValueError: if the line is no message.
    """
    try:
        fields = parse_json(line)
        kind = _KINDS[fields.pop("message")]
        if "number" in fields and type(fields["number"]) is not int:
            raise TypeError("the number of a request is none")
        if kind is Detect:
            fields["device"] = str(fields["device"])
            scan = fields["scan"]
            fields["model"] = Path(fields["model"])
            fields["scan"] = Path(scan) if isinstance(scan, str) else SharedVolume.from_numbers(scan)
        elif kind is Result:
            fields["detections"] = tuple(map(_detection, fields["detections"]))
            fields["warnings"] = tuple(fields["warnings"])
            fields["scan"] = ScanIdentity(*fields["scan"])
        elif kind is Ready:
            fields["devices"] = tuple(map(tuple, fields["devices"]))
        message: Request | Event = kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a message: {line[:200]!r}") from error
    return message


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SharedVolume):
        return value.as_numbers()
    if isinstance(value, Detection):
        return {
            "name": value.name,
            "position": value.position.tolist() if value.present else None,
            "status": value.status,
            "confidence": value.confidence,
            "radius_mm": None if math.isnan(value.radius_mm) else value.radius_mm,
        }
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _detection(fields: dict[str, Any]) -> Detection:
    position, radius = fields["position"], fields["radius_mm"]
    return Detection(
        name=fields["name"],
        position=np.full(3, np.nan) if position is None else np.array(position),
        status=fields["status"],
        confidence=fields["confidence"],
        radius_mm=math.nan if radius is None else radius,
    )

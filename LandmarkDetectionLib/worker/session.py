"""What the worker does with a request: load the model, detect, and tell how it went."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from LandmarkDetectionLib.data.digests import NO_SCAN, unchanged
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.detector import Detector, load_detector
from LandmarkDetectionLib.detection.devices import is_out_of_memory, resolve_device
from LandmarkDetectionLib.detection.doubts import doubts
from LandmarkDetectionLib.detection.memory import TOO_LITTLE_MEMORY, detect_within_memory
from LandmarkDetectionLib.model.bundle import DESCRIPTION_FILE
from LandmarkDetectionLib.worker.protocol import (
    Detect,
    Event,
    Failure,
    FailureKind,
    Notice,
    Progress,
    Result,
)
from LandmarkDetectionLib.worker.shared_volume import SharedVolume

Say = Callable[[Event], None]
_CPU = torch.device("cpu")


class _FailedError(Exception):
    """A detection cannot go on; `kind` and the sentence are for the panel."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Session:
    """Detects, one request after the other, and keeps the last model ready.

    Args:
        say: tells the panel of an event; called from the thread that detects.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._kept: tuple[tuple[Path, int, torch.device], Detector] | None = None
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()

    def cancel(self, number: int) -> None:
        """Stop a detection at its next step, or before it starts; may be called from another thread."""
        with self._lock:
            self._cancelled.add(number)

    def detect(self, request: Detect) -> None:
        """Detect and say how it ended: with a `Result` or a `Failure`, never with an exception."""
        try:
            event: Event = self._detect(request)
        except _FailedError as error:
            event = Failure(request.number, error.kind, str(error))
        except Exception as error:  # the border of the process: the panel shows it, the worker lives on
            event = _failure(request, error)
        self._say(event)

    def _detect(self, request: Detect) -> Result:
        start = time.perf_counter()
        self._stop_if_cancelled(request.number)
        device = _device_of(request)
        try:
            with unchanged(request.scan) if isinstance(request.scan, Path) else nullcontext(NO_SCAN) as scan:
                volume = _volume_of(request)
                detector = self._detector(request, device)
                detections, device = detect_within_memory(
                    detector,
                    volume,
                    on_cpu=lambda: self._detector(request, _CPU),
                    notice=lambda text: self._say(Notice(request.number, text)),
                    progress=self._reporter(request.number),
                )
        except InputError as error:
            raise _FailedError("volume", str(error)) from error
        warnings = doubts(detections, detector.bundle, volume)
        return Result(request.number, detections, time.perf_counter() - start, str(device), warnings, scan)

    def _detector(self, request: Detect, device: torch.device) -> Detector:
        """The detector of a model, loaded if it is not the one that is kept, or has changed since."""
        try:
            description = request.model / DESCRIPTION_FILE
            written = description.stat().st_mtime_ns if description.is_file() else 0
            key = request.model, written, device
            if self._kept is None or self._kept[0] != key:
                self._kept = None
                self._kept = key, load_detector(request.model, device)
        except InputError as error:
            raise _FailedError("model", str(error)) from error
        return self._kept[1]

    def _reporter(self, number: int) -> Callable[[str, float], None]:
        """Progress with the time left in each stage; raises when the request has been cancelled."""
        current, start = "", time.perf_counter()

        def report(stage: str, fraction: float) -> None:
            nonlocal current, start
            self._stop_if_cancelled(number)
            now = time.perf_counter()
            if stage != current:
                current, start = stage, now
            left = (now - start) * (1 - fraction) / fraction if fraction > 0 and now > start else None
            self._say(Progress(number, stage, fraction, left))

        return report

    def _stop_if_cancelled(self, number: int) -> None:
        with self._lock:
            cancelled = number in self._cancelled
        if cancelled:
            raise _FailedError("cancelled", "The detection was cancelled.")


def _failure(request: Detect, error: Exception) -> Failure:
    """The end of a detection in which something went wrong that nobody has foreseen, or memory ran out."""
    if is_out_of_memory(error):
        text = TOO_LITTLE_MEMORY[0].upper() + TOO_LITTLE_MEMORY[1:]
        return Failure(request.number, "out of memory", text)
    return Failure(
        request.number,
        "fault",
        f"The detection failed ({error}): please report it with the details in the log.",
        "".join(traceback.format_exception(error)),
    )


def _device_of(request: Detect) -> torch.device:
    try:
        return resolve_device(request.device)
    except InputError as error:
        raise _FailedError("device", f"The device {error}") from error


def _volume_of(request: Detect) -> Volume:
    try:
        return request.scan.open() if isinstance(request.scan, SharedVolume) else read_volume(request.scan)
    except (OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise _FailedError(
            "volume", f"The scan cannot be read ({error}): make room on the disk and detect again."
        ) from error

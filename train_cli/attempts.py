"""Detecting in one case, wherever that runs: what was found in it, or why it failed."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from LandmarkDetectionLib.data.errors import InputError

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.data.digests import ScanIdentity
    from LandmarkDetectionLib.data.volume import Volume
    from LandmarkDetectionLib.detection.detector import Detector
    from LandmarkDetectionLib.detection.progress import Progress
    from LandmarkDetectionLib.detection.reading import ScanInMemory
    from LandmarkDetectionLib.detection.results import CaseDetections

_OUR_FAULT = (
    "the detection failed by a fault of train_cli, not of your data; please report it with the lines above."
)


@dataclass(frozen=True)
class Found:
    """What was found in a case, with all that `ResultsFolder.keep` wants to know.

    Attributes:
        result: the detections.
        scan: the identity of what it was found in.
        seconds: that reading and detecting took.
        warnings: what a person should know of the result, a sentence each.
        picture: the content of a PNG file, if one was asked for.
    """

    result: CaseDetections
    scan: ScanIdentity
    seconds: float
    warnings: tuple[str, ...]
    picture: bytes | None = None


@dataclass(frozen=True)
class Failed:
    """Why nothing was found in a case.

    Attributes:
        reason: in one sentence, with the scan's path.
        trace: the traceback of a fault of the program; '' where it is none.
    """

    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Attempts:
    """Detects in one case after the other; what goes wrong in one is given, not raised.

    Attributes:
        detector: with what.
        model: the folder of its bundle.
        pictures: whether to draw one of each case.
        anonymous: whether a traceback must not say where a scan lies.
    """

    detector: Detector
    model: Path
    pictures: bool = False
    anonymous: bool = False

    def detect(
        self,
        case: Case,
        read: Callable[[], ScanInMemory],
        *,
        notice: Callable[[str], None],
        progress: Progress,
    ) -> Found | Failed:
        """Detect in a case.

        Args:
            case: which.
            read: gives its scan.
            notice: takes a sentence about each further try with less memory.
            progress: as for `Detector.detect`.
        """
        try:
            return self._found(case, read(), notice, progress)
        except Exception as error:  # the border of a case: whatever fails in it, the others go on
            return failure(error, case, anonymous=self.anonymous)

    def _found(
        self, case: Case, scan: ScanInMemory, notice: Callable[[str], None], progress: Progress
    ) -> Found:
        import torch

        from LandmarkDetectionLib.data.digests import refuse_changed
        from LandmarkDetectionLib.detection.detector import load_detector
        from LandmarkDetectionLib.detection.doubts import doubts
        from LandmarkDetectionLib.detection.memory import detect_within_memory
        from LandmarkDetectionLib.detection.results import CaseDetections

        start = time.perf_counter()
        detections, _ = detect_within_memory(
            self.detector,
            scan.volume,
            on_cpu=lambda: load_detector(self.model, torch.device("cpu")),
            notice=lambda text: notice(f"{case.name}: {text}"),
            progress=progress,
        )
        refuse_changed(scan.path, scan.identity)
        result = CaseDetections(case.name, detections)
        return Found(
            result,
            scan.identity,
            round(scan.seconds + time.perf_counter() - start, 3),
            doubts(detections, self.detector.bundle, scan.volume),
            _picture(scan.volume, result) if self.pictures else None,
        )


def failure(error: Exception, case: Case, *, anonymous: bool) -> Failed:
    """What a person is told of an error in a case: it says it itself, memory is lacking, or it is ours."""
    from LandmarkDetectionLib.detection.devices import is_out_of_memory
    from LandmarkDetectionLib.detection.memory import TOO_LITTLE_MEMORY

    if isinstance(error, InputError):
        return Failed(str(error))
    if is_out_of_memory(error):
        return Failed(f"{case.image_path}: {TOO_LITTLE_MEMORY}")
    lines = traceback.format_exception(error)
    if anonymous:  # the words of an error may say where the scan lies
        lines = [*traceback.format_tb(error.__traceback__), f"{type(error).__name__}\n"]
    return Failed(f"{case.image_path}: {_OUR_FAULT}", "".join(lines).rstrip())


def _picture(volume: Volume, result: CaseDetections) -> bytes:
    from LandmarkDetectionLib.evaluation.figures import draw_case

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw_case(volume, None, result, path)
        return path.read_bytes()

"""Detecting in the memory that there is: in smaller pieces, then on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.detector import Detector
from LandmarkDetectionLib.detection.devices import is_out_of_memory
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.detection.results import Detection

TOO_LITTLE_MEMORY = (
    "this machine has too little memory for the scan; close other programs, or crop the scan to the anatomy."
)


def detect_within_memory(
    detector: Detector,
    volume: Volume,
    *,
    on_cpu: Callable[[], Detector],
    notice: Callable[[str], None],
    progress: Progress = no_progress,
) -> tuple[tuple[Detection, ...], torch.device]:
    """Detect, and where memory runs out try in smaller pieces, then on the CPU.

    Args:
        detector: the one to begin with.
        volume: the scan.
        on_cpu: gives the same detector on the CPU.
        notice: takes a sentence about each further try.
        progress: as for `Detector.detect`.

    Returns:
        The detections, and where they were computed in the end.

    Raises:
        MemoryError: if it does not go on the CPU either.
    """
    while True:
        try:
            return detector.detect(volume, progress=progress), detector.device
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        detector = _with_less_memory(detector, on_cpu, notice)  # the error no longer holds what it had


def _with_less_memory(
    detector: Detector, on_cpu: Callable[[], Detector], notice: Callable[[str], None]
) -> Detector:
    device = detector.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
    smaller = detector.in_smaller_pieces()
    if smaller is not None:
        notice(f"Not enough memory on {device}: trying in smaller pieces.")
        return smaller
    if device.type == "cpu":
        raise MemoryError(TOO_LITTLE_MEMORY)
    notice(f"Not enough memory on {device}: going on with the slower CPU.")
    return on_cpu()

"""Where memory runs out, a detector is tried in smaller pieces, then on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.detector import DenseDetector, load_detector
from LandmarkDetectionLib.detection.memory import detect_within_memory
from LandmarkDetectionLib.detection.results import Detection

SCAN = Volume(np.zeros((20, 20, 20), np.int16), Frame(size=(20, 20, 20)))
CPU = torch.device("cpu")
ERRORS = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
)


class Hungry(DenseDetector):
    """A detector on a machine that holds windows of so many voxels on the CPU, and nothing elsewhere."""

    largest = 32
    error: Exception = MemoryError()

    def detect(self, volume: Volume, **_: object) -> tuple[Detection, ...]:
        if max(self.settings.window) > self.largest or self.device.type != "cpu":
            raise self.error
        return tuple(Detection.missing(name) for name in self.bundle.table.names)


def hungry(model: Path, *, window: int, device: str = "cpu") -> Hungry:
    detector = load_detector(model, CPU)
    assert isinstance(detector, DenseDetector)
    detector.__class__ = Hungry
    assert isinstance(detector, Hungry)
    detector.settings = type(detector.settings)((window, window, window))
    detector.device = torch.device(device)
    return detector


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_it_goes_on_in_smaller_pieces(
    a_model: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "error", error)
    said: list[str] = []
    detector = hungry(a_model, window=128)
    detections, device = detect_within_memory(
        detector, SCAN, on_cpu=lambda: pytest.fail("it is there"), notice=said.append
    )
    assert len(detections) == 3 and device == CPU
    assert said == ["Not enough memory on cpu: trying in smaller pieces."] * 2


def test_it_goes_on_from_a_gpu_to_the_cpu(a_model: Path) -> None:
    said: list[str] = []
    detector = hungry(a_model, window=64, device="cuda")
    detections, device = detect_within_memory(
        detector, SCAN, on_cpu=lambda: hungry(a_model, window=32), notice=said.append
    )
    assert len(detections) == 3 and device == CPU
    assert said == [
        "Not enough memory on cuda: trying in smaller pieces.",
        "Not enough memory on cuda: going on with the slower CPU.",
    ]


def test_it_ends_where_the_cpu_has_too_little(a_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "largest", 16)
    detector = hungry(a_model, window=32)
    with pytest.raises(MemoryError, match="too little memory for the scan; close other programs"):
        detect_within_memory(detector, SCAN, on_cpu=lambda: detector, notice=print)


def test_another_error_is_not_taken_for_it(a_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "error", RuntimeError("sizes do not match"))
    detector = hungry(a_model, window=64)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        detect_within_memory(detector, SCAN, on_cpu=lambda: detector, notice=print)

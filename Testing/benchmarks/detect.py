"""How long a detection takes, volume and model in memory: the median of five, stage by stage.

python Testing/benchmarks/detect.py MODEL SCAN [SCAN ..]
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.devices import resolve_device

REPEATS = 5


def main(model: Path, scans: list[Path]) -> None:
    """Detect in each scan five times, after once that does not count, and print the seconds."""
    device = resolve_device("auto")
    detector = load_detector(model, device)
    print(f"{model}, {device}, {torch.get_num_threads()} threads")
    for scan in scans:
        volume = read_volume(scan)
        detector.detect(volume)
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            detections = detector.detect(volume)
            seconds.append(time.perf_counter() - start)
        found = sum(detection.status == "found" for detection in detections)
        size = " x ".join(map(str, volume.frame.size))
        print(f"{scan.name} ({size}): {statistics.median(seconds):.2f} s, {found} of {len(detections)} found")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])

"""What a model finds where scans are coarser than those it was trained on.

    python Testing/benchmarks/coarser.py RUN CASES.csv

RUN is the folder of a training with --folds, CASES.csv the cases that it was trained on. Each case is looked
at by the model of the fold that left it out, with 1, 2, 3 and more voxels averaged into one along each axis.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from LandmarkDetectionLib.data.cases import case_landmarks, find_table, read_split
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.detector import Detector, load_detector
from LandmarkDetectionLib.detection.devices import resolve_device
from LandmarkDetectionLib.training.loop import VALIDATION

TOGETHER = 1, 2, 3, 4, 6


def main(run: Path, split: Path) -> None:
    """Print how many landmarks are found at each size of voxel, how far off, and within what radius."""
    cases = read_split(split, supervised=True)
    table = find_table(split, cases)
    rows: list[tuple[float, float, float]] = []
    for fold in sorted(run.glob("fold-*")):
        left_out = set(pd.read_csv(fold / VALIDATION)["case"])
        detector = load_detector(fold / "model", resolve_device("auto"))
        for case in cases:
            if case.name in left_out:
                rows += looks(detector, read_volume(case.image_path), case_landmarks(case, table))
    columns = ["voxels_mm", "error_mm", "radius_mm"]
    for edge, seen in pd.DataFrame(rows, columns=columns).round({"voxels_mm": 3}).groupby("voxels_mm"):
        found = seen.dropna(subset="error_mm")
        error, radius = found["error_mm"], found["radius_mm"]
        print(
            f"voxels of {edge:.2f} mm: {len(found)} of {len(seen)} found, off by {error.mean():.3f} mm on "
            f"average; {(error <= radius).mean():.1%} within radii of {radius.mean():.2f} mm on average"
        )


def looks(detector: Detector, volume: Volume, truths: LandmarkSet) -> Iterator[tuple[float, float, float]]:
    """Edge of the voxels, error and radius, mm, of each landmark at each size of voxel."""
    places = dict(zip(truths.names, truths.positions, strict=True))
    for count in TOGETHER:
        coarse = averaged(volume, count)
        for item in detector.detect(coarse):
            error = float(np.linalg.norm(item.position - places[item.name]))
            yield float(coarse.frame.spacing[0]), error, item.radius_mm


def averaged(volume: Volume, count: int) -> Volume:
    """The scan with `count` voxels averaged into one along each axis; the rest at the ends is cut off."""
    shape = np.array(volume.voxels.shape) // count
    z, y, x = shape * count
    blocks = volume.voxels[:z, :y, :x].reshape(*(part for length in shape for part in (length, count)))
    frame = volume.frame
    return Volume(
        blocks.mean(axis=(1, 3, 5), dtype=np.float64).astype(np.float32),
        Frame(
            size=shape[::-1],
            origin=frame.index_to_world(np.full(3, (count - 1) / 2)),
            spacing=frame.spacing * count,
            direction=frame.direction,
        ),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

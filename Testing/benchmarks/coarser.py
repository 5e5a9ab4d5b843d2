"""What a model finds where scans are coarser than those it was trained on.

    python Testing/benchmarks/coarser.py RUN CASES.csv

RUN is the folder of a training with --folds, CASES.csv the cases that it was trained on. Each case is looked
at by the model of the fold that left it out, with several voxels averaged into one along each axis, or along
one (thick slices).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from LandmarkDetectionLib.data.cases import case_landmarks, find_table, read_split
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.detector import Detector, load_detector
from LandmarkDetectionLib.detection.devices import resolve_device
from LandmarkDetectionLib.training.running.loop import VALIDATION

TOGETHER = (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (6, 6, 6), (1, 1, 2), (1, 1, 4)
"""Voxels along x, y, z that are averaged into one."""


def main(run: Path, split: Path) -> None:
    """Print how many landmarks are found at each size of voxel, how far off, and within what radius."""
    cases = read_split(split, supervised=True)
    table = find_table(split, cases)
    rows: list[tuple[str, float, float]] = []
    for fold in sorted(run.glob("fold-*")):
        left_out = set(pd.read_csv(fold / VALIDATION)["case"])
        detector = load_detector(fold / "model", resolve_device("auto"))
        for case in cases:
            if case.name in left_out:
                rows += looks(detector, read_volume(case.image_path), case_landmarks(case, table))
    for voxels, seen in pd.DataFrame(rows, columns=["voxels", "error", "radius"]).groupby("voxels"):
        found = seen.dropna(subset="error")
        told = found.dropna(subset="radius")
        print(
            f"{voxels}: {len(found)} of {len(seen)} given a position, off by {found['error'].mean():.3f} "
            f"mm on average; {len(told)} with a radius, of {told['radius'].mean():.2f} mm on average, "
            f"and {(told['error'] <= told['radius']).mean():.1%} of the truths within"
        )


def looks(detector: Detector, volume: Volume, truths: LandmarkSet) -> Iterator[tuple[str, float, float]]:
    """How coarse the scan was made, error and radius, mm, of each landmark."""
    places = dict(zip(truths.names, truths.positions, strict=True))
    for counts in TOGETHER:
        voxels = "{} x {} x {}".format(*counts)
        for item in detector.detect(volume.averaged(counts)):
            yield voxels, float(np.linalg.norm(item.position - places[item.name])), item.radius_mm


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

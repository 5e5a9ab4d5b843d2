"""Whether radii and presence hold on cases that they were not calibrated on, and how far off they are.

    python Testing/benchmarks/calibration.py RUN

RUN is the folder of a training with --folds. Each fold is judged by what the other folds were calibrated to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from LandmarkDetectionLib.detection.calibrate import calibrated_presence
from LandmarkDetectionLib.model.bundle import load_bundle
from LandmarkDetectionLib.training.loop import VALIDATION
from LandmarkDetectionLib.training.outcomes import calibration_of, read_outcomes


def main(run: Path) -> None:
    """Print coverage and presence of each fold, and of all."""
    bundle = load_bundle(run / "model")
    names, threshold = bundle.table.names, float(bundle.detection["uncertain"])
    folds = [read_outcomes(path) for path in sorted(run.glob(f"fold-*/{VALIDATION}"))]
    judged = []
    for number, fold in enumerate(folds):
        calibration = calibration_of(pd.concat(folds[:number] + folds[number + 1 :]), names)
        assert calibration is not None
        pairs = zip(fold["landmark"], fold["spread_mm"], strict=True)
        radii = np.array([calibration.radius_of(name, spread) for name, spread in pairs])
        probabilities = calibrated_presence(fold["presence_logit"].to_numpy(np.float64), calibration)
        judged.append(
            fold.assign(
                fold=number + 1,
                radius=radii,
                held=fold["error_mm"] <= radii,
                said=fold["inside"] & (probabilities >= threshold),
            )
        )
        report(f"fold {number + 1}", judged[-1])
    report("all", pd.concat(judged))


def report(title: str, table: pd.DataFrame) -> None:
    """One line for the scans as they are, one for the cut ones."""
    whole = table[(table["cut"] == 0) & table["present"]]
    print(f"{title}: {whole['held'].mean():.1%} within radii of {whole['radius'].mean():.2f} mm on average")
    for what, part in (("whole", table[table["cut"] == 0]), ("cut", table[table["cut"] > 0])):
        right = (part["said"] == part["present"]).mean()
        found = part[part["said"] & part["present"]]
        f1 = 2 * len(found) / (part["said"].sum() + part["present"].sum())
        print(
            f"  presence, {what} scans: accuracy {right:.1%}, F1 {f1:.1%}, {(~part['present']).sum()} of "
            f"{len(part)} absent; {len(found)} found, off by {found['error_mm'].mean():.3f} mm on average"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

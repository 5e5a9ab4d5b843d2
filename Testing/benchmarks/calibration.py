"""Whether radii and presence hold on cases that they were not calibrated on, and how far off they are.

    python Testing/benchmarks/calibration.py RUN

RUN is the folder of a training with --folds. Each fold is judged by what the other folds were calibrated to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from LandmarkDetectionLib.model.bundle import Calibration, load_bundle
from LandmarkDetectionLib.training.running.loop import VALIDATION
from LandmarkDetectionLib.training.running.outcomes import calibration_of, is_given, read_outcomes


def main(run: Path) -> None:
    """Print coverage and presence of each fold, and of all."""
    bundle = load_bundle(run / "model")
    names, uncertain = bundle.table.names, float(bundle.detection["uncertain"])
    folds = [read_outcomes(path) for path in sorted(run.glob(f"fold-*/{VALIDATION}"))]
    judged = []
    for number, fold in enumerate(folds):
        calibration = calibration_of(pd.concat(folds[:number] + folds[number + 1 :]), names, uncertain)
        assert calibration is not None
        looks = [judge(seen, calibration, uncertain) for _, seen in fold.groupby("resolution_mm")]
        judged.append(pd.concat(looks))
        report(f"fold {number + 1}", judged[-1])
    report("all", pd.concat(judged))
    print(f"  of single landmarks {least_held(pd.concat(judged)):.0%} at least within their radii")


def judge(seen: pd.DataFrame, calibration: Calibration, uncertain: float) -> pd.DataFrame:
    """Outcomes in scans of one resolution, with their radii and whether each would be given a position."""
    resolution = float(seen["resolution_mm"].iloc[0])
    rows = zip(seen["landmark"], seen["spread_mm"], strict=True)
    return seen.assign(
        radius=[calibration.radius_of(name, resolution, spread) for name, spread in rows],
        given=is_given(seen, calibration.presence_at(resolution), uncertain),
    )


def report(title: str, table: pd.DataFrame) -> None:
    """A line for each coarseness, and for the presence in whole and in cut scans."""
    print(title)
    for edge, whole in table[table["cut"] == 0].groupby("coarseness"):
        there = whole[whole["present"]]
        found = there[there["given"]]
        held = found["error_mm"] <= found["radius"]
        print(
            f"  voxels times {edge}: {len(found)} of {len(there)} found, off by "
            f"{found['error_mm'].mean():.3f} mm on average; {held.mean():.1%} within radii of "
            f"{found['radius'].mean():.2f} mm"
        )
    for (cut, edge), part in table.groupby([table["cut"] > 0, "coarseness"]):
        right = (part["given"] == part["present"]).mean()
        found = part[part["given"] & part["present"]]
        f1 = 2 * len(found) / (part["given"].sum() + part["present"].sum())
        print(
            f"  presence, {'cut' if cut else 'whole'} scans, voxels times {edge}: accuracy {right:.1%}, "
            f"F1 {f1:.1%}, {(~part['present']).sum()} of {len(part)} absent; "
            f"{len(found)} found, off by {found['error_mm'].mean():.3f} mm on average"
        )


def least_held(table: pd.DataFrame) -> float:
    """The share of the truths within the radius, of the landmark and the coarseness where it is smallest."""
    found = table[(table["cut"] == 0) & table["present"] & table["given"]]
    held = found["error_mm"] <= found["radius"]
    return float(held.groupby([found["landmark"], found["coarseness"]]).mean().min())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

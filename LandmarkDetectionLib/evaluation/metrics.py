"""How far detections lie from the truth, and how often they are there when they should be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import CaseDetections, Detection

Array = NDArray[np.float64]

HUMAN_EXTENT_MM = 100.0
HUMAN_RADII_MM = (2.0, 2.5, 3.0, 4.0)
POINT_COLUMNS = (
    "case",
    "landmark",
    "outcome",
    "status",
    "error_mm",
    "dx_mm",
    "dy_mm",
    "dz_mm",
    "confidence",
    "radius_mm",
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The comparison of detections with the truth, point by point and summed up.

    Attributes:
        points: a row per landmark of the truth and case (`POINT_COLUMNS`), in order of case and landmark as
            the truth gives them. `outcome` is tp, fn (missed), fp, tn, or '' for an absent landmark that the
            detections do not mention; errors are NaN but for tp; dx, dy, dz are detection minus truth, world
            LPS mm.
        radii: the radii of the success detection rate, mm, ascending.
        metrics: the numbers of `metrics.json`, described at `evaluate`.
        errors: one sentence per case that could not be evaluated.
    """

    points: pd.DataFrame
    radii: tuple[float, ...]
    metrics: dict[str, Any]
    errors: tuple[str, ...]

    def per_landmark(self) -> pd.DataFrame:
        """A row per landmark: counts, errors in mm, success rates, mean offset (bias) and confidence."""
        return self._table("landmark")

    def per_case(self) -> pd.DataFrame:
        """A row per case: counts, errors in mm, success rates, mean offset (bias) and confidence."""
        return self._table("case")

    def _table(self, key: str) -> pd.DataFrame:
        groups = self.points.groupby(key, sort=False)
        rows = [{key: name, **_row(group, self.radii)} for name, group in groups]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table


def evaluate(
    truths: Mapping[str, LandmarkSet],
    detections: Mapping[str, CaseDetections],
    *,
    radii: Sequence[float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """Compare detections with the truth, case by case and name by name.

    The rules:

    - A landmark that the truth of a case does not name is unknown there and left out.
    - Uncertain detections count as found: they have a position.
    - A landmark in the scan is a true positive (tp) if it has a position at all, however far off, and else
      missed, a false negative (fn), also where the detections do not mention it. A landmark absent from the
      scan is a false positive (fp) if it has a position, a true negative (tn) if it is said to be absent, and
      not counted if it is not mentioned: silence earns nothing.
    - A case without detections is listed in `errors`, and all of its landmarks are missed.
    - Localisation errors are over true positives only. The success detection rate (SDR) at a radius is the
      fraction of *all* landmarks in the scans, missed ones included, that lie within it (error <= radius), so
      that leaving out the hard ones does not raise it.
    - Landmarks of one scan are not independent: the 95 % intervals of the mean error and the SDR are
      percentiles of a bootstrap that resamples whole cases. A single case gives none (NaN).

    The metrics: `mre_mm` (mean radial error: mean, median, sd with n - 1, ci95 of the mean, max), `radii_mm`,
    `sdr` and `sdr_ci95` (by radius), `presence` (tp, tn, fp, fn, sensitivity, specificity, accuracy, f1),
    `coverage` (of the tp with an error radius of their own, the fraction within it; their number; the mean
    radius; None where no detection has a radius), `n_cases`, `n_failed` (cases without detections),
    `n_landmarks`, `n_points` (landmarks in the scans, over all cases), `missed`. What is undefined is NaN.

    Args:
        truths: the true landmarks of every case, world LPS mm.
        detections: the detections under the same case names; other cases are left out.
        radii: of the SDR, mm; by default those that `default_radii` gives for the truth's extent.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: if there is no case or landmark, or a radius is not positive.
    """
    if not any(len(truth) for truth in truths.values()):
        raise InputError(
            "There are no true landmarks to compare with; give at least one case with landmarks."
        )
    limits = default_radii(constellation_extent(truths)) if radii is None else _checked(radii)
    points = pd.DataFrame(_pairs(truths, detections), columns=list(POINT_COLUMNS))
    failed = [case for case in truths if case not in detections]
    metrics = {
        **_pooled(points, limits, _resampled_cases(points["case"].nunique(), resamples, seed)),
        "n_cases": len(truths),
        "n_failed": len(failed),
        "n_landmarks": int(points["landmark"].nunique()),
    }
    errors = tuple(
        f"The case '{case}' has no detections: all of its landmarks count as missed." for case in failed
    )
    return Evaluation(points, limits, metrics, errors)


def default_radii(extent_mm: float) -> tuple[float, ...]:
    """Radii of the success detection rate, mm, for anatomy of a given size.

    From 100 mm on, the 2, 2.5, 3 and 4 mm of the cephalometric literature (ISBI 2015 challenge). Below, one,
    two, three and five times the largest of .., 0.05, 0.1, 0.2, 0.5, .. mm that is at most 1/150 of the
    extent: 0.1, 0.2, 0.3 and 0.5 mm for a mouse skull of 22 mm.

    Args:
        extent_mm: the longest distance between two landmarks of one scan, mm.
    """
    if not extent_mm > 0 or extent_mm >= HUMAN_EXTENT_MM:
        return HUMAN_RADII_MM
    unit = round_down(extent_mm / 150)
    return tuple(float(f"{factor * unit:.6g}") for factor in (1, 2, 3, 5))


def constellation_extent(truths: Mapping[str, LandmarkSet]) -> float:
    """The longest distance between two landmarks of a case, mm: the median over cases; 0 without any."""
    present = [truth.positions[truth.present] for truth in truths.values()]
    lengths = [
        np.linalg.norm(points[:, None] - points, axis=-1).max() for points in present if len(points) > 1
    ]
    return float(np.median(lengths)) if lengths else 0.0


def round_down(value: float) -> float:
    """The largest of .., 0.1, 0.2, 0.5, 1, 2, 5, 10, .. that is at most a positive `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)) * power:.6g}")


def _checked(radii: Sequence[float]) -> tuple[float, ...]:
    limits = tuple(sorted({float(radius) for radius in radii}))
    if not limits or not all(0 < radius < math.inf for radius in limits):
        shown = ", ".join(f"{radius:g}" for radius in radii) or "none"
        raise InputError(f"The radii are {shown}; give one or more lengths above 0 mm, like 2,2.5,3,4.")
    return limits


def _pairs(
    truths: Mapping[str, LandmarkSet], detections: Mapping[str, CaseDetections]
) -> Iterator[tuple[str | float, ...]]:
    """The rows of `Evaluation.points`."""
    for case, truth in truths.items():
        said = detections[case].by_name if case in detections else {}
        for name, position, present in zip(truth.names, truth.positions, truth.present, strict=True):
            yield case, name, *_compare(position, bool(present), said.get(name))


def _compare(truth: Array, present: bool, detection: Detection | None) -> tuple[str | float, ...]:
    """The columns of a point from `outcome` on."""
    if detection is None:
        return "fn" if present else "", "", *[math.nan] * 6
    offset = detection.position - truth
    outcome = ("tp" if detection.present else "fn") if present else ("fp" if detection.present else "tn")
    distance = float(np.linalg.norm(offset))
    return outcome, detection.status, distance, *map(float, offset), detection.confidence, detection.radius_mm


def _resampled_cases(n_cases: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each resample, drawn with replacement, holds each case: (resamples, n_cases)."""
    counts: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        n_cases, np.full(n_cases, 1 / n_cases), size=resamples
    )
    return counts


def _pooled(points: pd.DataFrame, radii: Sequence[float], resampled: NDArray[np.int64]) -> dict[str, Any]:
    """The metrics over all points."""
    errors, cases = points["error_mm"], points["case"]
    found, expected = errors.notna(), points["outcome"].isin(["tp", "fn"])
    within = {radius: errors <= radius for radius in radii}
    return {
        "mre_mm": {
            "mean": float(errors.mean()),
            "median": float(errors.median()),
            "sd": float(errors.std()),
            "ci95": _interval(errors.fillna(0.0), found, cases, resampled),
            "max": float(errors.max()),
        },
        "radii_mm": list(radii),
        "sdr": {
            f"{radius:g}": _ratio(int(hits.sum()), int(expected.sum())) for radius, hits in within.items()
        },
        "sdr_ci95": {
            f"{radius:g}": _interval(hits, expected, cases, resampled) for radius, hits in within.items()
        },
        "presence": _presence(points["outcome"]),
        "coverage": _coverage(points),
        "n_points": int(expected.sum()),
        "missed": int((points["outcome"] == "fn").sum()),
    }


def _interval(
    numerators: pd.Series[Any],
    denominators: pd.Series[Any],
    cases: pd.Series[Any],
    resampled: NDArray[np.int64],
) -> list[float]:
    """95 % interval of sum(numerators) / sum(denominators) over resampled cases; NaN below two cases."""
    if resampled.shape[1] < 2:
        return [math.nan, math.nan]
    sums = pd.DataFrame({"over": numerators.astype(float), "under": denominators.astype(float)})
    per_case = sums.groupby(cases, sort=True).sum().to_numpy()
    totals = resampled @ per_case
    totals = totals[totals[:, 1] > 0]
    if not len(totals):
        return [math.nan, math.nan]
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return [float(low), float(high)]


def _presence(outcomes: pd.Series[str]) -> dict[str, float]:
    tp, tn, fp, fn = (int((outcomes == outcome).sum()) for outcome in ("tp", "tn", "fp", "fn"))
    return {
        "tp": tp,
        "tn": tn,
        "fp": fp,
        "fn": fn,
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def _coverage(points: pd.DataFrame) -> dict[str, float] | None:
    claimed = points[points["error_mm"].notna() & points["radius_mm"].notna()]
    if claimed.empty:
        return None
    return {
        "fraction": float((claimed["error_mm"] <= claimed["radius_mm"]).mean()),
        "n": len(claimed),
        "mean_radius_mm": float(claimed["radius_mm"].mean()),
    }


def _row(points: pd.DataFrame, radii: Sequence[float]) -> dict[str, float]:
    """The columns of the tables per landmark and per case."""
    errors, presence = points["error_mm"], _presence(points["outcome"])
    expected = int(presence["tp"] + presence["fn"])
    return {
        "n": expected,
        "missed": int(presence["fn"]),
        "false_positives": int(presence["fp"]),
        "true_negatives": int(presence["tn"]),
        "mean_mm": float(errors.mean()),
        "median_mm": float(errors.median()),
        "sd_mm": float(errors.std()),
        "max_mm": float(errors.max()),
        **{f"sdr_{radius:g}mm": _ratio(int((errors <= radius).sum()), expected) for radius in radii},
        **{f"bias_{axis}_mm": float(points.loc[errors.notna(), f"d{axis}_mm"].mean()) for axis in "xyz"},
        "mean_confidence": float(points["confidence"].mean()),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan

"""Two detections of the same cases side by side: which one is nearer the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from LandmarkDetectionLib.evaluation.metrics import Evaluation

Array = NDArray[np.float64]

FEWEST_CASES = 6
"""With fewer the test of Wilcoxon cannot give a p below 0.05 whatever the differences are."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The errors of two detections, paired by case and landmark.

    Differences are the other's error minus ours, mm: above 0 ours is nearer the truth.

    Attributes:
        name: of the other detections.
        other: their evaluation.
        pairs: a row per landmark that both give a position: case, landmark, ours, theirs, difference.
        only_ours: landmarks in the scans that only ours gives a position.
        only_theirs: that only the other does.
        mean: of the differences.
        interval: its 95 % interval, by a bootstrap over cases; NaN below two cases.
        p: of Wilcoxon's signed-rank test on the cases' mean differences; NaN below `FEWEST_CASES` cases.
    """

    name: str
    other: Evaluation
    pairs: pd.DataFrame
    only_ours: int
    only_theirs: int
    mean: float
    interval: tuple[float, float]
    p: float

    def by(self, key: str) -> pd.DataFrame:
        """For each landmark, or each case: the mean difference.

        With its 95 % interval over the cases; of a case NaN, for its landmarks are not independent.
        """
        rows = []
        for name, group in self.pairs.groupby(key, sort=False):
            difference = group["difference"].to_numpy()
            low, high = math.nan, math.nan
            if key == "landmark":
                low, high = _interval(difference, np.arange(len(difference)))
            rows.append({key: name, "n": len(group), "mean": difference.mean(), "low": low, "high": high})
        return pd.DataFrame(rows, columns=[key, "n", "mean", "low", "high"])


def compare(ours: Evaluation, theirs: Evaluation, name: str, *, seed: int = 0) -> Comparison:
    """Pair two evaluations of the same truths.

    Landmarks of one scan are not independent, so the interval comes from a bootstrap that draws whole cases,
    and the test (F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945) has
    one number a case: its mean difference.

    Args:
        ours: the first.
        theirs: the other.
        name: of the other.
        seed: of the bootstrap.
    """
    from scipy.stats import wilcoxon

    key = ["case", "landmark"]
    joined = ours.points[[*key, "outcome", "error_mm"]].merge(
        theirs.points[[*key, "outcome", "error_mm"]], on=key, suffixes=("_ours", "_theirs")
    )
    in_scan = joined["outcome_ours"].isin(["tp", "fn"])
    found, also = joined["error_mm_ours"].notna(), joined["error_mm_theirs"].notna()
    pairs = joined[found & also].rename(columns={"error_mm_ours": "ours", "error_mm_theirs": "theirs"})
    pairs = pairs.assign(difference=pairs["theirs"] - pairs["ours"])[[*key, "ours", "theirs", "difference"]]
    per_case = pairs.groupby("case", sort=False)["difference"].mean().to_numpy()
    p = math.nan
    if len(per_case) >= FEWEST_CASES and np.any(per_case != 0):
        p = float(wilcoxon(per_case).pvalue)
    cases = pd.factorize(pairs["case"])[0]
    return Comparison(
        name=name,
        other=theirs,
        pairs=pairs,
        only_ours=int((in_scan & found & ~also).sum()),
        only_theirs=int((in_scan & also & ~found).sum()),
        mean=float(pairs["difference"].mean()),
        interval=_interval(pairs["difference"].to_numpy(), cases, seed=seed),
        p=p,
    )


def _interval(
    values: Array, groups: NDArray[np.integer], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled groups; NaN below two groups."""
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2:
        return math.nan, math.nan
    sums, sizes = np.bincount(groups, values, count), np.bincount(groups, minlength=count)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), [0.025, 0.975])
    return float(low), float(high)

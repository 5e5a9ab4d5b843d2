"""The points of an evaluation by number, as the pages and charts of its report need them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.shape import clear_symmetry
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.results import CaseDetections
from LandmarkDetectionLib.evaluation.metrics import Evaluation
from LandmarkDetectionLib.report.charts import Scatter
from LandmarkDetectionLib.report.gallery import worst_first
from LandmarkDetectionLib.report.pose import shape_of, upright

Array = NDArray[np.float64]

_FEWEST_FOR_A_COVARIANCE = 3


class Points:
    """Every landmark of every case; both are numbered in the order of the truths.

    Args:
        evaluation: of the detections.
        truths: the true landmarks of every case, world LPS mm.
        detections: of the same cases; those that could not be read are missing.
        table: the landmark table, if there is one; it gives the left-right pairs, or the shape does.

    Attributes:
        cases: names.
        landmarks: names.
        rows: for each case and landmark its row of `Evaluation.points`.
        shape: (K, 3) mm, the mean shape of the truths.
        axes: for each case, 3 x 3, the axes of the mean shape where its anatomy lies.
        partners: for each landmark the number of its left-right counterpart, or its own.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        truths: Mapping[str, LandmarkSet],
        detections: Mapping[str, CaseDetections],
        table: LandmarkTable | None,
    ) -> None:
        self.cases = list(truths)
        self.landmarks: list[str] = list(dict.fromkeys(evaluation.points["landmark"]))
        case, landmark = (
            {name: row for row, name in enumerate(names)} for names in (self.cases, self.landmarks)
        )
        self.rows: dict[tuple[int, int], dict[str, Any]] = {
            (case[str(row["case"])], landmark[str(row["landmark"])]): {str(key): row[key] for key in row}
            for row in evaluation.points.to_dict("records")
        }
        self.shape = shape_of(truths, self.landmarks)
        self._truth = [points.positions_of(self.landmarks) for points in truths.values()]
        self._found = [_positions(detections.get(case), self.landmarks) for case in self.cases]
        self.axes = [upright(points, self.shape) for points in self._truth]
        self.partners = _partners(table, self.landmarks, self.shape)

    def truth(self, case: int) -> Array:
        """(K, 3) world LPS mm, NaN where there is none."""
        return self._truth[case]

    def found(self, case: int) -> Array:
        """(K, 3) world LPS mm, where detections lie; NaN where there is none."""
        return self._found[case]

    def badness(self, case: int, landmark: int) -> float:
        """How far a point is off, mm: infinite where it is missed or found where there is nothing.

        Minus infinity where nothing is to be seen.
        """
        row = self.rows.get((case, landmark))
        if row is None or row["outcome"] in ("tn", ""):
            return -math.inf
        return math.inf if row["outcome"] in ("fn", "fp") else float(row["error_mm"])

    def own(self, case: int) -> list[int]:
        """The landmarks of a case, the worst first."""
        rows = [row for row in range(len(self.landmarks)) if (case, row) in self.rows]
        return worst_first({row: self.badness(case, row) for row in rows}, len(rows))

    def seen(self, landmark: int, most: int) -> list[int]:
        """The cases that show a landmark or a detection of it, the worst first, no more than so many."""
        badness = {case: self.badness(case, landmark) for case in range(len(self.cases))}
        return worst_first({case: value for case, value in badness.items() if value > -math.inf}, most)

    def worst_cases(self) -> list[int]:
        """The case with the largest mean error first; before them those of which nothing was found."""
        return worst_first({case: self._mean_error(case) for case in range(len(self.cases))}, len(self.cases))

    def _mean_error(self, case: int) -> float:
        errors = [self.rows[case, row]["error_mm"] for row in self.own(case)]
        known = [error for error in errors if not math.isnan(error)]
        return float(np.mean(known)) if known else math.inf

    def exchanged(self) -> Iterator[tuple[int, int, int]]:
        """A case and two of its landmarks, each of which lies nearer to the truth of the other."""
        for case in range(len(self.cases)):
            apart = np.linalg.norm(self.found(case)[:, None] - self.truth(case), axis=-1)
            nearer = apart < np.diag(apart)[:, None]
            for one, other in np.argwhere(nearer & nearer.T & np.triu(np.ones_like(nearer), 1)).tolist():
                yield case, one, other

    @cached_property
    def scatter(self) -> Scatter:
        """How the errors of each landmark lie in the frame of the mean shape."""
        count = len(self.landmarks)
        bias, covariance = np.full((count, 3), np.nan), np.full((count, 3, 3), np.nan)
        errors = np.full(count, np.nan)
        for landmark, offsets in self._offsets().items():
            bias[landmark] = offsets.mean(axis=0)
            errors[landmark] = np.linalg.norm(offsets, axis=1).mean()
            if len(offsets) >= _FEWEST_FOR_A_COVARIANCE:
                covariance[landmark] = np.cov(offsets.T)
        return Scatter(self.landmarks, self.shape, bias, covariance, errors)

    def _offsets(self) -> dict[int, Array]:
        """Of landmarks that were found (M, 3) mm, detection minus truth along the axes of the mean shape."""
        offsets: dict[int, list[Array]] = {}
        for (case, landmark), row in self.rows.items():
            if row["outcome"] == "tp":
                apart = np.array([row["dx_mm"], row["dy_mm"], row["dz_mm"]])
                offsets.setdefault(landmark, []).append(apart @ self.axes[case])
        return {landmark: np.array(found) for landmark, found in offsets.items()}


def _positions(result: CaseDetections | None, names: Sequence[str]) -> Array:
    """(K, 3) world LPS mm; NaN where there is none."""
    said, nowhere = ({} if result is None else result.by_name), np.full(3, np.nan)
    return np.array([said[name].position if name in said else nowhere for name in names])


def _partners(table: LandmarkTable | None, names: Sequence[str], shape: Array) -> list[int]:
    number = {name: row for row, name in enumerate(names)}
    pairs = {item.name: item.pair for item in table.landmarks if item.pair} if table else {}
    if pairs:
        return [number.get(pairs.get(name, name), row) for row, name in enumerate(names)]
    symmetry = clear_symmetry(names, shape)
    return symmetry.order if symmetry else list(range(len(names)))

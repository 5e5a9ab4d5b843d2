"""What an engine said of cases that it was not trained on, and what follows for its next cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.detection.calibrate import COVERAGE, calibrated_presence, fit_level, fit_presence
from LandmarkDetectionLib.model.bundle import Calibration, Level
from LandmarkDetectionLib.training.running.checkpoints import measured

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was said of one scan with K landmarks.

    Attributes:
        case: its name.
        truth: (K, 3) world mm; NaN where absent.
        known: (K,) whether anybody knows where the landmark is, or that it is absent.
        positions: (K, 3) world mm; NaN where nothing was found.
        frame: of the scan as it was seen.
        spreads: (K,) mm, of the evidence; NaN where the engine does not tell.
        presences: (K,) logits; NaN where the engine does not tell.
        misfits: (K,) as `ShapeModel.misfits` has them, of the landmarks that are there by their logits, which
            are not calibrated yet; NaN for the others, and where the engine does not tell.
        resolution: of the scan as it was seen, mm, as `Preparation.resolution_of` has it.
        cut: 0 for the whole scan, otherwise the number of the cut.
        coarseness: 1 for the scan as it is, otherwise that of a coarser look.
    """

    case: str
    truth: Array
    known: NDArray[np.bool_]
    positions: Array
    frame: Frame
    spreads: Array
    presences: Array
    misfits: Array
    resolution: float
    cut: int = 0
    coarseness: int = 1

    @property
    def present(self) -> NDArray[np.bool_]:
        """(K,) whether each landmark is in the scan."""
        return np.asarray(np.isfinite(self.truth).all(axis=1))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(K,) whether a position was found that lies in the scan."""
        found = np.isfinite(self.positions).all(axis=1)
        return np.asarray(found & self.frame.contains(np.nan_to_num(self.positions)))

    @property
    def errors(self) -> Array:
        """(K,) mm; NaN where absent, infinite where nothing was found."""
        apart: Array = np.linalg.norm(self.positions - self.truth, axis=1)
        return np.where(self.present & np.isnan(apart), np.inf, apart)


def tabulate(outcomes: Sequence[Outcome], names: Sequence[str]) -> pd.DataFrame:
    """A row for each landmark of each scan of which anything is known."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            *("case", "cut", "coarseness", "resolution_mm", "landmark", "present", "inside"),
            *("error_mm", "spread_mm", "presence_logit", "misfit"),
        )
    }
    for outcome in outcomes:
        rows = np.flatnonzero(outcome.known).tolist()
        columns["case"] += [outcome.case] * len(rows)
        columns["cut"] += [outcome.cut] * len(rows)
        columns["coarseness"] += [outcome.coarseness] * len(rows)
        columns["resolution_mm"] += [outcome.resolution] * len(rows)
        columns["landmark"] += [names[row] for row in rows]
        columns["present"] += outcome.present[rows].tolist()
        columns["inside"] += outcome.inside[rows].tolist()
        columns["error_mm"] += outcome.errors[rows].tolist()
        columns["spread_mm"] += outcome.spreads[rows].tolist()
        columns["presence_logit"] += outcome.presences[rows].tolist()
        columns["misfit"] += outcome.misfits[rows].tolist()
    return pd.DataFrame(columns)


def read_outcomes(path: Path) -> pd.DataFrame:
    """A table of `tabulate` from its CSV file; names stay texts, whatever they look like."""
    numbers = ("resolution_mm", "error_mm", "spread_mm", "presence_logit", "misfit")
    kinds: dict[str, Any] = {"case": str, "landmark": str, "present": bool, "inside": bool}
    kinds |= dict.fromkeys(("cut", "coarseness"), int) | dict.fromkeys(numbers, float)
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={name: [""] for name in numbers})


def calibration_of(table: pd.DataFrame, names: Sequence[str], uncertain: float) -> Calibration | None:
    """At each coarseness radii from the whole scans, and presence from the cut ones too.

    Args:
        table: of `tabulate`.
        names: the landmarks.
        uncertain: probability of being there from which an engine that tells it gives a position.

    Returns:
        None where there are too few errors in the scans as they are.
    """
    levels: list[Level] = []
    for _, seen in table.groupby("coarseness"):
        level = _level_of(seen, names, uncertain)
        if level is None:
            break
        if not levels or level.resolution > levels[-1].resolution:
            levels.append(level)
    return Calibration(COVERAGE, tuple(levels)) if levels else None


def _level_of(table: pd.DataFrame, names: Sequence[str], uncertain: float) -> Level | None:
    """From the scans of one coarseness."""
    presence = _presence_of(table)
    whole = table[(table["cut"] == 0) & table["present"] & is_given(table, presence, uncertain)]
    spreads = _by_case(whole, "spread_mm", names)
    return fit_level(
        names,
        _by_case(whole, "error_mm", names),
        spreads=spreads if np.isfinite(spreads).any() else None,
        resolution=float(table["resolution_mm"].median()),
        presence=presence,
    )


def is_given(
    table: pd.DataFrame, presence: tuple[float, float] | None, uncertain: float
) -> NDArray[np.bool_]:
    """Of each row of a table of `tabulate`, whether the landmark would be given a position.

    Where the engine does not tell whether it is there, what was found is.
    """
    logits = table["presence_logit"].to_numpy(np.float64)
    misfits = table["misfit"].to_numpy(np.float64)
    there = np.isnan(logits) | (calibrated_presence(logits, presence, misfits) >= uncertain)
    given: NDArray[np.bool_] = there & table["inside"].to_numpy(np.bool_)
    return given


def _presence_of(table: pd.DataFrame) -> tuple[float, float] | None:
    judged = table[table["inside"] & np.isfinite(table["presence_logit"])]
    return fit_presence(judged["presence_logit"].to_numpy(np.float64), judged["present"].to_numpy(np.bool_))


def figures_of(
    table: pd.DataFrame, names: Sequence[str], cap: float, *, found: float
) -> dict[str, float | None]:
    """What validation measured on the scans as they are; empty where there are none.

    What counts as found is what a detection would call so, not every place that was read.

    Args:
        table: of `tabulate`.
        names: the landmarks.
        cap: the largest error that counts in the score, mm.
        found: probability of being there from which an engine that tells it calls a landmark found.
    """
    finest = table[table["coarseness"] == 1]
    as_it_is = finest[finest["cut"] == 0]
    if not len(as_it_is):
        return {}
    there = as_it_is[as_it_is["present"]]
    share = is_given(there, _presence_of(finest), found).mean() if len(there) else 0.0
    return {**measured(_by_case(as_it_is, "error_mm", names), cap), "val_found": float(share)}


def _by_case(table: pd.DataFrame, column: str, names: Sequence[str]) -> Array:
    """(cases, landmarks) of a column; NaN where nothing is known."""
    values = table.pivot(index="case", columns="landmark", values=column).reindex(columns=list(names))
    return values.to_numpy(np.float64)

"""What an engine said of cases that it was not trained on, and what follows for its next cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from LandmarkDetectionLib.detection.calibrate import calibrate, fit_presence
from LandmarkDetectionLib.model.bundle import Calibration
from LandmarkDetectionLib.training.checkpoints import measured

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was said of one scan with K landmarks.

    Attributes:
        case: its name.
        truth: (K, 3) world mm; NaN where absent.
        known: (K,) whether anybody knows where the landmark is, or that it is absent.
        positions: (K, 3) world mm; NaN where nothing was found.
        inside: (K,) whether they lie in the scan.
        spreads: (K,) mm, of the evidence; NaN where the engine does not tell.
        presences: (K,) logits; NaN where the engine does not tell.
        cut: 0 for the scan as it is, otherwise the number of the cut.
    """

    case: str
    truth: Array
    known: NDArray[np.bool_]
    positions: Array
    inside: NDArray[np.bool_]
    spreads: Array
    presences: Array
    cut: int = 0

    @property
    def present(self) -> NDArray[np.bool_]:
        """(K,) whether each landmark is in the scan."""
        return np.asarray(np.isfinite(self.truth).all(axis=1))

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
            *("case", "cut", "landmark", "present", "inside"),
            *("error_mm", "spread_mm", "presence_logit"),
        )
    }
    for outcome in outcomes:
        rows = np.flatnonzero(outcome.known).tolist()
        columns["case"] += [outcome.case] * len(rows)
        columns["cut"] += [outcome.cut] * len(rows)
        columns["landmark"] += [names[row] for row in rows]
        columns["present"] += outcome.present[rows].tolist()
        columns["inside"] += outcome.inside[rows].tolist()
        columns["error_mm"] += outcome.errors[rows].tolist()
        columns["spread_mm"] += outcome.spreads[rows].tolist()
        columns["presence_logit"] += outcome.presences[rows].tolist()
    return pd.DataFrame(columns)


def read_outcomes(path: Path) -> pd.DataFrame:
    """A table of `tabulate` from its CSV file; names stay texts, whatever they look like."""
    numbers = ("error_mm", "spread_mm", "presence_logit")
    kinds: dict[str, Any] = {"case": str, "landmark": str, "cut": int, "present": bool, "inside": bool}
    kinds |= dict.fromkeys(numbers, float)
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={name: [""] for name in numbers})


def calibration_of(table: pd.DataFrame, names: Sequence[str]) -> Calibration | None:
    """Radii from the scans as they are, presence from the cut ones too; None where there are too few.

    Args:
        table: of `tabulate`.
        names: the landmarks.
    """
    errors, spreads = (_by_case(table, column, names) for column in ("error_mm", "spread_mm"))
    judged = table[table["inside"] & np.isfinite(table["presence_logit"])]
    return calibrate(
        names,
        np.where(np.isfinite(errors), errors, np.nan),
        spreads=spreads if np.isfinite(spreads).any() else None,
        presence=fit_presence(
            judged["presence_logit"].to_numpy(np.float64), judged["present"].to_numpy(np.bool_)
        ),
    )


def figures_of(table: pd.DataFrame, names: Sequence[str], cap: float) -> dict[str, float | None]:
    """What validation measured on the scans as they are; empty where there are none.

    Args:
        table: of `tabulate`.
        names: the landmarks.
        cap: the largest error that counts in the score, mm.
    """
    return measured(_by_case(table, "error_mm", names), cap) if len(table) else {}


def _by_case(table: pd.DataFrame, column: str, names: Sequence[str]) -> Array:
    """(cases, landmarks) of the scans as they are; NaN where nothing is known."""
    uncut = table[table["cut"] == 0]
    values = uncut.pivot(index="case", columns="landmark", values=column).reindex(columns=list(names))
    return values.to_numpy(np.float64)

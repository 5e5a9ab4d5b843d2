"""The files of an evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from LandmarkDetectionLib.data.files import write_text
from LandmarkDetectionLib.evaluation.figures import write_figure
from LandmarkDetectionLib.evaluation.metrics import Evaluation
from LandmarkDetectionLib.evaluation.plots import error_curve, landmark_errors

DECIMALS = 6
FILES = ("metrics.json", "per_landmark.csv", "per_case.csv", "points.csv", "errors.png", "landmarks.png")


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write the numbers and the plots of an evaluation.

    - `metrics.json`: the metrics and the errors; what is undefined is null.
    - `per_landmark.csv`, `per_case.csv`: a row a landmark, a row a case.
    - `points.csv`: a row a point, with its error and the error's components in world LPS mm.
    - `errors.png`: the cumulative error curve; `landmarks.png`: the errors of every landmark.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder = Path(folder)
    metrics = {**evaluation.metrics, "errors": list(evaluation.errors)}
    write_text(folder / "metrics.json", json.dumps(_plain(metrics), indent=2, allow_nan=False) + "\n")
    _write_table(evaluation.per_landmark(), folder / "per_landmark.csv")
    _write_table(evaluation.per_case(), folder / "per_case.csv")
    _write_table(evaluation.points, folder / "points.csv")
    write_figure(error_curve(evaluation), folder / "errors.png")
    write_figure(landmark_errors(evaluation), folder / "landmarks.png")


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_text(path, table.round(DECIMALS).to_csv(index=False, lineterminator="\n"))


def _plain(value: Any) -> Any:
    """The same for JSON: null for what is undefined, numbers without the digits that mean nothing."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DECIMALS)
    return value

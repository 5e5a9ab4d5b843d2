"""The part of a report that sets two detections side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from LandmarkDetectionLib.evaluation.comparison import Comparison
from LandmarkDetectionLib.evaluation.metrics import Evaluation
from LandmarkDetectionLib.report import charts
from LandmarkDetectionLib.report.folder import ReportFolder, lengths, percent

_AXIS = 3
"""Times the largest radius: where the axis of errors ends."""


def comparison_section(
    folder: ReportFolder, number: int, comparison: Comparison, ours: Evaluation, name: str
) -> dict[str, Any]:
    """What is said of a comparison, and its charts, which are written.

    Args:
        folder: of the report.
        number: of the comparison.
        comparison: with other detections.
        ours: the evaluation of the first.
        name: of the first.
    """
    both = {name: ours, comparison.name: comparison.other}
    errors = {
        one: (evaluation.points["error_mm"].dropna().to_numpy(dtype=float), evaluation.metrics["n_points"])
        for one, evaluation in both.items()
    }
    figures = {"curves": charts.curves(errors, _AXIS * ours.radii[-1])}
    for key in ("landmark", "case"):
        table = comparison.by(key)
        means, intervals = (table[column].to_numpy(dtype=float) for column in ("mean", ["low", "high"]))
        figures[key] = charts.difference_chart(list(table[key]), means, intervals, name, comparison.name)
    paths = {}
    for what, figure in figures.items():
        paths[what] = f"charts/compared-{number}-{what}.svg"
        folder.add_file(paths[what], charts.as_svg(figure))
    return {
        "name": comparison.name,
        "sentences": list(_verdict(comparison, name)),
        "columns": [
            "",
            "mean, mm",
            "median, mm",
            "missed",
            *(f"within {radius:g} mm" for radius in ours.radii),
        ],
        "rows": [{"href": "", "cells": _summary(one, evaluation)} for one, evaluation in both.items()],
        "charts": paths,
    }


def _verdict(comparison: Comparison, ours: str) -> Iterator[str]:
    low, high = comparison.interval
    if not len(comparison.pairs):
        yield "There is no landmark that both give a position."
        return
    better = ours if comparison.mean > 0 else comparison.name
    verdict = f"{better} is nearer" if low > 0 or high < 0 else "these cases do not tell which one is nearer"
    interval = (
        "" if math.isnan(low) else f" (95 % interval {low:+.3f} to {high:+.3f}, a bootstrap over cases)"
    )
    yield (
        f"Over the {len(comparison.pairs)} landmarks that both give a position, the error of "
        f"{comparison.name} minus that of {ours} is {comparison.mean:+.3f} mm on average{interval}: "
        f"{verdict}."
    )
    if not math.isnan(comparison.p):
        yield f"Wilcoxon's signed-rank test on the cases' mean differences: p = {comparison.p:.2g}."
    if comparison.only_ours or comparison.only_theirs:
        yield (
            f"{comparison.only_ours} landmarks are given a position by {ours} alone, "
            f"{comparison.only_theirs} by {comparison.name} alone."
        )


def _summary(name: str, evaluation: Evaluation) -> list[str]:
    metrics = evaluation.metrics
    return [
        name,
        *(lengths(metrics["mre_mm"][what], 3) for what in ("mean", "median")),
        f"{metrics['missed']} of {metrics['n_points']}",
        *(percent(rate) for rate in metrics["sdr"].values()),
    ]

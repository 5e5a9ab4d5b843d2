"""Plots of an evaluation: the cumulative error curve and the errors of every landmark."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from LandmarkDetectionLib.evaluation.metrics import Evaluation

DPI = 130
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # of Okabe and Ito
ROW_INCHES = 0.2
LONGEST_NAME = 40
"""Characters of a landmark's name beside the axis; a longer one loses its middle: the plot needs room."""


def error_curve(evaluation: Evaluation) -> Figure:
    """The fraction of all landmarks in the scans whose error is at most x mm.

    Missed landmarks are never reached: the dashed line, the fraction of landmarks that were found, is below
    100 % where there are any. The radii of the success detection rate are marked.
    """
    metrics, errors = evaluation.metrics, _errors(evaluation.points)
    total, limit = metrics["n_points"], _axis_limit(evaluation)
    figure = Figure(figsize=(7.0, 4.6), dpi=DPI, layout="constrained")
    ax = figure.add_subplot()
    reached = np.arange(len(errors) + 1) / max(total, 1)
    ax.step(np.r_[0.0, np.sort(errors), limit], np.r_[reached, reached[-1]], where="post", color=BLUE, lw=2)
    _mark_radii(ax, evaluation)
    ax.axhline(reached[-1], color=GREY, ls="--", lw=1)
    ax.set(xlim=(0, limit), ylim=(0, 1.03), xlabel="error (mm)", ylabel="landmarks within this error")
    ax.set_title(_headline(evaluation), loc="left", fontsize=10)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def landmark_errors(evaluation: Evaluation) -> Figure:
    """The errors of every landmark over the cases: points, quartiles and median, the worst landmark on top.

    Points beyond the axis are drawn as triangles at its end; the number of missed ones stands at the right.
    """
    found = evaluation.points[evaluation.points["outcome"] == "tp"]
    table = evaluation.per_landmark().sort_values("median_mm", na_position="last", kind="stable")
    limit = _axis_limit(evaluation)
    figure = Figure(figsize=(8.0, 1.1 + ROW_INCHES * len(table)), dpi=DPI, layout="constrained")
    ax = figure.add_subplot()
    for row, (name, missed) in enumerate(zip(table["landmark"], table["missed"], strict=True)):
        _draw_row(ax, row, _errors(found[found["landmark"] == name]), limit)
        if missed:
            ax.text(
                1.01, row, f"{missed} missed", transform=ax.get_yaxis_transform(), va="center", fontsize=7
            )
    for radius in evaluation.radii:
        ax.axvline(radius, color=GREY, ls=":", lw=1, zorder=0)
    ax.set(xlim=(0, limit), ylim=(-0.7, len(table) - 0.3), xlabel="error (mm)")
    ax.set_title(_headline(evaluation), loc="left", fontsize=10)
    names = [_shortened(name) for name in table["landmark"]]
    ax.set_yticks(range(len(table)), names, fontsize=7, parse_math=False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _shortened(name: str) -> str:
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _draw_row(ax: Axes, row: int, errors: NDArray[np.float64], limit: float) -> None:
    if not len(errors):
        return
    low, median, high = np.quantile(errors, [0.25, 0.5, 0.75])
    spread = 0.5 * (np.arange(len(errors)) % 5 - 2) / 4
    inside = errors <= limit
    ax.plot([low, high], [row, row], color=BLUE, lw=7, alpha=0.3, solid_capstyle="butt")
    ax.plot(errors[inside], (row + spread)[inside], "o", ms=2.5, mew=0, color=BLUE, alpha=0.7)
    ax.plot([median, median], [row - 0.35, row + 0.35], color="black", lw=1.5)
    if not inside.all():
        ends = np.full(int((~inside).sum()), limit)
        ax.plot(ends, (row + spread)[~inside], ">", ms=4, mew=0, color=ORANGE, clip_on=False)


def _mark_radii(ax: Axes, evaluation: Evaluation) -> None:
    rates = [evaluation.metrics["sdr"][f"{radius:g}"] for radius in evaluation.radii]
    ax.vlines(evaluation.radii, 0, rates, color=GREY, ls=":", lw=1)
    ax.plot(evaluation.radii, rates, "o", color=ORANGE, ms=6)
    lines = [
        f"within {radius:g} mm: {100 * rate:.1f} %"
        for radius, rate in zip(evaluation.radii, rates, strict=True)
    ]
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    ax.text(
        0.98,
        0.04,
        "\n".join(lines),
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        linespacing=1.5,
        bbox=box,
    )


def _headline(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    mean, median = metrics["mre_mm"]["mean"], metrics["mre_mm"]["median"]
    return (
        f"{metrics['n_points']} points ({metrics['n_landmarks']} landmarks, {metrics['n_cases']} cases), "
        f"{metrics['missed']} missed\n"
        f"error of the others: mean {mean:.3g} mm, median {median:.3g} mm"
    )


def _errors(points: pd.DataFrame) -> NDArray[np.float64]:
    return points["error_mm"].dropna().to_numpy(dtype=np.float64)


def _axis_limit(evaluation: Evaluation) -> float:
    """The end of the error axis: the largest error, but not much beyond the largest radius."""
    largest, worst = evaluation.radii[-1], evaluation.metrics["mre_mm"]["max"]
    return 1.3 * largest if math.isnan(worst) else float(np.clip(1.05 * worst, 1.3 * largest, 3 * largest))

"""The charts of the reports, as files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Ellipse
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

Array = NDArray[np.float64]

DPI = 120
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # of Okabe and Ito
SHADES = matplotlib.colormaps["YlOrRd"]
_ELLIPSOID_SHARE = 0.04
"""Of the shape's size: how large the usual ellipsoid is drawn."""
_NAMED = 60
"""A picture with more landmarks names only the worst of them."""
_ROW_INCHES = 0.19
_PROJECTIONS = (
    ("from below (axial)", 0, 1, -1),
    ("from the front (coronal)", 0, 2, 1),
    ("from the side (sagittal)", 1, 2, 1),
)
"""What is seen, the axes to the right and up, and the sign of the latter."""


@dataclass(frozen=True, eq=False)
class Scatter:
    """How the errors of K landmarks lie, in the frame of their mean shape.

    Attributes:
        names: of the landmarks.
        shape: (K, 3) mm, NaN where unknown.
        bias: (K, 3) mm, mean of detection minus truth; NaN where nothing was measured.
        covariance: (K, 3, 3) mm2 about that mean; NaN with fewer than three cases.
        errors: (K,) mean error, mm.
    """

    names: Sequence[str]
    shape: Array
    bias: Array
    covariance: Array
    errors: Array

    @property
    def drawn(self) -> list[int]:
        """Rows of landmarks that have a place and an error."""
        return np.flatnonzero(np.isfinite(self.shape).all(axis=1) & np.isfinite(self.errors)).tolist()

    @property
    def named(self) -> set[int]:
        """Rows of those that are named in a picture."""
        return set(sorted(self.drawn, key=lambda row: -self.errors[row])[:_NAMED])

    @property
    def magnified(self) -> float:
        """How many times as large as it is an error is drawn."""
        rows = self.drawn
        usual = float(np.median(self.errors[rows])) if rows else 0.0
        size = float(np.ptp(self.shape[rows], axis=0).max()) if rows else 0.0
        if usual <= 0 or size <= 0:
            return 1.0
        return float(f"{max(_ELLIPSOID_SHARE * size / usual, 1.0):.1g}")


def as_svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes for the same figure."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "LandmarkDetection"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def as_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def ellipsoids(scatter: Scatter) -> Figure:
    """The mean shape in three dimensions from two sides; each landmark's errors as an ellipsoid of one sd."""
    figure = Figure(figsize=(11, 5.6), layout=ConstrainedLayoutEngine(h_pad=0.3))
    shades = _shades(scatter)
    for number, (elevation, azimuth) in enumerate(((25, -60), (20, -140))):
        ax: Any = figure.add_subplot(1, 2, number + 1, projection="3d")
        for row in scatter.drawn:
            surface = _surface(scatter, row)
            ax.plot_surface(*surface, color=shades(scatter.errors[row]), linewidth=0, shade=True)
            if row in scatter.named:
                ax.text(*scatter.shape[row], f" {scatter.names[row]}", fontsize=6, parse_math=False)
        ax.set(xlabel="left, mm", ylabel="posterior, mm", zlabel="superior, mm", aspect="equal")
        ax.tick_params(labelsize=6)
        for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
            axis.label.set_fontsize(8)
        ax.view_init(elevation, azimuth)
    _add_bar(figure, shades, scatter)
    return figure


def biases(scatter: Scatter) -> Figure:
    """The mean shape from three sides: an ellipse of one sd about where detections lie on average.

    An arrow from the landmark's place shows the bias. All errors are magnified alike.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    shades, times = _shades(scatter), scatter.magnified
    for number, (title, right, up, sign) in enumerate(_PROJECTIONS):
        ax = figure.add_subplot(1, 3, number + 1)
        signs = np.array([1, sign])
        for row in scatter.drawn:
            place = scatter.shape[row, [right, up]] * signs
            offset = times * scatter.bias[row, [right, up]] * signs
            colour = shades(scatter.errors[row])
            _draw_ellipse(ax, place + offset, scatter.covariance[row], (right, up, sign), times, colour)
            ax.annotate(
                "", place + offset, place, arrowprops={"arrowstyle": "->", "lw": 0.8, "color": "black"}
            )
            if row in scatter.named:
                ax.annotate(
                    scatter.names[row],
                    place,
                    (2, 2),
                    textcoords="offset points",
                    fontsize=6,
                    parse_math=False,
                )
        ax.set_title(title, fontsize=9)
        ax.set_aspect("equal", adjustable="datalim")
        ax.autoscale_view()
        ax.tick_params(labelsize=7)
        ax.set_xlabel("mm", fontsize=8)
    _add_bar(figure, shades, scatter)
    return figure


def pairs_chart(names: Sequence[tuple[str, str]], means: Array) -> Figure:
    """Mean errors of left-right pairs: a line from one side to the other, the largest error on top.

    Args:
        names: P pairs.
        means: (P, 2) mm.
    """
    order = np.argsort(np.nanmax(means, axis=1))
    figure = _rows(len(names))
    ax = figure.add_subplot()
    for place, row in enumerate(order):
        ax.plot(means[row], [place, place], color="0.7", lw=2, zorder=1)
    ax.plot(means[order, 0], range(len(order)), "o", color=BLUE, label="the first of the pair")
    ax.plot(means[order, 1], range(len(order)), "D", color=ORANGE, ms=5, label="the second")
    ax.set_yticks(range(len(order)), [" | ".join(names[row]) for row in order], fontsize=7, parse_math=False)
    ax.set(xlabel="mean error, mm", xlim=(0, None))
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    ax.grid(axis="x", color="0.9")
    return figure


def coverage_chart(
    names: Sequence[str], held: Sequence[int], counts: Sequence[int], nominal: float
) -> Figure:
    """Of every landmark the share of truths within the radius, with its 95 % interval (Wilson).

    Args:
        names: K landmarks.
        held: for each, how many truths lie within.
        counts: of how many.
        nominal: the share that is promised.
    """
    share = np.array(held) / np.array(counts)
    order = np.argsort(share, kind="stable")
    low, high = np.array([wilson(held[row], counts[row]) for row in order]).T
    figure = _rows(len(names))
    ax = figure.add_subplot()
    places = np.arange(len(order))
    ax.hlines(places, low, high, color="0.7", lw=2)
    ax.plot(share[order], places, "o", color=BLUE)
    ax.axvline(nominal, color=ORANGE, ls="--", lw=1.5)
    ax.text(
        nominal,
        len(order) - 0.3,
        f"promised: {nominal:.0%}",
        color=ORANGE,
        fontsize=8,
        ha="right",
        va="bottom",
    )
    ax.set_yticks(places, [names[row] for row in order], fontsize=7, parse_math=False)
    ax.set(xlabel="truths within the detection's own radius", xlim=(0, 1.02), ylim=(-0.7, len(order) + 0.7))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="x", color="0.9")
    return figure


def reliability_chart(confidence: Array, there: NDArray[np.bool_]) -> Figure:
    """Of detections by their confidence, in tenths, the share of landmarks that are in the scan."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    ax = figure.add_subplot()
    tenth = np.minimum((10 * confidence).astype(int), 9)
    ax.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
    for number in np.unique(tenth):
        of_these = tenth == number
        count, held = int(of_these.sum()), int(there[of_these].sum())
        middle, share = float(confidence[of_these].mean()), held / count
        low, high = wilson(held, count)
        ax.vlines(middle, low, high, color="0.7", lw=2)
        ax.plot([middle], [share], "o", color=BLUE)
        ax.annotate(str(count), (middle, share), (6, -3), textcoords="offset points", fontsize=7)
    ax.set(xlabel="confidence", ylabel="landmarks that are in the scan", xlim=(0, 1.05), ylim=(0, 1.05))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def difference_chart(names: Sequence[str], means: Array, intervals: Array, ours: str, theirs: str) -> Figure:
    """Of every landmark the mean difference of two errors, paired by case, with its 95 % interval.

    Args:
        names: K landmarks.
        means: (K,) mm, the other's error minus ours: above 0 ours is nearer.
        intervals: (K, 2) mm.
        ours: what is compared.
        theirs: with what.
    """
    order = np.argsort(means)
    figure = _rows(len(names))
    ax = figure.add_subplot()
    places = np.arange(len(order))
    wins = means[order] >= 0
    for winning, colour in ((True, BLUE), (False, ORANGE)):
        rows = places[wins == winning]
        ax.hlines(rows, *intervals[order][rows].T, color=colour, alpha=0.4, lw=3)
        ax.plot(means[order][rows], rows, "o", color=colour)
    ax.axvline(0, color="black", lw=1)
    ax.set_yticks(places, [names[row] for row in order], fontsize=7, parse_math=False)
    nearer = f"mm; to the right {ours} is nearer the truth, to the left {theirs}"
    ax.set_xlabel(_plain(nearer), fontsize=8)
    ax.grid(axis="x", color="0.9")
    return figure


def curves(errors: dict[str, tuple[Array, int]], limit: float) -> Figure:
    """Cumulative error curves of several detections.

    Args:
        errors: for each the errors of what was given a position, mm, and how many landmarks there are.
        limit: the end of the axis, mm.
    """
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    ax = figure.add_subplot()
    for colour, (name, (found, total)) in zip(
        (BLUE, ORANGE, "#009e73", "#cc79a7", GREY), errors.items(), strict=False
    ):
        reached = np.arange(len(found) + 1) / max(total, 1)
        places, shares = np.r_[0.0, np.sort(found), limit], np.r_[reached, reached[-1]]
        ax.step(places, shares, where="post", color=colour, lw=2, label=f" {_plain(name)}")
    ax.set(xlim=(0, limit), ylim=(0, 1.03), xlabel="error, mm", ylabel="landmarks within this error")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(color="0.9")
    ax.legend(frameon=False, loc="lower right")
    return figure


def wilson(held: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson, "Probable inference ..", JASA 22, 1927."""
    z = 1.96
    share, bend = held / count, z * z / count
    middle = (share + bend / 2) / (1 + bend)
    half = z * np.sqrt(share * (1 - share) / count + bend / (4 * count)) / (1 + bend)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _plain(text: str) -> str:
    """A text in which nothing is a formula."""
    return text.replace("$", r"\$")


def _rows(count: int) -> Figure:
    return Figure(figsize=(7.2, 1.0 + _ROW_INCHES * max(count, 4)), layout="constrained")


def _shades(scatter: Scatter) -> Any:
    """Maps a mean error to a colour; the palest shades are hardly seen on white and are left out."""
    largest = max((float(scatter.errors[row]) for row in scatter.drawn), default=1.0) or 1.0
    return lambda error: SHADES(0.25 + 0.75 * error / largest)


def _add_bar(figure: Figure, shades: Any, scatter: Scatter) -> None:
    largest = max((float(scatter.errors[row]) for row in scatter.drawn), default=1.0) or 1.0
    colours = matplotlib.colors.ListedColormap([shades(largest * step / 255) for step in range(256)])
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, largest), colours)
    bar = figure.colorbar(scale, ax=figure.axes, shrink=0.7, pad=0.02)
    bar.set_label("mean error, mm", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(f"Errors are drawn {scatter.magnified:g} times as large as they are", fontsize=9)


def _surface(scatter: Scatter, row: int) -> tuple[Array, Array, Array]:
    """Points of the ellipsoid of one sd around where detections of a landmark lie on average."""
    times = scatter.magnified
    covariance = np.nan_to_num(scatter.covariance[row])
    values, axes = np.linalg.eigh(covariance)
    least = 0.1 * float(scatter.errors[row])
    radii = times * np.maximum(np.sqrt(np.maximum(values, 0)), least)
    around, along = np.mgrid[0 : 2 * np.pi : 13j, 0 : np.pi : 9j]
    ball = np.stack([np.cos(around) * np.sin(along), np.sin(around) * np.sin(along), np.cos(along)], axis=-1)
    centre = scatter.shape[row] + times * scatter.bias[row]
    points = (ball * radii) @ axes.T + centre
    return points[..., 0], points[..., 1], points[..., 2]


def _draw_ellipse(
    ax: Axes, centre: Array, covariance: Array, view: tuple[int, int, int], times: float, colour: Any
) -> None:
    """The ellipsoid of one sd as it is seen along an axis."""
    right, up, sign = view
    seen = covariance[np.ix_([right, up], [right, up])] * np.outer([1, sign], [1, sign])
    ax.plot(*centre, ".", ms=2, color="black")
    if not np.isfinite(seen).all():
        return
    values, axes = np.linalg.eigh(seen)
    width, height = 2 * times * np.sqrt(np.maximum(values, 0))
    angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    ax.add_patch(
        Ellipse((centre[0], centre[1]), width, height, angle=angle, fc=colour, ec="0.3", lw=0.6, alpha=0.8)
    )


def learning_curves(metrics: pd.DataFrame) -> Figure:
    """The loss, and where there was validation the error and the share found, over the epochs of a training.

    Args:
        metrics: a row an epoch: epoch, train_loss, val_median_mm, val_mre_mm, val_found; NaN where it was not
            validated.
    """
    validated = metrics.dropna(subset=["val_mre_mm"]) if "val_mre_mm" in metrics else metrics[:0]
    has_validation = len(validated) > 0
    figure = Figure(figsize=(11 if has_validation else 6, 3.8), layout="constrained")
    loss = figure.add_subplot(1, 2 if has_validation else 1, 1)
    loss.plot(metrics["epoch"], metrics["train_loss"], ".-", color=BLUE)
    loss.set(xlabel="epoch", ylabel="loss in training")
    loss.grid(color="0.9")
    if not has_validation:
        return figure
    error = figure.add_subplot(1, 2, 2)
    error.plot(validated["epoch"], validated["val_mre_mm"], "o-", color=BLUE, ms=4, label="mean")
    error.plot(validated["epoch"], validated["val_median_mm"], "s--", color="#009e73", ms=4, label="median")
    error.set(xlabel="epoch", ylabel="error in validation cases, mm", ylim=(0, None))
    error.grid(color="0.9")
    found = error.twinx()
    found.plot(validated["epoch"], validated["val_found"], "^:", color=ORANGE, ms=4, label="found (right)")
    found.set(ylim=(0, 1.03))
    found.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    handles = [*error.get_lines(), *found.get_lines()]
    error.legend(handles=handles, frameon=False, loc="center right", fontsize=8)
    return figure

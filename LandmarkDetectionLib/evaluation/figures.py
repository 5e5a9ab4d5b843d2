"""Pictures of a case: slices of the scan through landmarks, with truth and detection drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import replacing
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.metrics import round_down
from LandmarkDetectionLib.evaluation.views import Array, View, grey_window, views, voxel_steps

MAX_LANDMARKS = 6
DPI = 110
COLUMN_INCHES, ROW_INCHES, TITLE_INCHES, LEGEND_INCHES = 2.5, 2.5, 0.32, 0.35
CLOSE_UP_VOXELS = 12  # half the width of a close-up, unless the error needs more
TRUTH_COLOUR = "#56b4e9"  # sky blue and orange of Okabe and Ito: told apart by the colour-blind
DETECTION_COLOUR = "#e69f00"
OUTLINE = [withStroke(linewidth=3, foreground="black")]
TRUTH_STYLE: dict[str, Any] = {
    "marker": "o", "ms": 11, "mfc": "none", "mec": TRUTH_COLOUR, "mew": 1.8, "ls": "none", "label": "truth",
}  # fmt: skip
DETECTION_STYLE: dict[str, Any] = {
    "marker": "x", "ms": 7, "mec": DETECTION_COLOUR, "mew": 1.8, "ls": "none", "label": "detection",
}  # fmt: skip
RADIUS_STYLE: dict[str, Any] = {
    "color": DETECTION_COLOUR, "ls": ":", "lw": 1.5, "label": "the detection's own error radius",
}  # fmt: skip


def draw_case(
    volume: Volume,
    truth: LandmarkSet | None,
    detections: CaseDetections | None,
    path: Path,
    landmarks: Sequence[str] | None = None,
) -> None:
    """Write the picture of `case_figure` as PNG.

    Raises:
        InputError: if a landmark is in neither set, too many are asked for, or the file cannot be written.
    """
    write_figure(case_figure(volume, truth, detections, landmarks), path)


def case_figure(
    volume: Volume,
    truth: LandmarkSet | None,
    detections: CaseDetections | None,
    landmarks: Sequence[str] | None = None,
) -> Figure:
    """Three orthogonal slices through some landmarks, whole and close up, truth and detection drawn.

    A row a landmark, in the scan's own axes and true proportions. The slices go through the true position,
    or the detected one where there is no true one; the other is projected onto them. A dotted circle in the
    close-ups has the detection's own error radius.

    Args:
        volume: the scan.
        truth: its true landmarks, if known.
        detections: its detected landmarks, if any.
        landmarks: those to show, `MAX_LANDMARKS` at most; by default the best, the median and the worst (a
            missed one is the worst), or, without a truth, those of most, median and least confidence.

    Raises:
        InputError: if a landmark is in neither set, or too many are asked for.
    """
    names = _choose(truth, detections) if landmarks is None else _checked(landmarks, truth, detections)
    shown = [_Marks.of(name, truth, detections) for name in names] or [_Marks("no landmarks", None, None)]
    figure, grid = _sheet(len(shown))
    window = grey_window(volume, _places(truth, detections))
    for axes, marks in zip(grid, shown, strict=True):
        _draw_landmark(axes, volume, window, marks)
    _draw_legend(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG in one step."""
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png")


@dataclass(frozen=True, eq=False)
class _Marks:
    """What is drawn for one landmark: the true position and what the detector says, where there are any."""

    name: str
    truth: Array | None
    detection: Detection | None

    @classmethod
    def of(cls, name: str, truth: LandmarkSet | None, detections: CaseDetections | None) -> _Marks:
        position = np.full(3, np.nan) if truth is None else truth.positions_of([name])[0]
        detection = None if detections is None else detections.by_name.get(name)
        return cls(name, position if np.isfinite(position).all() else None, detection)

    @property
    def detected(self) -> Array | None:
        return self.detection.position if self.detection is not None and self.detection.present else None

    @property
    def error_mm(self) -> float:
        """Distance from truth to detection; NaN without one of them."""
        if self.truth is None or self.detected is None:
            return math.nan
        return float(np.linalg.norm(self.detected - self.truth))

    @property
    def title(self) -> str:
        parts = [self.name]
        if not math.isnan(self.error_mm):
            parts.append(f"error {self.error_mm:.3g} mm")
        elif self.truth is not None:
            parts.append("not detected" if self.detection is None else "missed")
        if self.detection is not None:
            parts.append(f"{self.detection.status}, confidence {self.detection.confidence:.2f}")
            if not math.isnan(self.detection.radius_mm):
                parts.append(f"radius {self.detection.radius_mm:.3g} mm")
        return " · ".join(parts)


def _known(truth: LandmarkSet | None, detections: CaseDetections | None) -> list[str]:
    names = [
        *(truth.names if truth is not None else ()),
        *(detections.by_name if detections is not None else ()),
    ]
    return list(dict.fromkeys(names))


def _checked(
    landmarks: Sequence[str], truth: LandmarkSet | None, detections: CaseDetections | None
) -> Sequence[str]:
    known = _known(truth, detections)
    for name in landmarks:
        if name not in known:
            raise InputError(
                f"There is no landmark '{name}' to draw; choose from {', '.join(known) or 'none'}."
            )
    if len(landmarks) > MAX_LANDMARKS:
        raise InputError(f"A picture holds {MAX_LANDMARKS} landmarks, not {len(landmarks)}; ask for fewer.")
    return landmarks


def _choose(truth: LandmarkSet | None, detections: CaseDetections | None) -> list[str]:
    """The names of the best, the median and the worst landmark."""
    marks = [_Marks.of(name, truth, detections) for name in _known(truth, detections)]
    if truth is not None and truth.present.any():
        in_scan = [mark for mark in marks if mark.truth is not None]
        ranked = sorted(in_scan, key=lambda mark: math.inf if mark.detected is None else mark.error_mm)
    else:
        given = [mark for mark in marks if mark.detected is not None]
        ranked = sorted(given, key=lambda mark: -mark.detection.confidence if mark.detection else 0.0)
    last = len(ranked) - 1
    return [ranked[place].name for place in dict.fromkeys((0, last // 2, last)) if ranked]


def _sheet(rows: int) -> tuple[Figure, NDArray[Any]]:
    """A figure of `rows` times six axes, three for whole slices and three for close-ups."""
    height = LEGEND_INCHES + rows * (ROW_INCHES + TITLE_INCHES)
    figure = Figure(figsize=(6 * COLUMN_INCHES, height), dpi=DPI, facecolor="white")
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.05 / height, top=1 - (LEGEND_INCHES + TITLE_INCHES) / height,
        wspace=0.03, hspace=TITLE_INCHES / ROW_INCHES,
    )  # fmt: skip
    return figure, figure.subplots(rows, 6, squeeze=False)


def _places(truth: LandmarkSet | None, detections: CaseDetections | None) -> Array:
    """All positions (N, 3) that there are, world mm."""
    found = detections.by_name.values() if detections is not None else ()
    places = [*(truth.positions if truth is not None else ()), *(item.position for item in found)]
    points = np.array(places, dtype=np.float64).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


def _draw_landmark(axes: NDArray[Any], volume: Volume, window: tuple[float, float], marks: _Marks) -> None:
    """Fill a row of six axes."""
    centre = next(
        (point for point in (marks.truth, marks.detected) if point is not None), volume.frame.centre
    )
    reach = CLOSE_UP_VOXELS * float(voxel_steps(volume.frame).min())
    if not math.isnan(marks.error_mm):
        reach = max(reach, 1.6 * marks.error_mm)
    for view, whole, close in zip(views(volume.frame), axes[:3], axes[3:], strict=True):
        x, y = view.place(volume.frame, centre)
        for ax in (whole, close):
            _draw_slice(ax, volume, view, centre, window)
            _draw_marks(ax, volume, view, marks)
        _set_limits(whole, view, view.edges(volume.frame))
        _set_limits(close, view, (x - reach, x + reach, y - reach, y + reach))
        _name_sides(whole, view)
        whole.add_patch(
            Rectangle((x - reach, y - reach), 2 * reach, 2 * reach, fill=False, ec="white", lw=0.8)
        )
        _draw_radius(close, volume, view, marks)
        _draw_scale_bar(close, reach)
    axes[0].set_title(marks.title, loc="left", fontsize=11, fontweight="bold")


def _draw_slice(ax: Axes, volume: Volume, view: View, centre: Array, window: tuple[float, float]) -> None:
    ax.imshow(
        view.slice_through(volume, centre),
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        origin="lower",
        extent=view.edges(volume.frame),
        interpolation="nearest",
    )
    ax.set(xticks=[], yticks=[], facecolor="black")


def _draw_marks(ax: Axes, volume: Volume, view: View, marks: _Marks) -> None:
    for point, style in ((marks.truth, TRUTH_STYLE), (marks.detected, DETECTION_STYLE)):
        if point is not None:
            x, y = view.place(volume.frame, point)
            ax.plot([x], [y], **style, path_effects=OUTLINE)


def _draw_radius(ax: Axes, volume: Volume, view: View, marks: _Marks) -> None:
    if (
        marks.detection is not None
        and marks.detected is not None
        and not math.isnan(marks.detection.radius_mm)
    ):
        x, y = view.place(volume.frame, marks.detected)
        angles, radius = np.linspace(0, 2 * np.pi, 73), marks.detection.radius_mm
        ax.plot(x + radius * np.cos(angles), y + radius * np.sin(angles), **RADIUS_STYLE)


def _set_limits(ax: Axes, view: View, edges: tuple[float, float, float, float]) -> None:
    """Show the part of a slice between `edges`, made square, turned upright."""
    first, last, low, high = edges
    x, y, half = (first + last) / 2, (low + high) / 2, max(last - first, high - low) / 2
    ax.set_xlim(*((x - half, x + half) if view.rightwards else (x + half, x - half)))
    ax.set_ylim(*((y - half, y + half) if view.upwards else (y + half, y - half)))


def _name_sides(ax: Axes, view: View) -> None:
    text: dict[str, Any] = {
        "transform": ax.transAxes, "color": "white", "fontsize": 10, "path_effects": OUTLINE,
    }  # fmt: skip
    ax.text(0.02, 0.5, view.left, ha="left", va="center", **text)
    ax.text(0.98, 0.5, view.right, ha="right", va="center", **text)
    ax.text(0.5, 0.02, view.bottom, ha="center", va="bottom", **text)
    ax.text(0.5, 0.98, view.top, ha="center", va="top", **text)
    ax.text(0.02, 0.98, view.name, ha="left", va="top", **text)


def _draw_scale_bar(ax: Axes, reach: float) -> None:
    """A bar of a round length at the bottom of a close-up that is 2 * `reach` mm wide."""
    length = round_down(0.6 * reach)
    share = length / (2 * reach)
    ax.plot(
        [0.04, 0.04 + share],
        [0.05, 0.05],
        color="white",
        lw=2.5,
        transform=ax.transAxes,
        path_effects=OUTLINE,
    )
    ax.text(
        0.04, 0.07, f"{length:g} mm", transform=ax.transAxes, color="white", fontsize=9, va="bottom",
        path_effects=OUTLINE,
    )  # fmt: skip


def _draw_legend(figure: Figure) -> None:
    """Explain the marks that were drawn, once each."""
    drawn = {
        label: handle
        for ax in figure.axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if drawn:
        figure.legend(
            list(drawn.values()), list(drawn), loc="upper right", ncols=3, frameon=False, fontsize=10
        )

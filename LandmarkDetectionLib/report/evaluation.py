"""The report of an evaluation: what was compared, where detections fail, and how each looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import CaseDetections
from LandmarkDetectionLib.evaluation.comparison import Comparison
from LandmarkDetectionLib.evaluation.metrics import Evaluation
from LandmarkDetectionLib.evaluation.plots import error_curve
from LandmarkDetectionLib.report import charts
from LandmarkDetectionLib.report.compared import comparison_section
from LandmarkDetectionLib.report.crops import Mark
from LandmarkDetectionLib.report.folder import FRONT, ReportFolder, lengths, new_report, percent
from LandmarkDetectionLib.report.gallery import (
    PICTURES_OF_A_LANDMARK,
    VIEWERS,
    Gallery,
    Shown,
    Sitting,
    Subject,
    case_page,
    landmark_page,
    neighbours,
    viewer_script,
)
from LandmarkDetectionLib.report.pages import heat_cell, heat_table
from LandmarkDetectionLib.report.points import Points
from LandmarkDetectionLib.report.viewer import Point

Array = NDArray[np.float64]

NOMINAL = 0.9
"""Of the truths lie within a radius, as calibration promises."""
LEGEND = (
    ("truth", "the truth"),
    ("detection", "the detection"),
    ("radius", "the detection's own error radius"),
)
_WORST = 12
"""So many of the largest errors have a picture on the front page."""
_LISTED = 30
"""No more failures are listed."""
_OUTCOMES = {
    "fn": "missed",
    "fp": "found where it is absent",
    "tn": "absent, and said so",
    "": "not mentioned",
}
_CASE_COLUMNS = ("landmark", "status", "error, mm", "left", "posterior", "superior", "radius", "confidence")


@dataclass(frozen=True, eq=False)
class Compared:
    """What an evaluation compared.

    Attributes:
        title: of the report.
        truths: the true landmarks of every case, world LPS mm.
        detections: of the same cases; those that could not be read are missing.
        evaluation: of these.
        table: the landmark table, if there is one; it gives the left-right pairs.
        failures: why a case could not be evaluated, by its name or place.
        comparisons: with other detections of the same cases.
        name: of the detections.
        folders: whose names no page shows, for they say where the scans lie.
    """

    title: str
    truths: Mapping[str, LandmarkSet]
    detections: Mapping[str, CaseDetections]
    evaluation: Evaluation
    table: LandmarkTable | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    name: str = "detections"
    folders: Sequence[Path] = ()


def write_report(
    compared: Compared,
    read: Callable[[str], Volume],
    path: Path,
    track: Callable[[Sequence[str]], Iterator[str]] = iter,
) -> dict[str, str]:
    """Write the report of an evaluation as a folder of pages.

    Args:
        compared: what was evaluated.
        read: the scan of a case; with an `InputError` that case has numbers and no pictures.
        path: of the folder.
        track: goes through the cases' names, behind a progress bar.

    Returns:
        why cases have no pictures, by their names.

    Raises:
        InputError: if something other than a report stands there, or nothing can be written.
    """
    with new_report(path, compared.folders) as folder:
        return _Report(compared, folder, read).write(track)


class _Report:
    """Writes the pages."""

    def __init__(self, compared: Compared, folder: ReportFolder, read: Callable[[str], Volume]) -> None:
        self.compared, self.folder = compared, folder
        self.points = Points(compared.evaluation, compared.truths, compared.detections, compared.table)
        self.cases, self.landmarks = self.points.cases, self.points.landmarks
        self.gallery = Gallery(folder, lambda case: read(self.cases[case]))
        self.of_landmark = {
            row["landmark"]: row for row in compared.evaluation.per_landmark().to_dict("records")
        }

    def write(self, track: Callable[[Sequence[str]], Iterator[str]]) -> dict[str, str]:
        problems = self.gallery.take(list(self._sittings()), self.cases, track)
        self.charts = _add_charts(self.folder, self.compared.evaluation, self.points)
        for case in range(len(self.cases)):
            self._write_case(case)
        for landmark in range(len(self.landmarks)):
            self._write_landmark(landmark)
        self._write_front()
        self.folder.add_file("points.csv", self.compared.evaluation.points.to_csv(index=False).encode())
        return problems

    # What is photographed

    def _sittings(self) -> Iterator[Sitting]:
        landmarks = range(len(self.landmarks))
        pictured = [set(self.points.seen(landmark, PICTURES_OF_A_LANDMARK)) for landmark in landmarks]
        viewed = set(self.points.worst_cases()[:VIEWERS])
        for case in range(len(self.cases)):
            marks = [(row, self._marks(case, row)) for row in landmarks if case in pictured[row]]
            subjects = tuple(Subject(row, drawn[0].position, tuple(drawn)) for row, drawn in marks)
            shown = tuple(self._viewer_points(case)) if case in viewed else ()
            yield Sitting(case, self.points.axes[case], subjects, shown)

    def _marks(self, case: int, landmark: int) -> list[Mark]:
        """Truth and detection, as far as there are any."""
        radius = float(self.points.rows[case, landmark]["radius_mm"])
        truth, found = self.points.truth(case)[landmark], self.points.found(case)[landmark]
        marks = [Mark("truth", truth), Mark("detection", found, radius)]
        return [mark for mark in marks if np.isfinite(mark.position).all()]

    def _viewer_points(self, case: int) -> Iterator[Point]:
        """Detections, the worst first, each before its truth."""
        for row in self.points.own(case):
            name, error = self.landmarks[row], self.points.rows[case, row]["error_mm"]
            for mark in reversed(self._marks(case, row)):
                off = "absent in truth" if math.isnan(error) else f"{lengths(error)} mm off"
                yield Point(name, mark.kind, mark.position, "truth" if mark.kind == "truth" else off)

    # Words

    def _words(self, case: int, landmark: int) -> str:
        row = self.points.rows[case, landmark]
        outcome = str(row["outcome"])
        parts = [f"{lengths(row['error_mm'], 3)} mm off" if outcome == "tp" else _OUTCOMES[outcome]]
        if row["status"] == "uncertain":
            parts.append("uncertain")
        if outcome in ("tp", "fp") and not math.isnan(row["radius_mm"]):
            held = outcome == "fp" or row["error_mm"] <= row["radius_mm"]
            parts.append(f"radius {lengths(row['radius_mm'])} mm{'' if held else ', which does not hold it'}")
        if not math.isnan(row["confidence"]):
            parts.append(f"confidence {row['confidence']:.2f}")
        return ", ".join(parts)

    def _shown(self, case: int, landmark: int, title: str, href: str, anchor: str) -> Shown:
        """The close-up of a point under a title that leads somewhere."""
        return Shown(
            anchor=anchor,
            title=title,
            href=href,
            words=self._words(case, landmark),
            picture=self.gallery.pictures.get((case, landmark)),
            failed=self.points.rows[case, landmark]["outcome"] in ("fn", "fp"),
        )

    # Pages

    def _write_case(self, case: int) -> None:
        own = self.points.own(case)
        table = {
            "title": "Its landmarks",
            "columns": _CASE_COLUMNS,
            "rows": [self._case_row(case, landmark) for landmark in own],
            "caption": "The largest error first; lengths in mm, detection minus truth along three axes",
        }
        self.folder.add_page(
            case_page(case),
            "case.html",
            title=self.cases[case],
            sentences=self._sentences(case),
            script=viewer_script(case) if case in self.gallery.with_viewer else "",
            table=table,
            shown=[
                self._shown(case, row, self.landmarks[row], self._picture_of(case, row), f"l{row}")
                for row in own
                if (case, row) in self.gallery.pictures
            ],
            order="the largest error first",
            legend=LEGEND,
            colours=LEGEND[:2],
            **neighbours(case, self.cases, case_page),
        )

    def _case_row(self, case: int, landmark: int) -> dict[str, Any]:
        row = self.points.rows[case, landmark]
        cells = [
            self.landmarks[landmark],
            _OUTCOMES.get(str(row["outcome"]), row["status"]),
            lengths(row["error_mm"], 3),
            *(lengths(row[f"d{axis}_mm"], 3) for axis in "xyz"),
            lengths(row["radius_mm"], 3),
            lengths(row["confidence"]),
        ]
        return {"cells": cells, "href": self._picture_of(case, landmark)}

    def _sentences(self, case: int) -> Iterator[str]:
        if self.cases[case] not in self.compared.detections:
            yield "This case has no detections: all of its landmarks count as missed."
        if case in self.gallery.problems:
            yield f"It has no pictures: {self.gallery.problems[case]}"
        elif case not in self.gallery.with_viewer and len(self.cases) > VIEWERS:
            yield f"Only the {VIEWERS} cases with the largest errors have an interactive view."

    def _write_landmark(self, landmark: int) -> None:
        name = self.landmarks[landmark]
        cases = self.points.seen(landmark, PICTURES_OF_A_LANDMARK)
        row = self.of_landmark[name]
        sentences = [
            f"Mean {lengths(row['mean_mm'], 3)} mm, median {lengths(row['median_mm'], 3)}, worst "
            f"{lengths(row['max_mm'], 3)}; {row['missed']:.0f} of {row['n']:.0f} missed."
        ]
        known = self.compared.table
        definitions = {item.name: item.definition for item in known.landmarks} if known else {}
        if definitions.get(name):
            sentences.insert(0, definitions[name])
        if len(cases) == PICTURES_OF_A_LANDMARK < len(self.cases):
            sentences.append(f"Only the {len(cases)} cases with the largest errors have a picture.")
        self.folder.add_page(
            landmark_page(landmark),
            "landmark.html",
            title=f"{name}: the cases, the largest error first",
            sentences=sentences,
            shown=[
                self._shown(case, landmark, self.cases[case], case_page(case), f"c{case}") for case in cases
            ],
            legend=LEGEND,
            **neighbours(landmark, self.landmarks, landmark_page),
        )

    def _write_front(self) -> None:
        compared, evaluation = self.compared, self.compared.evaluation
        radii = evaluation.radii
        worst = sorted(self.gallery.pictures, key=lambda key: -self.points.badness(*key))[:_WORST]
        titles = {(case, row): f"{self.landmarks[row]} in {self.cases[case]}" for case, row in worst}
        self.folder.add_page(
            FRONT,
            "evaluation.html",
            title=compared.title,
            metrics=evaluation.metrics,
            headline=_headline(evaluation),
            name=compared.name,
            failures=self._failures(),
            worst=[
                self._shown(*key, titles[key], self._picture_of(*key), f"w{key[1]}-{key[0]}") for key in worst
            ],
            charts=self.charts,
            magnified=f"{self.points.scatter.magnified:g}",
            nominal=percent(NOMINAL, 0),
            heat=self._heat(),
            limit=f"{radii[-1]:g}",
            legend=LEGEND,
            landmarks=_rows(evaluation.per_landmark(), "landmark", self.landmarks, landmark_page, radii),
            cases=_rows(evaluation.per_case(), "case", self.cases, case_page, radii),
            columns=["", "missed", "mean, mm", "median, mm", "worst, mm", *_within(radii)],
            comparisons=[
                comparison_section(self.folder, number, one, evaluation, compared.name)
                for number, one in enumerate(compared.comparisons)
            ],
        )

    def _failures(self) -> list[dict[str, str]]:
        """What went wrong, the gravest first: a sentence and where it leads."""
        detected, failures = self.compared.detections, self.compared.failures
        found = [{"text": f"{where}: {why}", "href": ""} for where, why in failures.items()]
        for case, name in enumerate(self.cases):
            if name not in detected and name not in failures:
                found.append({"text": f"{name} has no detections.", "href": case_page(case)})
        for (case, landmark), row in self.points.rows.items():
            if row["outcome"] in ("fn", "fp") and self.cases[case] in detected:
                text = f"{self.landmarks[landmark]} in {self.cases[case]}: {_OUTCOMES[row['outcome']]}."
                found.append({"text": text, "href": self._picture_of(case, landmark)})
        for case, one, other in self.points.exchanged():
            text = (
                f"{self.landmarks[one]} and {self.landmarks[other]} in {self.cases[case]} are exchanged: "
                "each lies nearer to the truth of the other."
            )
            found.append({"text": text, "href": self._picture_of(case, one)})
        more = len(found) - _LISTED
        return [*found[:_LISTED], *([{"text": f"{more} more.", "href": ""}] if more > 0 else [])]

    def _heat(self) -> dict[str, Any]:
        """The errors of all landmarks (rows, the worst first) in all cases (columns, the worst first)."""
        mean = self.points.scatter.errors
        rows = sorted(range(len(self.landmarks)), key=lambda row: -np.nan_to_num(mean[row], nan=np.inf))
        return heat_table(rows, self.points.worst_cases(), self.landmarks, self.cases, self._cell)

    def _cell(self, case: int, landmark: int) -> dict[str, str] | None:
        badness = self.points.badness(case, landmark)
        if badness == -math.inf:
            return None
        words = f"{self.landmarks[landmark]} in {self.cases[case]}: {self._words(case, landmark)}"
        text = f"{badness:.2f}".removeprefix("0") if badness < 10 else f"{badness:.0f}"
        if badness == math.inf:
            text = "miss" if self.points.rows[case, landmark]["outcome"] == "fn" else "extra"
        share = badness / self.compared.evaluation.radii[-1]
        return heat_cell(share, text, self._picture_of(case, landmark), words)

    def _picture_of(self, case: int, landmark: int) -> str:
        """Where the close-up of a point stands; the page of its case where it has none."""
        if (case, landmark) in self.gallery.pictures:
            return f"{landmark_page(landmark)}#c{case}"
        return case_page(case)


def _add_charts(folder: ReportFolder, evaluation: Evaluation, points: Points) -> dict[str, str]:
    """Draw the charts that these cases have something to show in; gives their paths by name."""
    scatter = points.scatter
    drawn = {"errors": charts.as_svg(error_curve(evaluation))}
    if scatter.drawn:
        drawn["ellipsoids"] = charts.as_png(charts.ellipsoids(scatter))
        drawn["biases"] = charts.as_svg(charts.biases(scatter))
    pairs = [(row, partner) for row, partner in enumerate(points.partners) if row < partner]
    pairs = [pair for pair in pairs if np.isfinite(scatter.errors[list(pair)]).all()]
    if pairs:
        names = [(points.landmarks[one], points.landmarks[other]) for one, other in pairs]
        drawn["pairs"] = charts.as_svg(charts.pairs_chart(names, scatter.errors[np.array(pairs)]))
    table = evaluation.points
    claimed = table[(table["outcome"] == "tp") & table["radius_mm"].notna()]
    if len(claimed):
        held = (claimed["error_mm"] <= claimed["radius_mm"]).groupby(claimed["landmark"], sort=False)
        figure = charts.coverage_chart([*held.sum().index], [*held.sum()], [*held.count()], NOMINAL)
        drawn["coverage"] = charts.as_svg(figure)
    said = table[table["confidence"].notna() & (table["outcome"] != "")]
    there = said["outcome"].isin(["tp", "fn"]).to_numpy()
    if not there.all():
        figure = charts.reliability_chart(said["confidence"].to_numpy(dtype=float), there)
        drawn["reliability"] = charts.as_svg(figure)
    paths = {}
    for name, content in drawn.items():
        paths[name] = f"charts/{name}.{'png' if name == 'ellipsoids' else 'svg'}"
        folder.add_file(paths[name], content)
    return paths


def _headline(evaluation: Evaluation) -> list[dict[str, str]]:
    """The figures on top: what, how much, and the 95 % interval."""
    metrics = evaluation.metrics
    error, presence, coverage = metrics["mre_mm"], metrics["presence"], metrics["coverage"]
    low, high = error["ci95"]
    interval = "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
    figures = [
        ("mean error", f"{lengths(error['mean'], 3)} mm", interval),
        ("median error", f"{lengths(error['median'], 3)} mm", ""),
    ]
    for radius, rate in metrics["sdr"].items():
        low, high = metrics["sdr_ci95"][radius]
        interval = "" if math.isnan(low) else f"{percent(low)} to {percent(high)}"
        figures.append((f"within {radius} mm", percent(rate), interval))
    figures.append(("missed", f"{metrics['missed']} of {metrics['n_points']}", ""))
    absent = presence["fp"] + presence["tn"]
    if absent:
        figures.append(("found where absent", f"{presence['fp']} of {absent}", ""))
    if coverage is not None:
        promised = f"{percent(NOMINAL, 0)} promised"
        figures.append(("truths within their radius", percent(coverage["fraction"]), promised))
    return [{"what": what, "value": value, "interval": interval} for what, value, interval in figures]


def _rows(
    table: pd.DataFrame, key: str, names: Sequence[str], page: Callable[[int], str], radii: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of a table per landmark or case, the largest mean error first."""
    number = {name: row for row, name in enumerate(names)}
    ordered = table.sort_values("mean_mm", ascending=False, na_position="first", kind="stable")
    return [
        {
            "href": page(number[row[key]]),
            "cells": [
                row[key],
                f"{row['missed']} of {row['n']}",
                *(lengths(row[f"{what}_mm"], 3) for what in ("mean", "median", "max")),
                *(percent(row[f"sdr_{radius:g}mm"]) for radius in radii),
            ],
        }
        for row in ordered.to_dict("records")
    ]


def _within(radii: Sequence[float]) -> list[str]:
    return [f"within {radius:g} mm" for radius in radii]

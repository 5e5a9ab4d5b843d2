"""The report of a cohort without truth: which case to look at first, how it looks, and what it measures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import STATUSES, CaseDetections, CaseOutcome, Detection
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review
from LandmarkDetectionLib.evaluation.measurements import RESULT_COLUMNS, Measured, Measurement, measure
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.report.crops import Mark
from LandmarkDetectionLib.report.folder import FRONT, ReportFolder, lengths, new_report
from LandmarkDetectionLib.report.gallery import (
    VIEWERS,
    Gallery,
    Shown,
    Sitting,
    Subject,
    case_page,
    neighbours,
    viewer_script,
)
from LandmarkDetectionLib.report.pose import upright
from LandmarkDetectionLib.report.viewer import Point

Array = NDArray[np.float64]

MEASUREMENTS = "measurements.csv"
LEGEND = (("detection", "the detection"), ("radius", "its own error radius"))
_FIRST = 12
"""So many cases have a picture of their least certain landmark on the front page."""
_PICTURED = 12
"""So many cases, those to look at first, have pictures of all landmarks; the others of the least certain."""
_LEAST_CERTAIN = 6


@dataclass(frozen=True, eq=False)
class Cohort:
    """What was detected.

    Attributes:
        title: of the report.
        outcomes: of all cases.
        bundle: the model.
        measurements: what is measured in every case.
        folders: whose names no page shows, for they say where the scans lie.
    """

    title: str
    outcomes: Sequence[CaseOutcome]
    bundle: Bundle
    measurements: Sequence[Measurement]
    folders: Sequence[Path] = ()


def write_report(
    cohort: Cohort,
    read: Callable[[str], Volume],
    path: Path,
    track: Callable[[Sequence[str]], Iterator[str]] = iter,
) -> dict[str, str]:
    """Write the report of a cohort as a folder of pages, with `measurements.csv`.

    Args:
        cohort: what was detected.
        read: the scan of a case; with an `InputError` that case has no pictures.
        path: of the folder.
        track: goes through the names of the cases that were detected, behind a progress bar.

    Returns:
        why cases have no pictures, by their names.

    Raises:
        InputError: if something other than a report stands there, or nothing can be written.
    """
    with new_report(path, cohort.folders) as folder:
        return _Report(cohort, folder, read).write(track)


class _Report:
    """Writes the pages; cases are numbered in the order of doubt."""

    def __init__(self, cohort: Cohort, folder: ReportFolder, read: Callable[[str], Volume]) -> None:
        self.cohort, self.folder = cohort, folder
        bundle = cohort.bundle
        self.names = bundle.table.names
        outcomes = {outcome.case: outcome for outcome in cohort.outcomes if outcome.result is not None}
        reviews = [
            review(outcome.result, self.names, bundle.shape.mean)
            for outcome in outcomes.values()
            if outcome.result
        ]
        self.reviews: list[Review] = in_order_of_doubt(reviews)
        self.outcomes = [outcomes[item.case] for item in self.reviews]
        self.results = [outcome.result for outcome in self.outcomes if outcome.result]
        self.cases = [outcome.case for outcome in self.outcomes]
        self.axes = [upright(_positions(result, self.names), bundle.shape.mean) for result in self.results]
        self.measured = [measure(result, cohort.measurements, bundle.table) for result in self.results]
        self.gallery = Gallery(folder, lambda case: read(self.cases[case]))

    def write(self, track: Callable[[Sequence[str]], Iterator[str]]) -> dict[str, str]:
        sittings = [self._sitting(case) for case in range(len(self.cases))]
        problems = self.gallery.take(sittings, self.cases, track)
        for case in range(len(self.cases)):
            self._write_case(case)
        self._write_front()
        self.folder.add_file(MEASUREMENTS, _as_csv(self.measured).encode())
        return problems

    def doubtful(self, case: int) -> list[tuple[int, Detection]]:
        """The landmarks of a case that have a position, with their numbers, the least certain first."""
        said = self.results[case].by_name
        own = [
            (row, said[name]) for row, name in enumerate(self.names) if name in said and said[name].present
        ]
        return sorted(own, key=lambda item: (item[1].confidence, -_width(item[1])))

    def _sitting(self, case: int) -> Sitting:
        doubtful = self.doubtful(case)
        pictured = doubtful if case < _PICTURED else doubtful[:_LEAST_CERTAIN]
        subjects = [
            Subject(row, item.position, (Mark("detection", item.position, item.radius_mm),))
            for row, item in pictured
        ]
        points = [Point(item.name, "detection", item.position, _words(item)) for _, item in doubtful]
        return Sitting(case, self.axes[case], tuple(subjects), tuple(points) if case < VIEWERS else ())

    def _shown(self, case: int, row: int, item: Detection, title: str, href: str) -> Shown:
        return Shown(
            anchor=f"l{row}-{case}",
            title=title,
            href=href,
            words=_words(item),
            picture=self.gallery.pictures.get((case, row)),
            failed=item.status == "uncertain",
        )

    def _write_case(self, case: int) -> None:
        outcome, judged = self.outcomes[case], self.reviews[case]
        doubtful = self.doubtful(case)
        absent = [name for name in self.names if name not in {item.name for _, item in doubtful}]
        sentences = [
            f"{case + 1} of {len(self.cases)} in the order in which to look at them.",
            *outcome.warnings,
        ]
        if judged.least_fitting:
            sentences.append(
                f"{judged.least_fitting} lies farthest from where the mean shape has it: "
                f"{lengths(judged.misfit_mm)} mm."
            )
        if absent:
            sentences.append(f"Absent: {', '.join(absent)}.")
        if outcome.corrected:
            sentences.append("A person has corrected this result; it is shown as corrected.")
        if case in self.gallery.problems:
            sentences.append(f"It has no pictures: {self.gallery.problems[case]}")
        rows = [{"href": "", "cells": _measured_cells(item)} for item in self.measured[case]]
        columns = ("", "value", "unit", "90 % interval")
        table = {
            "title": "Measurements",
            "columns": columns,
            "rows": rows,
            "caption": "As far as the landmarks' own radii tell",
        }
        self.folder.add_page(
            case_page(case),
            "case.html",
            title=self.cases[case],
            sentences=sentences,
            script=viewer_script(case) if case in self.gallery.with_viewer else "",
            table=table if rows else None,
            shown=[
                self._shown(case, row, item, item.name, "")
                for row, item in doubtful
                if (case, row) in self.gallery.pictures
            ],
            order="the least certain landmark first",
            legend=LEGEND,
            colours=(),
            **neighbours(case, self.cases, case_page),
        )

    def _write_front(self) -> None:
        first = []
        for case in range(min(_FIRST, len(self.cases))):
            for row, item in self.doubtful(case)[:1]:
                title = f"{item.name} in {self.cases[case]}"
                first.append(self._shown(case, row, item, title, case_page(case)))
        self.folder.add_page(
            FRONT,
            "cohort.html",
            title=self.cohort.title,
            model=self.cohort.bundle.name,
            landmarks=len(self.names),
            count=len(self.cohort.outcomes),
            failed=[f"{outcome.case}: {outcome.error}" for outcome in self.cohort.outcomes if outcome.error],
            cases=self._case_rows(),
            first=first,
            legend=LEGEND,
            measurements=self._measurement_rows(),
            file=MEASUREMENTS,
        )

    def _case_rows(self) -> list[dict[str, Any]]:
        rows = []
        for case, (judged, result) in enumerate(zip(self.reviews, self.results, strict=True)):
            statuses = [item.status for item in result.detections]
            widest = max((item for _, item in self.doubtful(case)), key=_width, default=None)
            radius = (
                "-"
                if widest is None or math.isnan(widest.radius_mm)
                else f"{lengths(widest.radius_mm)} ({widest.name})"
            )
            misfit = f"{lengths(judged.misfit_mm)} ({judged.least_fitting})" if judged.least_fitting else "-"
            rows.append(
                {
                    "href": case_page(case),
                    "cells": [
                        self.cases[case],
                        *(statuses.count(status) for status in STATUSES),
                        f"{judged.lowest_confidence:.2f}",
                        misfit,
                        radius,
                        "corrected"
                        if self.outcomes[case].corrected
                        else " ".join(self.outcomes[case].warnings),
                    ],
                }
            )
        return rows

    def _measurement_rows(self) -> list[dict[str, Any]]:
        """Of every measurement the median, the middle half, and the extremes with their cases."""
        rows = []
        for number, item in enumerate(self.cohort.measurements):
            values = np.array([case[number].value for case in self.measured])
            known = np.flatnonzero(np.isfinite(values))
            if not len(known):
                rows.append({"href": "", "cells": [item.name, item.kind, item.unit, 0, "-", "-", "-", "-"]})
                continue
            low, middle, high = np.quantile(values[known], [0.25, 0.5, 0.75])
            ends = [known[np.argmin(values[known])], known[np.argmax(values[known])]]
            rows.append(
                {
                    "href": "",
                    "cells": [
                        *(item.name, item.kind, item.unit, len(known), lengths(middle)),
                        f"{lengths(low)} to {lengths(high)}",
                        *(f"{lengths(values[end])} ({self.cases[end]})" for end in ends),
                    ],
                }
            )
        return rows


def _positions(result: CaseDetections, names: Sequence[str]) -> Array:
    said = result.by_name
    return np.array([said[name].position if name in said else np.full(3, np.nan) for name in names])


def _width(item: Detection) -> float:
    return -1.0 if math.isnan(item.radius_mm) else item.radius_mm


def _words(item: Detection) -> str:
    radius = "" if math.isnan(item.radius_mm) else f", radius {lengths(item.radius_mm)} mm"
    return f"{item.status}, confidence {item.confidence:.2f}{radius}"


def _measured_cells(item: Measured) -> list[str]:
    interval = "-" if math.isnan(item.low) else f"{lengths(item.low)} to {lengths(item.high)}"
    return [item.measurement.name, lengths(item.value), item.measurement.unit, interval]


def _as_csv(measured: Sequence[Sequence[Measured]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RESULT_COLUMNS)
    for case in measured:
        for item in case:
            numbers = [
                "" if math.isnan(value) else f"{value:.4f}" for value in (item.value, item.low, item.high)
            ]
            writer.writerow(
                [item.case, item.measurement.name, item.measurement.kind, item.measurement.unit, *numbers]
            )
    return text.getvalue()

"""The report of a check: every annotation beside those of the other cases, the odd ones first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from LandmarkDetectionLib.data.checks import Finding
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.outliers import FAR, MIN_CASES, compare_with_usual
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.report.crops import Mark
from LandmarkDetectionLib.report.folder import FRONT, ReportFolder, lengths, new_report
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
    worst_first,
)
from LandmarkDetectionLib.report.pages import heat_cell, heat_table
from LandmarkDetectionLib.report.pose import shape_of, upright
from LandmarkDetectionLib.report.viewer import Point

_ODD = 12
"""So many of the oddest landmarks have a picture on the front page."""
_HOW_TO_LOOK = (
    "One row of slices a case, all turned alike; the one that lies farthest from where the others have it "
    "comes first. What shows another place than the rest wants a look."
)
LEGEND = (("truth", "the annotation"), ("detection", "where the other cases have it"))


@dataclass(frozen=True, eq=False)
class Checked:
    """What was checked.

    Attributes:
        title: of the report.
        landmarks: of every case that could be read, world LPS mm.
        findings: of the check.
        folders: whose names no page shows, for they say where the scans lie.
    """

    title: str
    landmarks: Mapping[str, LandmarkSet]
    findings: Sequence[Finding]
    folders: Sequence[Path] = ()


def write_report(
    checked: Checked,
    read: Callable[[str], Volume],
    path: Path,
    track: Callable[[Sequence[str]], Iterator[str]] = iter,
) -> dict[str, str]:
    """Write the report of a check as a folder of pages.

    Args:
        checked: what was checked.
        read: the scan of a case; with an `InputError` that case has no pictures.
        path: of the folder.
        track: goes through the cases' names, behind a progress bar.

    Returns:
        why cases have no pictures, by their names.

    Raises:
        InputError: if something other than a report stands there, or nothing can be written.
    """
    with new_report(path, checked.folders) as folder:
        return _Report(checked, folder, read).write(track)


class _Report:
    """Writes the pages; cases and landmarks are numbered in the order in which they first stand."""

    def __init__(self, checked: Checked, folder: ReportFolder, read: Callable[[str], Volume]) -> None:
        self.checked, self.folder = checked, folder
        self.cases = list(checked.landmarks)
        self.names = list(
            dict.fromkeys(name for points in checked.landmarks.values() for name in points.names)
        )
        self.positions = np.array([points.positions_of(self.names) for points in checked.landmarks.values()])
        self.positions = self.positions.reshape(len(self.cases), len(self.names), 3)
        self.usual = compare_with_usual(self.positions)
        shape = shape_of(checked.landmarks, self.names) if self.names else np.zeros((0, 3))
        self.axes = [upright(points, shape) for points in self.positions]
        self.gallery = Gallery(folder, lambda case: read(self.cases[case]))

    def write(self, track: Callable[[Sequence[str]], Iterator[str]]) -> dict[str, str]:
        pictured = [set(self.shown_of_landmark(landmark)) for landmark in range(len(self.names))]
        viewed = set(
            worst_first({case: self.oddness_of_case(case) for case in range(len(self.cases))}, VIEWERS)
        )
        sittings = [
            self._sitting(case, [row for row, cases in enumerate(pictured) if case in cases], case in viewed)
            for case in range(len(self.cases))
        ]
        problems = self.gallery.take(sittings, self.cases, track)
        for case in range(len(self.cases)):
            self._write_case(case)
        for landmark in range(len(self.names)):
            self._write_landmark(landmark)
        self._write_front()
        return problems

    def oddness(self, case: int, landmark: int) -> float:
        """Robust standard deviations from where the others have it; -1 where nobody knows."""
        value = float(self.usual.deviations[case, landmark])
        return -1.0 if math.isnan(value) else value

    def oddness_of_case(self, case: int) -> float:
        return max((self.oddness(case, row) for row in range(len(self.names))), default=-1.0)

    def has(self, case: int, landmark: int) -> bool:
        return bool(np.isfinite(self.positions[case, landmark]).all())

    def shown_of_landmark(self, landmark: int) -> list[int]:
        """The cases that have a picture of a landmark, the oddest first."""
        cases = [case for case in range(len(self.cases)) if self.has(case, landmark)]
        return worst_first({case: self.oddness(case, landmark) for case in cases}, PICTURES_OF_A_LANDMARK)

    def own(self, case: int) -> list[int]:
        """The landmarks of a case, the oddest first."""
        rows = [row for row in range(len(self.names)) if self.has(case, row)]
        return worst_first({row: self.oddness(case, row) for row in rows}, len(rows))

    def _sitting(self, case: int, landmarks: Sequence[int], viewed: bool) -> Sitting:
        subjects = [
            Subject(row, self.positions[case, row], tuple(self._marks(case, row))) for row in landmarks
        ]
        points = [
            Point(self.names[row], "truth", self.positions[case, row], self._words(case, row))
            for row in self.own(case)
        ]
        return Sitting(case, self.axes[case], tuple(subjects), tuple(points) if viewed else ())

    def _marks(self, case: int, landmark: int) -> Iterator[Mark]:
        yield Mark("truth", self.positions[case, landmark])
        place = self.usual.places[case, landmark]
        if self.oddness(case, landmark) > FAR and np.isfinite(place).all():
            yield Mark("detection", place)

    def _words(self, case: int, landmark: int) -> str:
        value = self.oddness(case, landmark)
        return "too few cases to compare" if value < 0 else f"{value:.1f} deviations off"

    def _shown(self, case: int, landmark: int, title: str, href: str, anchor: str) -> Shown:
        return Shown(
            anchor=anchor,
            title=title,
            href=href,
            words=self._words(case, landmark),
            picture=self.gallery.pictures.get((case, landmark)),
            failed=self.oddness(case, landmark) > FAR,
        )

    def _picture_of(self, case: int, landmark: int) -> str:
        """Where the close-up of a landmark stands; the page of its case where it has none."""
        if (case, landmark) in self.gallery.pictures:
            return f"{landmark_page(landmark)}#c{case}"
        return case_page(case)

    def _write_case(self, case: int) -> None:
        own = self.own(case)
        name = self.cases[case]
        sentences = [finding.message for finding in self.checked.findings if finding.case == name]
        if case in self.gallery.problems:
            sentences.append(f"It has no pictures: {self.gallery.problems[case]}")
        self.folder.add_page(
            case_page(case),
            "case.html",
            title=name,
            sentences=sentences,
            script=viewer_script(case) if case in self.gallery.with_viewer else "",
            table=None,
            shown=[
                self._shown(case, row, self.names[row], self._picture_of(case, row), f"l{row}")
                for row in own
                if (case, row) in self.gallery.pictures
            ],
            order="the oddest first",
            legend=LEGEND,
            colours=LEGEND[:1],
            **neighbours(case, self.cases, case_page),
        )

    def _write_landmark(self, landmark: int) -> None:
        cases = self.shown_of_landmark(landmark)
        lacking = [self.cases[case] for case in range(len(self.cases)) if not self.has(case, landmark)]
        said = [_HOW_TO_LOOK]
        if lacking:
            said.append(f"Not in {len(lacking)} cases: {', '.join(lacking)}.")
        if len(cases) == PICTURES_OF_A_LANDMARK < len(self.cases) - len(lacking):
            said.append(f"Only the {PICTURES_OF_A_LANDMARK} oddest cases have a picture.")
        self.folder.add_page(
            landmark_page(landmark),
            "landmark.html",
            title=self.names[landmark],
            sentences=said,
            shown=[
                self._shown(case, landmark, self.cases[case], case_page(case), f"c{case}") for case in cases
            ],
            legend=LEGEND,
            **neighbours(landmark, self.names, landmark_page),
        )

    def _write_front(self) -> None:
        oddness = {
            (case, row): self.oddness(case, row)
            for case in range(len(self.cases))
            for row in range(len(self.names))
            if (case, row) in self.gallery.pictures
        }
        odd = sorted(oddness, key=lambda key: -oddness[key])[:_ODD]
        titles = {(case, row): f"{self.names[row]} in {self.cases[case]}" for case, row in odd}
        numbers = {name: row for row, name in enumerate(self.cases)}
        self.folder.add_page(
            FRONT,
            "annotations.html",
            title=self.checked.title,
            cases=len(self.cases),
            landmarks=len(self.names),
            errors=self._findings("error", numbers),
            warnings=self._findings("warning", numbers),
            odd=[
                self._shown(*key, titles[key], self._picture_of(*key), f"o{key[1]}-{key[0]}") for key in odd
            ],
            far=f"{FAR:g}",
            fewest=MIN_CASES,
            comparable=bool(np.isfinite(self.usual.deviations).any()),
            legend=LEGEND,
            heat=self._heat(),
        )

    def _findings(self, severity: str, numbers: Mapping[str, int]) -> list[dict[str, str]]:
        return [
            {
                "text": f"{finding.kind}: {finding.message}",
                "href": case_page(numbers[finding.case]) if finding.case in numbers else "",
            }
            for finding in self.checked.findings
            if finding.severity == severity
        ]

    def _heat(self) -> dict[str, Any]:
        """How odd every landmark (rows, the oddest first) of every case (columns, too) is."""
        of_landmark = {
            row: max((self.oddness(case, row) for case in range(len(self.cases))), default=-1.0)
            for row in range(len(self.names))
        }
        of_case = {case: self.oddness_of_case(case) for case in range(len(self.cases))}
        rows, columns = worst_first(of_landmark, len(of_landmark)), worst_first(of_case, len(of_case))

        def cell(case: int, row: int) -> dict[str, str] | None:
            if not self.has(case, row):
                return None
            value = self.oddness(case, row)
            words = f"{self.names[row]} in {self.cases[case]}: {self._words(case, row)}"
            text = "?" if value < 0 else lengths(value, 0)
            return heat_cell(max(value, 0.0) / FAR, text, self._picture_of(case, row), words)

        return heat_table(rows, columns, self.names, self.cases, cell)

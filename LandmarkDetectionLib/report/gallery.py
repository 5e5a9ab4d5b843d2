"""Pictures of landmarks for the pages of a report, a scan at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.evaluation.views import grey_window, voxel_steps
from LandmarkDetectionLib.report.crops import Camera, Crop, Mark
from LandmarkDetectionLib.report.folder import ReportFolder
from LandmarkDetectionLib.report.viewer import Point, add_viewer, case_script

Array = NDArray[np.float64]

PICTURES_OF_A_LANDMARK = 40
"""A landmark has pictures of no more cases than these, the worst."""
VIEWERS = 40
"""No more cases have a viewer, the worst."""
_REACH = 12
"""Voxels from the middle of a slice to its edge, at least."""
_ROOM = 1.6
"""Times the largest distance that a slice shows from its middle."""
_VIEWER_VOXELS = 700_000
_ALL_VIEWERS_VOXELS = 16_000_000


@dataclass(frozen=True, eq=False)
class Subject:
    """One landmark of a case that is photographed.

    Attributes:
        landmark: its number.
        centre: (3,) world LPS mm.
        marks: what is drawn.
    """

    landmark: int
    centre: Array
    marks: tuple[Mark, ...]


@dataclass(frozen=True, eq=False)
class Sitting:
    """What is taken of one case.

    Attributes:
        case: its number.
        axes: 3 x 3, of the anatomy in the world.
        subjects: the landmarks that are photographed.
        points: those that the viewer shows; none for no viewer.
    """

    case: int
    axes: Array
    subjects: tuple[Subject, ...]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Picture:
    """A close-up in the folder of a report: its path there, and what is drawn over it."""

    path: str
    crop: Crop


@dataclass(frozen=True)
class Shown:
    """A close-up with its words, as pages show it.

    Attributes:
        anchor: by which links lead to it.
        title: the case's or the landmark's name.
        href: where the title leads, '' for nowhere.
        words: what is said below it.
        picture: None where there is none.
        failed: whether it is framed.
    """

    anchor: str
    title: str
    href: str
    words: str
    picture: Picture | None
    failed: bool = False


class Gallery:
    """Takes the pictures of all cases.

    Args:
        folder: where they go.
        read: the scan of a case by its number; an `InputError` leaves that case without pictures.
    """

    def __init__(self, folder: ReportFolder, read: Callable[[int], Volume]) -> None:
        self._folder, self._read = folder, read
        self.pictures: dict[tuple[int, int], Picture] = {}
        self.with_viewer: set[int] = set()
        self.problems: dict[int, str] = {}

    def take(
        self,
        sittings: Sequence[Sitting],
        cases: Sequence[str],
        track: Callable[[Sequence[str]], Iterable[str]],
    ) -> dict[str, str]:
        """Photograph case by case.

        Args:
            sittings: of all cases.
            cases: their names.
            track: goes through the names, behind a progress bar.

        Returns:
            why cases have no pictures, by their names.
        """
        viewers = sum(bool(sitting.points) for sitting in sittings)
        most_voxels = min(_VIEWER_VOXELS, _ALL_VIEWERS_VOXELS // max(viewers, 1))
        if viewers:
            add_viewer(self._folder)
        for sitting, _ in zip(sittings, track(cases), strict=True):
            if sitting.subjects or sitting.points:
                self._sit(sitting, most_voxels)
        return {cases[case]: reason for case, reason in self.problems.items()}

    def _sit(self, sitting: Sitting, most_voxels: int) -> None:
        try:
            volume = self._read(sitting.case)
        except InputError as error:
            self.problems[sitting.case] = str(error)
            return
        places = [subject.centre for subject in sitting.subjects]
        places += [point.position for point in sitting.points]
        camera = Camera(volume, sitting.axes, grey_window(volume, np.array(places)))
        least = _REACH * float(voxel_steps(volume.frame).min())
        for subject in sitting.subjects:
            crop = camera.take(subject.centre, _reach(subject, least), subject.marks)
            path = f"crops/{sitting.case:04d}-{subject.landmark:04d}.jpg"
            self._folder.add_file(path, crop.jpeg)
            self.pictures[sitting.case, subject.landmark] = Picture(path, crop)
        if sitting.points:
            self._folder.add_file(
                viewer_script(sitting.case), case_script(camera, sitting.points, most_voxels)
            )
            self.with_viewer.add(sitting.case)


def _reach(subject: Subject, least: float) -> float:
    far = [float(np.linalg.norm(mark.position - subject.centre)) for mark in subject.marks]
    radii = [mark.radius_mm for mark in subject.marks if not math.isnan(mark.radius_mm)]
    return max([least, *(_ROOM * distance for distance in far), *(_ROOM * radius / 2 for radius in radii)])


def viewer_script(case: int) -> str:
    """The script that hands a case to the viewer."""
    return f"viewer/{case:04d}.js"


def case_page(case: int) -> str:
    """The page of a case, by its number."""
    return f"cases/{case:04d}.html"


def landmark_page(landmark: int) -> str:
    """The page of a landmark, by its number."""
    return f"landmarks/{landmark:04d}.html"


def worst_first(badness: Mapping[int, float], most: int) -> list[int]:
    """The keys with the largest values, no more than so many."""
    return sorted(badness, key=lambda key: (-badness[key], key))[:most]


def neighbours(
    number: int, names: Sequence[str], page: Callable[[int], str]
) -> dict[str, dict[str, str] | None]:
    """The pages before and after one, for the templates."""
    before = {"name": names[number - 1], "href": page(number - 1)} if number else None
    after = {"name": names[number + 1], "href": page(number + 1)} if number + 1 < len(names) else None
    return {"before": before, "after": after}

"""Volumes and markups of the scene as cases of a data set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.dataset import cases_of, check_name, write_case, write_image
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.scene.markups import landmarks_of, table_of, volume_of_markups
from LandmarkDetectionLib.scene.volumes import volume_of


def case_name(volume: Any) -> str:
    """The name of a volume node as a case: without what a file's name cannot hold."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", volume.GetName()).strip(" .") or "case"


def annotated_volumes(scene: Any, preferred: Any = None) -> Iterator[tuple[Any, Any]]:
    """The volumes of a scene that have landmarks, each with one markups node: the preferred, or the first."""
    chosen: dict[str, tuple[Any, Any]] = {}
    for markups in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode", scene):
        volume = volume_of_markups(markups)
        if volume is not None and (volume.GetID() not in chosen or markups is preferred):
            chosen[volume.GetID()] = volume, markups
    yield from chosen.values()


def export_case(
    volume: Any, markups: Any, path: Path, *, group: str = "", without: Collection[str] = ()
) -> Case:
    """Write a volume and its landmarks as a case of a data set: image, landmarks, mask, and the row, last.

    All is written in the frame of the volume's node: transforms above it are left out.

    Args:
        volume: the volume node; its name is the case's.
        markups: its landmarks; a missing point is an absent landmark, one still to be placed is left out.
        path: the data set's CSV, made if need be. A case of the same name is replaced.
        group: patient or family; '' leaves what the case has in the data set.
        without: names of landmarks to leave out: nothing is said of them.

    Raises:
        InputError: if the volume or a landmark cannot be exported, or a file cannot be written.
    """
    scan, landmarks = volume_of(volume), landmarks_of(markups, volume, without=without)
    outside = landmarks.present & ~scan.frame.contains(landmarks.positions)
    if outside.any():
        name = landmarks.names[int(outside.argmax())]
        raise InputError(
            f"'{name}' lies outside the volume '{volume.GetName()}': correct it, or mark it as absent."
        )
    name = case_name(volume)
    check_name(name, path)
    known = next((case for case in cases_of(path) if case.name == name), Case(name, Path()))
    image = write_image(scan, name, Path(path).parent)
    case = replace(known, image_path=image, group=group or known.group)
    return write_case(case, landmarks, scan.frame, path, table=table_of(markups))

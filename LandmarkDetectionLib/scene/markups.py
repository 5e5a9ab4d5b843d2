"""Detections as control points, and control points as landmarks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.scene.volumes import RAS_TO_LPS

Array = NDArray[np.float64]

_DETECTED = "LandmarkDetection.detected"
"""Node attribute: the position of each point as it was detected, to know those that a person has moved."""
_UNMOVED_MM = 1e-3


def show_detections(
    detections: Sequence[Detection], markups: Any, volume: Any, *, show_uncertain: bool = True
) -> tuple[str, ...]:
    """Bring a markups node up to date with what was detected in a volume.

    The node comes under the volume's transform and has one point a landmark, without a position where it is
    absent. A point that a person has placed, moved or locked stays where it is in the world.

    Args:
        detections: in the frame of the volume's node, LPS.
        markups: vtkMRMLMarkupsFiducialNode.
        volume: the volume node.
        show_uncertain: whether points that are only uncertain are visible.

    Returns:
        The names of the points that were kept.
    """
    detected: dict[str, list[float] | None] = json.loads(markups.GetAttribute(_DETECTED) or "{}")
    kept = _points_of_a_person(markups, detected)
    places = {name: _world_position(markups, _row(markups, name)) for name in kept}
    modified = markups.StartModify()
    markups.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    for name, place in places.items():
        markups.SetNthControlPointPositionWorld(_row(markups, name), *place)
    for detection in detections:
        if detection.name in kept:
            continue
        row = _row(markups, detection.name)
        _show(detection, markups, row, visible=show_uncertain or detection.status != "uncertain")
        detected[detection.name] = _ras(detection).tolist() if detection.present else None
    markups.SetAttribute(_DETECTED, json.dumps(detected))
    markups.EndModify(modified)
    return tuple(name for name in markups_names(markups) if name in kept)


def landmarks_of(markups: Any, volume: Any) -> LandmarkSet:
    """The points of a markups node as landmarks in the frame of a volume's node, LPS.

    A point whose position is missing is an absent landmark; one that has never been placed is not in the set.

    Args:
        markups: vtkMRMLMarkupsNode, under any transform.
        volume: the volume node, under any transform.

    Raises:
        InputError: if two points have one name, or one has none.
    """
    to_volume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        markups.GetParentTransformNode(), volume.GetParentTransformNode(), to_volume
    )
    names, points, descriptions = [], [], []
    for row, name in enumerate(markups_names(markups)):
        status = markups.GetNthControlPointPositionStatus(row)
        if status not in (markups.PositionDefined, markups.PositionMissing):
            continue
        if not name or name in names:
            what = f"two points named '{name}'" if name else "a point without a name"
            raise InputError(f"The markups '{markups.GetName()}' have {what}: give each a name of its own.")
        present = status == markups.PositionDefined
        place = (
            to_volume.TransformPoint(markups.GetNthControlPointPosition(row)) if present else [math.nan] * 3
        )
        names.append(name)
        points.append(np.array(place) * RAS_TO_LPS)
        descriptions.append(markups.GetNthControlPointDescription(row))
    return LandmarkSet(names, np.array(points).reshape(-1, 3), descriptions)


def markups_names(markups: Any) -> list[str]:
    """The labels of all control points, in their order."""
    return [markups.GetNthControlPointLabel(row) for row in range(markups.GetNumberOfControlPoints())]


def describe(detection: Detection) -> str:
    """A detection in words, for a point's description."""
    radius = "" if math.isnan(detection.radius_mm) else f", within {detection.radius_mm:.2g} mm"
    return f"{detection.status}, confidence {detection.confidence:.0%}{radius}"


def _points_of_a_person(markups: Any, detected: dict[str, list[float] | None]) -> set[str]:
    """Names of the points that are locked, or not where they were detected."""
    kept = set()
    for row, name in enumerate(markups_names(markups)):
        defined = markups.GetNthControlPointPositionStatus(row) == markups.PositionDefined
        before = detected.get(name)
        here = np.array(markups.GetNthControlPointPosition(row))
        unmoved = before is not None and np.abs(here - before).max() <= _UNMOVED_MM
        if defined and (markups.GetNthControlPointLocked(row) or not unmoved):
            kept.add(name)
    return kept


def _row(markups: Any, name: str) -> int:
    """The row of the point of this name; a new one without a position if there is none."""
    names = markups_names(markups)
    if name in names:
        return names.index(name)
    row = int(markups.AddControlPoint(vtk.vtkVector3d(0, 0, 0), name))
    markups.UnsetNthControlPointPosition(row)
    return row


def _show(detection: Detection, markups: Any, row: int, *, visible: bool) -> None:
    markups.SetNthControlPointDescription(row, describe(detection))
    markups.SetNthControlPointVisibility(row, visible)
    if detection.present:
        markups.SetNthControlPointPosition(row, *_ras(detection))
    else:
        markups.SetNthControlPointPositionMissing(row)


def _ras(detection: Detection) -> Array:
    position: Array = detection.position * RAS_TO_LPS
    return position


def _world_position(markups: Any, row: int) -> list[float]:
    place = [0.0, 0.0, 0.0]
    markups.GetNthControlPointPositionWorld(row, place)
    return place

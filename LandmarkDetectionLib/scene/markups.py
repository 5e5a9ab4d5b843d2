"""Landmarks as control points: what was detected, what a person placed, and what is still to be placed.

A markups node that holds landmarks carries, in attributes that are saved with the scene, what was detected in
it and the table of its landmarks, and refers to the volume that they belong to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import slicer
import vtk

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.scene.volumes import RAS_TO_LPS

Status = Literal["found", "uncertain", "absent", "placed", "to place"]
STATUSES: tuple[Status, ...] = ("to place", "uncertain", "absent", "found", "placed")

_DETECTIONS = "LandmarkDetection.detections"
_TABLE = "LandmarkDetection.landmarks"
_VOLUME = "LandmarkDetection.volume"
_VOLUME_NAME = "LandmarkDetection.volumeName"
"""Outlives the volume: landmarks of a scan that is gone are not another scan's."""
_HIDDEN = "LandmarkDetection.hidden"
"""Names of the points that were hidden for being uncertain."""
_UNMOVED_MM = 1e-3


@dataclass(frozen=True)
class LandmarkRow:
    """One landmark of a markups node, as a list shows it.

    Attributes:
        name: of the landmark.
        status: what the detector said and nobody has changed; `placed`: a person has placed or moved it;
            `to place`: nobody has said anything.
        confidence: the detector's, NaN where the point is a person's.
        radius_mm: the detector's, NaN where it has none or the point is a person's.
        group: the anatomical group, '' if none.
        definition: where it is, in words.
    """

    name: str
    status: Status
    confidence: float = math.nan
    radius_mm: float = math.nan
    group: str = ""
    definition: str = ""


@dataclass(frozen=True)
class _Record:
    """What was detected: the position in the node's own frame, None for an absent landmark."""

    ras: list[float] | None
    status: Status
    confidence: float
    radius_mm: float | None


def show_detections(detections: Sequence[Detection], markups: Any, volume: Any) -> tuple[str, ...]:
    """Bring a markups node up to date with what was detected in a volume.

    The node comes under the volume's transform and has one point a landmark, without a position where it is
    absent. A point that a person has placed, moved, locked or called absent stays as it is in the world.

    Args:
        detections: in the frame of the volume's node, LPS.
        markups: vtkMRMLMarkupsFiducialNode.
        volume: the volume node.

    Returns:
        The names of the points that were kept.
    """
    records = _records(markups)
    kept = _points_of_a_person(markups, records)
    modified = markups.StartModify()
    _move_under(volume, markups)
    rows = _rows_of([detection.name for detection in detections], markups)
    for detection in detections:
        if detection.name not in kept:
            records[detection.name] = _record(detection)
            _show(detection, markups, rows[detection.name])
    _keep_records(markups, records)
    refer_to_volume(markups, volume)
    markups.EndModify(modified)
    return tuple(name for name in markups_names(markups) if name in kept)


def ask_for(table: LandmarkTable, markups: Any, volume: Any) -> None:
    """Give a markups node a point to be placed for every landmark of a table that it does not have."""
    modified = markups.StartModify()
    if not markups.GetNumberOfControlPoints():
        markups.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    _rows_of(table.names, markups)
    set_table(markups, table)
    refer_to_volume(markups, volume)
    markups.EndModify(modified)


def landmark_rows(markups: Any, *, least_confidence: float = 0.0) -> list[LandmarkRow]:
    """The landmarks of a markups node: its points in their order, then those of its table that have none.

    One that was found with less than the least confidence counts as uncertain.
    """
    records, table, names = _records(markups), table_of(markups), markups_names(markups)
    described = {landmark.name: landmark for landmark in table.landmarks} if table else {}
    rows = []
    for row, name in enumerate([*names, *(name for name in described if name not in names)]):
        about = described.get(name, Landmark(name, 1))
        record = _valid_record(markups, row, records.get(name)) if row < len(names) else None
        if record is None:
            status = _status_without_record(markups, row) if row < len(names) else "to place"
            rows.append(LandmarkRow(name, status, group=about.group, definition=about.definition))
            continue
        doubtful = record.status == "found" and record.confidence < least_confidence
        radius = math.nan if record.radius_mm is None else record.radius_mm
        status = "uncertain" if doubtful else record.status
        rows.append(LandmarkRow(name, status, record.confidence, radius, about.group, about.definition))
    return rows


def unconfirmed(markups: Any, *, least_confidence: float = 0.0) -> tuple[str, ...]:
    """Landmarks that the detector alone calls uncertain or absent: guesses until a person confirms them."""
    rows = landmark_rows(markups, least_confidence=least_confidence)
    return tuple(
        row.name for row in rows if row.status in ("uncertain", "absent") and not math.isnan(row.confidence)
    )


def unlisted(markups: Any) -> tuple[str, ...]:
    """The names of points that are not in the table that the node carries; none without a table."""
    table = table_of(markups)
    return tuple(name for name in markups_names(markups) if table and name not in table.names)


def update_visibility(markups: Any, *, least_confidence: float, show_uncertain: bool) -> None:
    """Hide the points that are only uncertain, or show those again that this has hidden; no others."""
    modified = markups.StartModify()
    hidden = set(json.loads(markups.GetAttribute(_HIDDEN) or "[]"))
    for row, landmark in enumerate(landmark_rows(markups, least_confidence=least_confidence)):
        hide = landmark.status == "uncertain" and not show_uncertain
        if hide or landmark.name in hidden:
            (hidden.add if hide else hidden.discard)(landmark.name)
            if bool(markups.GetNthControlPointVisibility(row)) == hide:
                markups.SetNthControlPointVisibility(row, not hide)
    if hidden or markups.GetAttribute(_HIDDEN):
        markups.SetAttribute(_HIDDEN, json.dumps(sorted(hidden)))
    markups.EndModify(modified)


def confirm(markups: Any, name: str) -> None:
    """Make what was detected a person's own: a position that is right, or an absence."""
    records = _records(markups)
    records.pop(name, None)
    _keep_records(markups, records)


def set_absent(markups: Any, name: str) -> None:
    """Say that a landmark is not in the scan."""
    markups.SetNthControlPointPositionMissing(row_of(markups, name))
    confirm(markups, name)


def release(markups: Any, name: str) -> None:
    """Let the next detection put a landmark where it finds it, whatever a person has said of it."""
    row = row_of(markups, name)
    markups.SetNthControlPointLocked(row, False)
    markups.UnsetNthControlPointPosition(row)


def row_of(markups: Any, name: str) -> int:
    """The row of a landmark's point, which is added, without a position, if there is none."""
    return _rows_of([name], markups)[name]


def snapshot(markups: Any) -> tuple[tuple[str, int, tuple[float, ...]], ...]:
    """Names, statuses and positions of all points, to see whether a person has changed any."""
    return tuple(
        (name, markups.GetNthControlPointPositionStatus(row), tuple(markups.GetNthControlPointPosition(row)))
        for row, name in enumerate(markups_names(markups))
    )


def landmarks_of(markups: Any, volume: Any, *, without: Collection[str] = ()) -> LandmarkSet:
    """The points of a markups node as landmarks in the frame of a volume's node, LPS.

    A point whose position is missing is an absent landmark; one that has never been placed is not in the set.

    Args:
        markups: vtkMRMLMarkupsNode, under any transform.
        volume: the volume node, under any transform.
        without: names to leave out.

    Raises:
        InputError: if two points have one name, or one has none.
    """
    to_volume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        markups.GetParentTransformNode(), volume.GetParentTransformNode(), to_volume
    )
    names, points = [], []
    for row, name in enumerate(markups_names(markups)):
        status = markups.GetNthControlPointPositionStatus(row)
        if status not in (markups.PositionDefined, markups.PositionMissing) or name in without:
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
    return LandmarkSet(names, np.array(points).reshape(-1, 3))


def show_landmarks(landmarks: LandmarkSet, markups: Any, volume: Any) -> None:
    """Put landmarks, in the frame of a volume's node, LPS, into a markups node as a person's points."""
    modified = markups.StartModify()
    _move_under(volume, markups)
    rows = _rows_of(landmarks.names, markups)
    for name, position in zip(landmarks.names, landmarks.positions, strict=True):
        if np.isfinite(position).all():
            markups.SetNthControlPointPosition(rows[name], *(position * RAS_TO_LPS))
        else:
            markups.SetNthControlPointPositionMissing(rows[name])
    refer_to_volume(markups, volume)
    markups.EndModify(modified)


def markups_names(markups: Any) -> list[str]:
    """The labels of all control points, in their order."""
    return [markups.GetNthControlPointLabel(row) for row in range(markups.GetNumberOfControlPoints())]


def set_table(markups: Any, table: LandmarkTable) -> None:
    """Let a markups node carry the table of its landmarks: groups, definitions, pairs."""
    markups.SetAttribute(_TABLE, json.dumps([asdict(landmark) for landmark in table.landmarks]))


def table_of(markups: Any) -> LandmarkTable | None:
    """The table that a markups node carries, if it carries one."""
    text = markups.GetAttribute(_TABLE)
    return LandmarkTable(tuple(Landmark(**row) for row in json.loads(text))) if text else None


def refer_to_volume(markups: Any, volume: Any) -> None:
    """Say that the landmarks of a markups node belong to a volume."""
    if markups.GetNodeReferenceID(_VOLUME) != volume.GetID():
        markups.SetNodeReferenceID(_VOLUME, volume.GetID())
    if markups.GetAttribute(_VOLUME_NAME) != volume.GetName():
        markups.SetAttribute(_VOLUME_NAME, volume.GetName())


def volume_of_markups(markups: Any) -> Any | None:
    """The volume node that the landmarks of a markups node belong to, if that is known and still there."""
    return markups.GetNodeReference(_VOLUME)


def may_belong_to(markups: Any, volume: Any) -> bool:
    """Whether a markups node is a volume's or nobody's; that of a lost volume fits one of its name."""
    owner = volume_of_markups(markups)
    if owner is not None:
        return bool(owner is volume)
    return markups.GetAttribute(_VOLUME_NAME) in (None, volume.GetName())


def markups_of_volume(volume: Any, preferred: Any = None) -> Any | None:
    """The landmarks of a volume: the preferred node unless another has it, else the first it has."""
    if preferred is not None and may_belong_to(preferred, volume):
        return preferred
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode", volume.GetScene())
    return next((node for node in nodes if volume_of_markups(node) is volume), None)


def new_markups(volume: Any) -> Any:
    """A new markups node for the landmarks of a volume, beside it in the subject hierarchy."""
    scene = volume.GetScene()
    name = scene.GenerateUniqueName(f"{volume.GetName()} landmarks")
    markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    markups.CreateDefaultDisplayNodes()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    beside, item = hierarchy.GetItemByDataNode(volume), hierarchy.GetItemByDataNode(markups)
    if beside != hierarchy.GetInvalidItemID() and item != hierarchy.GetInvalidItemID():
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
    refer_to_volume(markups, volume)
    return markups


def describe(detection: Detection) -> str:
    """A detection in words, for a point's description."""
    radius = "" if math.isnan(detection.radius_mm) else f", within {detection.radius_mm:.2g} mm"
    return f"{detection.status}, confidence {detection.confidence:.0%}{radius}"


def _records(markups: Any) -> dict[str, _Record]:
    saved = json.loads(markups.GetAttribute(_DETECTIONS) or "{}")
    return {name: _Record(**fields) for name, fields in saved.items()}


def _keep_records(markups: Any, records: dict[str, _Record]) -> None:
    kept = {name: asdict(record) for name, record in records.items()}
    markups.SetAttribute(_DETECTIONS, json.dumps(kept))


def _record(detection: Detection) -> _Record:
    return _Record(
        ras=(detection.position * RAS_TO_LPS).tolist() if detection.present else None,
        status=detection.status,
        confidence=detection.confidence,
        radius_mm=None if math.isnan(detection.radius_mm) else detection.radius_mm,
    )


def _valid_record(markups: Any, row: int, record: _Record | None) -> _Record | None:
    """What was detected, unless a person has changed it since."""
    if record is None:
        return None
    if record.ras is None:
        return record if _status_without_record(markups, row) == "absent" else None
    moved = np.abs(np.subtract(markups.GetNthControlPointPosition(row), record.ras)).max() > _UNMOVED_MM
    return record if _status_without_record(markups, row) == "placed" and not moved else None


def _status_without_record(markups: Any, row: int) -> Status:
    position = markups.GetNthControlPointPositionStatus(row)
    if position == markups.PositionDefined:
        return "placed"
    return "absent" if position == markups.PositionMissing else "to place"


def _points_of_a_person(markups: Any, records: dict[str, _Record]) -> set[str]:
    """Names of the points that a person has placed, moved, locked or called absent."""
    return {
        name
        for row, name in enumerate(markups_names(markups))
        if _status_without_record(markups, row) != "to place"
        and (markups.GetNthControlPointLocked(row) or _valid_record(markups, row, records.get(name)) is None)
    }


def _move_under(volume: Any, markups: Any) -> None:
    """Bring a markups node under a volume's transform; its points stay where they are in the world."""
    if markups.GetTransformNodeID() == volume.GetTransformNodeID():
        return
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        markups.GetParentTransformNode(), volume.GetParentTransformNode(), between
    )
    places = {
        row: between.TransformPoint(markups.GetNthControlPointPosition(row))
        for row in range(markups.GetNumberOfControlPoints())
        if _status_without_record(markups, row) == "placed"
    }
    markups.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    for row, place in places.items():
        markups.SetNthControlPointPosition(row, *place)


def _rows_of(names: Sequence[str], markups: Any) -> dict[str, int]:
    """The row of the point of each name; points that are not there are added, without a position."""
    rows = {name: row for row, name in enumerate(markups_names(markups))}
    for name in names:
        if name not in rows:
            rows[name] = int(markups.AddControlPoint(vtk.vtkVector3d(0, 0, 0), name))
            markups.UnsetNthControlPointPosition(rows[name])
    return rows


def _show(detection: Detection, markups: Any, row: int) -> None:
    markups.SetNthControlPointDescription(row, describe(detection))
    if detection.present:
        markups.SetNthControlPointPosition(row, *(detection.position * RAS_TO_LPS))
    else:
        markups.SetNthControlPointPositionMissing(row)

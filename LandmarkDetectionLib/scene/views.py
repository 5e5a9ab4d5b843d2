"""What the views of the scene show, and what a click in them does."""

from __future__ import annotations

from typing import Any

import slicer

from LandmarkDetectionLib.scene.markups import markups_names, row_of


def show_volume(volume: Any) -> None:
    """Show a volume in all slice views, wholly."""
    slicer.util.setSliceViewerLayers(background=volume, fit=True)


def jump_to(markups: Any, name: str) -> None:
    """Bring the slices to a landmark and centre the 3D views on it, if it has a position."""
    names = markups_names(markups)
    if name not in names:
        return
    row = names.index(name)
    if markups.GetNthControlPointPositionStatus(row) == markups.PositionDefined:
        logic = slicer.modules.markups.logic()
        logic.JumpSlicesToNthPointInMarkup(markups.GetID(), row, True)
        logic.FocusCamerasOnNthPointInMarkup(markups.GetID(), row)


class Placing:
    """Waits for the click in a view that places a landmark; until then its point has no position.

    Args:
        markups: vtkMRMLMarkupsFiducialNode.
        name: of the landmark.
    """

    def __init__(self, markups: Any, name: str) -> None:
        self.name = name
        self._markups, self._row = markups, row_of(markups, name)
        self._status = markups.GetNthControlPointPositionStatus(self._row)
        self._position = tuple(markups.GetNthControlPointPosition(self._row))
        markups.UnsetNthControlPointPosition(self._row)
        markups.SetControlPointPlacementStartIndex(self._row)
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(markups)
        logic.StartPlaceMode(False)

    @property
    def is_done(self) -> bool:
        """Whether the point has been placed."""
        return bool(
            self._markups.GetNthControlPointPositionStatus(self._row) == self._markups.PositionDefined
        )

    def give_up(self) -> None:
        """Put the point back to what it was."""
        stop_placing()
        if not self.is_done and self._status == self._markups.PositionMissing:
            self._markups.SetNthControlPointPositionMissing(self._row)
        elif not self.is_done and self._status == self._markups.PositionDefined:
            self._markups.SetNthControlPointPosition(self._row, *self._position)


def stop_placing() -> None:
    """Let clicks in the views move them again."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def is_placing() -> bool:
    """Whether the next click in a view places a point."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)

"""What the views of the scene show, and what a click in them does."""

from __future__ import annotations

from typing import Any

import slicer

from LandmarkDetectionLib.scene.markups import markups_names


def show_volume(volume: Any) -> None:
    """Show a volume in all slice views, wholly."""
    slicer.util.setSliceViewerLayers(background=volume, fit=True)


def jump_to(markups: Any, name: str) -> bool:
    """Bring the slices to a landmark and centre the 3D views on it; False where it has no position."""
    row = markups_names(markups).index(name)
    if markups.GetNthControlPointPositionStatus(row) != markups.PositionDefined:
        return False
    logic = slicer.modules.markups.logic()
    logic.JumpSlicesToNthPointInMarkup(markups.GetID(), row, True)
    logic.FocusCamerasOnNthPointInMarkup(markups.GetID(), row)
    return True


def start_placing(markups: Any, name: str) -> None:
    """Let the next click in a view place a landmark that has no position yet."""
    row = markups_names(markups).index(name)
    if markups.GetNthControlPointPositionStatus(row) == markups.PositionMissing:
        markups.UnsetNthControlPointPosition(row)
    markups.SetControlPointPlacementStartIndex(row)
    logic = slicer.modules.markups.logic()
    logic.SetActiveList(markups)
    logic.StartPlaceMode(False)


def stop_placing() -> None:
    """Let clicks in the views move them again."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def is_placing() -> bool:
    """Whether the next click in a view places a point."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)

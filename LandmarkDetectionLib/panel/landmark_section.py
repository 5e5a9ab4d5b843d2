"""The section that lists the landmarks of a scan and lets a person go through them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from LandmarkDetectionLib.panel.labels import say
from LandmarkDetectionLib.panel.observer import NodeWatcher
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.scene.markups import (
    STATUSES,
    LandmarkRow,
    Status,
    confirm,
    landmark_rows,
    release,
    set_absent,
)
from LandmarkDetectionLib.scene.views import Placing, is_placing, jump_to

_COLOURS: dict[Status, str] = {
    "found": "#2e7d32",
    "placed": "#1565c0",
    "uncertain": "#e65100",
    "absent": "#757575",
    "to place": "#c62828",
}
_NAMES: dict[Status, str] = {
    "found": _("found"),
    "placed": _("placed"),
    "uncertain": _("uncertain"),
    "absent": _("absent"),
    "to place": _("to place"),
}


class LandmarkSection:
    """A table of the landmarks, their status, confidence and radius, in step with the markups node.

    Args:
        ui: the widgets of the panel, by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._parameters: Parameters | None = None
        self._rows: list[LandmarkRow] = []
        self._placing: Placing | None = None
        markups = slicer.vtkMRMLMarkupsNode
        events = (
            vtk.vtkCommand.ModifiedEvent,
            markups.PointAddedEvent,
            markups.PointRemovedEvent,
            markups.PointModifiedEvent,
            markups.PointPositionDefinedEvent,
            markups.PointPositionUndefinedEvent,
            markups.PointPositionMissingEvent,
            markups.PointPositionNonMissingEvent,
        )
        self._watcher = NodeWatcher(events, self._refresh)
        self._mode_watcher = NodeWatcher((vtk.vtkCommand.ModifiedEvent,), self._refresh)
        ui.landmarkTable.setHorizontalHeaderLabels([_("Landmark"), _("Status"), _("Confidence"), _("± mm")])
        header = ui.landmarkTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.landmarkTable.connect("itemSelectionChanged()", self._on_select)
        ui.groupComboBox.connect("currentIndexChanged(int)", self._on_group_chosen)
        ui.placeButton.connect("clicked(bool)", self._on_place)
        for button, change in (
            (ui.confirmButton, confirm),
            (ui.absentButton, set_absent),
            (ui.releaseButton, release),
        ):
            button.connect("clicked(bool)", partial(self._change_selected, change))

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Take the settings from now on from here; None while there are none."""
        self._stop_placing()
        self._parameters = parameters

    def update(self) -> None:
        """Follow the markups node that is chosen."""
        if self._parameters is None or self._parameters.markups is not self._watcher.node:
            self._stop_placing()
        self._watcher.watch(self._parameters.markups if self._parameters is not None else None)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self._mode_watcher.watch(interaction if self._parameters is not None else None)
        self._refresh()

    def _refresh(self) -> None:
        markups = self._watcher.node
        least = self._parameters.leastConfidence if self._parameters is not None else 0.0
        rows = landmark_rows(markups, least_confidence=least) if markups is not None else []
        if rows != self._rows:
            self._rows = rows
            self._fill_groups()
            self._fill_table()
        self._follow_placing()
        self._update_buttons()

    def _fill_groups(self) -> None:
        groups = list(dict.fromkeys(row.group for row in self._rows if row.group))
        box = self._ui.groupComboBox
        chosen = box.currentData
        blocked = box.blockSignals(True)
        box.clear()
        box.addItem(_("All"), "")
        for group in groups:
            box.addItem(group, group)
        box.setCurrentIndex(max(box.findData(chosen or ""), 0))
        box.blockSignals(blocked)
        box.enabled = bool(groups)

    def _fill_table(self) -> None:
        selected, group = self._selected, self._ui.groupComboBox.currentData or ""
        shown = [row for row in self._rows if group in ("", row.group)]
        table = self._ui.landmarkTable
        blocked = table.blockSignals(True)
        table.setRowCount(len(shown))
        for number, row in enumerate(shown):
            for column, text in enumerate(_cells(row)):
                table.setItem(number, column, _item(text, row, coloured=column == 1))
            if row.name == selected:
                table.selectRow(number)
        table.blockSignals(blocked)
        counts = [(sum(row.status == status for row in self._rows), _NAMES[status]) for status in STATUSES]
        say(self._ui.summaryLabel, ", ".join(f"{count} {name}" for count, name in counts if count))

    @property
    def _selected(self) -> str:
        """The name of the selected landmark, '' if none is."""
        items = self._ui.landmarkTable.selectedItems()
        return str(items[0].text()) if items else ""

    @property
    def _selected_status(self) -> Status | None:
        selected = self._selected
        return next((row.status for row in self._rows if row.name == selected), None)

    def _update_buttons(self) -> None:
        status = self._selected_status
        self._ui.placeButton.enabled = self._placing is not None or status is not None
        self._ui.placeButton.checked = self._placing is not None
        guess = status is not None and self._placing is None
        self._ui.confirmButton.enabled = guess and status in ("found", "uncertain")
        self._ui.absentButton.enabled = guess and (status != "absent" or not self._selected_is_a_persons)
        self._ui.releaseButton.enabled = guess and status != "to place"

    @property
    def _selected_is_a_persons(self) -> bool:
        selected = self._selected
        return any(row.name == selected and math.isnan(row.confidence) for row in self._rows)

    def _on_select(self) -> None:
        if self._selected and self._watcher.node is not None:
            jump_to(self._watcher.node, self._selected)
        self._update_buttons()

    def _on_group_chosen(self, index: int) -> None:
        self._fill_table()
        self._update_buttons()

    def _change_selected(self, change: Callable[[Any, str], None], checked: bool) -> None:
        if self._selected and self._watcher.node is not None:
            slicer.mrmlScene.SaveStateForUndo()
            change(self._watcher.node, self._selected)

    # Placing one landmark after the other

    def _on_place(self) -> None:
        if self._placing is not None:
            self._stop_placing()
        elif self._selected:
            slicer.mrmlScene.SaveStateForUndo()
            self._place(self._selected)
        self._refresh()

    def _place(self, name: str) -> None:
        """Wait for a click in a view that places this landmark, and say what it is."""
        self._select(name)
        self._placing = Placing(self._watcher.node, name)
        definition = next((row.definition for row in self._rows if row.name == name), "")
        text = _("Click on {name} in a view. {definition}")
        say(self._ui.placeLabel, text.format(name=name, definition=definition))

    def _stop_placing(self) -> None:
        placing, self._placing = self._placing, None
        say(self._ui.placeLabel, "")
        if placing is not None:
            placing.give_up()

    def _follow_placing(self) -> None:
        """Go on with the next landmark when one has been placed, and stop when the person has stopped."""
        if self._placing is None:
            return
        if self._placing.is_done:
            self._placing = None
            say(self._ui.placeLabel, "")
            following = next((row.name for row in self._rows if row.status == "to place"), "")
            if following:
                self._place(following)
        elif not is_placing():
            self._stop_placing()

    def _select(self, name: str) -> None:
        table = self._ui.landmarkTable
        blocked = table.blockSignals(True)
        for number in range(table.rowCount):
            if table.item(number, 0).text() == name:
                table.selectRow(number)
        table.blockSignals(blocked)


def _cells(row: LandmarkRow) -> tuple[str, str, str, str]:
    confidence = "" if math.isnan(row.confidence) else f"{row.confidence:.0%}"
    radius = "" if math.isnan(row.radius_mm) else f"{row.radius_mm:.2g}"
    return row.name, _NAMES[row.status], confidence, radius


def _item(text: str, row: LandmarkRow, *, coloured: bool) -> Any:
    item = qt.QTableWidgetItem(text)
    item.setToolTip(row.definition or row.name)
    if coloured:
        item.setForeground(qt.QBrush(qt.QColor(_COLOURS[row.status])))
    return item

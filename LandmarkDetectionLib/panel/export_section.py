"""The section in which a person starts a list of landmarks to place, and exports what was placed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.dataset import CASES_NAME, cases_of
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import folded_name
from LandmarkDetectionLib.data.table import LandmarkTable, read_table
from LandmarkDetectionLib.panel.labels import rest, say, show_progress
from LandmarkDetectionLib.panel.model_list import ModelEntry
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.scene.export import annotated_volumes, case_name, export_case
from LandmarkDetectionLib.scene.markups import (
    ask_for,
    landmark_rows,
    markups_names,
    markups_of_volume,
    may_belong_to,
    new_markups,
    refer_to_volume,
    table_of,
    unconfirmed,
    unlisted,
    volume_of_markups,
)

_FROM_MODEL, _FROM_FILE, _FROM_MARKUPS = range(3)
_THIS_VOLUME, _ALL_VOLUMES = range(2)


class ExportSection:
    """Starts lists of landmarks, says what is still to be placed, and writes cases of a data set.

    Args:
        ui: the widgets of the panel, by name.
        model: gives the model that is chosen.
        log: takes what is worth keeping.
    """

    def __init__(self, ui: Any, model: Callable[[], ModelEntry | None], log: Callable[[str], None]) -> None:
        self._ui, self._model, self._log = ui, model, log
        self._parameters: Parameters | None = None
        self._volume: Any = None
        self._waiting: Iterator[tuple[Any, Any]] = iter(())
        self._count = 0
        self._done: list[str] = []
        self._problems: list[str] = []
        self._guessed = 0
        self._declined: set[str] = set()
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._export_next)
        ui.sourceComboBox.addItems([_("The model"), _("landmarks.csv..."), _("The points")])
        ui.scopeComboBox.connect("currentIndexChanged(int)", lambda index: self.update())
        ui.scopeComboBox.addItems([_("This scan"), _("Every scan that has landmarks")])
        ui.datasetPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        say(ui.exportMessageLabel, "")
        ui.startButton.connect("clicked(bool)", self._on_start)
        ui.exportButton.connect("clicked(bool)", self._on_export)

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Take the settings from now on from here; None while there are none."""
        self._parameters = parameters
        self._volume = None
        self._stop()

    def update(self) -> None:
        """Bring the widgets in line with the settings."""
        parameters = self._parameters
        if parameters is None:
            return
        if parameters.volume is not self._volume:
            self._volume = parameters.volume
            self._ui.patientLineEdit.text = ""
        running = bool(self._timer.active)
        self._ui.patientLineEdit.enabled = self._ui.scopeComboBox.currentIndex == _THIS_VOLUME
        self._ui.startButton.enabled = parameters.volume is not None and not running
        self._ui.exportButton.enabled = bool(parameters.dataset) and not running
        say(self._ui.unplacedLabel, _unplaced(parameters.markups, parameters.leastConfidence))

    def _on_start(self) -> None:
        parameters = self._parameters
        if parameters is None or parameters.volume is None:
            return
        try:
            table = self._chosen_table(parameters)
        except InputError as error:
            self._say(str(error))
            return
        if table is not None:
            markups = markups_of_volume(parameters.volume, parameters.markups) or new_markups(
                parameters.volume
            )
            slicer.mrmlScene.SaveStateForUndo()
            ask_for(table, markups, parameters.volume)
            parameters.markups = markups
            self._say(_what_to_place(markups))

    def _chosen_table(self, parameters: Parameters) -> LandmarkTable | None:
        """The table to start from; None if no file was chosen."""
        source = self._ui.sourceComboBox.currentIndex
        if source == _FROM_MODEL:
            model = self._model()
            if model is None or model.bundle is None:
                raise InputError(_("There is no model to take the landmarks from: choose a landmarks.csv."))
            return model.bundle.table
        if source == _FROM_MARKUPS:
            if parameters.markups is None:
                raise InputError(_("No points are chosen: choose them under Landmarks in the first section."))
            return table_of(parameters.markups) or LandmarkTable.from_names(markups_names(parameters.markups))
        path = qt.QFileDialog.getOpenFileName(
            None, _("A table of landmarks"), parameters.dataset, _("Tables (*.csv)")
        )
        return read_table(Path(path)) if path else None

    def _on_export(self) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        try:
            waiting = self._without_declined(
                self._chosen_cases(parameters), Path(parameters.dataset) / CASES_NAME
            )
        except InputError as error:
            self._say(str(error))
            return
        self._declined = self._ask_about_unlisted(waiting)
        self._waiting = iter(waiting)
        self._done, self._problems, self._guessed = [], [], 0
        self._count = len(waiting)
        self._timer.start()
        self.update()

    def _chosen_cases(self, parameters: Parameters) -> list[tuple[Any, Any]]:
        volume, markups = parameters.volume, parameters.markups
        fitting = volume is not None and markups is not None and may_belong_to(markups, volume)
        if fitting:  # whoever made them
            refer_to_volume(markups, volume)
        if self._ui.scopeComboBox.currentIndex == _ALL_VOLUMES:
            cases = list(annotated_volumes(slicer.mrmlScene, markups))
            if not cases:
                raise InputError(_("No scan of the scene has landmarks: detect or place some first."))
            return cases
        if not fitting:
            raise InputError(_("There is nothing to export: choose a scan and its landmarks above."))
        return [(volume, markups)]

    def _without_declined(self, cases: list[tuple[Any, Any]], path: Path) -> list[tuple[Any, Any]]:
        """The cases without those that are in the data set already and shall stay as they are."""
        names = [case_name(volume) for volume, _markups in cases]
        alike = [folded_name(name) for name in names]
        twice = next((name for name in names if alike.count(folded_name(name)) > 1), None)
        if twice is not None:
            raise InputError(
                _("Two scans would become the case '{name}': rename one of them.").format(name=twice)
            )
        there = {case.name for case in cases_of(path)} & set(names)
        question = _("The data set has {names} already. Replace what it has?").format(
            names=", ".join(sorted(there))
        )
        if not there or slicer.util.confirmYesNoDisplay(question):
            return cases
        return [case for case, name in zip(cases, names, strict=True) if name not in there]

    def _ask_about_unlisted(self, cases: list[tuple[Any, Any]]) -> set[str]:
        """Names of points that no list has, which the person does not want to export."""
        names = {name for _volume, markups in cases for name in unlisted(markups)}
        question = _("{names} are not in the list of landmarks. Export them as further landmarks?")
        if not names or slicer.util.confirmYesNoDisplay(question.format(names=_few(sorted(names)))):
            return set()
        return names

    def _export_next(self) -> None:
        """One case, so that the bar moves between them."""
        case = next(self._waiting, None)
        if case is None or self._parameters is None:
            self._finish()
            return
        volume, markups = case
        done = len(self._done) + len(self._problems)
        show_progress(self._ui.exportProgressBar, (done + 1) / self._count, case_name(volume))
        try:
            guessed = unconfirmed(markups, least_confidence=self._parameters.leastConfidence)
            exported = export_case(
                volume,
                markups,
                Path(self._parameters.dataset) / CASES_NAME,
                group=self._patient,
                without={*guessed, *self._declined},
            )
            self._done.append(exported.name)
            self._guessed += len(guessed)
        except InputError as error:
            self._problems.append(str(error))

    @property
    def _patient(self) -> str:
        """The patient of the scan; '' if it is not known, or there are several scans."""
        return str(self._ui.patientLineEdit.text).strip() if self._ui.patientLineEdit.enabled else ""

    def _finish(self) -> None:
        self._stop()
        parts = []
        if self._done and self._parameters is not None:
            parts.append(
                _("{count} exported to {path}.").format(
                    count=len(self._done), path=Path(self._parameters.dataset) / CASES_NAME
                )
            )
        if self._guessed:
            text = _("{count} guesses of the detector (uncertain or absent) were left out as unknown.")
            parts.append(text.format(count=self._guessed))
        sentences = [*parts, *dict.fromkeys(self._problems), *self._left_out()]
        self._say(" ".join(sentences) or _("Nothing was exported."))
        self.update()

    def _left_out(self) -> list[str]:
        """A sentence about the points of no scan, where all scans were to be exported."""
        nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        names = [node.GetName() for node in nodes if volume_of_markups(node) is None]
        if not names or self._ui.scopeComboBox.currentIndex != _ALL_VOLUMES:
            return []
        text = _("Left out, for nobody said which scan they belong to: {names}. Choose each beside its scan.")
        return [text.format(names=_few(names))]

    def _stop(self) -> None:
        self._timer.stop()
        self._waiting = iter(())
        rest(self._ui.exportProgressBar)

    def _say(self, text: str) -> None:
        say(self._ui.exportMessageLabel, text)
        self._log(text)


def _what_to_place(markups: Any) -> str:
    count = sum(row.status == "to place" for row in landmark_rows(markups))
    if not count:
        return _("All these landmarks are placed already.")
    return _("{count} landmarks to place: choose one above and click Place.").format(count=count)


def _unplaced(markups: Any, least_confidence: float) -> str:
    """What a person has to know before an export."""
    if markups is None:
        return ""
    rows = landmark_rows(markups, least_confidence=least_confidence)
    to_place = [row.name for row in rows if row.status == "to place"]
    guesses = unconfirmed(markups, least_confidence=least_confidence)
    parts = []
    if to_place:
        parts.append(
            _("{count} of {all} still to place (or to mark as absent): {names}.").format(
                count=len(to_place), all=len(rows), names=_few(to_place)
            )
        )
    if guesses:
        text = _("Guesses of the detector, to be confirmed or corrected, or they are left out: {names}.")
        parts.append(text.format(names=_few(guesses)))
    return " ".join(parts)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" .." if len(names) > 8 else "")

"""The section that detects in many scans and brings them to a person, the most doubtful first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.cases import case_landmarks
from LandmarkDetectionLib.data.dataset import CASES_NAME, cases_of, write_case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.inputs import Input, find_inputs
from LandmarkDetectionLib.detection.results import (
    CaseDetections,
    CaseOutcome,
    read_case,
    write_summary,
)
from LandmarkDetectionLib.detection.results import write_case as write_result
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review
from LandmarkDetectionLib.panel.labels import rest, say, show_progress
from LandmarkDetectionLib.panel.model_list import ModelEntry
from LandmarkDetectionLib.panel.packages import install_missing_packages
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.panel.worker_client import WorkerClient
from LandmarkDetectionLib.scene.markups import (
    LandmarkRow,
    landmark_rows,
    landmarks_of,
    new_markups,
    set_table,
    show_detections,
    show_landmarks,
    table_of,
)
from LandmarkDetectionLib.scene.views import show_volume
from LandmarkDetectionLib.scene.volumes import add_volume, frame_of
from LandmarkDetectionLib.worker.protocol import Failure, Notice, Progress, Result


@dataclass(frozen=True)
class _OpenCase:
    """The case that a person is looking at, and its landmarks when they were last kept."""

    item: Input
    volume: Any
    markups: Any
    kept: list[LandmarkRow]


class BatchSection:
    """Detects in a folder or a split CSV through the worker, one scan after the other.

    Args:
        ui: the widgets of the panel, by name.
        client: of the worker.
        model: gives the model that is chosen.
        log: takes what is worth keeping.
    """

    def __init__(
        self,
        ui: Any,
        client: WorkerClient,
        model: Callable[[], ModelEntry | None],
        log: Callable[[str], None],
    ) -> None:
        self._ui, self._client, self._model, self._log = ui, client, model, log
        self._parameters: Parameters | None = None
        self._inputs: list[Input] = []
        self._outcomes: dict[str, CaseOutcome] = {}
        self._listed_for: tuple[object, ...] = ()
        self._waiting: list[Input] = []
        self._current: Input | None = None
        self._open: _OpenCase | None = None
        self._accepted: set[str] = set()
        paths = ctk.ctkPathLineEdit
        ui.batchInputPathLineEdit.filters = paths.Files | paths.Dirs
        ui.batchOutputPathLineEdit.filters = paths.Dirs
        rest(ui.batchProgressBar)
        say(ui.batchMessageLabel, "")
        ui.batchTable.setHorizontalHeaderLabels([_("Case"), _("Lowest"), _("Misfit mm"), _("State")])
        ui.batchTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.batchTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.batchButton.connect("clicked(bool)", self._on_click)
        ui.batchTable.connect("cellClicked(int,int)", self._on_case_clicked)
        ui.acceptButton.connect("clicked(bool)", self._on_accept)

    @property
    def running(self) -> bool:
        """Whether a batch is being detected."""
        return self._current is not None

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Take the settings from now on from here; None while there are none."""
        self._parameters = parameters
        self._open = None
        self._listed_for = ()

    def update(self) -> None:
        """Bring the widgets in line with the settings."""
        parameters = self._parameters
        if parameters is None:
            return
        model = self._model()
        usable = model is not None and model.bundle is not None and parameters.batchInput
        self._ui.batchButton.text = _("Cancel") if self.running else _("Detect in all")
        self._ui.batchButton.enabled = bool(self.running or (usable and not self._client.busy))
        self._ui.acceptButton.enabled = self._open is not None
        wanted = (parameters.batchInput, parameters.batchOutput, parameters.model)
        if not self.running and wanted != self._listed_for:
            self._listed_for = wanted
            self._list_cases(parameters)

    def cancel(self) -> None:
        """Stop after what has been detected so far."""
        self._waiting = []
        if self.running:
            self._client.cancel()

    # What the worker says

    def on_progress(self, progress: Progress) -> None:
        """Show how far the worker is in this case."""
        self._show_progress(progress.fraction)

    def on_notice(self, notice: Notice) -> None:
        """Show what a person should know."""
        self._say(notice.text)

    def on_end(self, end: Result | Failure) -> None:
        """Keep what was found in this case, and go on with the next."""
        current, self._current = self._current, None
        if current is not None and not (isinstance(end, Failure) and end.kind == "cancelled"):
            self._keep(current, end)
        self._detect_next()

    def _keep(self, current: Input, end: Result | Failure) -> None:
        case = current.case
        if isinstance(end, Failure):
            self._outcomes[case.name] = CaseOutcome(case.name, case.image_path, None, end.text)
            self._log(f"{case.name}: {end.text}")
            return
        result = CaseDetections(case.name, end.detections)
        try:
            write_result(result, self._results_folder)
            self._outcomes[case.name] = CaseOutcome(case.name, case.image_path, result)
        except InputError as error:
            self._outcomes[case.name] = CaseOutcome(case.name, case.image_path, None, str(error))

    # What a person does

    def _on_click(self) -> None:
        parameters = self._parameters
        if self.running:
            self.cancel()
            return
        if parameters is None:
            return
        try:
            install_missing_packages()
            self._inputs = find_inputs(Path(parameters.batchInput))
        except InputError as error:
            self._say(str(error))
            return
        if not self._ui.skipDoneCheckBox.checked:
            self._outcomes = {}
        self._waiting = [item for item in self._inputs if not self._has_result(item.case.name)]
        self._say("")
        self._detect_next()

    def _detect_next(self) -> None:
        model, parameters = self._model(), self._parameters
        if not self._waiting or model is None or parameters is None:
            self._finish()
            return
        self._current = self._waiting.pop(0)
        case = self._current.case
        self._show_progress(0)
        if self._current.problem:
            self.on_end(Failure(0, "volume", self._current.problem))
        else:
            self._client.detect(model.folder, parameters.device, case.image_path.resolve(), self)
        self._fill_table()
        self.update()

    def _finish(self) -> None:
        self._current = None
        rest(self._ui.batchProgressBar)
        outcomes = list(self._outcomes.values())
        failed = [outcome for outcome in outcomes if outcome.error]
        if outcomes:
            try:
                write_summary(outcomes, self._results_folder)
                text = _("{count} scans; results in {folder}. Click on a case to look at it.").format(
                    count=len(outcomes) - len(failed), folder=self._results_folder
                )
            except InputError as error:
                text = str(error)
            if failed:
                text += " " + _("{count} failed: {reason}").format(count=len(failed), reason=failed[0].error)
            self._say(text)
        self._fill_table()
        self.update()

    def _on_case_clicked(self, row: int, column: int) -> None:
        name = self._ui.batchTable.item(row, 0).text()
        item = next((item for item in self._inputs if item.case.name == name), None)
        outcome = self._outcomes.get(name)
        if item is None or outcome is None or outcome.result is None or self._parameters is None:
            return
        if self._may_close_case():
            with slicer.util.tryWithErrorDisplay(_("The case cannot be opened."), waitCursor=True):
                self._open_case(item, outcome.result, self._parameters)
        self.update()

    def _may_close_case(self) -> bool:
        """Whether the open case has no corrections that would be lost, or the person lets them go."""
        opened = self._open
        if (
            opened is None
            or opened.markups.GetScene() is None
            or landmark_rows(opened.markups) == opened.kept
        ):
            return True
        question = _("The corrections of {name} are not in the data set. Drop them?").format(
            name=opened.item.case.name
        )
        return bool(slicer.util.confirmYesNoDisplay(question))

    def _open_case(self, item: Input, result: CaseDetections, parameters: Parameters) -> None:
        """Show a case in the scene in place of the one before."""
        volume = add_volume(read_volume(item.case.image_path), item.case.name, slicer.mrmlScene)
        markups = new_markups(volume)
        model = self._model()
        if model is not None and model.bundle is not None:
            set_table(markups, model.bundle.table)
        show_detections(result.detections, markups, volume)
        if item.case.name in self._accepted:
            case = next(case for case in cases_of(self._dataset(parameters)) if case.name == item.case.name)
            show_landmarks(case_landmarks(case, None), markups, volume)
        if self._open is not None:
            for node in (self._open.volume, self._open.markups):
                slicer.mrmlScene.RemoveNode(node)
        self._open = _OpenCase(item, volume, markups, landmark_rows(markups))
        parameters.volume = volume
        parameters.markups = markups
        show_volume(volume)

    def _on_accept(self) -> None:
        """Write the landmarks of the open case, as they are now, into the data set."""
        opened, parameters = self._open, self._parameters
        if opened is None or parameters is None:
            return
        name = opened.item.case.name
        try:
            path = self._dataset(parameters)
            case = next((case for case in cases_of(path) if case.name == name), opened.item.case)
            known = case.landmark_path is not None and case.landmark_path.is_file()
            question = _("The case {name} has landmarks in {path} already. Replace them?").format(
                name=name, path=path
            )
            if known and name not in self._accepted and not slicer.util.confirmYesNoDisplay(question):
                return
            case = replace(case, image_path=opened.item.case.image_path)
            landmarks = landmarks_of(opened.markups, opened.volume)
            write_case(case, landmarks, frame_of(opened.volume), path, table=table_of(opened.markups))
        except InputError as error:
            self._say(str(error))
            return
        self._open = replace(opened, kept=landmark_rows(opened.markups))
        self._accepted.add(name)
        self._say(_("{name} is in {path} with these landmarks.").format(name=name, path=path))
        self._fill_table()

    # Small steps

    def _show_progress(self, fraction: float) -> None:
        """How far the batch is, with this fraction of the current case done."""
        if self._current is not None:
            done = len(self._inputs) - len(self._waiting) - 1 + fraction
            show_progress(self._ui.batchProgressBar, done / len(self._inputs), self._current.case.name)

    @property
    def _results_folder(self) -> Path:
        """Where the results go: the chosen folder, or `detections` beside the scans."""
        parameters = self._parameters
        if parameters is None or not parameters.batchInput:
            return Path()
        if parameters.batchOutput:
            return Path(parameters.batchOutput)
        source = Path(parameters.batchInput)
        return (source if source.is_dir() else source.parent) / "detections"

    def _dataset(self, parameters: Parameters) -> Path:
        """The CSV that accepted cases go to: the one that was detected in, or that of the export.

        Raises:
            InputError: if there is none.
        """
        source = Path(parameters.batchInput)
        if source.suffix.lower() == ".csv":
            return source
        if not parameters.dataset:
            raise InputError(_("Choose a data set folder in the section above: accepted cases go there."))
        return Path(parameters.dataset) / CASES_NAME

    def _has_result(self, name: str) -> bool:
        outcome = self._outcomes.get(name)
        return outcome is not None and outcome.result is not None

    def _list_cases(self, parameters: Parameters) -> None:
        """Show the cases of the input, with the results that there are from before."""
        self._inputs, self._outcomes = [], {}
        if parameters.batchInput:
            try:
                self._inputs = find_inputs(Path(parameters.batchInput))
                self._say("")
            except InputError as error:
                self._say(str(error))
        for item in self._inputs:
            name = item.case.name
            if (self._results_folder / f"{name}.csv").is_file():
                try:
                    result = read_case(self._results_folder, name)
                    self._outcomes[name] = CaseOutcome(name, item.case.image_path, result)
                except InputError as error:
                    self._log(str(error))
        self._fill_table()

    def _reviews(self) -> list[Review]:
        model = self._model()
        if model is None or model.bundle is None:
            return []
        names, shape = model.bundle.table.names, model.bundle.mean_shape
        results = [outcome.result for outcome in self._outcomes.values() if outcome.result is not None]
        return in_order_of_doubt([review(result, names, shape) for result in results])

    def _fill_table(self) -> None:
        """Failed cases first, then those with results, the most doubtful first, then those still to do."""
        reviews = self._reviews()
        reviewed = {item.case for item in reviews}
        failed = [outcome for outcome in self._outcomes.values() if outcome.error]
        waiting = [
            item.case.name
            for item in self._inputs
            if item.case.name not in reviewed | {f.case for f in failed}
        ]
        rows = [((outcome.case, "", "", _("failed")), outcome.error) for outcome in failed]
        rows += [(_cells(item, item.case in self._accepted), item.least_fitting) for item in reviews]
        rows += [((name, "", "", _("to do")), "") for name in waiting]
        table = self._ui.batchTable
        table.setRowCount(len(rows))
        for number, (cells, hint) in enumerate(rows):
            for column, text in enumerate(cells):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(hint or text)
                table.setItem(number, column, cell)

    def _say(self, text: str) -> None:
        say(self._ui.batchMessageLabel, text)
        if text:
            self._log(text)


def _cells(item: Review, accepted: bool) -> tuple[str, str, str, str]:
    misfit = "" if math.isnan(item.misfit_mm) else f"{item.misfit_mm:.2g}"
    return item.case, f"{item.lowest_confidence:.0%}", misfit, _("accepted") if accepted else _("to review")

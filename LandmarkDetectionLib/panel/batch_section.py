"""The section that detects in many scans and brings them to a person, the most doubtful first."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.cases import Case, case_landmarks, files_of_cases, find_table
from LandmarkDetectionLib.data.dataset import CASES_NAME, cases_of, write_case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.inputs import Input, find_inputs
from LandmarkDetectionLib.detection.results import CaseDetections, CaseOutcome
from LandmarkDetectionLib.detection.results_folder import ResultsFolder, refuse_shared_names
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.panel.labels import rest, say, show_progress
from LandmarkDetectionLib.panel.model_list import ModelEntry
from LandmarkDetectionLib.panel.observer import Later
from LandmarkDetectionLib.panel.packages import install_missing_packages
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.panel.worker_client import WorkerClient
from LandmarkDetectionLib.scene.markups import (
    landmarks_of,
    new_markups,
    set_table,
    show_detections,
    show_landmarks,
    snapshot,
    table_of,
)
from LandmarkDetectionLib.scene.views import show_volume
from LandmarkDetectionLib.scene.volumes import add_volume, frame_of, remove_node
from LandmarkDetectionLib.worker.protocol import Failure, Notice, Progress, Result

_REVIEWED = "reviewed"
"""The column of the data set's CSV that says which cases a person has accepted."""


@dataclass
class _Batch:
    """The scans of one input, and what is known of them; fixed when the batch starts.

    Attributes:
        results: the folder of the results.
        model: the folder of the bundle.
        bundle: its description.
        device: where to compute.
        inputs: all scans.
        outcomes: by case name.
        waiting: scans still to do.
        current: the scan that the worker has.
    """

    results: ResultsFolder
    model: Path
    bundle: Bundle
    device: str
    inputs: list[Input]
    outcomes: dict[str, CaseOutcome] = field(default_factory=dict)
    waiting: list[Input] = field(default_factory=list)
    current: Input | None = None

    def read_results(self) -> None:
        """Take in the results that there are of these scans and this model, as they are now."""
        for item in self.inputs:
            done = None if item.problem else self.results.done(item.case)
            if done is not None:
                self.outcomes[item.case.name] = done

    def reason_to_keep_results(self) -> str:
        """Why the results that there are of the current scan may not be replaced; '' if they may."""
        try:
            if self.current is not None:
                self.results.check(self.current.case)
        except InputError as error:
            return str(error)
        return ""

    def keep(self, end: Result | Failure) -> None:
        """Write and remember how the current scan ended."""
        if self.current is None:
            return
        case = self.current.case
        if isinstance(end, Result):
            result = CaseDetections(case.name, end.detections)
            try:
                outcome = self.results.keep(
                    case, result, end.scan, seconds=end.seconds, warnings=end.warnings
                )
            except InputError as reason:
                outcome = self.results.failure(case, str(reason))
        else:
            outcome = self.results.failure(case, end.text)
        self.outcomes[case.name] = outcome

    def reviews(self) -> list[Review]:
        """The cases with results, the most doubtful first."""
        results = [outcome.result for outcome in self.outcomes.values() if outcome.result is not None]
        names, shape = self.bundle.table.names, self.bundle.shape.mean
        return in_order_of_doubt([review(result, names, shape) for result in results])


@dataclass(frozen=True)
class _OpenCase:
    """The case that a person is looking at, and its landmarks when they were last kept."""

    item: Input
    volume: Any
    markups: Any
    kept: object


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
        self._batch: _Batch | None = None
        self._open: _OpenCase | None = None
        self._listed_for: tuple[object, ...] = ()
        self._dataset_shown = ""
        self._running = False
        self._list_later = Later(self._list_cases, milliseconds=300)
        self._next_later = Later(self._detect_next, milliseconds=0)
        self._fill_later = Later(self._fill_table, milliseconds=100)
        ui.batchInputPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.batchOutputPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        rest(ui.batchProgressBar)
        say(ui.batchMessageLabel, "")
        ui.batchTable.setHorizontalHeaderLabels([_("Case"), _("Lowest"), _("Misfit mm"), _("State")])
        ui.batchTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.batchTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.batchCsvButton.connect("clicked(bool)", self._on_choose_csv)
        ui.batchButton.connect("clicked(bool)", self._on_click)
        ui.batchTable.connect("cellClicked(int,int)", self._on_case_clicked)
        ui.acceptButton.connect("clicked(bool)", self._on_accept)

    @property
    def running(self) -> bool:
        """Whether a batch is being detected."""
        return self._running

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Take the settings from now on from here; None while there are none."""
        self._parameters = parameters
        self._open = None
        self._listed_for = ()

    def update(self) -> None:
        """Bring the widgets in line with the settings."""
        parameters, model = self._parameters, self._model()
        usable = parameters is not None and bool(parameters.batchInput)
        usable = usable and model is not None and model.bundle is not None
        self._ui.batchButton.text = _("Cancel") if self.running else _("Detect in all")
        self._ui.batchButton.enabled = self.running or (usable and self._client.is_free_for(self))
        self._ui.acceptButton.enabled = self._open is not None and self._open.volume.GetScene() is not None
        if parameters is not None:
            wanted = parameters.batchInput, parameters.batchOutput, parameters.model
            if not self.running and wanted != self._listed_for:
                self._listed_for = wanted
                self._list_later.ask()
            if parameters.dataset != self._dataset_shown:
                self._dataset_shown = parameters.dataset
                self._fill_later.ask()

    def cancel(self) -> None:
        """Stop after what has been detected so far."""
        if self._batch is not None:
            self._batch.waiting = []
        if self.running:
            self._client.cancel()

    def close(self) -> None:
        """Forget all that was asked for."""
        self._list_later.drop()
        self._next_later.drop()
        self._fill_later.drop()

    # What the worker says

    def on_progress(self, progress: Progress) -> None:
        """Show how far the worker is in this case."""
        self._show_progress(progress.fraction)

    def on_notice(self, notice: Notice) -> None:
        """Show what a person should know."""
        self._say(notice.text)

    def on_end(self, end: Result | Failure) -> None:
        """Keep what was found in this case, and go on with the next."""
        batch = self._batch
        if batch is not None and not (isinstance(end, Failure) and end.kind == "cancelled"):
            batch.keep(end)
            if isinstance(end, Failure) and batch.current is not None:
                self._log(f"{batch.current.case.name}: {end.text}")
        self._next_later.ask()

    # Detecting

    def _on_click(self) -> None:
        if self.running:
            self.cancel()
            return
        try:
            install_missing_packages()
            batch = self._new_batch()
        except (InputError, OSError) as error:
            self._say(str(error))
            return
        if batch is None:
            return
        if self._ui.skipDoneCheckBox.checked:
            batch.read_results()
        done = {name for name, outcome in batch.outcomes.items() if outcome.result is not None}
        batch.waiting = [item for item in batch.inputs if item.case.name not in done]
        self._client.claim(self)
        self._batch, self._running = batch, True
        self._say("")
        self.update()
        self._detect_next()

    def _new_batch(self) -> _Batch | None:
        """The scans of the chosen input for the chosen model; None where one is not chosen.

        Raises:
            InputError, OSError: if the input is not there or cannot be read.
        """
        parameters, model = self._parameters, self._model()
        if parameters is None or model is None or model.bundle is None or not parameters.batchInput:
            return None
        source = Path(parameters.batchInput)
        inputs = refuse_shared_names(find_inputs(source, each=True))
        beside = (source if source.is_dir() else source.parent) / "detections"
        folder = Path(parameters.batchOutput) if parameters.batchOutput else beside
        given = [source, *files_of_cases(item.case for item in inputs)]
        results = ResultsFolder(folder, model.folder, model.bundle, given=given)
        return _Batch(results, model.folder, model.bundle, parameters.device, inputs)

    def _detect_next(self) -> None:
        batch = self._batch
        if batch is None or not self.running:
            return
        if not batch.waiting:
            self._finish(batch)
            return
        batch.current = batch.waiting.pop(0)
        self._show_progress(0)
        problem = batch.current.problem or batch.reason_to_keep_results()
        if problem:
            self.on_end(Failure(0, "volume", problem))
        else:
            self._client.detect(batch.model, batch.device, batch.current.case.image_path.resolve())
        self._fill_later.ask()

    def _finish(self, batch: _Batch) -> None:
        batch.current = None
        self._running = False
        self._client.release()
        rest(self._ui.batchProgressBar)
        if batch.outcomes:
            try:
                batch.results.summarise(batch.outcomes.values())
                text = _("{count} done; results in {folder}. Click on a case to look at it.").format(
                    count=sum(not outcome.error for outcome in batch.outcomes.values()),
                    folder=batch.results.folder,
                )
            except InputError as error:
                text = str(error)
            self._say(" ".join([text, *_what_to_know(batch)]))
        self._fill_table()
        self.update()

    # Reviewing

    def _on_case_clicked(self, row: int, column: int) -> None:
        batch, name = self._batch, self._ui.batchTable.item(row, 0).text()
        outcome = batch.outcomes.get(name) if batch is not None else None
        if batch is None or outcome is None or outcome.result is None or self._parameters is None:
            return
        item = next(item for item in batch.inputs if item.case.name == name)
        if self._may_close_case():
            with slicer.util.tryWithErrorDisplay(_("The case cannot be opened."), waitCursor=True):
                self._open_case(item, outcome.result, batch.bundle, self._parameters)
        self.update()

    def _may_close_case(self) -> bool:
        """Whether the open case has no corrections that would be lost, or the person lets them go."""
        opened = self._open
        if opened is None or opened.markups.GetScene() is None or snapshot(opened.markups) == opened.kept:
            return True
        question = _("The corrections of {name} are not in the data set. Drop them?").format(
            name=opened.item.case.name
        )
        return bool(slicer.util.confirmYesNoDisplay(question))

    def _open_case(self, item: Input, result: CaseDetections, bundle: Bundle, parameters: Parameters) -> None:
        """Show a case in the scene in place of the one before; one that was accepted, as it was accepted."""
        scan = read_volume(item.case.image_path)
        accepted = self._accepted_cases().get(item.case.name)
        landmarks = case_landmarks(accepted, None) if accepted is not None else None
        if self._open is not None:
            for node in (self._open.markups, self._open.volume):
                if node.GetScene() is not None:
                    remove_node(node)
        volume = add_volume(scan, item.case.name, slicer.mrmlScene)
        markups = new_markups(volume)
        set_table(markups, bundle.table)
        show_detections(result.detections, markups, volume)
        if landmarks is not None:
            show_landmarks(landmarks, markups, volume)
        self._open = _OpenCase(item, volume, markups, snapshot(markups))
        parameters.volume = volume
        parameters.markups = markups
        show_volume(volume)

    def _on_accept(self) -> None:
        """Write the landmarks of the open case, as they are now, into the data set."""
        opened, parameters = self._open, self._parameters
        if opened is None or parameters is None:
            return
        try:
            path = self._dataset(parameters)
            case = self._known_case(opened.item.case, path)
            if not self._may_replace(case, path):
                return
            landmarks = landmarks_of(opened.markups, opened.volume)
            if case.landmark_path is not None or case.mask_path is not None:
                landmarks = landmarks.completed_by(case_landmarks(case, find_table(path, [case])))
            reviewed = replace(case, other={**case.other, _REVIEWED: "yes"})
            write_case(reviewed, landmarks, frame_of(opened.volume), path, table=table_of(opened.markups))
        except InputError as error:
            self._say(str(error))
            return
        self._open = replace(opened, kept=snapshot(opened.markups))
        self._say(_("{name} is in {path} with these landmarks.").format(name=case.name, path=path))
        self._fill_table()

    def _known_case(self, case: Case, path: Path) -> Case:
        """The case with what the data set has of it, as far as its files are there."""
        known = next((known for known in cases_of(path) if known.name == case.name), case)
        return replace(
            known,
            image_path=case.image_path,
            landmark_path=_if_there(known.landmark_path),
            mask_path=_if_there(known.mask_path),
        )

    def _may_replace(self, case: Case, path: Path) -> bool:
        """Whether nobody else's landmarks are in the files of a case, or the person lets them go."""
        known = case.landmark_path is not None or case.mask_path is not None
        if not known or case.other.get(_REVIEWED) == "yes":
            return True
        question = _("The case {name} has landmarks in {path} already. Replace those that are in this list?")
        return bool(slicer.util.confirmYesNoDisplay(question.format(name=case.name, path=path)))

    def _accepted_cases(self) -> dict[str, Case]:
        """The cases in the data set that a person has accepted."""
        try:
            cases = cases_of(self._dataset(self._parameters)) if self._parameters is not None else []
        except InputError:
            return {}
        return {case.name: case for case in cases if case.other.get(_REVIEWED) == "yes"}

    # Small steps

    def _show_progress(self, fraction: float) -> None:
        """How far the batch is, with this fraction of the current case done."""
        batch = self._batch
        if batch is not None and batch.current is not None:
            done = len(batch.inputs) - len(batch.waiting) - 1 + fraction
            show_progress(self._ui.batchProgressBar, done / len(batch.inputs), batch.current.case.name)

    def _dataset(self, parameters: Parameters) -> Path:
        """The CSV that accepted cases go to: the one that was detected in, or that of the export.

        Raises:
            InputError: if there is none.
        """
        source = Path(parameters.batchInput)
        if source.suffix.lower() == ".csv":
            return source
        if (source / CASES_NAME).is_file():
            return source / CASES_NAME
        if not parameters.dataset:
            raise InputError(_("Choose a data set folder in the section above: accepted cases go there."))
        return Path(parameters.dataset) / CASES_NAME

    def _list_cases(self) -> None:
        """Show the cases of the input, with the results that there are from before."""
        if self.running:
            return
        self._batch = None
        try:
            self._batch = self._new_batch()
            if self._batch is not None:
                self._batch.read_results()
            say(self._ui.batchMessageLabel, "")
        except (InputError, OSError) as error:
            self._say(str(error))
        self._fill_table()

    def _fill_table(self) -> None:
        """Failed cases first, then those with results, the most doubtful first, then those still to do."""
        rows = _table_rows(self._batch, self._accepted_cases()) if self._batch is not None else []
        table = self._ui.batchTable
        table.setRowCount(len(rows))
        for number, (cells, hint) in enumerate(rows):
            for column, text in enumerate(cells):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(hint or text)
                table.setItem(number, column, cell)

    def _on_choose_csv(self) -> None:
        path = qt.QFileDialog.getOpenFileName(None, _("A list of cases"), "", _("Lists of cases (*.csv)"))
        if path:
            self._ui.batchInputPathLineEdit.currentPath = path

    def _say(self, text: str) -> None:
        say(self._ui.batchMessageLabel, text)
        if text:
            self._log(text)


def _what_to_know(batch: _Batch) -> Iterator[str]:
    """Sentences about the cases that did not go as they should."""
    doubted = [outcome for outcome in batch.outcomes.values() if outcome.warnings]
    if doubted:
        yield _("{count} to be doubted, the first: {case}, {reason}").format(
            count=len(doubted), case=doubted[0].case, reason=doubted[0].warnings[0]
        )
    failed = [outcome for outcome in batch.outcomes.values() if outcome.error]
    if failed:
        yield _("{count} failed, the first: {reason}").format(count=len(failed), reason=failed[0].error)


def _table_rows(batch: _Batch, accepted: Container[str]) -> list[tuple[tuple[str, str, str, str], str]]:
    """Cells and hint of each row."""
    reviews = batch.reviews()
    failed = [outcome for outcome in batch.outcomes.values() if outcome.error]
    shown = {item.case for item in reviews} | {outcome.case for outcome in failed}
    waiting = [item.case.name for item in batch.inputs if item.case.name not in shown]
    rows = [((outcome.case, "", "", _("failed")), outcome.error) for outcome in failed]
    rows += [(_cells(item, item.case in accepted), item.least_fitting) for item in reviews]
    return [*rows, *(((name, "", "", _("to do")), "") for name in waiting)]


def _cells(item: Review, accepted: bool) -> tuple[str, str, str, str]:
    misfit = "" if math.isnan(item.misfit_mm) else f"{item.misfit_mm:.2g}"
    return item.case, f"{item.lowest_confidence:.0%}", misfit, _("accepted") if accepted else _("to review")


def _if_there(path: Path | None) -> Path | None:
    return path if path is not None and path.is_file() else None

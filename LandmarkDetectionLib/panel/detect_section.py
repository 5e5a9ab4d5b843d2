"""The section in which a person chooses a scan and a model, and clicks Detect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.panel.labels import rest, say, show_progress
from LandmarkDetectionLib.panel.model_list import ModelEntry, ModelList, describe_model
from LandmarkDetectionLib.panel.packages import install_missing_packages
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.panel.scan_upload import ScanUpload
from LandmarkDetectionLib.panel.worker_client import WorkerClient
from LandmarkDetectionLib.scene.markups import (
    markups_of_volume,
    may_belong_to,
    new_markups,
    set_table,
    show_detections,
    update_visibility,
)
from LandmarkDetectionLib.worker.protocol import Failure, Notice, Progress, Result
from LandmarkDetectionLib.worker.shared_volume import SharedVolume

_STAGES = {
    "prepare": _("Preparing the scan"),
    "locate": _("Looking for the anatomy"),
    "refine": _("Looking at each landmark"),
    "detect": _("Looking for landmarks"),
}

_MOST_NAMES = 5


@dataclass(frozen=True)
class _Target:
    """What is being detected where; without markups, new ones are made."""

    volume: Any
    markups: Any
    folder: Path
    bundle: Bundle


class DetectSection:
    """Detects in a volume of the scene and shows the landmarks there.

    Args:
        ui: the widgets of the panel, by name.
        client: of the worker.
        models: to choose from.
        log: takes what is worth keeping.
    """

    def __init__(self, ui: Any, client: WorkerClient, models: ModelList, log: Callable[[str], None]) -> None:
        self._ui, self._client, self._models, self._log = ui, client, models, log
        self._upload = ScanUpload()
        self._parameters: Parameters | None = None
        self._entries: list[ModelEntry] = []
        self._target: _Target | None = None
        self._device_names: dict[str, str] = {}
        self._last_volume: Any = None
        ui.detectButton.connect("clicked(bool)", self._on_click)
        ui.modelComboBox.connect("currentIndexChanged(int)", self._on_model_chosen)
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._on_device_chosen)
        self._menu = qt.QMenu(ui.modelMenuButton)
        for text, action in (
            (_("Import a model (.zip)..."), self._on_import),
            (_("Use the models of a folder..."), self._on_choose_folder),
        ):
            self._menu.addAction(text).connect("triggered()", action)
        ui.modelMenuButton.setMenu(self._menu)
        rest(ui.progressBar)
        say(ui.messageLabel, "")
        self.list_models()
        self.set_devices(())

    @property
    def running(self) -> bool:
        """Whether a scan of the scene is on its way to the worker or in it."""
        return self._target is not None

    @property
    def model(self) -> ModelEntry | None:
        """The chosen model, None if there is none."""
        row = self._ui.modelComboBox.currentIndex
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Take the settings from now on from here; None while there are none."""
        self._parameters = parameters

    def set_devices(self, devices: tuple[tuple[str, str], ...]) -> None:
        """Offer these devices, by identifier and name, besides the automatic choice."""
        self._device_names = dict(devices)
        self._list_devices()

    def list_models(self, select: Path | None = None) -> None:
        """Look for models again."""
        self._entries = self._models.entries()
        box = self._ui.modelComboBox
        blocked = box.blockSignals(True)
        box.clear()
        for entry in self._entries:
            box.addItem(entry.name, str(entry.folder))
        box.blockSignals(blocked)
        self._select_model(select)

    def update(self) -> None:
        """Bring the widgets in line with the settings."""
        parameters = self._parameters
        if parameters is None:
            self._ui.detectButton.enabled = False
            return
        self._follow_model(parameters)
        self._follow_volume(parameters)
        if self._ui.deviceComboBox.currentData != parameters.device:
            self._list_devices()
        if parameters.markups is not None:
            update_visibility(
                parameters.markups,
                least_confidence=parameters.leastConfidence,
                show_uncertain=parameters.showUncertain,
            )
        ready = parameters.volume is not None and self.model is not None and self.model.bundle is not None
        self._ui.detectButton.text = _("Cancel") if self.running else _("Detect")
        self._ui.detectButton.enabled = self.running or (ready and self._client.is_free_for(self))

    def cancel(self) -> None:
        """Stop; what has been found so far is dropped."""
        if self.running and self._client.detecting:
            show_progress(self._ui.progressBar, 0, _("Cancelling"))
            self._client.cancel()
        elif self.running:
            self._upload.cancel()
            self._finish(_("The detection was cancelled."))

    def forget_scene(self) -> None:
        """Stop, and forget the scan that was handed over last."""
        self.cancel()
        self._upload.forget()

    def close(self) -> None:
        """Forget everything that is on its way, and remove the files."""
        self._target = None
        self._upload.clear()

    # What the worker says

    def on_progress(self, progress: Progress) -> None:
        """Show how far the worker is."""
        text = _STAGES.get(progress.stage, progress.stage)
        if progress.seconds_left is not None:
            text = _("{stage}, {seconds:.0f} s left").format(stage=text, seconds=progress.seconds_left)
        show_progress(self._ui.progressBar, progress.fraction, text)

    def on_notice(self, notice: Notice) -> None:
        """Show what a person should know."""
        say(self._ui.messageLabel, notice.text)
        self._log(notice.text)

    def on_end(self, end: Result | Failure) -> None:
        """Show the landmarks, or why there are none."""
        target, parameters = self._target, self._parameters
        if isinstance(end, Failure):
            self._finish(end.text)
        elif target is None or parameters is None or not _is_in_scene(target.volume):
            self._finish(_("The scan is no longer in the scene: its landmarks were dropped."))
        else:
            self._finish(self._show(end, target, parameters))

    def _show(self, result: Result, target: _Target, parameters: Parameters) -> str:
        """Put the landmarks into the scene; gives a sentence about them."""
        slicer.mrmlScene.SaveStateForUndo()
        markups = target.markups if _is_in_scene(target.markups) else new_markups(target.volume)
        set_table(markups, target.bundle.table)
        kept = show_detections(result.detections, markups, target.volume)
        if parameters.volume is target.volume:
            parameters.markups = markups
        update_visibility(
            markups, least_confidence=parameters.leastConfidence, show_uncertain=parameters.showUncertain
        )
        text = _describe(result, kept, self._device_names)
        return " ".join([text, *(f"{warning[0].upper()}{warning[1:]}" for warning in result.warnings)])

    # What a person does

    def _on_click(self) -> None:
        if self.running:
            self.cancel()
            return
        model, parameters = self.model, self._parameters
        if model is None or model.bundle is None or parameters is None or parameters.volume is None:
            return
        try:
            install_missing_packages()
            self._client.claim(self)
            markups = markups_of_volume(parameters.volume, parameters.markups)
            self._target = _Target(parameters.volume, markups, model.folder, model.bundle)
            say(self._ui.messageLabel, "")
            self._show_upload(0)
            self._upload.start(
                parameters.volume,
                on_progress=self._show_upload,
                on_done=self._ask_worker,
                on_failure=self._finish,
            )
        except (InputError, OSError) as error:
            self._finish(str(error))
        self.update()

    def _ask_worker(self, scan: SharedVolume) -> None:
        if self._target is None or self._parameters is None:
            return
        show_progress(self._ui.progressBar, 0, _("Starting"))
        self._client.detect(self._target.folder, self._parameters.device, scan)

    def _on_model_chosen(self, row: int) -> None:
        model = self.model
        if self._parameters is not None and model is not None:
            self._parameters.model = str(model.folder)
        self._describe_model()
        self.update()

    def _on_device_chosen(self, row: int) -> None:
        if self._parameters is not None and row >= 0:
            self._parameters.device = self._ui.deviceComboBox.itemData(row)

    def _on_import(self) -> None:
        archive = qt.QFileDialog.getOpenFileName(None, _("Import a model"), "", _("Packed models (*.zip)"))
        if archive:
            self._take_model(lambda: self._models.import_bundle(Path(archive)))

    def _on_choose_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Use the models of a folder"), "")
        if folder:
            self._take_model(lambda: self._models.choose_folder(Path(folder)))

    def _take_model(self, take: Callable[[], Path]) -> None:
        try:
            self.list_models(select=take())
            say(self._ui.messageLabel, "")
        except InputError as error:
            say(self._ui.messageLabel, str(error))

    # Small steps

    def _follow_volume(self, parameters: Parameters) -> None:
        """Choose the landmarks that belong to the chosen volume, never another scan's."""
        volume, markups = parameters.volume, parameters.markups
        is_new, self._last_volume = volume is not self._last_volume, volume
        if is_new and not self.running:
            say(self._ui.messageLabel, "")
        if volume is None:
            return
        foreign = markups is not None and not may_belong_to(markups, volume)
        if foreign and not is_new:
            text = _("'{name}' are the landmarks of another scan: choose that scan to see them.")
            say(self._ui.messageLabel, text.format(name=markups.GetName()))
        if foreign or (is_new and markups is None):
            parameters.markups = markups_of_volume(volume)

    def _follow_model(self, parameters: Parameters) -> None:
        """Choose the model that the settings name."""
        model = self.model
        if parameters.model and (model is None or str(model.folder) != parameters.model):
            self._select_model(Path(parameters.model))
        elif not parameters.model and model is not None:
            parameters.model = str(model.folder)

    def _list_devices(self) -> None:
        wanted = self._parameters.device if self._parameters is not None else "auto"
        offered = {"auto": _("Automatic"), **self._device_names}
        offered.setdefault(wanted, wanted)
        box = self._ui.deviceComboBox
        blocked = box.blockSignals(True)
        box.clear()
        for identifier, name in offered.items():
            box.addItem(name, identifier)
        box.setCurrentIndex(box.findData(wanted))
        box.blockSignals(blocked)

    def _select_model(self, folder: Path | None) -> None:
        row = self._ui.modelComboBox.findData(str(folder)) if folder else -1
        if folder is not None and row < 0:
            text = _("The model {folder} is not there: choose another, or import it again.")
            say(self._ui.messageLabel, text.format(folder=folder))
        blocked = self._ui.modelComboBox.blockSignals(True)
        self._ui.modelComboBox.setCurrentIndex(row if row >= 0 else (0 if self._entries else -1))
        self._ui.modelComboBox.blockSignals(blocked)
        self._on_model_chosen(row)

    def _describe_model(self) -> None:
        model = self.model
        if model is None:
            text = _("No model yet: import one, or choose the folder of one that was trained with train_cli.")
        else:
            text = describe_model(model.bundle) if model.bundle else model.problem
        self._ui.modelInfoLabel.text = text

    def _show_upload(self, fraction: float) -> None:
        show_progress(self._ui.progressBar, fraction, _("Handing over the scan"))

    def _finish(self, text: str) -> None:
        self._target = None
        self._client.release()
        rest(self._ui.progressBar)
        say(self._ui.messageLabel, text)
        self._log(text)
        self.update()


def _is_in_scene(node: Any) -> bool:
    return node is not None and node.GetScene() is slicer.mrmlScene


def _describe(result: Result, kept: tuple[str, ...], devices: dict[str, str]) -> str:
    detected = [detection for detection in result.detections if detection.name not in kept]
    statuses = [detection.status for detection in detected]
    text = _("{found} found, {uncertain} uncertain, {absent} absent, in {seconds:.1f} s on {device}.").format(
        found=statuses.count("found"),
        uncertain=statuses.count("uncertain"),
        absent=statuses.count("absent"),
        seconds=result.seconds,
        device=devices.get(result.device, result.device),
    )
    if len(kept) > _MOST_NAMES:
        text += " " + _("{count} kept as you placed or locked them.").format(count=len(kept))
    elif kept:
        text += " " + _("Kept as you placed or locked them: {names}.").format(names=", ".join(kept))
    return text

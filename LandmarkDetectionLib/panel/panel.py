"""The whole panel: its sections, the worker that they share, and the settings in the scene."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from LandmarkDetectionLib.panel.batch_section import BatchSection
from LandmarkDetectionLib.panel.detect_section import DetectSection
from LandmarkDetectionLib.panel.export_section import ExportSection
from LandmarkDetectionLib.panel.labels import say
from LandmarkDetectionLib.panel.landmark_section import LandmarkSection
from LandmarkDetectionLib.panel.model_list import ModelList
from LandmarkDetectionLib.panel.observer import NodeWatcher
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.panel.sample_data import SAMPLE_NAME, clear_downloads
from LandmarkDetectionLib.panel.worker_client import WorkerClient

_PATHS = {
    "datasetPathLineEdit": "dataset",
    "batchInputPathLineEdit": "batchInput",
    "batchOutputPathLineEdit": "batchOutput",
}
"""Widgets of paths and their settings: connectGui would show an empty path as '.'."""


class Panel:
    """Connects the widgets of the .ui file to what they do.

    Args:
        ui: the widgets, by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._parameters: Parameters | None = None
        self._gui_tag: Any = None
        self.client = WorkerClient(self._log, self._on_devices)
        self.detect = DetectSection(ui, self.client, ModelList(), self._log)
        self.landmarks = LandmarkSection(ui)
        self.export = ExportSection(ui, lambda: self.detect.model, self._log)
        self.batch = BatchSection(ui, self.client, lambda: self.detect.model, self._log)
        self._sections = (self.detect, self.landmarks, self.export, self.batch)
        self._settings = NodeWatcher((vtk.vtkCommand.ModifiedEvent,), self.update)
        markups = slicer.vtkMRMLMarkupsNode
        self._points = NodeWatcher(
            (
                vtk.vtkCommand.ModifiedEvent,
                markups.PointPositionDefinedEvent,
                markups.PointPositionUndefinedEvent,
                markups.PointPositionMissingEvent,
            ),
            self.export.update,
        )
        for widget, setting in _PATHS.items():
            getattr(ui, widget).connect("currentPathChanged(QString)", partial(self._on_path, setting))
        ui.sampleButton.connect("clicked(bool)", self._on_sample)
        ui.clearButton.connect("clicked(bool)", self._on_clear)

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Show the settings of a scene, and write changes there; None where there is no scene to write in."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
        self._parameters = parameters
        self._settings.watch(parameters.parameterNode if parameters is not None else None)
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self._ui)
            if parameters.volume is None:
                parameters.volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        for section in self._sections:
            section.set_parameters(parameters)
        self.update()

    def update(self) -> None:
        """Bring all widgets in line with the settings."""
        self._points.watch(self._parameters.markups if self._parameters is not None else None)
        if self._parameters is not None:
            for widget, setting in _PATHS.items():
                getattr(self._ui, widget).currentPath = getattr(self._parameters, setting)
        for section in self._sections:
            section.update()

    def warm_up(self) -> None:
        """Start the worker, where PyTorch is installed: it tells the devices, and is ready for the click."""
        if importlib.util.find_spec("torch") is not None:
            self.client.start()

    def forget_scene(self) -> None:
        """The scene is being closed: stop what works for it."""
        self.detect.cancel()
        self.batch.cancel()
        self.set_parameters(None)

    def close(self) -> None:
        """End the worker and remove the temporary files."""
        self.set_parameters(None)
        self.client.stop()
        self.detect.close()

    def _on_path(self, setting: str, path: str) -> None:
        if self._parameters is not None:
            setattr(self._parameters, setting, path)

    def _on_devices(self, devices: tuple[tuple[str, str], ...]) -> None:
        self.detect.set_devices(devices)

    def _on_sample(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The sample scan cannot be downloaded."), waitCursor=True):
            import SampleData

            nodes = SampleData.SampleDataLogic().downloadSamples(SAMPLE_NAME)
            volume = next(iter(_volumes(nodes)), None)
            if volume is not None and self._parameters is not None:
                self._parameters.volume = volume

    def _on_clear(self) -> None:
        freed = clear_downloads()
        self._log(_("{size} MB of downloaded files removed.").format(size=math.ceil(freed / 1e6)))
        say(self._ui.messageLabel, _("Downloaded files were removed.") if freed else _("Nothing to remove."))

    def _log(self, text: str) -> None:
        self._ui.logTextEdit.appendPlainText(text)


def _volumes(nodes: Any) -> Iterable[Any]:
    found = nodes if isinstance(nodes, list | tuple) else [nodes]
    return (node for node in found if isinstance(node, slicer.vtkMRMLScalarVolumeNode))

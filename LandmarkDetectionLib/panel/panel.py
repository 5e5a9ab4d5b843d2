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
from LandmarkDetectionLib.panel.observer import Later, NodeWatcher
from LandmarkDetectionLib.panel.parameters import Parameters
from LandmarkDetectionLib.panel.sample_data import SAMPLE_NAME, clear_downloads
from LandmarkDetectionLib.panel.worker_client import WorkerClient

_WIDGETS = {
    "volume": "volumeSelector",
    "markups": "markupsSelector",
    "leastConfidence": "leastConfidenceSliderWidget",
    "showUncertain": "showUncertainCheckBox",
}
"""Settings and the widgets that Slicer keeps in step with them."""
_PATHS = {
    "dataset": "datasetPathLineEdit",
    "batchInput": "batchInputPathLineEdit",
    "batchOutput": "batchOutputPathLineEdit",
}
"""Settings and widgets of paths; Slicer would show an empty path as '.'."""


class Panel:
    """Connects the widgets of the .ui file to what they do.

    Args:
        ui: the widgets, by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._parameters: Parameters | None = None
        self._gui_tag: Any = None
        self._later = Later(self.update)
        self.client = WorkerClient(self._log, self._on_devices, self._later.ask)
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
        for setting, widget in _PATHS.items():
            getattr(ui, widget).connect("currentPathChanged(QString)", partial(self._on_path, setting))
        ui.sampleButton.connect("clicked(bool)", self._on_sample)
        ui.clearButton.connect("clicked(bool)", self._on_clear)

    def set_parameters(self, parameters: Parameters | None) -> None:
        """Show the settings of a scene, and write changes there; None where there is no scene to write in.

        Settings of the node that is shown already change nothing that a person has begun.
        """
        current = self._parameters
        if current and parameters and current.parameterNode is parameters.parameterNode:
            self._later.ask()
            return
        if current is not None:
            current.disconnectGui(self._gui_tag)
        self._parameters = parameters
        self._settings.watch(parameters.parameterNode if parameters is not None else None)
        if parameters is not None:
            # Not connectGui: in Slicer it gives no tag, without which nothing can be disconnected.
            bound = {name: getattr(self._ui, widget) for name, widget in _WIDGETS.items()}
            self._gui_tag = parameters.connectParametersToGui(bound)
            parameters.volume = parameters.volume or _first_scan()
        for section in self._sections:
            section.set_parameters(parameters)
        self.update()

    def update(self) -> None:
        """Bring all widgets in line with the settings."""
        parameters = self._parameters
        self._points.watch(parameters.markups if parameters is not None else None)
        if parameters is not None:
            for setting, widget in _PATHS.items():
                edit, path = getattr(self._ui, widget), getattr(parameters, setting)
                if edit.currentPath != path:
                    edit.currentPath = path
        for section in self._sections:
            section.update()

    def warm_up(self) -> None:
        """Start the worker, where PyTorch is installed: it tells the devices, and is ready for the click."""
        if importlib.util.find_spec("torch") is not None:
            self.client.start()

    def forget_scene(self) -> None:
        """The scene is being closed: stop what works for it."""
        self.detect.forget_scene()
        self.batch.cancel()
        self.set_parameters(None)

    def close(self) -> None:
        """End the worker and remove the temporary files."""
        self.set_parameters(None)
        self.client.stop()
        self.detect.close()
        self.batch.close()
        self._later.drop()

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


def _first_scan() -> Any | None:
    """The first volume of the scene that can be searched: a label map is a volume too."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)


def _volumes(nodes: Any) -> Iterable[Any]:
    found = nodes if isinstance(nodes, list | tuple) else [nodes]
    return (node for node in found if isinstance(node, slicer.vtkMRMLScalarVolumeNode))

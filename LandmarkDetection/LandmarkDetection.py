"""The Slicer module: it connects Slicer to LandmarkDetectionLib, which does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# In an installed extension the library lies beside this file, in the source tree one folder up.
_LIBRARY_FOLDER = str(Path(__file__).parents[1])
if not Path(__file__).with_name("LandmarkDetectionLib").is_dir() and _LIBRARY_FOLDER not in sys.path:
    sys.path.append(_LIBRARY_FOLDER)

from LandmarkDetectionLib.resources import resource_path  # noqa: E402

# ruff: noqa: N802 (the names are Slicer's)


class LandmarkDetection(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("Landmark Detection")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups"]
        parent.contributors = ["The LandmarkDetection contributors"]
        parent.helpText = _(
            "Finds named anatomical landmarks in a 3D scan and says of each how sure it is. Choose a scan "
            "and a model, click Detect, correct what is wrong, and export the scan as a training case."
        )
        parent.acknowledgementText = _("A research tool, not a medical device.")
        parent.icon = _icon()
        slicer.app.connect("startupCompleted()", _register_sample_data)


class LandmarkDetectionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Opens the panel, and keeps its settings in the scene."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel: Any = None

    def setup(self) -> None:
        """Build the panel when the module is opened for the first time."""
        from LandmarkDetectionLib.panel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(str(resource_path("UI", "LandmarkDetection.ui")))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = LandmarkDetectionLogic()
        self.panel = Panel(self.ui)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)

    def enter(self) -> None:
        """Show the settings of the scene, and make the worker ready for the first click."""
        self.panel.set_parameters(self.logic.getParameterNode())
        self.panel.warm_up()

    def exit(self) -> None:
        """Do nothing: a detection goes on while the person works in another module."""

    def cleanup(self) -> None:
        """End the worker when the module or Slicer is closed."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        """Drop what belongs to the scene that is being closed."""
        self.panel.forget_scene()

    def onSceneEndClose(self, caller: Any, event: str) -> None:
        """Show the settings of the new scene."""
        self.panel.set_parameters(self.logic.getParameterNode())


class LandmarkDetectionLogic(ScriptedLoadableModuleLogic):
    """For scripts: detection without the panel."""

    def getParameterNode(self) -> Any:
        """The settings of the panel in this scene."""
        from LandmarkDetectionLib.panel.parameters import settings_in

        return settings_in(super().getParameterNode())

    def detect(self, volume: Any, model: str | Path, markups: Any = None, device: str = "auto") -> Any:
        """Find the landmarks of a model in a volume node, here and now; Slicer waits until it is done.

        Args:
            volume: vtkMRMLScalarVolumeNode.
            model: the folder of the bundle.
            markups: vtkMRMLMarkupsFiducialNode to bring up to date; None makes a new one.
            device: `auto`, `cpu` or `cuda:i`.

        Returns:
            The markups node.

        Raises:
            InputError: if the model, the volume or the device cannot be used.
        """
        from LandmarkDetectionLib.detection.detector import load_detector
        from LandmarkDetectionLib.detection.devices import resolve_device
        from LandmarkDetectionLib.scene.markups import new_markups, set_table, show_detections
        from LandmarkDetectionLib.scene.volumes import volume_of

        detector = load_detector(Path(model), resolve_device(device))
        detections = detector.detect(volume_of(volume))
        markups = markups or new_markups(volume)
        set_table(markups, detector.bundle.table)
        show_detections(detections, markups, volume)
        return markups


class LandmarkDetectionTest(ScriptedLoadableModuleTest):
    """What can be tested inside Slicer without the network."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all cases."""
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            self.delayDisplay(name)
            getattr(self, name)()

    def test_landmarks_sit_on_the_anatomy_under_a_transform(self) -> None:
        """A point found at a voxel is where Slicer shows that voxel."""
        from LandmarkDetectionLib.detection.results import Detection
        from LandmarkDetectionLib.scene.markups import new_markups, show_detections
        from LandmarkDetectionLib.scene.volumes import frame_of

        volume = self._volume()
        volume.SetAndObserveTransformNodeID(self._transform().GetID())
        place = frame_of(volume).index_to_world((3, 4, 5))
        markups = new_markups(volume)
        show_detections([Detection("nasion", place, "found", 0.9, 0.5)], markups, volume)
        np.testing.assert_allclose(
            slicer.util.arrayFromMarkupsControlPoints(markups, world=True)[0],
            self._world(volume, (3, 4, 5)),
            atol=1e-6,
        )

    def test_a_case_is_exported(self) -> None:
        """A volume with landmarks becomes a case with its files."""
        import tempfile

        import vtk

        from LandmarkDetectionLib.data.cases import read_split
        from LandmarkDetectionLib.scene.export import export_case
        from LandmarkDetectionLib.scene.markups import new_markups

        volume = self._volume()
        markups = new_markups(volume)
        markups.AddControlPointWorld(vtk.vtkVector3d(*self._world(volume, (3, 4, 5))), "nasion")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cases.csv"
            export_case(volume, markups, path)
            (case,) = read_split(path, supervised=True)
            self.assertEqual(case.name, "scan")

    def test_settings_live_in_the_scene(self) -> None:
        """The parameter node keeps what it is given."""
        parameters = LandmarkDetectionLogic().getParameterNode()
        parameters.volume = self._volume()
        parameters.leastConfidence = 0.25
        again = LandmarkDetectionLogic().getParameterNode()
        self.assertEqual(again.volume.GetName(), "scan")
        self.assertEqual(again.leastConfidence, 0.25)

    def _volume(self) -> Any:
        """A small oblique volume with a flipped axis."""
        import vtk

        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
        voxels = np.random.default_rng(0).integers(0, 1000, (12, 11, 10)).astype(np.int16)
        slicer.util.updateVolumeFromArray(volume, voxels)
        transform = vtk.vtkTransform()
        transform.Translate(10, -20, 30)
        transform.RotateWXYZ(40, 1, 2, 3)
        transform.Scale(0.7, -0.9, 1.4)
        volume.SetIJKToRASMatrix(transform.GetMatrix())
        return volume

    def _transform(self) -> Any:
        import vtk

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
        transform = vtk.vtkTransform()
        transform.RotateWXYZ(70, 3, 2, 1)
        node.SetMatrixTransformToParent(transform.GetMatrix())
        return node

    def _world(self, volume: Any, index: tuple[int, int, int]) -> Any:
        """Where Slicer shows a voxel, RAS."""
        import vtk

        matrix, general = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
        volume.GetIJKToRASMatrix(matrix)
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volume.GetParentTransformNode(), None, general)
        return general.TransformPoint(matrix.MultiplyPoint([*index, 1])[:3])


def _icon() -> Any:
    import qt

    return qt.QIcon(str(resource_path("Icons", "LandmarkDetection.png")))


def _register_sample_data() -> None:
    from LandmarkDetectionLib.panel.sample_data import register_sample_data

    register_sample_data()

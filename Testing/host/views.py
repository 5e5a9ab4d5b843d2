"""Slice and 3D views of a scene as pictures, drawn by Slicer's own displayable managers without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

Picture = NDArray[np.uint8]


class _View:
    """A render window off the screen, with the displayable managers of a view node."""

    def __init__(self, node: Any, factory: Any, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        self.node = node
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self.renderer)
        self._group.Initialize(factory, self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def grab(self) -> Picture:
        """What the view shows, (height, width, 3)."""
        self.window.Render()
        self._group.RequestRender()
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()


def slice_picture(volume: Any, orientation: str, place: Any, size: tuple[int, int] = (480, 480)) -> Picture:
    """A slice of a volume with the markups near it.

    Args:
        volume: the volume node.
        orientation: `Axial`, `Sagittal` or `Coronal`.
        place: RAS mm, a point of the slice.
        size: width and height in pixels.
    """
    scene = slicer.mrmlScene
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(scene)
    node = logic.AddSliceNode(scene.GenerateUniqueName(orientation))
    node.SetOrientation(orientation)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.ResizeSliceNode(*size)
    view = _View(
        node,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
        ("vtkMRMLMarkupsDisplayableManager",),
        size,
    )
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    view.renderer.AddViewProp(actor)
    view.renderer.GetActiveCamera().ParallelProjectionOn()
    logic.FitSliceToBackground(*size)
    node.JumpSliceByOffsetting(*place)
    logic.UpdatePipeline()
    return view.grab()


def surface_picture(
    volume: Any, threshold: float, direction: Any, size: tuple[int, int] = (480, 480)
) -> Picture:
    """The surface of a volume with all markups, seen from a direction.

    Args:
        volume: the volume node.
        threshold: voxels from this value on are inside.
        direction: RAS, from the middle towards the camera.
        size: width and height in pixels.
    """
    scene = slicer.mrmlScene
    _add_surface(volume, threshold)
    node = scene.AddNewNodeByClass("vtkMRMLViewNode")
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    view = _View(
        node,
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
        ("vtkMRMLModelDisplayableManager", "vtkMRMLMarkupsDisplayableManager"),
        size,
    )
    view.renderer.SetBackground(0.75, 0.77, 0.91)
    view.renderer.SetBackground2(0.46, 0.47, 0.74)
    view.renderer.SetGradientBackground(True)
    camera = view.renderer.GetActiveCamera()
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    middle = np.array(bounds).reshape(3, 2).mean(axis=1)
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + np.array(direction)))
    camera.SetViewUp(0, 0, 1)
    view.window.Render()
    view.renderer.ResetCamera(bounds)
    camera.Zoom(1.6)
    return view.grab()


def _add_surface(volume: Any, threshold: float) -> None:
    image = vtk.vtkImageData()
    image.DeepCopy(volume.GetImageData())
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, threshold)
    contour.ComputeScalarsOff()
    to_ras = vtk.vtkTransform()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    to_ras.SetMatrix(matrix)
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetTransform(to_ras)
    moved.SetInputConnection(contour.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(moved.GetOutputPort())
    normals.AutoOrientNormalsOn()
    normals.Update()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    model.SetAndObservePolyData(normals.GetOutput())
    model.CreateDefaultDisplayNodes()
    model.GetDisplayNode().SetColor(0.93, 0.89, 0.80)

"""A scan of the scene as the library sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def volume_of(node: Any) -> Volume:
    """The voxels of a volume node, not copied, in the node's own frame.

    Transforms above the node are left out: what is found in this frame belongs under the same transform.

    Args:
        node: vtkMRMLScalarVolumeNode.

    Raises:
        InputError: if the node has no voxels, several values per voxel, or fewer than two slices.
    """
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"The volume '{node.GetName()}' has no voxels: load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"The volume '{node.GetName()}' has several values per voxel: choose a grey-scale volume."
        )
    if min(image.GetDimensions()) < 2:
        raise InputError(f"The volume '{node.GetName()}' is a single slice: choose a 3D volume.")
    return Volume(slicer.util.arrayFromVolume(node), frame_of(node))


def frame_of(node: Any) -> Frame:
    """Where the voxels of a volume node lie in its own frame, in LPS."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(3)])
    lps = ras * RAS_TO_LPS[:, None]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    return Frame(
        size=node.GetImageData().GetDimensions(),
        origin=lps[:, 3],
        spacing=spacing,
        direction=lps[:, :3] / spacing,
    )


def add_volume(volume: Volume, name: str, scene: Any) -> Any:
    """A new volume node that shows a scan."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    slicer.util.updateVolumeFromArray(node, volume.voxels)
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, RAS_TO_LPS[row] * volume.frame.matrix[row, column])
        matrix.SetElement(row, 3, RAS_TO_LPS[row] * volume.frame.origin[row])
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node


def remove_node(node: Any) -> None:
    """Remove a node with its displays from its scene."""
    scene = node.GetScene()
    displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    for gone in (node, *displays):
        if gone is not None:
            scene.RemoveNode(gone)

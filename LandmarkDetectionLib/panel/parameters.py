"""What the panel is set to, kept in the scene and saved with it."""

from typing import Annotated, Any

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class PanelParameters:
    """The settings of the panel; some names are those of `SlicerParameterName` in the .ui file.

    Attributes:
        volume: the scan to detect in.
        markups: where the landmarks go; None makes a new node.
        model: the folder of the bundle, '' for the first there is.
        device: `auto`, `cpu` or `cuda:i`.
        leastConfidence: landmarks found with less confidence count as uncertain.
        showUncertain: whether uncertain landmarks are visible in the views.
        dataset: the folder that cases are exported to, '' if none.
        batchInput: the folder or split CSV to detect in, '' if none.
        batchOutput: the folder for the results of a batch, '' for one beside the scans.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    markups: slicer.vtkMRMLMarkupsFiducialNode
    model: str
    device: str = "auto"
    leastConfidence: Annotated[float, WithinRange(0, 1)] = 0.0  # noqa: N815
    showUncertain: bool = True  # noqa: N815
    dataset: str
    batchInput: str  # noqa: N815
    batchOutput: str  # noqa: N815


Parameters = Any
"""A `PanelParameters`, with what the decorator adds to it: connectGui, parameterNode and the like."""


def settings_in(node: Any) -> Parameters:
    """The settings that a vtkMRMLScriptedModuleNode holds."""
    return PanelParameters(node)  # type: ignore[call-arg]

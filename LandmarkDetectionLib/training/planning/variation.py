"""How much the crops of a training are varied, whatever engine is trained on them."""

from __future__ import annotations

from LandmarkDetectionLib.training.planning.survey import Survey, rounded
from LandmarkDetectionLib.training.sections import AugmentationSection


def augmentation_of(
    survey: Survey,
    spacing: float,
    edge: int,
    *,
    rotation: float,
    scale: float,
    shear: float,
    warp: float,
    motion: float,
) -> AugmentationSection:
    """Variations in proportion to the crops' grid.

    Args:
        survey: of the cases.
        spacing: of the grid, mm.
        edge: voxels of a crop along each edge.
        rotation: at most, degrees.
        scale: largest relative change of size.
        shear: of one axis along another, at most.
        warp: largest displacement of a control point, voxels.
        motion: largest movement during the scan, voxels.
    """
    return AugmentationSection(
        rotation=rotation,
        scale=scale,
        shear=shear,
        mirror=0.5 if survey.mirrors else 0.0,
        elastic=0.3,
        elastic_spacing=rounded(16 * spacing),
        elastic_amplitude=rounded(warp * spacing),
        noise=0.1,
        gamma=0.3,
        contrast=0.1,
        bias=survey.bias_across(edge * spacing),
        motion=0.1,
        motion_shift=motion,
    )

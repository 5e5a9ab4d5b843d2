"""Resampling with SimpleITK: what our own sampling is held against."""

from __future__ import annotations

import SimpleITK as sitk

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume


def resample(volume: Volume, frame: Frame, *, fill: float = 0.0) -> Volume:
    """The volume's values at the voxels of another frame, linearly; `fill` where it has none."""
    image, like = sitk.GetImageFromArray(volume.voxels), sitk.Image([1, 1, 1], sitk.sitkUInt8)
    for made, own in ((image, volume.frame), (like, frame)):
        made.SetOrigin(own.origin.tolist())
        made.SetSpacing(own.spacing.tolist())
        made.SetDirection(own.direction.ravel().tolist())
    moved = sitk.Resample(
        image,
        frame.size,
        sitk.Transform(),
        sitk.sitkLinear,
        like.GetOrigin(),
        like.GetSpacing(),
        like.GetDirection(),
        fill,
    )
    return Volume(sitk.GetArrayFromImage(moved), frame)

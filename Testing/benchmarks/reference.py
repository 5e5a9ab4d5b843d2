"""Landmarks the way the reference's engine finds them, built from its paper and its options.

SkullEngine's landmark detection (Medical-Detection3d-Toolkit; Liu et al., arXiv 2110.03828): a V-Net
classifies every voxel of the scan on its grid, window by window; the probabilities of all landmarks are kept
as volumes; of each one by one, the largest connected component above a threshold is looked for, and its
centre of mass is the landmark. Time and memory grow with the number of landmarks.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings

WINDOW, STEP = 96, 72
THRESHOLD = 0.01


def detect(volume: Volume, network: VNet, spacing: float) -> NDArray[np.float64]:
    """World positions (K, 3) of all landmarks of a network, NaN where none is found."""
    grid = to_grid(volume, spacing)
    probabilities = classify(network, torch.from_numpy(grid.voxels.astype(np.float32)))
    return np.array([_position(heat, grid) for heat in probabilities[1:]])


def classify(network: VNet, voxels: torch.Tensor) -> NDArray[np.float32]:
    """(classes, Z, Y, X) probabilities, averaged over the windows that see a voxel."""
    edges = [max(edge, WINDOW) for edge in voxels.shape]
    padded = torch.zeros(edges)
    padded[tuple(slice(0, edge) for edge in voxels.shape)] = voxels
    total = np.zeros((network.settings.classes, *edges), np.float32)
    seen = np.zeros(edges, np.float32)
    starts = [sorted({min(first, edge - WINDOW) for first in range(0, edge, STEP)}) for edge in edges]
    with torch.inference_mode():
        for corner in product(*starts):
            box = tuple(slice(first, first + WINDOW) for first in corner)
            heat = torch.softmax(network(padded[box][None, None])[0], dim=0)
            total[(slice(None), *box)] += heat.numpy()
            seen[box] += 1
    total /= seen
    return total[(slice(None), *(slice(0, edge) for edge in voxels.shape))]


def network_for(landmarks: int) -> VNet:
    """With random weights: how long it takes does not depend on them."""
    torch.manual_seed(0)
    return VNet(VNetSettings(classes=landmarks + 1)).eval()


def _position(heat: NDArray[np.float32], grid: Volume) -> NDArray[np.float64]:
    """The centre of mass of the largest component of one landmark."""
    mask = sitk.GetImageFromArray((heat > THRESHOLD).astype(np.uint8))
    components = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(mask)))
    inside = np.argwhere(components == 1)
    if not len(inside):
        return np.full(3, np.nan)
    weights = heat[tuple(inside.T)]
    return grid.frame.index_to_world((weights @ inside / weights.sum())[::-1])

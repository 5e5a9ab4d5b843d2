"""Refine: each landmark once more at fine spacing, in the anatomy's own orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.sampling import grid_axis, sample_grid
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.detection.progress import Progress, no_progress

Array = NDArray[np.float64]
Normalise = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_WINDOW = 2.5
"""Voxels: standard deviation of the window under which the heat around its strongest place is averaged."""
_SHIFTS = 12


@dataclass(frozen=True)
class RefineSettings:
    """How the fine look is taken.

    Attributes:
        spacing: edge of the fine voxels, mm.
        crop: voxels along each edge of a crop.
        batch: crops that the network sees at a time.
    """

    spacing: float
    crop: int
    batch: int = 16


@dataclass(frozen=True, eq=False)
class Mirror:
    """What a mirrored crop shows: the anatomy is symmetric, so it is a second opinion.

    Attributes:
        normal: (3,) unit normal of the plane of symmetry, in the canonical frame.
        order: for each landmark the row of its left-right counterpart, or its own.
    """

    normal: Array
    order: Sequence[int]


@dataclass(frozen=True, eq=False)
class Refined:
    """What the fine look found for K landmarks.

    Attributes:
        positions: (K, 3) world LPS mm.
        spreads: (K,) mm, how far the heat around its strongest place is spread (standard deviation).
        masses: (K,) the share of the heat that lies there.
        apart: (K,) mm between the two opinions, NaN where there is one.
    """

    positions: Array
    spreads: Array
    masses: Array
    apart: Array


def refine(
    network: nn.Module,
    volume: Volume,
    starts: Array,
    rotation: Array,
    settings: RefineSettings,
    *,
    normalise: Normalise,
    fill: float,
    device: torch.device,
    mirror: Mirror | None = None,
    progress: Progress = no_progress,
) -> Refined:
    """Look at a crop around each start, turned as the anatomy lies, and read the landmark's place off it.

    Args:
        network: gives a heat map (its logarithm) of one landmark in a crop, told which, in evaluation mode.
        volume: the scan as it is stored: only the crops are interpolated and normalised.
        starts: (K, 3) world mm, where each landmark is expected.
        rotation: 3 x 3, from the canonical frame to the world.
        settings: of this stage.
        normalise: brings the scan's values to the scale that the network was trained on.
        fill: the scan's value for what lies outside it.
        device: where the network runs.
        mirror: how to look a second time, at the mirror image; the positions of both are averaged.
        progress: told after every batch.
    """
    views = [(rotation, np.arange(len(starts)))]
    if mirror is not None:
        flip = np.eye(3) - 2 * np.outer(mirror.normal, mirror.normal)
        views.append((rotation @ flip, np.array(mirror.order)))
    read = []
    for view, (axes, rows) in enumerate(views):
        crops = [
            normalise(
                sample_grid(
                    volume, start, axes, size=(settings.crop,) * 3, spacing=settings.spacing, fill=fill
                )
            )
            for start in starts
        ]
        parts = []
        for first in range(0, len(crops), settings.batch):
            part = slice(first, first + settings.batch)
            parts.append(_look(network, np.stack(crops[part]), rows[part], settings.spacing, device))
            progress("refine", (view + min(first + settings.batch, len(crops)) / len(crops)) / len(views))
        places, spreads, masses = (np.concatenate(values) for values in zip(*parts, strict=True))
        read.append((starts + places @ axes.T, spreads, masses))
    positions = np.stack([places for places, _, _ in read])
    apart = np.linalg.norm(positions[0] - positions[-1], axis=1) if mirror else np.full(len(starts), np.nan)
    return Refined(
        positions=positions.mean(axis=0),
        spreads=np.mean([spreads for _, spreads, _ in read], axis=0),
        masses=np.mean([masses for _, _, masses in read], axis=0),
        apart=apart,
    )


def _look(
    network: nn.Module,
    crops: NDArray[np.float32],
    rows: NDArray[np.int64],
    spacing: float,
    device: torch.device,
) -> tuple[Array, Array, Array]:
    """Places (B, 3), mm from the crops' middles along their axes, spreads and masses of their heat."""
    images = torch.from_numpy(crops)[:, None].to(device).contiguous(memory_format=torch.channels_last_3d)
    asked = torch.from_numpy(rows).to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        heat = network(images, asked)[:, 0].float()
    return read_heat(heat.cpu(), spacing)


def read_heat(heat: Tensor, spacing: float) -> tuple[Array, Array, Array]:
    """Where the heat is strongest, to a fraction of a voxel.

    The mean of the heat under a Gaussian window that is centred on that mean: mean shift (Comaniciu and Meer,
    "Mean shift", IEEE PAMI 24, 2002) from the strongest voxel. A window on the voxel grid would pull the mean
    towards its middle.

    Args:
        heat: (B, Z, Y, X) logarithms, up to a constant.
        spacing: of the voxels, mm.

    Returns:
        Places (B, 3), mm from the middle along x, y, z; spreads (B,), mm: the standard deviation of the heat
        there, along one axis; masses (B,): the share of all heat that the window holds.
    """
    shape = tuple(heat.shape[1:])
    shares = torch.softmax(heat.flatten(1), dim=1).double().numpy().reshape(-1, *shape)
    axes = [grid_axis(count, spacing) for count in reversed(shape)]
    window = _WINDOW * spacing
    read = [_mean_shift(share, axes, window) for share in shares]
    places, variances, masses = (np.array(values) for values in zip(*read, strict=True))
    own = 1 / np.maximum(1 / np.maximum(variances, 1e-12) - 1 / window**2, 1e-2 / window**2)
    return places, np.sqrt(own), masses


def _mean_shift(share: Array, axes: list[Array], window: float) -> tuple[Array, float, float]:
    """The mean under the window, the variance along one axis of what it holds, and how much it holds."""
    strongest = np.unravel_index(share.argmax(), share.shape)
    place = np.array([axis[at] for axis, at in zip(axes, reversed(strongest), strict=True)])
    for _ in range(_SHIFTS):
        kernels = [
            np.exp(-((axis - at) ** 2) / (2 * window**2)) for axis, at in zip(axes, place, strict=True)
        ]
        held = share * kernels[2][:, None, None] * kernels[1][:, None] * kernels[0]
        mass = held.sum()
        profiles = [held.sum(axis=others) / mass for others in ((0, 1), (0, 2), (1, 2))]
        place = np.array([profile @ axis for profile, axis in zip(profiles, axes, strict=True)])
    variances = [profile @ (axis - at) ** 2 for profile, axis, at in zip(profiles, axes, place, strict=True)]
    return place, float(np.mean(variances)), float(mass)

"""The dense engine: classify every voxel, then read each landmark off its class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.model.vnet import STRIDE

_FLOOR = 0.01
_WINDOW_EDGE = 0.05


@dataclass(frozen=True)
class DenseSettings:
    """How the dense engine reads landmarks off a scan.

    Attributes:
        window: voxels of a sliding window along x, y, z, multiples of the network's stride.
        overlap: of neighbouring windows, as a fraction of the window, 0 to below 1.
        threshold: probability from which a voxel belongs to a landmark.
        uncertain: peak probability from which a landmark that never reaches the threshold is still
            reported, as uncertain.
        padding: value outside the scan: `minimum` of the scan, or `zero`.
    """

    window: tuple[int, int, int]
    overlap: float = 0.25
    threshold: float = 0.5
    uncertain: float = 0.2
    padding: str = "minimum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", tuple(int(size) for size in self.window))
        if len(self.window) != 3 or any(size < STRIDE or size % STRIDE for size in self.window):
            raise ValueError(f"the window {self.window} must be three multiples of {STRIDE}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"the overlap {self.overlap} must be at least 0 and below 1")
        if not _FLOOR < self.uncertain <= self.threshold <= 1:
            raise ValueError(f"need {_FLOOR} < uncertain {self.uncertain} <= threshold {self.threshold} <= 1")


class Peak(NamedTuple):
    """What was read off for one landmark.

    Attributes:
        position: (3,) world LPS mm; NaN where no voxel reaches the uncertain level.
        probability: the largest probability of its class.
    """

    position: NDArray[np.float64]
    probability: float


class SparseProbabilities(NamedTuple):
    """Class probabilities of the voxels where they are not negligible.

    Attributes:
        landmark: (M,) landmark number 0 .. K-1, sorted.
        voxel: (M,) flat [z, y, x] index in the volume.
        probability: (M,) averaged over the windows that saw the voxel.
    """

    landmark: NDArray[np.int64]
    voxel: NDArray[np.int64]
    probability: NDArray[np.float32]


def find_landmarks(
    network: nn.Module,
    volume: Volume,
    settings: DenseSettings,
    landmarks: int,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> list[Peak]:
    """Positions and peak probabilities of all landmarks in a prepared volume.

    Args:
        network: voxel classifier in evaluation mode, on `device`.
        volume: prepared scan.
        settings: of the engine.
        landmarks: how many there are.
        device: where the network runs.
        progress: told after every window.
    """
    probabilities = classify_voxels(network, volume, settings, device=device, progress=progress)
    bounds = np.searchsorted(probabilities.landmark, np.arange(landmarks + 1))
    return [
        _read_peak(probabilities.voxel[start:stop], probabilities.probability[start:stop], volume, settings)
        for start, stop in pairwise(bounds.tolist())
    ]


def classify_voxels(
    network: nn.Module,
    volume: Volume,
    settings: DenseSettings,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> SparseProbabilities:
    """Class probabilities by a sliding window, blended with Gaussian weights.

    Only voxels where a landmark's probability is at least 0.01 in some window are kept, so memory grows
    with what is found and not with the number of landmarks times the size of the scan.
    """
    window = np.array(settings.window[::-1])
    image = _padded(volume.voxels, window, settings)
    shape = np.array(image.shape)
    blend = _gaussian_window(window)
    total = np.zeros(volume.voxels.shape, dtype=np.float32)
    pieces: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    corners = list(_window_corners(shape, window, settings.overlap))
    for done, corner in enumerate(corners, start=1):
        part = tuple(slice(start, start + size) for start, size in zip(corner, window, strict=True))
        inside = tuple(
            slice(0, size - start) for start, size in zip(corner, volume.voxels.shape, strict=True)
        )
        total[part] += blend[inside]
        tensor = torch.from_numpy(np.ascontiguousarray(image[part]))[None, None].to(device)
        pieces.append(_likely_voxels(_probabilities(network, tensor), blend, corner, volume.voxels.shape))
        progress("detect", done / len(corners))
    return _blended(pieces, total)


def _probabilities(network: nn.Module, window: Tensor) -> Tensor:
    """Landmark probabilities (K, Z, Y, X) of one window (1, 1, Z, Y, X)."""
    with (
        torch.inference_mode(),
        torch.autocast(window.device.type, torch.bfloat16, enabled=has_bf16(window.device)),
    ):
        logits = network(window.contiguous(memory_format=torch.channels_last_3d))
    return torch.softmax(logits[0].float(), dim=0)[1:]


def _likely_voxels(
    probabilities: Tensor, blend: NDArray[np.float32], corner: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Keys (landmark x voxels of the volume + flat voxel) and blended probabilities above the floor."""
    likely = torch.nonzero(probabilities >= _FLOOR)
    values = probabilities[tuple(likely.T)].cpu().numpy()
    index = likely.cpu().numpy()
    place = index[:, 1:] + np.array(corner)
    inside = (place < np.array(shape)).all(axis=1)
    index, place, values = index[inside], place[inside], values[inside]
    flat = np.ravel_multi_index(tuple(place.T), shape)
    return index[:, 0] * int(np.prod(shape)) + flat, values * blend[tuple(index[:, 1:].T)]


def _blended(
    pieces: list[tuple[NDArray[np.int64], NDArray[np.float32]]], total: NDArray[np.float32]
) -> SparseProbabilities:
    keys, position = np.unique(np.concatenate([key for key, _ in pieces]), return_inverse=True)
    weighted = np.bincount(
        position, weights=np.concatenate([value for _, value in pieces]), minlength=len(keys)
    )
    landmark, voxel = np.divmod(keys, total.size)
    return SparseProbabilities(landmark, voxel, (weighted / total.ravel()[voxel]).astype(np.float32))


def _read_peak(
    voxels: NDArray[np.int64], probability: NDArray[np.float32], volume: Volume, settings: DenseSettings
) -> Peak:
    """The probability-weighted centre of the largest connected part above the threshold.

    Where nothing reaches the threshold, of the part around the peak, down to half of it.
    """
    peak = float(probability.max(initial=0.0))
    if peak < settings.uncertain:
        return Peak(np.full(3, np.nan), peak)
    certain = peak >= settings.threshold
    above = probability >= (settings.threshold if certain else peak / 2)
    place = np.stack(np.unravel_index(voxels[above], volume.voxels.shape), axis=1)
    part = connected_parts(place)
    weight = probability[above]
    chosen = part == (np.bincount(part, weights=weight).argmax() if certain else part[weight.argmax()])
    centre = np.average(place[chosen], axis=0, weights=weight[chosen])
    return Peak(volume.frame.index_to_world(centre[::-1]), float(weight[chosen].max()))


def connected_parts(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the connected part (26 neighbours) of each voxel; voxels (M, 3) are unique.

    Each voxel takes the smallest number among its neighbours until nothing changes.
    """
    if not len(voxels):
        return np.zeros(0, dtype=np.int64)
    low = voxels.min(axis=0) - 1
    shape = tuple(voxels.max(axis=0) - low + 2)
    key = np.ravel_multi_index(tuple((voxels - low).T), shape)
    order = np.argsort(key)
    around = np.asarray(np.ravel_multi_index(tuple(np.indices((3, 3, 3)).reshape(3, -1)), shape))
    rows, columns = [], []
    for step in around[14:] - around[13]:
        found = np.searchsorted(key, key + step, sorter=order)
        neighbour = order[np.minimum(found, len(key) - 1)]
        touching = key[neighbour] == key + step
        rows.append(np.flatnonzero(touching))
        columns.append(neighbour[touching])
    row, column = np.concatenate(rows), np.concatenate(columns)
    part = np.arange(len(voxels))
    while True:
        smallest = part.copy()
        np.minimum.at(smallest, row, part[column])
        np.minimum.at(smallest, column, part[row])
        smallest = smallest[smallest]
        if np.array_equal(smallest, part):
            return np.unique(part, return_inverse=True)[1].reshape(-1)
        part = smallest


def _padded(
    voxels: NDArray[np.float32], window: NDArray[np.int64], settings: DenseSettings
) -> NDArray[np.float32]:
    """The volume enlarged at its far ends to at least one window."""
    missing = np.maximum(window - voxels.shape, 0)
    fill = voxels.min() if settings.padding == "minimum" else 0.0
    return np.pad(voxels, [(0, int(count)) for count in missing], constant_values=fill)


def _window_corners(
    shape: NDArray[np.int64], window: NDArray[np.int64], overlap: float
) -> Iterator[tuple[int, ...]]:
    """First voxels [z, y, x] of windows that cover the volume evenly."""
    starts = []
    for length, size in zip(shape, window, strict=True):
        count = 1 + int(np.ceil((length - size) / (size * (1 - overlap))))
        starts.append(np.round(np.linspace(0, length - size, count)).astype(int))
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                yield int(z), int(y), int(x)


def _gaussian_window(window: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weights that trust the middle of a window most, and its border a little."""
    profiles = [np.exp(-8 * ((np.arange(size) - (size - 1) / 2) / size) ** 2) for size in window]
    weights = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
    return np.asarray(np.maximum(weights, _WINDOW_EDGE), dtype=np.float32)

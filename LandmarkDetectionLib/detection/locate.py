"""Locate: a few candidates for each landmark, from one coarse look at the whole scan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Candidates
from LandmarkDetectionLib.detection.devices import has_bf16, upload
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.model.queries import LocateNetwork

Array = NDArray[np.float64]

_APART = 2
"""Cells of the heat map within which there is one candidate only, and over which its position is averaged."""
_TOGETHER, _TOGETHER_ON_A_GPU = 16, 64
"""Landmarks whose heat maps are held at a time."""


@dataclass(frozen=True)
class LocateSettings:
    """How the coarse look is taken.

    Attributes:
        spacing: edge of the coarse voxels, mm.
        window: voxels along each edge that are looked at together, a multiple of the network's stride; a
            scan that is larger is looked at in windows that overlap by half.
        candidates: kept for each landmark.
        taught: degrees that the anatomy may be turned from upright for the network to know it; 180 is any
            pose.
    """

    spacing: float
    window: int
    candidates: int = 3
    taught: float = 180.0


def find_candidates(
    network: LocateNetwork,
    volume: Volume,
    settings: LocateSettings,
    *,
    device: torch.device,
    progress: Progress = no_progress,
) -> Candidates:
    """The strongest places for each landmark.

    A landmark's heat map is a probability over all places of the scan and one more, 'nowhere', whose
    logarithm is 0: a candidate's value is the probability of being about there, and small where the landmark
    is absent. Only candidates are kept, and the heat maps of a few landmarks in one window at a time. The
    scan goes to the device once, and the candidates of all windows come back together.

    Args:
        network: in evaluation mode, on `device`.
        volume: the scan at the coarse spacing, normalised.
        settings: of this stage.
        device: where the network runs.
        progress: told after every window; of a GPU, when it is given to it.
    """
    stride, reduction = network.settings.stride, network.settings.reduction
    windows = list(_windows(volume.voxels.shape, settings.window, stride))
    voxels = upload(np.asarray(volume.voxels, dtype=np.float32), device)
    fill = float(volume.voxels.min())
    seen = []
    for done, (corner, own) in enumerate(windows, start=1):
        image = _cut(voxels, corner, settings.window, stride, fill)
        cells = tuple(slice(part.start // reduction, part.stop // reduction) for part in own)
        seen.append(_look(network, image, cells, settings.candidates))
        progress("locate", done / len(windows))
    told = torch.stack(seen).cpu().numpy()  # (windows, K, C, 5)
    corners = np.array([corner[::-1] for corner, _ in windows])
    total = np.logaddexp(np.logaddexp.reduce(told[:, :, 0, 4]), 0.0)
    places = told[..., :3] * reduction + corners[:, None, None]
    indices = np.moveaxis(places, 0, 1).reshape(len(total), -1, 3)
    values = np.exp(np.moveaxis(told[..., 3], 0, 1).reshape(len(total), -1) - total[:, None])
    kept = _strongest_apart(indices, values, settings.candidates, _APART * reduction)
    rows = np.arange(len(kept))[:, None]
    return Candidates(volume.frame.index_to_world(indices[rows, kept]), values[rows, kept])


def _windows(
    shape: tuple[int, ...], window: int, stride: int
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """First voxels [z, y, x] of the windows, and which of its voxels only this one answers for.

    Windows overlap by half, and each answers for what lies farthest from its borders; there is one window
    where the scan fits into it.
    """
    along = [_windows_along(length, window, stride) for length in shape]
    for parts in itertools.product(*along):
        yield tuple(start for start, _ in parts), tuple(own for _, own in parts)


def _windows_along(length: int, window: int, stride: int) -> list[tuple[int, slice]]:
    count = 1 if length <= window else 1 + int(np.ceil((length - window) / (window / 2)))
    even = np.linspace(0, max(length - window, 0), count)
    starts = [int(np.ceil(start / stride)) * stride for start in even]
    between = [(after + before + window) // 2 for before, after in pairwise(starts)]
    borders = [0, *between, starts[-1] + window]
    return [
        (start, slice(first - start, end - start))
        for start, (first, end) in zip(starts, pairwise(borders), strict=True)
    ]


def _cut(voxels: Tensor, corner: tuple[int, ...], window: int, stride: int, fill: float) -> Tensor:
    """A window (1, 1, Z, Y, X), padded at its far ends to multiples of the stride."""
    part = voxels[tuple(slice(start, start + window) for start in corner)]
    padding = [end for length in reversed(part.shape) for end in (0, -length % stride)]
    return torch.nn.functional.pad(part, padding, value=fill)[None, None]


def _look(network: LocateNetwork, image: Tensor, own: tuple[slice, ...], count: int) -> Tensor:
    """What a window's own cells show of each landmark, (K, C, 5).

    Of its strongest peaks x, y, z and the logarithm of their heat; with each that of all own cells.
    """
    device = image.device
    together = _TOGETHER if device.type == "cpu" else _TOGETHER_ON_A_GPU
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        features = network.features(image.contiguous(memory_format=torch.channels_last_3d))
        parts = []
        for first in range(0, len(network.codes), together):
            rows = torch.arange(first, min(first + together, len(network.codes)), device=device)
            heat = network.heat(features, rows)[0]
            total = torch.logsumexp(heat[:, *own].flatten(1), dim=1).double()
            places, masses = _peaks(heat, own, count)
            logs = torch.stack([masses, total[:, None].expand_as(masses)], dim=2)
            parts.append(torch.cat([places, logs], dim=2))
    return torch.cat(parts)


def _peaks(heat: Tensor, own: tuple[slice, ...], count: int) -> tuple[Tensor, Tensor]:
    """The strongest peaks in own cells of each heat map, (K, C, 3) x, y, z, and logarithms of their mass.

    Where a map has fewer peaks, other cells of no mass stand for them.
    """
    size = 2 * _APART + 1
    padded = torch.nn.functional.pad(heat, [_APART] * 6, value=-torch.inf)
    highest = _highest_around(padded, size)
    answers = torch.zeros(heat.shape[1:], dtype=torch.bool, device=heat.device)
    answers[own] = True
    peaks = torch.where((heat == highest) & answers, heat, -torch.inf).flatten(1)
    strengths, found = peaks.topk(min(count, peaks.shape[1]), dim=1)
    height, width = heat.shape[2:]
    cells = torch.stack(
        [found // (height * width), found // width % height, found % width], dim=-1
    )  # z, y, x
    offset = torch.arange(size, device=heat.device)
    z, y, x = (cells[..., axis, None] + offset for axis in range(3))
    rows, columns = padded.shape[2:]
    around = (z[..., :, None, None] * rows + y[..., None, :, None]) * columns + x[..., None, None, :]
    logs = padded.flatten(1).gather(1, around.flatten(1)).view(around.shape).double()
    top = logs.amax(dim=(2, 3, 4), keepdim=True)
    shares = torch.exp(logs - top)
    mass = shares.sum(dim=(2, 3, 4))
    profiles = [shares.sum(dim=others) for others in ((2, 3), (2, 4), (3, 4))]  # along x, y, z
    shifts = torch.stack([profile @ (offset - _APART).double() for profile in profiles], dim=-1)
    places = cells.flip(-1) + shifts / mass[..., None]
    masses = torch.where(torch.isfinite(strengths), top[..., 0, 0, 0] + torch.log(mass), -torch.inf)
    return places, masses


def _highest_around(padded: Tensor, size: int) -> Tensor:
    """The largest value in the cube of `size` cells around each cell of maps that are padded by half of it.

    As `max_pool3d` gives it, and some 30 times faster on a CPU: along one axis after the other, over two
    cells, four and so on.
    """
    highest = padded
    for axis in (1, 2, 3):
        width = 1
        while width < size:
            step = min(width, size - width)
            count = highest.shape[axis] - step
            highest = torch.maximum(highest.narrow(axis, 0, count), highest.narrow(axis, step, count))
            width += step
    return highest


def _strongest_apart(indices: Array, values: Array, count: int, apart: float) -> NDArray[np.int64]:
    """(K, count) rows of the strongest candidates; what two windows found at one place counts once.

    Where there are fewer, the weakest stands more than once.
    """
    rows, left = np.arange(len(values)), values.copy()
    kept = np.empty((len(values), count), dtype=np.int64)
    for number in range(count):
        best = left.argmax(axis=1)
        if number:
            best = np.where(np.isneginf(left[rows, best]), kept[:, number - 1], best)
        kept[:, number] = best
        distances = np.linalg.norm(indices - indices[rows, best][:, None], axis=2)
        left[distances <= apart] = -np.inf
    return kept

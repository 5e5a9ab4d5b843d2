"""Refine: each landmark once more at fine spacing, in the anatomy's own orientation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.sampling import place_boxes, sample_boxes
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.devices import has_bf16, upload
from LandmarkDetectionLib.detection.parallel import each
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.model.queries import RefineNetwork, cut_windows

Array = NDArray[np.float64]
_KERNEL = 2.5
"""Cells: standard deviation of the kernel under which the heat around its strongest place is averaged."""
_SHIFTS = 12
_CONTEXT = 2.5
"""Cells that a field shows beyond the windows in it, at least; in training windows reach to its border."""
_LARGEST = 20_000
"""Voxels of one field, about, where a bundle allows more: small ones fit the processor's cache."""
_TIMES_ON_A_GPU = 32
"""As many voxels as a core of a CPU does a GPU see at a time."""
_TOGETHER, _TOGETHER_ON_A_GPU = 32, 128
"""Windows that are held at a time."""


@dataclass(frozen=True)
class RefineSettings:
    """How the fine look is taken.

    Attributes:
        spacing: edge of the fine voxels, mm.
        window: cells along each edge of the window around its expected place in which a landmark is sought.
        largest: voxels of fields that the network sees at a time on a core of a CPU, about.
    """

    spacing: float
    window: int
    largest: int = 64_000


@dataclass(frozen=True, eq=False)
class Mirror:
    """What a mirrored field shows: the anatomy is symmetric, so it is a second opinion.

    Attributes:
        normal: (3,) unit normal of the plane of symmetry, in the canonical frame.
        order: for each landmark the row of its left-right counterpart, or its own.
        alone: (K,) landmarks off the plane that have no counterpart: nobody knows where the mirror image
            would have them.
    """

    normal: Array
    order: Sequence[int]
    alone: NDArray[np.bool_]

    @property
    def flip(self) -> Array:
        """3 x 3, onto the mirror image."""
        flip: Array = np.eye(3) - 2 * np.outer(self.normal, self.normal)
        return flip


@dataclass(frozen=True, eq=False)
class View:
    """What one look at the anatomy shows of N landmarks; their evidence does not depend on what is expected.

    Attributes:
        axes: 3 x 3, from the view's frame to the world.
        cell: edge of the evidence's cells, mm.
        rows: (N,) the landmarks that were looked for.
        codes: (N,) what the network knows them by: in a mirrored view, their counterparts.
        middles: (N, 3) of the windows in which they are sought, mm in the view's frame.
        evidence: (N, Z, Y, X) logarithms of heat from the image alone, up to a constant.
        presences: (N,) logits: whether each is there at all, around where it was expected then.

    Evidence and presences are on the device.
    """

    axes: Array
    cell: float
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    middles: Array
    evidence: Tensor
    presences: Tensor


@dataclass(frozen=True, eq=False)
class Refined:
    """What the fine look found for K landmarks; NaN where nothing was looked for.

    Attributes:
        positions: (K, 3) world LPS mm.
        spreads: (K,) mm, how far the heat around its strongest place is spread (standard deviation).
        presences: (K,) logits: whether the landmark is there at all.
    """

    positions: Array
    spreads: Array
    presences: Array

    @classmethod
    def nothing(cls, landmarks: int) -> Refined:
        """Of so many landmarks."""
        unknown = np.full(landmarks, np.nan)
        return cls(np.full((landmarks, 3), np.nan), unknown, unknown)

    def averaged_with(self, other: Refined) -> Refined:
        """The mean of two opinions; the one that there is where the other has none."""
        return Refined(
            _mean(self.positions, other.positions),
            _mean(self.spreads, other.spreads),
            _mean(self.presences, other.presences),
        )


def _mean(one: Array, other: Array) -> Array:
    one, other = np.where(np.isnan(one), other, one), np.where(np.isnan(other), one, other)
    return (one + other) / 2


@dataclass(frozen=True, eq=False)
class Field:
    """A box of the canonical frame that the network sees at a time.

    Attributes:
        rows: the landmarks that are looked for in it.
        middle: (3,) mm.
        size: voxels along x, y, z.
    """

    rows: NDArray[np.int64]
    middle: Array
    size: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class FineScan:
    """A prepared scan as the fine network sees it.

    The scan goes to the device once. From there on only where to look goes there, and what is read comes
    back: one copy a reading, and nothing before it that a GPU would wait for.

    Attributes:
        network: in evaluation mode, on `device`.
        volume: the scan, prepared as for training.
        device: where the network runs.
    """

    network: RefineNetwork
    volume: Volume
    device: torch.device

    @property
    def frame(self) -> Frame:
        """Of the scan."""
        return self.volume.frame

    @cached_property
    def voxels(self) -> Tensor:
        """[z, y, x] float32 above the lowest, on the device."""
        above = np.asarray(self.volume.voxels, dtype=np.float32) - np.float32(self.lowest)
        return upload(above, self.device)

    @cached_property
    def lowest(self) -> float:
        """The smallest value, which stands for what lies beyond the scan."""
        return float(self.volume.voxels.min())

    def look(
        self,
        starts: Array,
        rotation: Array,
        settings: RefineSettings,
        *,
        mirror: Mirror | None = None,
        doubt: float = 0.0,
        progress: Progress = no_progress,
    ) -> View:
        """Look at the anatomy as it lies, in windows around where its landmarks are expected.

        Only the windows' evidence is kept, and the features of one field at a time.

        Args:
            starts: (K, 3) world mm, where each landmark is expected; NaN where it is not to be looked for,
                but for one at least.
            rotation: 3 x 3, from the canonical frame to the world.
            settings: of this stage.
            mirror: to look at the mirror image.
            doubt: how far the starts are off beyond what the network was trained with, mm along one axis.
            progress: told after every field.
        """
        axes = rotation if mirror is None else rotation @ mirror.flip
        codes = np.arange(len(starts)) if mirror is None else np.array(mirror.order)
        expected = starts @ axes
        groups = _alike(list(cover(expected, settings, self.network.settings.stride)), settings, self.device)
        voxels, lowest = self.voxels, self.lowest

        def see(fields: list[Field]) -> tuple[Array, Tensor, Tensor]:
            size, middles = fields[0].size, np.array([field.middle for field in fields])
            boxes = place_boxes(self.frame, middles @ axes.T, axes, size=size, spacing=settings.spacing)
            images = sample_boxes(voxels, boxes, upload(boxes.transforms, self.device)) + lowest
            return self._see(images[:, None], fields, expected, codes, settings, doubt)

        seen = []
        for part in each(see, groups, self.device):
            seen.append(part)
            progress("refine", len(seen) / len(groups))
        fields = [field for group in groups for field in group]
        rows = np.concatenate([field.rows for field in fields])
        middles, evidence, presences = zip(*seen, strict=True)
        return View(
            axes=axes,
            cell=settings.spacing,
            rows=rows,
            codes=codes[rows],
            middles=np.concatenate(middles),
            evidence=torch.cat(evidence),
            presences=torch.cat(presences),
        )

    def read(self, view: View, starts: Array, *, doubt: float = 0.0) -> Refined:
        """Read the landmarks' places off the evidence of a view.

        Args:
            view: of the anatomy.
            starts: (K, 3) world mm, where each landmark is expected by now.
            doubt: how far these are off beyond what the network was trained with, mm along one axis.
        """
        offsets = (starts[view.rows] @ view.axes - view.middles) / view.cell
        read = []
        with torch.inference_mode():
            asked = upload(np.column_stack([view.codes, offsets]), self.device)
            codes, moved = asked[:, 0].long(), asked[:, 1:].float()
            for some in _chunks(len(view.rows), self.device):
                expectation = self.network.expectation(
                    view.evidence.shape[1:], codes[some], moved[some], doubt / view.cell
                )
                places, own = read_heat(view.evidence[some] + expectation, view.cell)
                read.append(torch.column_stack([places, own, view.presences[some]]))
            told = torch.cat(read).cpu().numpy()
        positions, spreads, presences = np.full_like(starts, np.nan), *np.full((2, len(starts)), np.nan)
        positions[view.rows] = (view.middles + told[:, :3]) @ view.axes.T
        spreads[view.rows], presences[view.rows] = told[:, 3], told[:, 4]
        return Refined(positions, spreads, presences)

    def _see(
        self,
        images: Tensor,
        fields: list[Field],
        expected: Array,
        codes: NDArray[np.int64],
        settings: RefineSettings,
        doubt: float,
    ) -> tuple[Array, Tensor, Tensor]:
        """Of each landmark in fields of one size: its window's middle (N, 3), the evidence, its presence.

        The images (B, 1, Z, Y, X), evidence and presences are on the device.
        """
        network, device, cell, window = self.network, self.device, settings.spacing, settings.window
        rows = np.concatenate([field.rows for field in fields])
        own = np.repeat(np.arange(len(fields)), [len(field.rows) for field in fields])
        middles = np.array([field.middle for field in fields])[own]
        middle, half = (np.array(fields[0].size) - 1) / 2, (window - 1) / 2
        cells = (expected[rows] - middles) / cell + middle
        corners = np.rint(cells - half).astype(np.int64)
        asked = upload(np.column_stack([codes[rows], own, corners, cells - half - corners]), device)
        landmarks, within, firsts, offsets = (
            asked[:, 0].long(),
            asked[:, 1].long(),
            asked[:, 2:5].long(),
            asked[:, 5:].float(),
        )
        evidence, presences = [], []
        with torch.inference_mode():
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
                features = network.features(images.contiguous(memory_format=torch.channels_last_3d))
            for some in _chunks(len(rows), device):
                windows = cut_windows(features, within[some], firsts[some], window)
                evidence.append(network.evidence(windows, landmarks[some]))
                heat = evidence[-1] + network.expectation(
                    windows.shape[2:], landmarks[some], offsets[some], doubt / cell
                )
                presences.append(network.presence_logits(windows, heat, landmarks[some]))
        return (
            (corners + half - middle) * cell + middles,
            torch.cat(evidence),
            torch.cat(presences),
        )


def _alike(fields: list[Field], settings: RefineSettings, device: torch.device) -> list[list[Field]]:
    """Fields in groups of one size that the network sees at a time; at least one for each thread."""
    most = settings.largest * (1 if device.type == "cpu" else _TIMES_ON_A_GPU)
    groups: list[list[Field]] = []
    by_size: dict[tuple[int, int, int], list[Field]] = {}
    for field in fields:
        by_size.setdefault(field.size, []).append(field)
    for size, alike in by_size.items():
        shares = 1 if device.type != "cpu" else torch.get_num_threads()
        count = max(1, min(most // int(np.prod(size)), -(-len(alike) // shares)))
        groups += [alike[first : first + count] for first in range(0, len(alike), count)]
    return groups


def cover(places: Array, settings: RefineSettings, stride: int) -> Iterator[Field]:
    """Fields that hold the window around every place, each of at most about `largest` voxels.

    Args:
        places: (K, 3) canonical mm; NaN where there is none.
        settings: of the stage.
        stride: the fields' sides are multiples of this.
    """
    rows = np.flatnonzero(np.isfinite(places).all(axis=1))
    if len(rows):
        yield from _cover(places, rows, settings, stride)


def _cover(places: Array, rows: NDArray[np.int64], settings: RefineSettings, stride: int) -> Iterator[Field]:
    low, high = places[rows].min(axis=0), places[rows].max(axis=0)
    cells = (high - low) / settings.spacing + settings.window + 2 * _CONTEXT
    size = np.ceil(cells / stride).astype(int) * stride
    if len(rows) == 1 or size.prod() <= min(settings.largest, _LARGEST):
        yield Field(rows, (low + high) / 2, (int(size[0]), int(size[1]), int(size[2])))
        return
    order = rows[np.argsort(places[rows, np.argmax(high - low)], kind="stable")]
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        yield from _cover(places, half, settings, stride)


def _chunks(count: int, device: torch.device) -> list[slice]:
    together = _TOGETHER if device.type == "cpu" else _TOGETHER_ON_A_GPU
    return [slice(first, first + together) for first in range(0, count, together)]


def read_heat(heat: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Where the heat is strongest, to a fraction of a cell.

    The mean of the heat under a Gaussian kernel that is centred on that mean: mean shift (Comaniciu and Meer,
    "Mean shift", IEEE PAMI 24, 2002) from the strongest cell. A kernel on the cells' grid would pull the mean
    towards its middle.

    Args:
        heat: (B, Z, Y, X) logarithms, up to a constant.
        spacing: of the cells, mm.

    Returns:
        Places (B, 3), mm from the middle along x, y, z; spreads (B,), mm: the standard deviation of the heat
        there, along one axis.
    """
    axes = [
        (torch.arange(count, dtype=torch.float64, device=heat.device) - (count - 1) / 2) * spacing
        for count in reversed(heat.shape[1:])
    ]
    shares = torch.softmax(heat.flatten(1), dim=1).double().view(heat.shape)
    kernel = _KERNEL * spacing
    height, width = heat.shape[2:]
    strongest = shares.flatten(1).argmax(dim=1)
    cells = strongest % width, strongest // width % height, strongest // (height * width)  # x, y, z
    places = torch.stack([axis[at] for axis, at in zip(axes, cells, strict=True)], dim=1)
    for _ in range(_SHIFTS):
        places, variances = _moments_under_kernel(shares, axes, places, kernel)
    seen = variances.mean(dim=1).clamp_min(1e-12)
    return places, (1 / (1 / seen - 1 / kernel**2).clamp_min(1e-2 / kernel**2)).sqrt()


def _moments_under_kernel(
    shares: Tensor, axes: list[Tensor], places: Tensor, kernel: float
) -> tuple[Tensor, Tensor]:
    """Means and variances (B, 3) along x, y, z of shares (B, Z, Y, X) under a Gaussian around each place.

    The Gaussian is a product over the axes: the sums are taken along one axis after the other.
    """
    powers = []
    for axis, at in zip(axes, places.T, strict=True):
        weights = torch.exp(-((axis - at[:, None]) ** 2) / (2 * kernel**2))
        powers.append(torch.stack([weights, weights * axis, weights * axis**2], dim=2))  # (B, N, 3)
    along_x = torch.einsum("bzyx,bxm->bzym", shares, powers[0])
    along_y = torch.einsum("bzy,bym->bzm", along_x[..., 0], powers[1])
    plane = torch.einsum("bzym,by->bzm", along_x, powers[1][..., 0])
    sums = torch.stack(
        [
            torch.einsum("bzm,bz->bm", plane, powers[2][..., 0]),
            torch.einsum("bzm,bz->bm", along_y, powers[2][..., 0]),
            torch.einsum("bz,bzm->bm", plane[..., 0], powers[2]),
        ],
        dim=1,
    )  # (B, 3 axes, 3 moments)
    means = sums[..., 1] / sums[..., 0]
    return means, (sums[..., 2] / sums[..., 0] - means**2).clamp_min(0)

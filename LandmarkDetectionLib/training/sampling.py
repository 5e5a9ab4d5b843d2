"""Drawing training crops: image and target of one sample, moved together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.masks import SHELL, draw_mask
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.training.augmentation import draw_transform, vary_intensities
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.config import TrainingConfig

Array = NDArray[np.float64]
Crop = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class SymmetryPlane:
    """The plane that parts left from right in one case: a point of it, mm, and its unit normal."""

    point: Array
    normal: Array

    def reflect(self, points: Array) -> Array:
        """Mirror images of points (N, 3)."""
        mirrored: Array = points - 2 * ((points - self.point) @ self.normal)[:, None] * self.normal
        return mirrored


class CropDataset(Dataset[Crop]):
    """Random crops with their voxel classes.

    Sample number n depends on the configuration's seed and on n alone: not on the process that draws it,
    and not on what was drawn before. That makes a resumed run the same as an uninterrupted one.
    """

    def __init__(self, cases: Sequence[PreparedCase], table: LandmarkTable, config: TrainingConfig) -> None:
        self.cases = cases
        self.planes = [symmetry_plane(case.positions, table.mirrored_order) for case in cases]
        self.fills = [_fill(case.volume(), config) for case in cases]
        self.mirrored_order = table.mirrored_order
        self.config = config

    def __getitem__(self, number: int) -> Crop:
        """Image (1, Z, Y, X) float32 and classes (Z, Y, X) int16 of sample `number`."""
        config = self.config
        rng = np.random.default_rng([config.training.seed, number])
        row = int(rng.integers(len(self.cases)))
        volume, positions, plane = self.cases[row].volume(), self.cases[row].positions, self.planes[row]
        extent = np.array(config.sampling.crop) * config.image.spacing
        transform = draw_transform(
            rng,
            config.augmentation,
            centre=self._draw_centre(rng, volume.frame, positions, extent),
            extent=extent,
            sideways=None if plane is None else plane.normal,
        )
        image = transform.sample(
            volume, size=config.sampling.crop, spacing=config.image.spacing, fill=self.fills[row]
        )
        image = vary_intensities(rng, image, config.augmentation)
        ignored = np.zeros((0, 3))
        if transform.mirrors and plane is not None:
            positions, ignored = self._mirrored(positions, plane)
        classes = self._classes(transform.to_crop(positions), transform.to_crop(ignored))
        return torch.from_numpy(image)[None], torch.from_numpy(classes)

    def _mirrored(self, positions: Array, plane: SymmetryPlane) -> tuple[Array, Array]:
        """What the labels mean in a mirrored scan, and the places where a label is unknown.

        A landmark of one side that has no counterpart lies, in a mirrored scan, where its unmarked twin was:
        about its own reflection. There the loss looks away.
        """
        unpaired = np.array(self.mirrored_order) == np.arange(len(positions))
        aside = np.abs((positions - plane.point) @ plane.normal) > self.config.target.negative
        alone = unpaired & aside
        labelled = positions[self.mirrored_order]
        labelled[alone] = np.nan
        return labelled, plane.reflect(positions[alone])

    def _draw_centre(self, rng: np.random.Generator, frame: Frame, positions: Array, extent: Array) -> Array:
        present = np.flatnonzero(np.isfinite(positions).all(axis=1))
        if len(present) and rng.random() < self.config.sampling.landmark_fraction:
            centre: Array = positions[rng.choice(present)] + rng.uniform(-0.4, 0.4, 3) * extent
            return centre
        return frame.index_to_world(rng.random(3) * frame.size - 0.5)

    def _classes(self, points: Array, ignored: Array) -> NDArray[np.int16]:
        """Mask of a crop, classes 1 .. K; all of a ball's and shell's reach around `ignored` points is -1."""
        size, spacing = self.config.sampling.crop, self.config.image.spacing
        grid = Frame(size=size, spacing=[spacing] * 3, origin=[-(count - 1) / 2 * spacing for count in size])
        target = self.config.target
        nobody = len(points) + 1
        labels = [*range(1, nobody), *[nobody] * len(ignored)]
        places = np.concatenate([points, ignored])
        mask = draw_mask(grid, places, labels, positive=target.positive, negative=target.negative)
        mask[mask == nobody] = SHELL
        return mask


class EpochSampler(Sampler[int]):
    """The numbers of an epoch's samples: never the same twice in a run, shared out among processes.

    Lightning calls `set_epoch` before every epoch.
    """

    def __init__(self, samples: int, *, rank: int = 0, processes: int = 1) -> None:
        self.samples = samples
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose numbers are drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.samples * self.processes
        return iter(range(first + self.rank, first + self.samples * self.processes, self.processes))


def _fill(volume: Volume, config: TrainingConfig) -> float:
    return float(volume.voxels.min()) if config.sampling.padding == "minimum" else 0.0


def symmetry_plane(positions: Array, mirrored_order: Sequence[int]) -> SymmetryPlane | None:
    """The plane halfway between the landmarks of one case and their pairs.

    Args:
        positions: (K, 3) world mm, NaN where absent.
        mirrored_order: for each landmark the row of its pair, or its own row.

    Returns:
        None if no pair is present: such a case cannot be mirrored.
    """
    partners = positions[list(mirrored_order)]
    apart = partners - positions
    pairs = np.isfinite(apart).all(axis=1) & (np.linalg.norm(apart, axis=1) > 0)
    if not pairs.any():
        return None
    apart = apart[pairs]
    normal: Array = np.linalg.eigh(apart.T @ apart)[1][:, -1]
    middle: Array = ((positions + partners) / 2)[pairs].mean(axis=0)
    return SymmetryPlane(point=middle, normal=normal)

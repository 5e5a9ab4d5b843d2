"""The training of locate and refine: samples that say where their landmarks are, and the two networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from LandmarkDetectionLib.data.shape import find_symmetry, fit_similarity
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.model.losses import heat_loss
from LandmarkDetectionLib.model.unet import UNet
from LandmarkDetectionLib.training.augmentation import draw_transform, vary_intensities
from LandmarkDetectionLib.training.averaging import AveragedTraining, Schedule
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.config import AugmentationSection
from LandmarkDetectionLib.training.sampling import symmetry_plane
from LandmarkDetectionLib.training.spatial import SpatialTransform

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LocateSampling:
    """How the coarse fields are drawn.

    Attributes:
        spacing: edge of the voxels, mm.
        field: voxels along each edge.
        reduction: how much coarser the heat maps are.
        jitter: how far from the middle of the landmarks a field is centred at most, along each axis, mm.
        anywhere: share of the fields that lie anywhere in the scan.
    """

    spacing: float
    field: int
    reduction: int
    jitter: float
    anywhere: float


@dataclass(frozen=True)
class RefineSampling:
    """How the fine crops are drawn.

    Attributes:
        spacing: edge of the voxels, mm.
        crop: voxels along each edge.
        jitter: how far from its middle a crop shows its landmark, along each axis, mm (standard deviation).
    """

    spacing: float
    crop: int
    jitter: float


class LocateSamples(Dataset[tuple[Tensor, Tensor]]):
    """Coarse fields in any pose.

    Sample number n depends on the seed and on n alone.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        table: LandmarkTable,
        sampling: LocateSampling,
        augmentation: AugmentationSection,
        seed: int,
    ) -> None:
        self.cases, self.sampling, self.augmentation, self.seed = cases, sampling, augmentation, seed
        self.order = table.mirrored_order
        self.planes = [symmetry_plane(case.positions, self.order) for case in cases]

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Image (1, Z, Y, X) float32, and places (K, 3), cells of the heat maps, NaN where there is none."""
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.cases)))
        case, plane, sampling = self.cases[row], self.planes[row], self.sampling
        volume, size = case.volume(), (sampling.field,) * 3
        point = volume.frame.index_to_world(rng.random(3) * volume.frame.size - 0.5)
        if np.isfinite(case.positions).any() and rng.random() >= sampling.anywhere:
            point = np.nanmean(case.positions, axis=0)
        transform = draw_transform(
            rng,
            self.augmentation,
            point=point,
            place=rng.uniform(-1, 1, 3) * sampling.jitter,
            extent=np.full(3, sampling.field * sampling.spacing),
            sideways=None if plane is None else plane.normal,
        )
        fill = float(volume.voxels.min())
        image = transform.sample(volume, size=size, spacing=sampling.spacing, fill=fill)
        positions = case.positions[self.order] if transform.mirrors else case.positions
        voxels = transform.to_crop(positions) / sampling.spacing + (sampling.field - 1) / 2
        places = torch.from_numpy(voxels / sampling.reduction).float()
        return torch.from_numpy(vary_intensities(rng, image, self.augmentation))[None], places


class RefineSamples(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Fine crops around one landmark each, in the canonical frame of the mean shape.

    The augmentation turns and stretches them as much as align and the mean shape are off.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        table: LandmarkTable,
        shape: Array,
        sampling: RefineSampling,
        augmentation: AugmentationSection,
        seed: int,
    ) -> None:
        self.cases, self.sampling, self.augmentation, self.seed = cases, sampling, augmentation, seed
        self.order = table.mirrored_order
        self.rotations = [fit_similarity(shape, case.positions).rotation for case in cases]
        paired = self.order != list(range(len(self.order)))
        self.normal = find_symmetry(table.names, shape).normal if paired else None

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Image (1, Z, Y, X) float32, which landmark it shows, and its place (3,), voxels x, y, z."""
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.cases)))
        case, sampling = self.cases[row], self.sampling
        landmark = int(rng.choice(np.flatnonzero(np.isfinite(case.positions).all(axis=1))))
        place = rng.normal(0, sampling.jitter, 3)
        extent = np.full(3, sampling.crop * sampling.spacing)
        drawn = draw_transform(
            rng, self.augmentation, point=np.zeros(3), place=place, extent=extent, sideways=self.normal
        )
        transform = SpatialTransform(
            centre=case.positions[landmark] + self.rotations[row] @ drawn.centre,
            matrix=self.rotations[row] @ drawn.matrix,
            warp=drawn.warp,
        )
        volume = case.volume()
        fill = float(volume.voxels.min())
        image = transform.sample(volume, size=(sampling.crop,) * 3, spacing=sampling.spacing, fill=fill)
        shown = self.order[landmark] if transform.mirrors else landmark
        voxel = torch.from_numpy(place / sampling.spacing + (sampling.crop - 1) / 2).float()
        return (
            torch.from_numpy(vary_intensities(rng, image, self.augmentation))[None],
            torch.tensor(shown),
            voxel,
        )


class LocateTraining(AveragedTraining):
    """Trains the network that gives a heat map for each landmark.

    Args:
        network: with an output for each landmark.
        schedule: how.
        width: of the Gaussian that a heat map shall be, cells (standard deviation).
    """

    def __init__(self, network: UNet, schedule: Schedule, width: float) -> None:
        super().__init__(network, schedule)
        self.width = width

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        image, places = batch
        heat = self.network(image.contiguous(memory_format=torch.channels_last_3d))
        return self._told(heat_loss(heat, places, width=self.width), len(image))

    def _told(self, loss: Tensor, samples: int) -> Tensor:
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=samples)
        return loss


class RefineTraining(LocateTraining):
    """Trains the network that gives the heat map of the one landmark that it is asked for."""

    def training_step(self, batch: tuple[Tensor, ...], number: int) -> Tensor:
        image, landmark, place = batch
        heat = self.network(image.contiguous(memory_format=torch.channels_last_3d), landmark)
        return self._told(heat_loss(heat, place[:, None], width=self.width), len(image))

"""The networks of locate and refine in training, as Lightning modules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from LandmarkDetectionLib.data.shape import common_points, fit_robustly
from LandmarkDetectionLib.detection.locate_refine import Chain
from LandmarkDetectionLib.model.losses import heat_loss
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork, cut_windows
from LandmarkDetectionLib.training.averaging import AveragedTraining
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.samples import FEWEST_LANDMARKS

Array = NDArray[np.float64]

_PRESENCE_WEIGHT = 0.2
"""Of the loss of presence beside that of the heat, whose gradients are larger."""


class LocateTraining(AveragedTraining[LocateNetwork]):
    """Trains the coarse network; validated by the mean shape in the pose that it leads to.

    Args:
        network: to train.
        config: the run's configuration.
        validation: cases at the coarse spacing; may be empty.
        chain: what detects with the network; its settings and mean shape.
    """

    title = "Training locate (1 of 2)"

    def __init__(
        self,
        network: LocateNetwork,
        config: LocateRefineConfig,
        validation: Sequence[PreparedCase],
        chain: Chain,
    ) -> None:
        super().__init__(network, config.training, config.locate_epochs, validation)
        self.chain = chain
        self.reduction = network.settings.reduction
        self.heat_width = config.locate.heat_width / (config.locate.spacing * self.reduction)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        image, places, absent = batch
        heat = self.network(image.contiguous(memory_format=torch.channels_last_3d))
        cells = to_cells(places, self.reduction)
        loss = heat_loss(heat, cells, width=self.heat_width, absent=absent)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def landmark_positions(self) -> Array:
        network = self.best_network.eval()
        found = np.full((len(self.validation), *self.chain.shape.shape), np.nan)
        for row, case in enumerate(self.validation):
            alignment = self.chain.find_pose(network, case.whole_volume(), self.device)
            if alignment is not None:
                found[row] = alignment.pose.apply(self.chain.shape)
        return found


class RefineTraining(AveragedTraining[RefineNetwork]):
    """Trains the fine network; validated from the true pose of the mean shape, settled as in detection.

    Args:
        network: to train.
        config: the run's configuration.
        validation: cases at their own spacing; may be empty.
        chain: what detects with the network; its settings and mean shape.
    """

    title = "Training refine (2 of 2)"

    def __init__(
        self,
        network: RefineNetwork,
        config: LocateRefineConfig,
        validation: Sequence[PreparedCase],
        chain: Chain,
    ) -> None:
        epochs = config.training.epochs - config.locate_epochs
        super().__init__(network, config.training, epochs, validation)
        self.chain = chain
        self.window = chain.settings.refine.window
        self.heat_width = config.refine.heat_width / config.refine.spacing

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        image, starts, places = batch
        fields, rows = torch.isfinite(starts).all(dim=2).nonzero(as_tuple=True)  # a GPU waits here only
        if not len(rows):
            return self._nothing(len(image))
        features = self.network.features(image.contiguous(memory_format=torch.channels_last_3d))
        expected, actual = starts[fields, rows], places[fields, rows]
        half = (self.window - 1) / 2
        corners = (expected - half).round().clamp(0, image.shape[-1] - self.window)  # fields are cubes
        windows = cut_windows(features, fields, corners.long(), self.window)
        heat, presence = self.network.ask(windows, rows, expected - half - corners)
        loss = heat_loss(heat[None], (actual - corners)[None], width=self.heat_width)
        there = torch.isfinite(actual).all(dim=1)
        beside = ((actual < corners) | (actual > corners + self.window - 1)).any(dim=1)
        loss = loss + _PRESENCE_WEIGHT * binary_cross_entropy_with_logits(
            presence, there.float(), weight=(~beside).float()
        )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _nothing(self, batch: int) -> Tensor:
        """The loss of fields in which no landmark is looked for: of no parameter, but known to all."""
        loss = 0 * torch.stack([parameter.sum() for parameter in self.network.parameters()]).sum()
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=batch)
        return loss

    def landmark_positions(self) -> Array:
        network = self.best_network.eval()
        found = np.full((len(self.validation), *self.chain.shape.shape), np.nan)
        for row, case in enumerate(self.validation):
            if common_points(case.positions, self.chain.shape) >= FEWEST_LANDMARKS:
                pose = fit_robustly(self.chain.shape, case.positions)
                found[row] = self.chain.refine(network, case.whole_volume(), pose, self.device).positions
        return found


def to_cells(voxels: Tensor, reduction: int) -> Tensor:
    """Places in cells of the features, of places in voxels of the image.

    A convolution of stride 2 with padding 1 centres cell i on voxel 2 i.
    """
    return voxels / reduction

"""The networks of locate and refine in training, as Lightning modules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from LandmarkDetectionLib.data.sampling import turned
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.locate_refine import Chain
from LandmarkDetectionLib.detection.pose_search import ANY_POSE, degrees_between
from LandmarkDetectionLib.model.losses import heat_loss
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork, cut_windows
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.samples import TURNING
from LandmarkDetectionLib.training.running.averaging import AveragedTraining

Array = NDArray[np.float64]

_PRESENCE_WEIGHT = 0.2
"""Of the loss of presence beside that of the heat, whose gradients are larger."""


_STABLE = 0.8
"""Of the epochs of locate, in which its learning rate stays as it is."""
_VALIDATIONS = 8
"""Of locate, in the epochs that are planned for it."""
_RIGHT, _STANDS = 0.95, 3
"""Share of the validation cases whose pose must be right, and in how many validations, to end before that."""
_BETTER = 0.97
"""An error of so much of an earlier one is a gain."""


def _stand_still(seen: Sequence[Mapping[str, float]]) -> bool:
    """Whether the last validations found the poses, and none of them is better than those before."""
    before, last = seen[:-_STANDS], seen[-_STANDS:]
    if not before or min(row["val_right"] for row in last) < _RIGHT:
        return False
    best = min(row["val_score"] for row in before)
    return min(row["val_score"] for row in last) > _BETTER * best


class LocateTraining(AveragedTraining[LocateNetwork]):
    """Trains the coarse network; validated by the mean shape in the pose that it leads to.

    The learning rate stays until the end is in sight, and falls to nothing in the last fifth of the epochs
    (Hu et al., "MiniCPM", COLM 2024, call it warm-up, stable, decay). So it can end when it has learnt its
    part. Without validation cases, or with some that validate the end alone, it ends as planned.

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
        self.planned = config.locate_epochs
        self.adapts = bool(validation) and config.training.validate_every < config.training.epochs
        epochs = config.most_locate_epochs if self.adapts else self.planned
        super().__init__(network, config.training, epochs, validation)
        self.chain = chain
        self.taught = chain.settings.locate.taught
        self.right = 2 * config.detection.tolerance
        self.reduction = network.settings.reduction
        self.heat_width = config.locate.heat_width / (config.locate.spacing * self.reduction)

    @property
    def validate_every(self) -> int:
        return max(self.planned // _VALIDATIONS, 1) if self.adapts else self.settings.validate_every

    def ends_after(self, rows: Sequence[Mapping[str, float]]) -> int:
        """It goes on while the poses are not right, up to `epochs`; and ends when they get no better.

        But not before fields are turned as far as ever.
        """
        if not self.adapts:
            return self.epochs
        for done in range(1, len(rows) + 1):
            seen = [row for row in rows[:done] if "val_right" in row]
            late = done >= round(_STABLE * self.planned) and seen and seen[-1]["val_right"] >= _RIGHT
            if late or (done >= TURNING[1] * self.planned and _stand_still(seen)):
                return min(math.ceil(done / _STABLE), self.epochs)
        return self.epochs

    def outlook(self, done: int) -> int:
        return self.planned if done < self.planned and self.ends == self.epochs else self.ends

    def figures(self, errors: Array) -> dict[str, float]:
        means = np.array([np.mean(case[~np.isnan(case)]) for case in errors if not np.isnan(case).all()])
        return {"val_right": float((means <= self.right).mean())}

    def _rate(self, step: int) -> float:
        steps = self.ends * self.settings.steps_per_epoch
        return min(1.0, (step + 1) / self.settings.warmup, max(1 - step / steps, 0.0) / (1 - _STABLE))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], number: int) -> Tensor:
        image, places, absent = batch
        heat = self.network(image.contiguous(memory_format=torch.channels_last_3d))
        cells = to_cells(places, self.reduction)
        loss = heat_loss(heat, cells, width=self.heat_width, absent=absent)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _shown(self, case: PreparedCase) -> Volume:
        """A validation scan as it lies, or upright where detection would have to turn it."""
        scan, constellation = case.whole_volume(), self.chain.constellation
        if self.taught >= ANY_POSE or not constellation.is_shown_by(case.positions):
            return scan
        rotation = constellation.pose_in(case.positions).rotation
        lies_alike = degrees_between(scan.frame.direction, rotation) <= self.taught
        return scan if lies_alike else turned(scan, rotation)

    def landmark_positions(self) -> Array:
        network = self.best_network.eval()
        found = np.full((len(self.validation), *self.chain.shape.shape), np.nan)
        for row, case in enumerate(self.validation):
            seen = self.chain.look(network, self._shown(case), self.device)
            if seen is not None:
                found[row] = seen.pose.apply(self.chain.shape)
        return found


class RefineTraining(AveragedTraining[RefineNetwork]):
    """Trains the fine network; validated from the true pose of the mean shape, settled as in detection.

    Args:
        network: to train.
        config: the run's configuration.
        epochs: in all.
        validation: cases at their own spacing; may be empty.
        chain: what detects with the network; its settings and mean shape.
    """

    title = "Training refine (2 of 2)"

    def __init__(
        self,
        network: RefineNetwork,
        config: LocateRefineConfig,
        epochs: int,
        validation: Sequence[PreparedCase],
        chain: Chain,
    ) -> None:
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
            if self.chain.constellation.is_shown_by(case.positions):
                pose = self.chain.constellation.pose_in(case.positions)
                found[row] = self.chain.refine(network, case.whole_volume(), pose, self.device).positions
        return found


def to_cells(voxels: Tensor, reduction: int) -> Tensor:
    """Places in cells of the features, of places in voxels of the image.

    A convolution of stride 2 with padding 1 centres cell i on voxel 2 i.
    """
    return voxels / reduction

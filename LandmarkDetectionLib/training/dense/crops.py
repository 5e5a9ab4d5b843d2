"""Drawing training crops: image and target of one sample, moved together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.masks import draw_mask
from LandmarkDetectionLib.data.shape import SymmetryPlane, symmetry_plane
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.dense.config import DenseConfig
from LandmarkDetectionLib.training.samples.augmentation import draw_transform, vary_intensities
from LandmarkDetectionLib.training.samples.shown import Samples, ShownSample

Array = NDArray[np.float64]
Known = NDArray[np.bool_]
Crop = tuple[Tensor, Tensor, Tensor]


class CropDataset(Samples):
    """Random crops with their voxel classes.

    Sample number n depends on the configuration's seed and on n alone: not on the process that draws it,
    and not on what was drawn before. That makes a resumed run the same as an uninterrupted one.
    """

    def __init__(self, cases: Sequence[PreparedCase], table: LandmarkTable, config: DenseConfig) -> None:
        self.cases = cases
        self.planes = [symmetry_plane(case.positions, table.mirrored_order) for case in cases]
        self.mirrored_order = table.mirrored_order
        self.config = config

    def __getitem__(self, number: int) -> Crop:
        """Sample `number`.

        Returns:
            Image (1, Z, Y, X) float32, classes (Z, Y, X) int16, and which classes (1 + K,) are known: not
            those of landmarks that the case's annotation does not speak of.
        """
        config = self.config
        rng = np.random.default_rng([config.training.seed, number])
        row = int(rng.integers(len(self.cases)))
        case, plane = self.cases[row], self.planes[row]
        volume, positions, known = case.volume(), case.positions, case.known
        extent = np.array(config.sampling.crop) * config.image.spacing
        point, place = self._draw_focus(rng, volume.frame, positions, extent)
        transform = draw_transform(
            rng,
            config.augmentation,
            point=point,
            place=place,
            extent=extent,
            sideways=None if plane is None else plane.normal,
        )
        fill = case.lowest if config.sampling.padding == "minimum" else 0.0
        image = transform.sample(volume, size=config.sampling.crop, spacing=config.image.spacing, fill=fill)
        image = vary_intensities(rng, image, config.augmentation)
        if transform.mirrors and plane is not None:
            positions, known = self._mirrored(positions, known, plane)
        classes = torch.from_numpy(self._classes(transform.to_crop(positions)))
        return torch.from_numpy(image)[None], classes, torch.from_numpy(np.concatenate([[True], known]))

    def shown(self, number: int) -> ShownSample:
        """The same sample, for a person to look at: its landmarks are the middles of their balls."""
        image, classes, known = self[number]
        places = np.full((len(known) - 1, 3), np.nan)
        for row in range(len(places)):
            ball = np.argwhere(classes.numpy() == row + 1)
            if len(ball):
                places[row] = ball.mean(axis=0)[::-1]
        return ShownSample(image[0].numpy(), places, np.full_like(places, np.nan))

    def _mirrored(self, positions: Array, known: Known, plane: SymmetryPlane) -> tuple[Array, Known]:
        """What the labels mean in a mirrored scan, and which of them are known."""
        alone = plane.one_sided(positions, self.mirrored_order, self.config.target.negative)
        labelled = positions[self.mirrored_order]
        labelled[alone] = np.nan
        return labelled, known[self.mirrored_order] & ~alone

    def _draw_focus(
        self, rng: np.random.Generator, frame: Frame, positions: Array, extent: Array
    ) -> tuple[Array, Array]:
        """A world position and where the crop shows it: a landmark off the middle, or any place in it."""
        present = np.flatnonzero(np.isfinite(positions).all(axis=1))
        if len(present) and rng.random() < self.config.sampling.landmark_fraction:
            return positions[rng.choice(present)], rng.uniform(-0.4, 0.4, 3) * extent
        return frame.index_to_world(rng.random(3) * frame.size - 0.5), np.zeros(3)

    def _classes(self, points: Array) -> NDArray[np.int16]:
        """Mask of a crop, classes 1 .. K."""
        size, spacing = self.config.sampling.crop, self.config.image.spacing
        grid = Frame(size=size, spacing=[spacing] * 3, origin=[-(count - 1) / 2 * spacing for count in size])
        target = self.config.target
        labels = range(1, len(points) + 1)
        return draw_mask(grid, points, labels, positive=target.positive, negative=target.negative)

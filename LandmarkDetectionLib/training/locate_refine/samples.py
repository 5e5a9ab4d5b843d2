"""Samples of locate and refine: fields of a scan, and where their landmarks are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.sampling import grid_axis
from LandmarkDetectionLib.data.shape import symmetry_plane
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.locate_refine import MIDLINE
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.config import LocateSection, RefineSection
from LandmarkDetectionLib.training.samples.augmentation import draw_transform, vary_intensities
from LandmarkDetectionLib.training.samples.shown import Samples, ShownSample

Array = NDArray[np.float64]

_AT_FIRST = 60.0
"""Degrees from upright that coarse fields are turned at most in the beginning."""
TURNING = 0.2, 0.6
"""Of the samples that are planned: when they begin to be turned further, and when they are as far as ever."""
_OFF_CENTRE = 0.3
"""How far from the middle of a fine field the landmark lies that it is drawn around, at most; of its edge."""
_EDGE = 1.0
"""Voxels beyond its middle that the outermost voxel of a field shows, about."""
_MOST_ASKED = 48
"""Landmarks that a fine field is asked for, at most: each takes the memory of a window."""
_CUT_NEAR = 4.0
"""Voxels from a landmark to the plane at which a scan is cut (standard deviation)."""


class LocateSamples(Samples):
    """Coarse fields of the anatomy upright, as the mean shape stands, and turned from there.

    Sample number n depends on the seed and on n alone. Where the anatomy is turned far, it is so step by
    step (Bengio et al., "Curriculum learning", ICML 2009): a network that knows it nearly upright learns the
    rest many times faster. A landmark without a counterpart that lies within `midline` mm of the plane of
    symmetry is its own in a mirrored field.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        table: LandmarkTable,
        constellation: Constellation,
        settings: LocateSection,
        seed: int,
        *,
        planned: int,
        midline: float,
    ) -> None:
        self.cases, self.settings, self.seed = cases, settings, seed
        self.planned, self.midline = planned, midline
        self.order = table.mirrored_order
        self.planes = [symmetry_plane(case.positions, self.order) for case in cases]
        self.uprights = [_upright(case, constellation) for case in cases]

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """A field and what is known of its landmarks.

        Returns:
            Image (1, Z, Y, X) float32; places (K, 3), voxels x, y, z, NaN where there is none; and which
            landmarks (K,) are known not to be in the field.
        """
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.cases)))
        case, plane, upright, settings = self.cases[row], self.planes[row], self.uprights[row], self.settings
        volume = case.volume()
        point = volume.frame.index_to_world(rng.random(3) * volume.frame.size - 0.5)
        if np.isfinite(case.positions).any() and rng.random() >= settings.anywhere:
            point = np.nanmean(case.positions, axis=0)
        drawn = draw_transform(
            rng,
            settings.augmentation.model_copy(update={"rotation": self._rotation(number)}),
            point=np.zeros(3),
            place=rng.uniform(-1, 1, 3) * settings.jitter,
            extent=np.full(3, settings.field * settings.spacing),
            sideways=None if plane is None else upright.T @ plane.normal,
        )
        transform = drawn.around(point, upright)
        image = transform.sample(
            volume, size=(settings.field,) * 3, spacing=settings.spacing, fill=case.lowest
        )
        positions, known = case.positions, case.known
        if transform.mirrors and plane is not None:
            alone = plane.one_sided(positions, self.order, self.midline)
            positions, known = positions[self.order], known[self.order] & ~alone
        places = transform.to_crop(positions) / settings.spacing + (settings.field - 1) / 2
        places[~known] = np.nan
        if rng.random() < settings.cut:
            places = _cut(rng, image, places, case.lowest)
        shown = ((places > -_EDGE) & (places < settings.field - 1 + _EDGE)).all(axis=1)
        return (
            _as_image(vary_intensities(rng, image, settings.augmentation)),
            _as_places(places),
            torch.from_numpy(known & ~shown),
        )

    def shown(self, number: int) -> ShownSample:
        """The same sample, for a person to look at."""
        image, places, _ = self[number]
        positions = places.numpy().astype(np.float64)
        return ShownSample(image[0].numpy(), positions, np.full_like(positions, np.nan))

    def _rotation(self, number: int) -> float:
        """How far the anatomy is turned at most, degrees."""
        largest, (first, last) = self.settings.augmentation.rotation, TURNING
        share = np.clip((number / self.planned - first) / (last - first), 0, 1)
        return min(largest, _AT_FIRST + (largest - _AT_FIRST) * float(share))


class RefineSamples(Samples):
    """Fine fields in the canonical frame of the mean shape, some of them cut as a scan ends.

    The augmentation turns and stretches them as much as align and the mean shape are off.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        table: LandmarkTable,
        constellation: Constellation,
        settings: RefineSection,
        seed: int,
    ) -> None:
        self.settings, self.seed = settings, seed
        self.cases = [case for case in cases if constellation.is_shown_by(case.positions)]
        self.order = table.mirrored_order
        self.poses = [constellation.pose_in(case.positions) for case in self.cases]
        self.shape = constellation.shape
        self.plane = symmetry_plane(self.shape, self.order)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """A field and what is known of its landmarks.

        Returns:
            Image (1, Z, Y, X) float32; where each landmark is expected, (K, 3) voxels x, y, z, NaN where it
            is not to be looked for; where it is, (K, 3) voxels, NaN where it is absent.
        """
        rng = np.random.default_rng([self.seed, number])
        row = int(rng.integers(len(self.cases)))
        case, pose, settings = self.cases[row], self.poses[row], self.settings
        focus = case.positions[rng.choice(_present(case.positions))]
        extent = np.full(3, settings.field * settings.spacing)
        drawn = draw_transform(
            rng,
            settings.augmentation,
            point=np.zeros(3),
            place=rng.uniform(-1, 1, 3) * extent * _OFF_CENTRE,
            extent=extent,
            sideways=None if self.plane is None else self.plane.normal,
        )
        transform = drawn.around(focus, pose.rotation)
        volume = case.volume()
        image = transform.sample(
            volume, size=(settings.field,) * 3, spacing=settings.spacing, fill=case.lowest
        )
        expected = np.where(np.isfinite(case.positions), case.positions, pose.apply(self.shape))
        expected[~case.known] = np.nan
        if transform.mirrors and self.plane is not None:
            expected[self.plane.one_sided(self.shape, self.order, MIDLINE * settings.spacing)] = np.nan
        rows = self.order if transform.mirrors else slice(None)
        middle = (settings.field - 1) / 2
        places = transform.to_crop(case.positions[rows]) / settings.spacing + middle
        starts = transform.to_crop(expected[rows]) / settings.spacing + middle
        starts += rng.normal(0, settings.deviation / settings.spacing, starts.shape)
        starts[((starts < 0) | (starts > settings.field - 1)).any(axis=1)] = np.nan
        asked = _present(starts)
        if len(asked) > _MOST_ASKED:
            starts[rng.choice(asked, len(asked) - _MOST_ASKED, replace=False)] = np.nan
        if rng.random() < settings.cut:
            places = _cut(rng, image, places, case.lowest)
        return (
            _as_image(vary_intensities(rng, image, settings.augmentation)),
            _as_places(starts),
            _as_places(places),
        )

    def shown(self, number: int) -> ShownSample:
        """The same sample, for a person to look at."""
        image, starts, places = self[number]
        return ShownSample(
            image[0].numpy(), places.numpy().astype(np.float64), starts.numpy().astype(np.float64)
        )


def _upright(case: PreparedCase, constellation: Constellation) -> Array:
    """3 x 3, from the mean shape's axes to the scan's anatomy; the world's where nobody knows."""
    if not constellation.is_shown_by(case.positions):
        return np.eye(3)
    return constellation.pose_in(case.positions).rotation


def _present(positions: Array) -> NDArray[np.int64]:
    return np.flatnonzero(np.isfinite(positions).all(axis=1))


def _cut(rng: np.random.Generator, image: NDArray[np.float32], places: Array, fill: float) -> Array:
    """End the scan at a plane near a landmark; gives the places that are left."""
    size = image.shape[0]
    inside = _present(np.where((places > 0) & (places < size - 1), places, np.nan))
    if not len(inside):
        return places
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    point = places[rng.choice(inside)] + rng.normal(0, _CUT_NEAR) * normal
    x, y, z = (component * (grid_axis(size, 1.0) + (size - 1) / 2) for component in normal)
    image[z[:, None, None] + y[:, None] + x > normal @ point] = fill
    gone = places @ normal > normal @ point
    return np.where(gone[:, None], np.nan, places)


def _as_image(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(image)[None]


def _as_places(places: Array) -> Tensor:
    return torch.from_numpy(places).float()

"""The synthetic scanner: where the head lies, where the voxels lie, and what they measure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.phantom.anatomy.head import Head
from LandmarkDetectionLib.phantom.anatomy.teeth import TEETH_PER_SIDE
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.shapes import Array, RoundCone

Image = NDArray[np.float32]

LOWEST_HU, HIGHEST_HU = -1024, 3071

_LEAST_MARGIN_MM = 8.0  # more than the fillets of the soft tissue add
_FRONT_TEETH = 2
_CUTS_TO_CHOOSE_FROM = 16
_STREAK_HU, _STREAK_LENGTH_MM, _STREAK_HEIGHT_MM = 500.0, 35.0, 5.0


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid motion from head coordinates to the world: `rotation @ p + translation`, mm."""

    rotation: Array
    translation: Array

    def to_world(self, points: ArrayLike) -> Array:
        """World positions of points in head coordinates, shape (..., 3)."""
        world: Array = np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation
        return world


@dataclass(frozen=True, eq=False)
class _Field:
    """A box along the voxel axes: its orientation (3 x 3, columns are axes) and its ends along them, mm."""

    direction: Array
    low: Array
    high: Array


def draw_pose(rng: Generator, settings: PhantomSettings) -> Pose:
    """A random pose of the head in the world."""
    rotation = _random_rotation(rng, settings.max_rotation_degrees)
    return Pose(rotation, rng.uniform(-1, 1, 3) * settings.max_translation_mm)


def draw_frame(rng: Generator, settings: PhantomSettings, head: Head, pose: Pose) -> Frame:
    """A random voxel grid whose field of view holds the head, or ends short of a landmark."""
    spacing = _draw_spacing(rng, settings)
    field = _draw_field(rng, settings, head, pose)
    cut = _cut_short(rng, field, pose.to_world(list(head.landmarks.values())), spacing)
    if rng.random() < settings.cut_fraction:
        field = cut
    return Frame(
        size=np.ceil((field.high - field.low) / spacing),
        origin=field.direction @ (field.low + spacing / 2),
        spacing=spacing,
        direction=field.direction,
    )


def paint(layers: Iterable[Layer], pose: Pose, frame: Frame, *, partial_volume: bool = True) -> Image:
    """The HU of each voxel, [z, y, x], without noise.

    Every layer is painted over those before it, only where it reaches. With partial volume a voxel takes the
    share of the layer that a flat surface at the same distance would have: the error of its position is far
    below a voxel, and has no side.
    """
    image: Image = np.full(frame.shape, Tissue.AIR, dtype=np.float32)
    to_index = np.linalg.inv(frame.matrix) @ pose.rotation
    offset = frame.world_to_index(pose.translation)
    voxel = float(np.cbrt(frame.spacing.prod()))
    for layer in layers:
        block = _block(layer, to_index, offset, frame, voxel)
        region = image[block]
        if region.size == 0:
            continue
        distance = layer.shape.distance(_head_points(block, to_index, offset))
        share = np.clip(0.5 - distance / voxel, 0, 1) if partial_volume else distance < 0
        region += share * (layer.hu - region)
    return image


def draw_metal_teeth(rng: Generator, head: Head) -> tuple[RoundCone, ...]:
    """One to three of the back teeth."""
    back = [tooth for index, tooth in enumerate(head.teeth) if index % TEETH_PER_SIDE >= _FRONT_TEETH]
    chosen = rng.choice(len(back), int(rng.integers(1, 4)), replace=False)
    return tuple(back[index] for index in chosen)


def add_streaks(rng: Generator, image: Image, frame: Frame, pose: Pose, teeth: Iterable[RoundCone]) -> None:
    """Add the streaks of metal teeth in place: bright and dark rays in the world's axial planes.

    They are a function of the world position, so that a scan stored in another axis order has the same.
    """
    for tooth in teeth:
        centre = pose.to_world(tooth.end.centre)
        x, y, z = _world_points(frame) - centre.astype(np.float32).reshape(3, 1, 1, 1)
        angle, radius = np.arctan2(y, x), np.hypot(x, y)
        rays = np.zeros_like(radius)
        for count in rng.integers(3, 14, 3):
            rays += np.sin(count * angle + rng.uniform(0, 2 * np.pi), dtype=np.float32) / 3
        fade = np.exp(-radius / _STREAK_LENGTH_MM - (z / _STREAK_HEIGHT_MM) ** 2)
        image += np.float32(_STREAK_HU) * rays * fade


def add_noise(rng: Generator, image: Image, sd: float) -> None:
    """Add white Gaussian noise in place, its standard deviation in HU."""
    image += np.float32(sd) * rng.standard_normal(image.shape, dtype=np.float32)


def quantise(image: Image) -> NDArray[np.int16]:
    """Whole HU within the range of a 12-bit scanner."""
    return np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def _random_rotation(rng: Generator, max_degrees: float) -> Array:
    """A rotation about a random axis by a random angle (Rodrigues' formula)."""
    axis = rng.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(0, max_degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation


def _draw_spacing(rng: Generator, settings: PhantomSettings) -> Array:
    factors = np.ones(3)
    factors[rng.integers(3)] = rng.uniform(1, settings.max_anisotropy)
    chosen = rng.random() < settings.anisotropic_fraction
    spacing: Array = settings.spacing * (factors if chosen else np.ones(3))
    return spacing


def _draw_field(rng: Generator, settings: PhantomSettings, head: Head, pose: Pose) -> _Field:
    axes = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    chosen = rng.random() < settings.reorient_fraction
    tilt = _random_rotation(rng, settings.max_oblique_degrees)
    direction = tilt @ (axes if chosen else np.eye(3))
    centre = pose.translation @ direction
    in_head = direction.T @ pose.rotation
    low = np.array([-head.outline.reach(-axis) for axis in in_head])
    high = np.array([head.outline.reach(axis) for axis in in_head])
    margins = _LEAST_MARGIN_MM + rng.uniform(0, 1, (2, 3)) * settings.max_margin_mm
    return _Field(direction, centre + low - margins[0], centre + high + margins[1])


def _cut_short(rng: Generator, field: _Field, landmarks: Array, spacing: Array) -> _Field:
    """The field with one end moved in, until a landmark near that end is outside."""
    along = landmarks @ field.direction
    depths = np.stack([along - field.low, field.high - along])
    shallow = np.argsort(depths, axis=None)[:_CUTS_TO_CHOOSE_FROM]
    end, row, axis = np.unravel_index(rng.choice(shallow), depths.shape)
    beyond = spacing[axis] * rng.uniform(1, 4)
    bounds = np.stack([field.low, field.high])
    bounds[end, axis] = along[row, axis] + (beyond if end == 0 else -beyond)
    return replace(field, low=bounds[0], high=bounds[1])


def _block(
    layer: Layer, to_index: Array, offset: Array, frame: Frame, voxel: float
) -> tuple[slice, slice, slice]:
    """The voxels [z, y, x] that a layer may touch."""
    slices = []
    for row, start, count in zip(to_index, offset, frame.size, strict=True):
        blur = voxel / 2 * float(np.linalg.norm(row))
        first = int(np.ceil(start - layer.shape.reach(-row) - blur))
        last = int(np.floor(start + layer.shape.reach(row) + blur))
        slices.append(slice(min(max(first, 0), count), max(min(last + 1, count), 0)))
    i, j, k = slices
    return k, j, i


def _head_points(block: tuple[slice, slice, slice], to_index: Array, offset: Array) -> Image:
    """Head coordinates of a block's voxels, shape (3, z, y, x)."""
    to_head = np.linalg.inv(to_index)
    return _affine_grid(block, to_head, -to_head @ offset)


def _world_points(frame: Frame) -> Image:
    whole = slice(0, frame.size[2]), slice(0, frame.size[1]), slice(0, frame.size[0])
    return _affine_grid(whole, frame.matrix, frame.origin)


def _affine_grid(block: tuple[slice, slice, slice], matrix: NDArray[Any], offset: NDArray[Any]) -> Image:
    """`matrix @ (i, j, k) + offset` of a block's voxels, shape (3, z, y, x)."""
    k, j, i = (np.arange(axis.start, axis.stop) for axis in block)
    columns = matrix.T[:, :, None, None, None]
    points: Array = columns[0] * i + (columns[1] * j[:, None] + offset[:, None, None, None])
    points = points + columns[2] * k[:, None, None]
    return points.astype(np.float32)

"""Drawing the variations of a training sample: one spatial transform, then the intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.training.samples.spatial import ElasticWarp, SpatialTransform
from LandmarkDetectionLib.training.sections import AugmentationSection

Array = NDArray[np.float64]
Image = NDArray[np.float32]


def draw_transform(
    rng: np.random.Generator,
    settings: AugmentationSection,
    *,
    point: Array,
    place: Array,
    extent: Array,
    sideways: Array | None,
) -> SpatialTransform:
    """A crop's random rotation, scale, shear, mirroring and elastic warp.

    Args:
        rng: source of randomness.
        settings: how much of each.
        point: a world position, mm.
        place: where the crop shows it, mm from the crop's middle along its axes.
        extent: edge lengths of the crop, mm.
        sideways: unit vector across the plane of symmetry; None never mirrors.
    """
    matrix = _rotation(rng, settings.rotation) * (1 + settings.scale * rng.uniform(-1, 1))
    shear = np.eye(3) + settings.shear * rng.uniform(-1, 1, (3, 3)) * (1 - np.eye(3))
    matrix = matrix @ shear
    if rng.random() < settings.mirror and sideways is not None:
        matrix = (np.eye(3) - 2 * np.outer(sideways, sideways)) @ matrix
    warp = _draw_warp(rng, settings, extent) if rng.random() < settings.elastic else None
    shown = place if warp is None else place + warp(place[None])[0]
    return SpatialTransform(centre=point - matrix @ shown, matrix=matrix, warp=warp)


def vary_intensities(rng: np.random.Generator, crop: Image, settings: AugmentationSection) -> Image:
    """Motion, gamma, bias, contrast, brightness and noise on a crop whose window is -1 .. 1."""
    if rng.random() < settings.motion:
        crop = with_motion(
            crop, rng.uniform(-1, 1, (2, 3)) * settings.motion_shift, rng.uniform(0.15, 0.4, 2)
        )
    unit = np.clip((crop + 1) / 2, 0, 1) ** np.float32(np.exp(settings.gamma * rng.uniform(-1, 1)))
    if settings.bias:
        unit = unit * draw_bias(rng, crop.shape, settings.bias)
    gain = 1 + settings.contrast * rng.uniform(-1, 1)
    offset = settings.contrast * rng.uniform(-1, 1)
    noise = rng.standard_normal(crop.shape, dtype=np.float32) * np.float32(settings.noise * rng.random())
    varied: Image = (2 * unit - 1) * np.float32(gain) + np.float32(offset) + noise
    return varied


def draw_bias(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Image:
    """A smooth factor for each voxel, 1 where it is brightest: that is where a scan's window ends.

    Args:
        rng: source of randomness.
        shape: of the crop, [z, y, x].
        strength: largest difference of the logarithms of two factors; it is drawn from 0 to this.
    """
    field: Image = np.zeros(shape, np.float32)
    for axis in np.ix_(*(np.linspace(-1, 1, edge, dtype=np.float32) for edge in shape)):
        slope, bend = rng.standard_normal(2, dtype=np.float32)
        field += slope * axis + bend * axis**2
    field -= field.max()
    factors: Image = np.exp(field * np.float32(strength * rng.random() / max(-float(field.min()), 1e-6)))
    return factors


def with_motion(crop: Image, shifts: Array, breaks: Array) -> Image:
    """What a scanner shows when the patient moves: parts of k-space belong to shifted positions.

    Shaw et al., MRI k-space motion artefact augmentation, MIDL 2019. The centre of k-space, which decides
    where things lie, keeps the unmoved position, so landmarks stay where they are.

    Args:
        crop: voxels [z, y, x].
        shifts: (2, 3) displacement z, y, x in voxels, after and before the centre of k-space was acquired.
        breaks: (2,) distance from the centre of k-space, 0 .. 0.5, from which each displacement is seen.
    """
    spectrum = np.fft.rfftn(crop)
    frequencies = np.meshgrid(
        np.fft.fftfreq(crop.shape[0]),
        np.fft.fftfreq(crop.shape[1]),
        np.fft.rfftfreq(crop.shape[2]),
        indexing="ij",
    )
    # each movement is seen on one side of k-space: slices are acquired in order along the first axis
    for side, shift, start in zip((1, -1), shifts, breaks, strict=True):
        moved = frequencies[0] * side > start
        phase = sum(frequency[moved] * step for frequency, step in zip(frequencies, shift, strict=True))
        spectrum[moved] *= np.exp(-2j * np.pi * phase)
    return np.fft.irfftn(spectrum, s=crop.shape, axes=(0, 1, 2)).astype(np.float32)


def _rotation(rng: np.random.Generator, largest_degrees: float) -> Array:
    """A rotation about a random axis; uniform over all rotations when any angle is allowed."""
    if largest_degrees >= 180:
        quaternion = rng.standard_normal(4)
    else:
        axis = rng.standard_normal(3)
        half = np.deg2rad(rng.uniform(0, largest_degrees)) / 2
        quaternion = np.concatenate([[np.cos(half)], np.sin(half) * axis / np.linalg.norm(axis)])
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _draw_warp(rng: np.random.Generator, settings: AugmentationSection, extent: Array) -> ElasticWarp:
    count = int(np.ceil(extent.max() / settings.elastic_spacing)) + 3
    amplitude = settings.elastic_amplitude * rng.random()
    return ElasticWarp(
        coefficients=rng.uniform(-amplitude, amplitude, (count, count, count, 3)),
        spacing=settings.elastic_spacing,
    )

"""The transform of a sample: points and image move together."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.training.samples.spatial import ElasticWarp, SpatialTransform
from Testing.resampling import resample

Array = NDArray[np.float64]

SIZE = (36, 32, 34)
SEEDS = st.integers(0, 2**32 - 1)


def turn(rng: np.random.Generator) -> Array:
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(rotation * np.sign(np.linalg.det(rotation)))


def oblique_frame(rng: np.random.Generator, *, size: tuple[int, int, int] = (60, 56, 58)) -> Frame:
    """Anisotropic, oblique, and left-handed half of the time."""
    direction = turn(rng) * [1, 1, rng.choice([-1, 1])]
    spacing = rng.uniform(0.6, 1.4, 3)
    return Frame(size=size, origin=rng.uniform(-300, 300, 3), spacing=spacing, direction=direction)


def warp(rng: np.random.Generator, amplitude: float = 3.0, spacing: float = 16.0) -> ElasticWarp:
    return ElasticWarp(rng.uniform(-amplitude, amplitude, (6, 6, 6, 3)), spacing)


def transform(rng: np.random.Generator, centre: Array, *, bent: bool, mirrored: bool) -> SpatialTransform:
    matrix = turn(rng) @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))) * rng.uniform(0.85, 1.15)
    if mirrored:
        matrix = np.diag([-1.0, 1.0, 1.0]) @ matrix
    return SpatialTransform(centre, matrix, warp(rng) if bent else None)


def grid(size: tuple[int, int, int], spacing: float) -> Array:
    """Crop points of all voxels, (z, y, x, 3)."""
    k, j, i = np.indices(size[::-1])
    return np.asarray((np.stack([i, j, k], axis=-1) - (np.array(size) - 1) / 2) * spacing)


def world_of(frame: Frame) -> Array:
    k, j, i = np.indices(frame.shape)
    return frame.index_to_world(np.stack([i, j, k], axis=-1))


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=30)
def test_a_landmark_and_its_blob_move_together_to_a_twentieth_of_a_voxel(
    find_blob: Callable[[NDArray[np.float32]], Array], seed: int, bent: bool, mirrored: bool
) -> None:
    rng = np.random.default_rng(seed)
    frame = oblique_frame(rng)
    landmark = frame.centre + rng.uniform(-3, 3, 3)
    blob = np.exp(-0.5 * ((world_of(frame) - landmark) ** 2).sum(axis=-1) / 5**2)
    moved = transform(rng, landmark + rng.uniform(-6, 6, 3), bent=bent, mirrored=mirrored)
    spacing = float(rng.uniform(0.9, 1.1))
    crop = moved.sample(Volume(blob.astype(np.float32), frame), size=SIZE, spacing=spacing, fill=0.0)
    expected = moved.to_crop(landmark[None])[0] / spacing + (np.array(SIZE) - 1) / 2
    np.testing.assert_allclose(find_blob(crop), expected, atol=0.05)


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=20)
def test_every_voxel_shows_the_place_of_the_scan_that_it_is_mapped_to(
    seed: int, bent: bool, mirrored: bool
) -> None:
    rng = np.random.default_rng(seed)
    frame = oblique_frame(rng, size=(40, 41, 42))
    moved = transform(rng, frame.centre, bent=bent, mirrored=mirrored)
    where = moved.to_scan(grid((20, 16, 18), 0.8).reshape(-1, 3))
    index = frame.world_to_index(where)
    between_voxels = ((index >= 0) & (index <= np.array(frame.size) - 1)).all(axis=-1)
    assert between_voxels.mean() > 0.5
    for axis in range(3):
        ramp = Volume((world_of(frame)[..., axis] - frame.centre[axis]).astype(np.float32), frame)
        crop = moved.sample(ramp, size=(20, 16, 18), spacing=0.8, fill=0.0)
        expected = where[:, axis] - frame.centre[axis]
        np.testing.assert_allclose(crop.ravel()[between_voxels], expected[between_voxels], atol=1e-3)


@given(SEEDS)
@settings(max_examples=10)
def test_a_crop_without_a_warp_is_what_simpleitk_resamples(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = oblique_frame(rng, size=(20, 31, 32))
    volume = Volume(rng.standard_normal(frame.shape).astype(np.float32), frame)
    rotation = turn(rng)
    crop_frame = Frame(
        size=SIZE,
        spacing=[0.9] * 3,
        direction=rotation,
        origin=frame.centre - 0.9 * rotation @ (np.array(SIZE) - 1) / 2,
    )
    expected = resample(volume, crop_frame, fill=9.0).voxels
    crop = SpatialTransform(frame.centre, rotation).sample(volume, size=SIZE, spacing=0.9, fill=9.0)
    index = frame.world_to_index(world_of(crop_frame))
    inside = ((index >= 0) & (index <= np.array(frame.size) - 1)).all(axis=-1)
    np.testing.assert_allclose(crop[inside], expected[inside], atol=1e-3)
    beyond = ((index < -1) | (index > frame.size)).any(axis=-1)
    assert beyond.any()
    assert (crop[beyond] == 9.0).all()


def test_on_its_own_grid_a_scan_comes_back_to_the_last_digit() -> None:
    frame = Frame(size=SIZE, spacing=[0.2] * 3, origin=(5, 6, 7))
    voxels = np.random.default_rng(0).uniform(-1, 1, frame.shape).astype(np.float16)
    straight = SpatialTransform(frame.centre, np.eye(3))
    crop = straight.sample(Volume(voxels, frame), size=SIZE, spacing=0.2, fill=-1.0)
    np.testing.assert_allclose(crop, voxels, atol=1e-4)


@pytest.mark.parametrize("distance", [60.0, 1e4])
def test_a_crop_beside_the_scan_is_all_fill(distance: float) -> None:
    frame = Frame(size=(20, 20, 20))
    beside = SpatialTransform(frame.centre + np.array([distance, 0, 0]), np.eye(3))
    crop = beside.sample(Volume(np.ones(frame.shape), frame), size=SIZE, spacing=1.0, fill=-0.25)
    assert (crop == -0.25).all()


def test_a_crop_over_the_edge_shows_the_scan_and_then_the_fill() -> None:
    frame = Frame(size=(20, 20, 20))
    over = SpatialTransform(np.array([19.5, 9.5, 9.5]), np.eye(3))
    crop = over.sample(Volume(np.ones(frame.shape), frame), size=(16, 16, 16), spacing=1.0, fill=-1.0)
    assert (crop[:, :, :8] == 1).all()
    assert (crop[:, :, 8:] == -1).all()


@given(SEEDS, st.sampled_from([0.1, 0.25, 0.4]), st.booleans())
@settings(max_examples=30)
def test_to_crop_undoes_to_scan(seed: int, share: float, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    straight = transform(rng, rng.uniform(-100, 100, 3), bent=False, mirrored=mirrored)
    moved = SpatialTransform(straight.centre, straight.matrix, warp(rng, share * 8.0, 8.0))
    points = rng.uniform(-40, 40, (50, 3))
    np.testing.assert_allclose(moved.to_crop(moved.to_scan(points)), points, atol=1e-6)
    np.testing.assert_allclose(moved.to_scan(moved.to_crop(points)), points, atol=1e-6)


def test_an_absent_landmark_stays_absent_and_disturbs_no_other() -> None:
    rng = np.random.default_rng(0)
    moved = transform(rng, np.zeros(3), bent=True, mirrored=False)
    points = rng.uniform(-10, 10, (4, 3))
    alone = moved.to_crop(points)
    points[1] = np.nan
    together = moved.to_crop(points)
    assert np.isnan(together[1]).all()
    np.testing.assert_array_equal(together[[0, 2, 3]], alone[[0, 2, 3]])
    assert moved.to_crop(np.zeros((0, 3))).shape == (0, 3)


def test_the_warp_on_a_grid_is_the_warp_at_its_points() -> None:
    bend = warp(np.random.default_rng(0))
    x, y, z = np.linspace(-60, 60, 7), np.linspace(-20, 30, 6), np.linspace(-16, 16, 5)
    points = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    np.testing.assert_allclose(bend.on_grid(x, y, z).reshape(-1, 3), bend(points.reshape(-1, 3)), atol=1e-12)


def test_a_warp_is_a_cubic_b_spline() -> None:
    one = np.zeros((7, 7, 7, 3))
    one[3, 4, 2] = [1, 0, 0]
    bend = ElasticWarp(one, 2.0)
    at = np.array([[0.0, 2.0, -2.0], [1.0, 2.0, -2.0], [2.0, 2.0, -2.0], [4.0, 2.0, -2.0]])
    spline = np.array([2 / 3, 23 / 48, 1 / 6, 0]) * (2 / 3) ** 2
    np.testing.assert_allclose(bend(at)[:, 0], spline, atol=1e-12)


def test_equal_control_points_shift_everything_equally() -> None:
    bend = ElasticWarp(np.broadcast_to([1.0, -2.0, 0.5], (5, 5, 5, 3)), 10.0)
    points = np.random.default_rng(0).uniform(-200, 200, (50, 3))
    np.testing.assert_allclose(bend(points), np.broadcast_to([1.0, -2.0, 0.5], (50, 3)))


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_warp_does_not_fold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = 8.0
    bend = ElasticWarp(0.4 * spacing * rng.choice([-1.0, 1.0], (6, 6, 6, 3)), spacing)
    axis = np.arange(-20, 20, 0.5)
    x, y, z = (axis for _ in range(3))
    place = bend.on_grid(x, y, z) + np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    jacobian = np.stack(np.gradient(place, 0.5, axis=(2, 1, 0)), axis=-1)
    assert np.linalg.det(jacobian).min() > 0


@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_an_odd_number_of_reversed_axes_mirrors(signs: tuple[int, ...]) -> None:
    assert SpatialTransform(np.zeros(3), np.diag(signs).astype(float)).mirrors == (np.prod(signs) < 0)


@given(SEEDS)
@settings(max_examples=20)
def test_the_same_crop_of_turned_anatomy_shows_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = transform(rng, rng.uniform(-5, 5, 3), bent=True, mirrored=bool(rng.integers(2)))
    rotation, point = turn(rng), rng.uniform(-50, 50, 3)
    points = rng.uniform(-12, 12, (7, 3))
    moved = drawn.around(point, rotation).to_scan(points)
    np.testing.assert_allclose(moved, drawn.to_scan(points) @ rotation.T + point, atol=1e-9)

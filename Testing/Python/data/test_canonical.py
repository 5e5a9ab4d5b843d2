"""One orientation and one spacing, whatever the order in which a scan is stored."""

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import canonical_axes, reordered, to_canonical, to_grid, turns
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from Testing.resampling import resample

Array = NDArray[np.float64]

FRAMES = st.from_type(Frame)
SHEAR = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, -0.1], [0.0, 0.0, 1.0]])


def turn(axis: tuple[float, float, float], degrees: float) -> Array:
    """The rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def storage_orders(volume: Volume) -> Iterator[Volume]:
    """The scan with its axes in all 6 orders and 8 combinations of directions."""
    frame = volume.frame
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        voxels = volume.voxels.transpose([2 - axis for axis in reversed(order)])
        voxels = voxels[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
        corner = np.zeros(3)
        for axis, flip in zip(order, flips, strict=True):
            corner[axis] = frame.size[axis] - 1 if flip else 0
        yield Volume(
            np.ascontiguousarray(voxels),
            Frame(
                size=[frame.size[axis] for axis in order],
                origin=frame.index_to_world(corner),
                spacing=frame.spacing[list(order)],
                direction=frame.direction[:, order] * np.where(flips, -1.0, 1.0),
            ),
        )


def scan(direction: Array, *, size: tuple[int, int, int] = (5, 4, 3)) -> Volume:
    frame = Frame(size=size, origin=(11, -7, 3), spacing=(0.5, 1.1, 2.0), direction=direction)
    return Volume(np.random.default_rng(0).integers(-1000, 1000, frame.shape).astype(np.int16), frame)


def assert_same(volume: Volume, expected: Volume) -> None:
    np.testing.assert_array_equal(volume.voxels, expected.voxels)
    assert volume.frame.size == expected.frame.size
    np.testing.assert_allclose(volume.frame.origin, expected.frame.origin, atol=1e-9)
    np.testing.assert_array_equal(volume.frame.spacing, expected.frame.spacing)
    np.testing.assert_array_equal(volume.frame.direction, expected.frame.direction)


TIES = [
    turn(axis, degrees)
    for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, -1), (1, 1, 1), (1, -1, 1))
    for degrees in (45, -45, 60, 90, 135, 180)
]


@given(FRAMES.map(lambda frame: frame.direction))
@settings(max_examples=20)
def test_all_48_storage_orders_of_an_oblique_scan_give_one_array_and_frame(direction: Array) -> None:
    orders = list(storage_orders(scan(direction)))
    assert len(orders) == 48
    expected = to_canonical(orders[0])
    for stored in orders:
        assert_same(to_canonical(stored), expected)


@pytest.mark.parametrize("direction", TIES)
def test_at_45_degrees_too_where_two_orders_are_equally_near(direction: Array) -> None:
    expected = to_canonical(scan(direction))
    for stored in storage_orders(scan(direction)):
        assert_same(to_canonical(stored), expected)


@pytest.mark.parametrize("direction", TIES)
def test_the_rounding_of_a_header_does_not_change_the_choice(direction: Array) -> None:
    noise = np.random.default_rng(1)
    clean = to_canonical(scan(direction)).frame.direction
    for _ in range(20):
        rounded = direction + noise.uniform(-2e-7, 2e-7, (3, 3))
        order, flips = canonical_axes(rounded)
        np.testing.assert_allclose(rounded[:, order] * np.where(flips, -1, 1), clean, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_all_48_storage_orders_come_out_the_same_through_a_file(suffix: str, tmp_path: Path) -> None:
    whole = scan(turn((0, 0, 1), 45))
    expected = to_canonical(whole)
    for stored in storage_orders(whole):
        write_volume(stored, tmp_path / f"scan{suffix}")
        read = to_canonical(read_volume(tmp_path / f"scan{suffix}"))
        np.testing.assert_array_equal(read.voxels, expected.voxels)
        assert read.frame.agrees_with(expected.frame, tolerance=1e-3)


@given(FRAMES, st.booleans())
def test_no_voxel_moves_and_the_axes_point_to_l_p_and_s(frame: Frame, sheared: bool) -> None:
    direction = frame.direction @ (SHEAR if sheared else np.eye(3))
    frame = Frame(size=frame.size, origin=frame.origin, spacing=frame.spacing, direction=direction)
    volume = Volume(np.arange(np.prod(frame.size)).reshape(frame.shape), frame)
    canonical = to_canonical(volume)
    k, j, i = np.indices(canonical.voxels.shape)
    where = canonical.frame.index_to_world(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    index = np.rint(frame.world_to_index(where)).astype(int)
    np.testing.assert_array_equal(canonical.voxels.ravel(), volume.voxels[tuple(index.T[::-1])])
    nearest = np.abs(canonical.frame.direction).sum(axis=0)
    assert (np.diag(canonical.frame.direction) >= 0.5 * nearest - 0.5).all()
    assert np.trace(canonical.frame.direction) > 1.6


def test_an_upright_scan_stays_as_it_is() -> None:
    volume = scan(np.eye(3))
    assert_same(to_canonical(volume), volume)


def test_a_stored_axis_that_runs_to_the_right_is_reversed() -> None:
    volume = scan(np.diag([-1.0, 1.0, 1.0]))
    canonical = to_canonical(volume)
    np.testing.assert_array_equal(canonical.voxels, volume.voxels[:, :, ::-1])
    np.testing.assert_allclose(canonical.frame.origin, volume.frame.index_to_world((4, 0, 0)))


def test_all_48_storage_orders_give_one_grid() -> None:
    whole = scan(turn((1, 2, 3), 25), size=(12, 9, 7))
    expected = to_grid(whole, 0.9)
    for stored in storage_orders(whole):
        resampled = to_grid(stored, 0.9)
        np.testing.assert_allclose(resampled.voxels, expected.voxels, atol=0.01)
        assert resampled.frame.agrees_with(expected.frame, tolerance=1e-6)


@given(FRAMES, st.floats(0.4, 2.5), st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=25)
def test_a_ramp_in_the_world_stays_a_ramp(frame: Frame, factor: float, slope: tuple[float, ...]) -> None:
    frame = Frame(size=(21, 20, 19), origin=(5, 0, -5), spacing=frame.spacing, direction=frame.direction)
    spacing = float(np.median(frame.spacing)) * factor
    k, j, i = np.indices(frame.shape)
    world = frame.index_to_world(np.stack([i, j, k], axis=-1))
    volume = Volume((world @ np.array(slope)).astype(np.float32), frame)
    resampled = to_grid(volume, spacing)
    assert resampled.frame.spacing.tolist() == [spacing] * 3
    k, j, i = np.indices(resampled.voxels.shape)
    where = resampled.frame.index_to_world(np.stack([i, j, k], axis=-1))
    reach = 1 + np.ceil(1.5 * np.maximum(spacing / frame.spacing, 1))  # of the smoothing
    index = frame.world_to_index(where)
    inside = ((index >= reach) & (index <= np.array(frame.size) - 1 - reach)).all(axis=-1)
    expected = where @ np.array(slope)
    scale = np.abs(slope).max() * frame.spacing.max()
    np.testing.assert_allclose(resampled.voxels[inside], expected[inside], atol=1e-3 * scale + 1e-3)


def test_a_direction_matrix_with_a_speck_of_rounding_is_resampled_as_without() -> None:
    clean = np.array([[-0.28, -0.96, 0], [-0.96, 0.28, 0], [0, 0, 1]])
    speck = clean + 1e-310 * np.array([[0, 0, -1.85], [0, 0, -1.38], [-1.85, -1.38, 0]])
    voxels = np.random.default_rng(0).normal(size=(19, 20, 21)).astype(np.float32)
    with_speck, without = (
        to_grid(Volume(voxels, Frame(size=(21, 20, 19), direction=matrix)), 2.0) for matrix in (speck, clean)
    )
    np.testing.assert_array_equal(with_speck.voxels, without.voxels)


@pytest.mark.parametrize("ratio", [2.0, 2.9, 4.0])
def test_detail_finer_than_the_grid_becomes_grey_and_not_a_pattern(ratio: float) -> None:
    parity = np.indices((48, 48, 48)).sum(axis=0) % 2
    stripes = np.indices((48, 48, 48))[2] % 2
    for fine in (parity, stripes):
        coarse = to_grid(Volume((200.0 * fine).astype(np.float32), Frame(size=(48, 48, 48))), ratio).voxels
        assert np.abs(coarse[2:-2, 2:-2, 2:-2] - 100).max() < 8


def test_only_the_axis_that_becomes_coarser_is_smoothed() -> None:
    thin = np.zeros((8, 40, 40))
    thin[4] = 1
    frame = Frame(size=(40, 40, 8), spacing=(0.25, 0.25, 1))
    np.testing.assert_allclose(to_grid(Volume(thin, frame), 1.0).voxels[4], 1, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64])
def test_a_scan_that_has_the_spacing_keeps_its_voxels(kind: type) -> None:
    volume = Volume(np.arange(60).reshape(3, 4, 5).astype(kind), Frame(size=(5, 4, 3), spacing=[0.2001] * 3))
    again = to_grid(volume, 0.2)
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert again.voxels.dtype == kind
    assert again.frame == volume.frame, "and its geometry to the last digit"


@given(st.from_type(Frame), st.floats(0.3, 3.0))
def test_a_flat_scan_stays_flat_up_to_the_edges_of_the_new_grid(frame: Frame, factor: float) -> None:
    flat = Volume(np.full(frame.shape, 40, dtype=np.int16), frame)
    np.testing.assert_allclose(to_grid(flat, factor * float(frame.spacing.max())).voxels, 40, atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_a_finer_grid_is_what_simpleitk_resamples(seed: int) -> None:
    """Axes at any angle, voxels of any shape; a grid that is not coarser is not smoothed."""
    random = np.random.default_rng(seed)
    direction = np.linalg.qr(random.normal(size=(3, 3)))[0]
    if seed % 2:
        direction = direction + random.uniform(-0.2, 0.2, (3, 3))
        direction /= np.linalg.norm(direction, axis=0)
    frame = Frame(size=(11, 9, 10), spacing=random.uniform(0.9, 2, 3), origin=(4, -5, 6), direction=direction)
    voxels = random.integers(-500, 3000, frame.shape).astype(np.int16)
    made = to_grid(Volume(voxels, frame), 0.8)
    canonical = to_canonical(Volume(voxels.astype(np.float32), frame))
    expected = resample(canonical, canonical.frame.with_spacing(0.8), fill=-9999)
    assert made.frame == expected.frame
    np.testing.assert_allclose(made.voxels, expected.voxels, atol=0.02)


def test_24_orders_of_the_axes_come_near_any_pose_and_mirror_nothing() -> None:
    volume = scan(np.eye(3))
    frames = [reordered(volume, *order).frame for order in turns()]
    assert_same(reordered(volume, *turns()[0]), volume)
    assert len(frames) == 24 and all(np.linalg.det(frame.direction) > 0 for frame in frames)
    axes = np.stack([frame.direction for frame in frames])
    for seed in range(200):
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
        rotation[:, 0] *= np.linalg.det(rotation)
        nearest = float(np.einsum("nij,ij->n", axes, rotation).max())
        assert np.degrees(np.arccos((nearest - 1) / 2)) < 62.9


@pytest.mark.parametrize("number", range(24))
def test_a_reordered_scan_shows_the_same_at_the_same_place(number: int) -> None:
    volume = scan(turn((1, 2, 3), 20))
    changed = reordered(volume, *turns()[number])
    index = np.argwhere(changed.voxels == volume.voxels[1, 2, 3])
    assert len(index) == 1
    place = changed.frame.index_to_world(index[0][::-1])
    np.testing.assert_allclose(place, volume.frame.index_to_world([3, 2, 1]), atol=1e-9)

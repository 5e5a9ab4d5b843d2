"""The variations of a sample: within their limits, one by one, and none that is switched off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.training.samples.augmentation import draw_transform, vary_intensities, with_motion
from LandmarkDetectionLib.training.samples.spatial import SpatialTransform
from LandmarkDetectionLib.training.sections import AugmentationSection

Array = NDArray[np.float64]

EXTENT = np.array([40.0, 30.0, 20.0])
CENTRE = np.array([10.0, -20.0, 30.0])
SEEDS = st.integers(0, 2**32 - 1)


def only(**changes: Any) -> AugmentationSection:
    """Everything switched off but what is given."""
    off = dict.fromkeys(AugmentationSection.model_fields, 0)
    return AugmentationSection.model_validate({**off, "elastic_spacing": 10, **changes})


def drawn(seed: int, sideways: Array | None = None, **changes: Any) -> SpatialTransform:
    rng = np.random.default_rng(seed)
    settings = only(**changes)
    return draw_transform(rng, settings, point=CENTRE, place=np.zeros(3), extent=EXTENT, sideways=sideways)


def angle(rotation: Array) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def texture() -> NDArray[np.float32]:
    return np.random.default_rng(5).uniform(-1, 1, (24, 25, 26)).astype(np.float32)


@given(SEEDS)
def test_switched_off_nothing_moves(seed: int) -> None:
    still = drawn(seed, sideways=np.array([1.0, 0, 0]))
    np.testing.assert_array_equal(still.matrix, np.eye(3))
    np.testing.assert_array_equal(still.centre, CENTRE)
    assert still.warp is None


@given(SEEDS)
@settings(max_examples=10)
def test_switched_off_no_intensity_changes(seed: int) -> None:
    image = texture()
    np.testing.assert_allclose(vary_intensities(np.random.default_rng(seed), image, only()), image, atol=1e-6)


@given(SEEDS, st.sampled_from([5.0, 30.0, 90.0, 179.0]))
def test_a_rotation_stays_below_its_limit(seed: int, limit: float) -> None:
    matrix = drawn(seed, rotation=limit).matrix
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) > 0
    assert angle(matrix) <= limit + 1e-6


def test_rotations_reach_their_limit_about_all_axes() -> None:
    matrices = np.stack([drawn(seed, rotation=20).matrix for seed in range(200)])
    assert max(angle(matrix) for matrix in matrices) > 18
    axes = np.stack([matrices[:, 2, 1], matrices[:, 0, 2], matrices[:, 1, 0]])
    assert (axes.max(axis=1) > 0.2).all()
    assert (axes.min(axis=1) < -0.2).all()


def test_any_pose_means_all_poses_alike() -> None:
    turned = np.stack([drawn(seed, rotation=180).matrix for seed in range(2000)])
    np.testing.assert_allclose(turned.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose((turned**2).mean(axis=0), 1 / 3, atol=0.04)


@given(SEEDS)
def test_a_scale_is_the_same_along_all_axes_and_within_its_limit(seed: int) -> None:
    matrix = drawn(seed, scale=0.2).matrix
    np.testing.assert_allclose(matrix, matrix[0, 0] * np.eye(3))
    assert 0.8 <= matrix[0, 0] <= 1.2


@given(SEEDS)
def test_a_shear_leaves_the_diagonal(seed: int) -> None:
    matrix = drawn(seed, shear=0.1).matrix
    np.testing.assert_allclose(np.diag(matrix), 1)
    assert 0 < np.abs(matrix - np.eye(3)).max() <= 0.1


@given(SEEDS)
def test_the_strongest_settings_turn_no_crop_inside_out(seed: int) -> None:
    assert np.linalg.det(drawn(seed, rotation=180, scale=0.999, shear=0.499).matrix) > 0


@given(SEEDS)
def test_a_mirrored_crop_is_mirrored_across_the_plane(seed: int) -> None:
    sideways = np.random.default_rng(seed).standard_normal(3)
    sideways /= np.linalg.norm(sideways)
    mirrored = drawn(seed, sideways=sideways, mirror=1)
    assert mirrored.mirrors
    np.testing.assert_allclose(mirrored.matrix @ sideways, -sideways, atol=1e-12)
    along = np.cross(sideways, [0.3, -0.5, 0.8])
    np.testing.assert_allclose(mirrored.matrix @ along, along, atol=1e-12)
    assert not drawn(seed, sideways=None, mirror=1).mirrors


@given(SEEDS)
def test_a_mirrored_crop_is_turned_like_any_other(seed: int) -> None:
    sideways = np.array([0.6, 0, 0.8])
    straight = drawn(seed, rotation=180, shear=0.1)
    mirrored = drawn(seed, sideways=sideways, rotation=180, shear=0.1, mirror=1)
    reflection = np.eye(3) - 2 * np.outer(sideways, sideways)
    np.testing.assert_allclose(reflection @ mirrored.matrix, straight.matrix, atol=1e-12)


@given(SEEDS)
def test_the_point_lies_where_the_crop_shall_show_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    point, place = rng.uniform(-50, 50, 3), rng.uniform(-0.4, 0.4, 3) * EXTENT
    settings = only(rotation=180, scale=0.2, shear=0.1, mirror=0.5, elastic=1)
    moved = draw_transform(
        rng, settings, point=point, place=place, extent=EXTENT, sideways=np.array([0, 1.0, 0])
    )
    np.testing.assert_allclose(moved.to_scan(place[None])[0], point, atol=1e-9)


def test_a_share_of_the_crops_is_mirrored_and_warped() -> None:
    crops = [drawn(seed, sideways=np.array([0, 1.0, 0]), mirror=0.5, elastic=0.3) for seed in range(400)]
    assert 0.4 < np.mean([crop.mirrors for crop in crops]) < 0.6
    assert 0.2 < np.mean([crop.warp is not None for crop in crops]) < 0.4


@given(SEEDS)
@settings(max_examples=30)
def test_a_warp_reaches_into_every_corner_and_no_farther_than_its_limit(seed: int) -> None:
    warp = drawn(seed, elastic=1, elastic_amplitude=3, elastic_spacing=7.5).warp
    assert warp is not None
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (500, 3)) * EXTENT.max()
    assert 0 < np.abs(warp(points)).max() <= 3
    reach = (len(warp.coefficients) - 1) / 2 * warp.spacing
    assert reach >= EXTENT.max() / 2 + warp.spacing, "every place lies between four control points"


@pytest.mark.parametrize("name", ["noise", "gamma", "contrast"])
def test_each_variation_of_intensity_changes_the_image(name: str) -> None:
    image = texture()
    assert np.abs(vary_intensities(np.random.default_rng(0), image, only(**{name: 0.3})) - image).max() > 0.05


@given(SEEDS)
@settings(max_examples=20)
def test_noise_is_as_strong_as_it_may_be_and_has_no_bias(seed: int) -> None:
    noise = vary_intensities(np.random.default_rng(seed), np.zeros((20, 20, 20), np.float32), only(noise=0.1))
    assert noise.std() <= 0.105
    assert abs(noise.mean()) < 0.005


def test_some_crops_are_noisier_than_others() -> None:
    flat = np.zeros((16, 16, 16), np.float32)
    strengths = [
        vary_intensities(np.random.default_rng(seed), flat, only(noise=0.1)).std() for seed in range(20)
    ]
    assert min(strengths) < 0.03
    assert max(strengths) > 0.07


@given(SEEDS)
@settings(max_examples=20)
def test_gamma_keeps_black_and_white_and_the_order_between(seed: int) -> None:
    ramp = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    varied = vary_intensities(np.random.default_rng(seed), ramp, only(gamma=0.5)).ravel()
    np.testing.assert_allclose(varied[[0, -1]], [-1, 1], atol=1e-6)
    assert (np.diff(varied) > 0).all()
    middle = (varied[32] + 1) / 2
    assert 0.5 ** np.exp(0.5) - 0.01 < middle < 0.52 ** np.exp(-0.5)


@given(SEEDS)
@settings(max_examples=20)
def test_bias_is_smooth_leaves_black_and_stays_within_its_limit(seed: int) -> None:
    flat, black = np.full((24, 20, 16), 0.6, np.float32), np.full((24, 20, 16), -1, np.float32)
    varied = vary_intensities(np.random.default_rng(seed), flat, only(bias=1.4))
    factors = (varied + 1) / 1.6
    assert np.exp(-1.4) - 1e-5 <= factors.min() <= factors.max() <= 1 + 1e-5
    assert max(np.abs(np.diff(factors, axis=axis)).max() for axis in range(3)) < 0.25
    np.testing.assert_allclose(vary_intensities(np.random.default_rng(seed), black, only(bias=1.4)), -1)


def test_bias_differs_between_crops() -> None:
    flat = np.zeros((16, 16, 16), np.float32)
    spreads = [
        np.ptp(vary_intensities(np.random.default_rng(seed), flat, only(bias=1.4))) for seed in range(20)
    ]
    assert min(spreads) < 0.2
    assert max(spreads) > 0.5


@given(SEEDS)
@settings(max_examples=20)
def test_contrast_is_a_straight_line(seed: int) -> None:
    ramp = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    varied = vary_intensities(np.random.default_rng(seed), ramp, only(contrast=0.1))
    gain, offset = np.polyfit(ramp.ravel(), varied.ravel(), 1)
    np.testing.assert_allclose(varied, gain * ramp + offset, atol=1e-5)
    assert 0.9 - 1e-6 <= gain <= 1.1 + 1e-6
    assert abs(offset) <= 0.1 + 1e-6


@given(SEEDS)
@settings(max_examples=20)
def test_motion_leaves_a_blob_where_it_is_and_is_seen_all_the_same(
    find_blob: Callable[[NDArray[np.float32]], Array], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    place = 19.5 + rng.uniform(-2, 2, 3)
    index = np.indices((40, 40, 40))[::-1]
    blob = np.exp(-0.5 * sum((axis - at) ** 2 for axis, at in zip(index, place, strict=True)) / 4**2)
    detail = rng.standard_normal(blob.shape)
    shifts, breaks = rng.uniform(-2, 2, (2, 3)), rng.uniform(0.15, 0.4, 2)
    moved = with_motion(blob.astype(np.float32), shifts, breaks)
    np.testing.assert_allclose(find_blob(moved), place, atol=0.05)
    shown = with_motion(detail.astype(np.float32), shifts, breaks) - detail
    assert shown.std() > 0.1


def test_motion_is_drawn_for_a_share_of_the_crops_and_only_where_it_moves() -> None:
    image = texture()

    def changed(seed: int, **settings: float) -> bool:
        return bool(
            np.abs(vary_intensities(np.random.default_rng(seed), image, only(**settings)) - image).max()
            > 0.01
        )

    assert 5 < sum(changed(seed, motion=0.25, motion_shift=2) for seed in range(40)) < 20
    assert all(changed(seed, motion=1, motion_shift=2) for seed in range(10))
    assert not any(changed(seed, motion=1, motion_shift=0) for seed in range(10))


@pytest.mark.parametrize("shape", [(16, 20, 24), (17, 21, 25)])
def test_a_whole_scan_that_moves_by_nothing_stays(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    still = with_motion(image, np.zeros((2, 3)), np.array([0.15, 0.15]))
    assert still.shape == shape
    assert still.dtype == np.float32
    np.testing.assert_allclose(still, image, atol=1e-5)

"""Whole synthetic cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import PhantomCase, landmark_table, make_case

COARSE = PhantomSettings(spacing=6)
SEEDS = range(12)


def assert_same(first: PhantomCase, second: PhantomCase) -> None:
    assert first.volume.frame == second.volume.frame
    np.testing.assert_array_equal(first.volume.voxels, second.volume.voxels)
    np.testing.assert_array_equal(first.landmarks.positions, second.landmarks.positions)


def test_the_table_has_16_landmarks_with_groups_definitions_and_five_pairs() -> None:
    table = landmark_table()
    assert table.labels == tuple(range(1, 17))
    assert all(landmark.group and landmark.definition for landmark in table.landmarks)
    pairs = {landmark.name: landmark.pair for landmark in table.landmarks if landmark.pair}
    assert len(pairs) == 10
    assert all(pair == name[:-1] + {"L": "R", "R": "L"}[name[-1]] for name, pair in pairs.items())


def test_the_same_settings_and_seed_give_the_same_case() -> None:
    assert_same(make_case(COARSE, 5), make_case(COARSE, 5))


def test_another_seed_gives_another_case() -> None:
    first, second = make_case(COARSE, 5), make_case(COARSE, 6)
    assert not np.array_equal(first.landmarks.positions, second.landmarks.positions)


def test_a_case_is_int16_hu_from_air_to_teeth_with_landmarks_in_the_order_of_the_table() -> None:
    case = make_case(PhantomSettings(noise_hu=0, metal_fraction=0, cut_fraction=0), 1)
    assert case.volume.voxels.dtype == np.int16
    assert case.volume.voxels.min() == -1000
    assert 1700 < case.volume.voxels.max() <= 2000
    assert case.landmarks.names == landmark_table().names


def test_left_landmarks_lie_on_the_patients_left() -> None:
    case = make_case(PhantomSettings.plain(spacing=6), 0)
    names = [name for name in case.landmarks.names if name.endswith("_L")]
    assert (case.landmarks.positions_of(names)[:, 0] > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_uncut_field_of_view_holds_every_landmark(seed: int) -> None:
    settings = replace(
        COARSE, cut_fraction=0, max_rotation_degrees=180, max_oblique_degrees=180, max_margin_mm=0
    )
    assert make_case(settings, seed).landmarks.present.all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_field_of_view_leaves_landmarks_absent_that_are_outside_it(seed: int) -> None:
    case = make_case(replace(COARSE, cut_fraction=1), seed)
    truth = case.pose.to_world([case.head.landmarks[name] for name in case.landmarks.names])
    present = case.landmarks.present
    assert 0 < present.sum() < 16
    np.testing.assert_array_equal(present, case.volume.frame.contains(truth))
    np.testing.assert_array_equal(case.landmarks.positions[present], truth[present])


@pytest.mark.parametrize("seed", SEEDS)
def test_air_surrounds_an_uncut_head_but_for_the_neck(seed: int) -> None:
    settings = replace(PhantomSettings.plain(spacing=4), shape_variation=1, asymmetry=1)
    voxels = make_case(settings, seed).volume.voxels
    for face in (voxels[-1], voxels[:, 0], voxels[:, :, 0], voxels[:, :, -1]):
        assert (face == -1000).all()


CHANGES: list[dict[str, Any]] = [
    {"noise_hu": 0},
    {"metal_fraction": 1},
    {"partial_volume": False},
    {"reorient_fraction": 1},
    {"max_oblique_degrees": 45},
    {"anisotropic_fraction": 1, "max_anisotropy": 3},
    {"spacing": 9},
    {"max_margin_mm": 0},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ", ".join(change))
def test_how_the_head_is_scanned_does_not_move_its_landmarks(change: dict[str, Any]) -> None:
    settings = replace(COARSE, cut_fraction=0, metal_fraction=0)
    expected = make_case(settings, 7).landmarks.positions
    np.testing.assert_array_equal(make_case(replace(settings, **change), 7).landmarks.positions, expected)


def test_noise_has_the_given_standard_deviation() -> None:
    clean, noisy = (make_case(replace(COARSE, noise_hu=sd), 3).volume.voxels.astype(float) for sd in (0, 40))
    within = (clean > -900) & (clean < 2500)
    assert (noisy - clean)[within].std() == pytest.approx(40, rel=0.05)


def test_metal_teeth_are_bright_and_streak_the_slices_around_them() -> None:
    settings = replace(PhantomSettings.plain(), metal_fraction=1)
    plain, streaked = make_case(PhantomSettings.plain(), 2), make_case(settings, 2)
    change = np.abs(streaked.volume.voxels.astype(float) - plain.volume.voxels)
    assert (plain.metal_teeth, streaked.metal_teeth > 0) == (0, True)
    assert streaked.volume.voxels.max() > 2500
    changed = change.max(axis=(1, 2)) > 100
    assert 3 <= changed.sum() <= 20


def test_about_the_given_share_of_cases_has_metal_and_cuts() -> None:
    cases = [
        make_case(PhantomSettings(spacing=20, metal_fraction=0.5, cut_fraction=0.5), s) for s in range(60)
    ]
    assert 0.3 < np.mean([case.metal_teeth > 0 for case in cases]) < 0.7
    assert 0.3 < np.mean([not case.landmarks.present.all() for case in cases]) < 0.7


def test_an_anisotropic_case_is_coarser_along_one_axis() -> None:
    frame = make_case(replace(COARSE, anisotropic_fraction=1, max_anisotropy=2), 1).volume.frame
    finest, middle, coarsest = sorted(frame.spacing)
    assert finest == middle == 6 < coarsest <= 12


def test_voxel_axes_are_flipped_and_permuted_on_request() -> None:
    settings = replace(COARSE, reorient_fraction=1, max_oblique_degrees=0)
    directions = {tuple(make_case(settings, seed).volume.frame.direction.ravel()) for seed in range(20)}
    assert len(directions) > 10
    assert {abs(value) for direction in directions for value in direction} == {0.0, 1.0}
    upright = make_case(replace(COARSE, reorient_fraction=0, max_oblique_degrees=0), 0).volume.frame
    np.testing.assert_array_equal(upright.direction, np.eye(3))

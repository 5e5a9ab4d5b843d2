"""What landmarks tell of the pose, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation, Part, moving_parts
from LandmarkDetectionLib.data.shape import mean_shape

Array = NDArray[np.float64]
LINE = np.outer(np.linspace(-15, 15, 4), [1.0, 0.0, 0.0])
PLANE = np.array([[-15.0, 0, 0], [15, 1, 0], [0, 12, 0], [2, -9, 0]])
NOISE = 1.5


def a_turn(rng: np.random.Generator, degrees: float) -> Array:
    x, y, z = (lambda axis: axis / np.linalg.norm(axis))(rng.standard_normal(3))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def angle_of(rotation: Array) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


@pytest.mark.parametrize(
    ("shape", "tells"),
    [(LINE, False), (LINE[:1], False), (LINE[[0, 3]], False), (PLANE, True), (PLANE[:3], True)],
)
def test_a_line_and_fewer_than_three_do_not_tell_how_they_are_turned(shape: Array, tells: bool) -> None:
    rng = np.random.default_rng(1)
    noisy = shape + rng.normal(0, 0.3, shape.shape)
    assert Constellation.of(noisy, NOISE).tells_rotation is tells
    missing = np.vstack([shape, np.full((2, 3), np.nan)])
    assert Constellation.of(missing, NOISE).tells_rotation is tells


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_landmarks_in_a_plane_have_the_pose_that_they_show(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, shift = a_turn(rng, rng.uniform(0, 180)), rng.uniform(-50, 50, 3)
    pose = Constellation.of(PLANE, NOISE).pose_in(1.1 * PLANE @ turn.T + shift)
    np.testing.assert_allclose(pose.rotation, turn, atol=1e-6)
    assert pose.scale == pytest.approx(1.1)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_a_line_is_turned_with_its_ends_and_not_about_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = a_turn(rng, rng.uniform(0, 20))
    points = LINE @ turn.T + rng.normal(0, 0.5, LINE.shape) + rng.uniform(-50, 50, 3)
    pose = Constellation.of(LINE, NOISE).pose_in(points)
    assert np.linalg.norm(pose.apply(LINE) - points, axis=1).max() < 3
    assert angle_of(pose.rotation) < 24, "no more than the ends have been"
    beside = np.array([0.0, 10.0, 0.0])
    expected = points + turn @ beside
    assert np.linalg.norm(pose.apply(LINE + beside) - expected, axis=1).max() < 7


def test_a_single_landmark_is_shifted() -> None:
    one = Constellation.of(np.array([[1.0, 2, 3]]), NOISE)
    pose = one.pose_in(np.array([[7.0, 7, 7]]))
    np.testing.assert_array_equal(pose.rotation, np.eye(3))
    np.testing.assert_allclose(pose.apply(one.shape), [[7, 7, 7]])
    assert pose.scale == 1 and one.is_shown_by(np.zeros((1, 3)))
    assert not one.is_shown_by(np.full((1, 3), np.nan))


def test_too_few_landmarks_for_a_pose_are_known() -> None:
    plane = Constellation.of(PLANE, NOISE)
    two = np.where(np.arange(4)[:, None] < 2, PLANE, np.nan)
    assert plane.is_shown_by(PLANE) and not plane.is_shown_by(two)
    with pytest.raises(ValueError, match="three common points"):
        plane.pose_in(two)


SKULL = np.random.default_rng(5).uniform(-60, 60, (8, 3))
JAW = np.random.default_rng(6).uniform(-30, 30, (6, 3)) + np.array([0, -40, -60])
GROUPS = ["face"] * 4 + ["base"] * 4 + ["jaw"] * 6


def heads_with_a_jaw(opening: float, count: int = 20) -> Array:
    """In any pose, their jaws turned about the ears by up to so many degrees."""
    rng = np.random.default_rng(2)
    made = []
    for _ in range(count):
        x = np.deg2rad(rng.uniform(0, opening))
        hinge = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        points = np.vstack([SKULL, JAW @ hinge.T]) + rng.normal(0, 1, (14, 3))
        made.append(points @ a_turn(rng, rng.uniform(0, 180)).T + rng.uniform(-50, 50, 3))
    return np.array(made)


def test_a_jaw_that_opens_is_a_part_of_its_own_and_the_skull_stays_one() -> None:
    shapes = heads_with_a_jaw(25)
    shapes[3, 9:] = np.nan
    parts = moving_parts(shapes, Constellation.of(mean_shape(shapes), 3.0), GROUPS, 3.0)
    assert sorted(part.landmarks for part in parts) == [tuple(range(8)), tuple(range(8, 14))]
    assert all(0.5 < part.movement < 20 for part in parts)


@pytest.mark.parametrize(("opening", "groups"), [(0, GROUPS), (25, [""] * 14), (25, GROUPS[:11] + [""] * 3)])
def test_what_does_not_move_or_is_too_little_to_tell_is_no_part(opening: float, groups: list[str]) -> None:
    shapes = heads_with_a_jaw(opening)
    assert moving_parts(shapes, Constellation.of(mean_shape(shapes), 3.0), groups, 3.0) == ()


def test_a_part_knows_its_own_landmarks_alone() -> None:
    part = Part((0, 1, 3), 2.0).of(Constellation(PLANE, 0.0), NOISE)
    assert np.isnan(part.shape[2]).all() and np.isfinite(part.shape[[0, 1, 3]]).all()
    assert not Part((0, 1), 2.0).of(Constellation(PLANE, 0.0), NOISE).tells_rotation

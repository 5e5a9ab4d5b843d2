"""What landmarks tell of the pose, and what they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation

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

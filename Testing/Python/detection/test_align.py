"""Align finds the pose that most candidates agree with, however many are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.shape import Similarity
from LandmarkDetectionLib.detection.align import Candidates, align

Array = NDArray[np.float64]
PAIRS = 15
TOLERANCE = 0.4
ABOUT_UPRIGHT: dict[str, Any] = {
    "tolerance": 0.5,
    "scales": (0.9, 1.1),
    "upright": np.eye(3),
    "turned": 75,
}
EXPECTED: dict[str, Any] = {"tolerance": TOLERANCE, "scales": (0.5, 2.0)}


def a_head(rng: np.random.Generator) -> tuple[Array, list[int]]:
    """30 landmarks in left-right pairs, and the order that mirrors them."""
    right = rng.uniform([1, -10, -6], [8, 10, 6], (PAIRS, 3))
    shape = np.concatenate([right, right * [-1, 1, 1] + rng.normal(0, 0.1, right.shape)])
    return shape, [*range(PAIRS, 2 * PAIRS), *range(PAIRS)]


def a_pose(rng: np.random.Generator) -> Similarity:
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    rotation[:, 0] *= np.linalg.det(rotation)
    return Similarity(rotation, float(rng.uniform(0.8, 1.25)), rng.uniform(-50, 50, 3))


def found_at(
    truth: Array, rng: np.random.Generator, twins: list[int], *, wrong: float, mirrored: float
) -> Candidates:
    """Three candidates a landmark: near the truth, near its mirror twin and anywhere, in varying order."""
    count = len(truth)
    near = truth + rng.normal(0, TOLERANCE, truth.shape)
    twin = truth[twins] + rng.normal(0, TOLERANCE, truth.shape)
    anywhere = truth.mean(axis=0) + rng.uniform(-15, 15, (count, 3))
    positions = np.stack([near, twin, anywhere], axis=1)
    values = np.tile([0.6, 0.3, 0.1], (count, 1))
    confused = rng.random(count) < mirrored
    values[confused] = [0.35, 0.55, 0.1]
    lost = rng.random(count) < wrong
    positions[lost] = truth.mean(axis=0) + rng.uniform(-15, 15, (int(lost.sum()), 3, 3))
    return Candidates(positions, values)


def test_landmarks_that_hardly_have_a_candidate_do_not_count_where_that_is_asked() -> None:
    """Three of seven are left of cut anatomy; candidates for the others crowd somewhere."""
    rng = np.random.default_rng(4)
    shape = rng.uniform(-20, 20, (7, 3))
    positions = np.stack([shape + np.array([3.0, 1.0, -2.0])] * 2, axis=1)
    positions[3:] = rng.uniform(-60, 60, (4, 2, 3))
    values = np.tile([0.8, 0.1], (7, 1))
    values[3:] = [0.15, 0.1]
    candidates, constellation = Candidates(positions, values), Constellation(shape, 0.0)
    every = align(candidates, constellation, **ABOUT_UPRIGHT)
    seen = align(candidates, constellation, **ABOUT_UPRIGHT, least=0.2)
    assert every is None or every.support < 0.3
    assert seen is not None and seen.support > 0.9
    assert np.abs(seen.pose.translation - [3.0, 1.0, -2.0]).max() < 0.2


def angle_between(first: Array, second: Array) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_pose_is_found_though_half_the_landmarks_are_taken_for_their_twins_and_a_third_is_lost(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape, twins = a_head(rng)
    pose = a_pose(rng)
    truth = pose.apply(shape)
    found = align(
        found_at(truth, rng, twins, wrong=0.33, mirrored=0.45),
        Constellation(shape, 0.0),
        **EXPECTED,
    )
    assert found is not None
    assert angle_between(found.pose.rotation, pose.rotation) < 6
    assert np.linalg.norm(found.pose.apply(shape) - truth, axis=1).mean() < 2.5 * TOLERANCE
    assert np.linalg.det(found.pose.rotation) == pytest.approx(1)


def test_exact_candidates_give_the_exact_pose() -> None:
    rng = np.random.default_rng(1)
    shape, _ = a_head(rng)
    pose = a_pose(rng)
    truth = pose.apply(shape)
    positions = np.stack([np.full_like(truth, np.nan), truth], axis=1)
    found = align(
        Candidates(positions, np.tile([0.0, 1.0], (len(shape), 1))),
        Constellation(shape, 0.0),
        **EXPECTED,
    )
    assert found is not None and found.support == pytest.approx(1)
    np.testing.assert_allclose(found.pose.apply(shape), truth, atol=1e-9)


def test_absent_landmarks_and_unknown_places_do_not_disturb() -> None:
    rng = np.random.default_rng(2)
    shape, twins = a_head(rng)
    pose = a_pose(rng)
    candidates = found_at(pose.apply(shape), rng, twins, wrong=0, mirrored=0)
    candidates.values[:10] = 0
    candidates.positions[:10] = np.nan
    shape[20:24] = np.nan
    found = align(candidates, Constellation(shape, 0.0), **EXPECTED)
    assert found is not None
    assert angle_between(found.pose.rotation, pose.rotation) < 5


def test_what_is_no_such_anatomy_has_little_support() -> None:
    rng = np.random.default_rng(3)
    shape, twins = a_head(rng)
    head = align(
        found_at(a_pose(rng).apply(shape), rng, twins, wrong=0.1, mirrored=0.3),
        Constellation(shape, 0.0),
        **EXPECTED,
    )
    noise = Candidates(rng.uniform(-40, 40, (len(shape), 3, 3)), rng.uniform(0.1, 0.5, (len(shape), 3)))
    nothing = align(noise, Constellation(shape, 0.0), **EXPECTED)
    assert head is not None and head.support > 0.5
    assert nothing is None or nothing.support < 0.3


def test_two_candidates_are_no_pose() -> None:
    shape, _ = a_head(np.random.default_rng(4))
    values = np.zeros((len(shape), 1))
    values[:2] = 1
    assert align(Candidates(shape[:, None].copy(), values), Constellation(shape, 0.0), **EXPECTED) is None


def test_candidates_that_all_but_say_nowhere_support_no_pose() -> None:
    rng = np.random.default_rng(3)
    shape, _ = a_head(rng)
    truth = a_pose(rng).apply(shape)
    certain = align(
        Candidates(truth[:, None], np.full((len(shape), 1), 0.9)),
        Constellation(shape, 0.0),
        **EXPECTED,
    )
    hardly = align(
        Candidates(truth[:, None], np.full((len(shape), 1), 1e-3)),
        Constellation(shape, 0.0),
        **EXPECTED,
    )
    assert certain is not None and certain.support > 0.99
    assert hardly is not None and hardly.support < 0.1


FEW = np.array([[-15.0, 0, 0], [15, 1, 0], [0, 12, 2], [2, -9, 1]])


def tipped(degrees: float) -> Array:
    x = np.deg2rad(degrees)
    return np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])


@pytest.mark.parametrize(("known", "missing"), [(4, 3), (4, 0), (3, 2), (3, 0)])
def test_of_a_few_landmarks_one_may_be_missing(known: int, missing: int) -> None:
    """The others hardly say how they are turned, and what all but says nowhere does not say it for them."""
    rng = np.random.default_rng(known + missing)
    shape = FEW[:known]
    truth = shape @ tipped(12).T + [30, -20, 5]
    positions = np.stack([truth, truth + rng.uniform(-12, 12, (2, known, 3))[0]], axis=1)
    values = np.tile([0.9, 0.05], (known, 1))
    positions[missing], values[missing] = truth[missing] + rng.uniform(-9, 9, (2, 3)), [0.02, 0.01]
    found = align(
        Candidates(positions, values),
        Constellation(shape, 0.0),
        tolerance=1.5,
        scales=(0.9, 1.1),
        upright=np.eye(3),
        turned=75,
    )
    assert found is not None and found.support > 0.5
    assert angle_between(found.pose.rotation, tipped(12)) < 25
    errors = np.linalg.norm(found.pose.apply(shape) - truth, axis=1)
    assert np.delete(errors, missing).max() < 3 and errors.max() < 6


def test_all_of_a_few_landmarks_tell_how_they_are_turned() -> None:
    truth = FEW @ tipped(50).T
    found = align(
        Candidates(truth[:, None], np.full((4, 1), 0.9)),
        Constellation(FEW, 0.0),
        **ABOUT_UPRIGHT,
    )
    assert found is not None and angle_between(found.pose.rotation, tipped(50)) < 3


def test_a_few_certain_landmarks_in_another_order_are_no_pose() -> None:
    wrong = FEW[[1, 3, 0, 2]] * [1, 1, -1]
    found = align(
        Candidates(wrong[:, None], np.full((4, 1), 0.9)),
        Constellation(FEW, 0.0),
        **ABOUT_UPRIGHT,
    )
    assert found is None or found.support < 0.6


def test_three_that_agree_are_no_pose_where_there_are_more() -> None:
    """As in a look from the wrong side: a few candidates fit by chance, the others lie anyhow."""
    rng = np.random.default_rng(4)
    shape = rng.uniform(-10, 10, (7, 3))
    positions = shape + rng.uniform(8, 20, shape.shape) * rng.choice([-1, 1], shape.shape)
    positions[:3] = shape[:3]
    values = np.where(np.arange(7) < 3, 0.9, 0.15)[:, None]
    found = align(Candidates(positions[:, None], values), Constellation(shape, 0.0), **EXPECTED)
    assert found is None or found.support < 0.3

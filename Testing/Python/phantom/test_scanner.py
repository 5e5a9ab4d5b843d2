"""Pose, grid and image of a synthetic scan."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.phantom.anatomy.head import build_head
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.scanner import Pose, add_streaks, draw_pose, paint, quantise
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.shapes import Array, Ellipsoid

HEAD = build_head(np.random.default_rng(11))
seeds = st.integers(0, 2**32 - 1)


def random_pose(seed: int) -> Pose:
    return draw_pose(np.random.default_rng(seed), PhantomSettings(max_rotation_degrees=180))


def reordered(frame: Frame, order: tuple[int, ...], flips: tuple[bool, ...]) -> Frame:
    """The same voxels in another axis order: new axis a is the old axis order[a], backwards where flipped."""
    chosen = list(order)
    size, spacing, direction = np.array(frame.size)[chosen], frame.spacing[chosen], frame.direction[:, chosen]
    first = np.zeros(3)
    first[chosen] = np.where(flips, size - 1, 0)
    signs = np.where(flips, -1, 1)
    return Frame(size=size, spacing=spacing, direction=direction * signs, origin=frame.index_to_world(first))


def stored(
    image: NDArray[np.float32], order: tuple[int, ...], flips: tuple[bool, ...]
) -> NDArray[np.float32]:
    """The voxels of an image as `reordered` stores them."""
    by_axis = image.transpose(2, 1, 0).transpose(order)
    flipped = by_axis[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    voxels: NDArray[np.float32] = flipped.transpose(2, 1, 0)
    return voxels


def test_all_48_axis_orders_hold_the_same_hu_at_the_same_world_points() -> None:
    pose = random_pose(4)
    around = pose.to_world(HEAD.landmarks["Upper_Incisor"])
    frame = Frame(size=(20, 22, 24), spacing=(3, 2, 4), origin=around - (30, 20, 50))
    metal = HEAD.teeth[4:6]

    def scan(grid: Frame) -> NDArray[np.float32]:
        image = paint(HEAD.layers, pose, grid)
        add_streaks(np.random.default_rng(0), image, grid, pose, metal)
        return image

    image = scan(frame)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        np.testing.assert_allclose(scan(reordered(frame, order, flips)), stored(image, order, flips), atol=1)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_image_and_landmarks_move_together(seed: int) -> None:
    """A small grid that goes with the head sees the same, wherever the head goes."""
    rng = np.random.default_rng(seed)
    pose, upright = random_pose(seed), Pose(np.eye(3), np.zeros(3))
    name = sorted(HEAD.landmarks)[rng.integers(len(HEAD.landmarks))]
    corner = HEAD.landmarks[name] - 6
    here = Frame(size=[13] * 3, origin=corner)
    there = Frame(size=[13] * 3, origin=pose.to_world(corner), direction=pose.rotation)
    np.testing.assert_allclose(paint(HEAD.layers, pose, there), paint(HEAD.layers, upright, here), atol=2)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_hu_at_a_world_point_does_not_depend_on_the_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, tilt = random_pose(seed), random_pose(seed + 1).rotation
    point = pose.to_world(list(HEAD.landmarks.values())[rng.integers(16)] + rng.uniform(-8, 8, 3))
    straight = paint(HEAD.layers, pose, Frame(size=[1] * 3, origin=point))
    place = rng.integers(0, 7, 3)
    oblique = Frame(size=[7] * 3, origin=point - tilt @ place, direction=tilt)
    i, j, k = place
    assert paint(HEAD.layers, pose, oblique)[k, j, i] == pytest.approx(straight.item(), abs=2)


@given(offset=st.tuples(*[st.floats(-1.5, 1.5)] * 3))
@settings(max_examples=25, deadline=None)
def test_partial_volume_keeps_the_volume_and_the_centre_of_a_ball_within_a_fraction_of_a_voxel(
    offset: tuple[float, float, float],
) -> None:
    ball, spacing = Ellipsoid(np.array(offset), np.full(3, 9.0)), np.array([3.0, 3.0, 3.0])
    frame = Frame(size=[11] * 3, spacing=spacing, origin=[-15] * 3)
    share = paint([Layer(ball, Tissue.SOFT)], Pose(np.eye(3), np.zeros(3)), frame)
    share = (share - Tissue.AIR) / (Tissue.SOFT - Tissue.AIR)
    assert share.sum() * spacing.prod() == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.04)
    k, j, i = np.indices(frame.shape)
    centre = frame.index_to_world([np.average(axis, weights=share) for axis in (i, j, k)])
    assert np.abs(centre - offset).max() < 0.05 * 3


def test_without_partial_volume_every_voxel_is_one_tissue() -> None:
    frame = Frame(size=(43, 50, 58), spacing=[4] * 3, origin=(-84, -100, -115))
    pose = Pose(np.eye(3), np.zeros(3))
    tissues = {round(layer.hu) for layer in HEAD.layers} | {round(Tissue.AIR)}
    assert set(np.unique(quantise(paint(HEAD.layers, pose, frame, partial_volume=False)))) <= tissues
    assert len(np.unique(quantise(paint(HEAD.layers, pose, frame)))) > 1000


def test_the_head_turns_no_further_than_the_settings_say() -> None:
    def angles(limit: float) -> Array:
        poses = [
            draw_pose(np.random.default_rng(seed), PhantomSettings(max_rotation_degrees=limit))
            for seed in range(200)
        ]
        for pose in poses:
            np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(pose.rotation) > 0
        return np.rad2deg(np.arccos([np.clip((np.trace(pose.rotation) - 1) / 2, -1, 1) for pose in poses]))

    assert 13 < angles(15).max() <= 15
    assert 170 < angles(180).max() <= 180
    assert angles(0).max() < 1e-6

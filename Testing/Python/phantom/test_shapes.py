"""The closed forms that the synthetic anatomy is built from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LandmarkDetectionLib.phantom.shapes import Array, Ball, Ellipsoid, RoundCone, Shape, Union, chain

seeds = st.integers(0, 2**32 - 1)


def some_shapes(rng: np.random.Generator) -> list[Ellipsoid | RoundCone]:
    start, end = (
        Ball(rng.uniform(-5, 5, 3), rng.uniform(1, 4)),
        Ball(rng.uniform(10, 20, 3), rng.uniform(1, 4)),
    )
    return [Ellipsoid(rng.uniform(-5, 5, 3), rng.uniform(1, 9, 3)), RoundCone(start, end)]


def points_inside(shape: Shape, rng: np.random.Generator) -> Array:
    points = rng.uniform(-30, 30, (3, 20000))
    return points[:, shape.distance(points) < 0]


@given(seed=seeds)
def test_the_distance_to_a_round_cone_is_that_to_the_nearest_of_its_balls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, cone = some_shapes(rng)
    assert isinstance(cone, RoundCone)
    points = rng.uniform(-30, 30, (3, 50))
    share = np.linspace(0, 1, 4001)[:, None]
    centres = cone.start.centre + share * (cone.end.centre - cone.start.centre)
    radii = cone.start.radius + share * (cone.end.radius - cone.start.radius)
    balls = np.linalg.norm(centres[:, None] - points.T, axis=2) - radii
    np.testing.assert_allclose(cone.distance(points), balls.min(axis=0), atol=1e-2)


@given(seed=seeds)
def test_a_sphere_as_an_ellipsoid_gives_its_exact_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(-5, 5, 3), rng.uniform(1, 9)
    points = np.column_stack([centre, rng.uniform(-30, 30, (3, 50))])
    exact = np.linalg.norm(points - centre[:, None], axis=0) - radius
    np.testing.assert_allclose(Ellipsoid(centre, np.full(3, radius)).distance(points), exact, atol=1e-5)


@given(seed=seeds)
def test_an_extreme_point_is_on_the_surface_and_its_normal_is_the_direction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    for shape in some_shapes(rng):
        point = shape.extreme(7 * direction)
        nearby = point[:, None] + 1e-5 * np.column_stack([np.zeros(3), np.eye(3), -np.eye(3)])
        distance = shape.distance(nearby)
        gradient = (distance[1:4] - distance[4:]) / 2e-5
        assert abs(distance[0]) < 1e-12
        np.testing.assert_allclose(gradient, direction, atol=1e-4)


@given(seed=seeds)
@settings(max_examples=30)
def test_a_shape_never_goes_beyond_its_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = some_shapes(rng)
    for shape in [*shapes, Union(tuple(shapes), blend=6)]:
        inside = points_inside(shape, rng)
        direction = rng.standard_normal(3)
        if inside.size:
            assert (direction @ inside).max() <= shape.reach(direction)


def test_a_fillet_leaves_the_surface_away_from_the_joint_exact() -> None:
    upright = RoundCone(Ball(np.zeros(3), 2.0), Ball(np.array([0, 0, 10.0]), 2.0))
    across = RoundCone(Ball(np.zeros(3), 2.0), Ball(np.array([10.0, 0, 0]), 2.0))
    joined = Union((upright, across), blend=3)
    assert joined.distance(upright.extreme([0, 0, 1])) == pytest.approx(0, abs=1e-12)
    assert joined.distance(across.extreme([1, 0, 0])) == pytest.approx(0, abs=1e-12)
    corner = np.array([2.2, 0, 2.2])
    assert Union((upright, across)).distance(corner) > 0 > joined.distance(corner)


def test_a_chain_joins_its_balls_in_their_order() -> None:
    balls = [Ball(np.array(centre), 1.0) for centre in ([0.0, 0, 0], [10.0, 0, 0], [10.0, 10, 0])]
    bar = chain(*balls)
    on_the_way = np.array([[5.0, 0, 0], [10.0, 5, 0], [5.0, 5, 0]]).T
    np.testing.assert_allclose(bar.distance(on_the_way), [-1, -1, 4])

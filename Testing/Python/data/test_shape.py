"""Similarities, mean shapes and left-right pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.shape import (
    Similarity,
    clear_symmetry,
    find_symmetry,
    fit_robustly,
    fit_similarity,
    mean_shape,
)

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
SIZE = 30.0


def cloud(rng: np.random.Generator, count: int) -> Array:
    return rng.normal(size=(count, 3)) * SIZE


def random_similarity(rng: np.random.Generator, *, mirrored: bool = False) -> Similarity:
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if (np.linalg.det(rotation) < 0) != mirrored:
        rotation[:, 0] *= -1
    return Similarity(rotation, float(np.exp(rng.uniform(-1, 1))), rng.normal(size=3) * 100)


def largest_distance(shape: Array, other: Array) -> float:
    return float(np.linalg.norm(shape - other, axis=-1).max())


@given(SEEDS, st.integers(4, 20), st.booleans())
def test_a_similarity_is_recovered_from_the_points_it_moved(seed: int, count: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    points, true = cloud(rng, count), random_similarity(rng, mirrored=mirrored)
    found = fit_similarity(points, true.apply(points), allow_reflection=True)
    np.testing.assert_allclose(found.rotation, true.rotation, atol=1e-6)
    assert found.scale == pytest.approx(true.scale)
    np.testing.assert_allclose(found.translation, true.translation, atol=1e-5)


@given(SEEDS)
def test_the_inverse_brings_points_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, map_ = cloud(rng, 5), random_similarity(rng)
    np.testing.assert_allclose(map_.inverse().apply(map_.apply(points)), points, atol=1e-9)


@given(SEEDS)
def test_no_small_change_of_a_fit_fits_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target, weights = cloud(rng, 8), cloud(rng, 8), rng.uniform(0.1, 1, 8)
    best = fit_similarity(source, target, weights)

    def misfit(fit: Similarity) -> float:
        return float(weights @ ((fit.apply(source) - target) ** 2).sum(axis=1))

    for _ in range(10):
        turn = np.linalg.qr(np.eye(3) + 1e-3 * rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.diag(turn))
        changed = Similarity(
            turn @ best.rotation,
            best.scale * (1 + 1e-3 * rng.normal()),
            best.translation + 1e-2 * rng.normal(size=3),
        )
        assert misfit(changed) >= misfit(best) * (1 - 1e-12)


def test_a_rotation_is_fitted_where_a_reflection_would_be_nearer() -> None:
    points = cloud(np.random.default_rng(0), 6)
    mirrored = points * (-1, 1, 1)
    assert np.linalg.det(fit_similarity(points, mirrored).rotation) == pytest.approx(1)
    assert np.linalg.det(fit_similarity(points, mirrored, allow_reflection=True).rotation) == pytest.approx(
        -1
    )


def test_points_in_a_plane_are_turned_not_mirrored() -> None:
    rng = np.random.default_rng(0)
    points, true = cloud(rng, 6) * (1, 1, 0), random_similarity(rng)
    found = fit_similarity(points, true.apply(points))
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    np.testing.assert_allclose(found.apply(points), true.apply(points), atol=1e-9)


def test_a_rigid_fit_keeps_the_scale() -> None:
    points = cloud(np.random.default_rng(0), 6)
    assert fit_similarity(points, 2 * points, scale=False).scale == 1


def test_missing_points_and_points_of_no_weight_do_not_count() -> None:
    rng = np.random.default_rng(0)
    points, true = cloud(rng, 8), random_similarity(rng)
    target = true.apply(points)
    target[0], points[1] = np.nan, np.nan
    target[2] += 50
    weights = np.ones(8)
    weights[2] = 0
    assert fit_similarity(points, target, weights).scale == pytest.approx(true.scale)


def test_two_points_are_too_few_for_a_similarity() -> None:
    with pytest.raises(ValueError, match="three common points; there are 2"):
        fit_similarity(np.eye(3)[:2], np.eye(3)[:2])


def test_points_in_one_spot_have_no_similarity() -> None:
    with pytest.raises(ValueError, match="one spot"):
        fit_similarity(np.ones((4, 3)), np.ones((4, 3)))


def test_a_robust_fit_is_not_bent_by_one_wrong_point() -> None:
    rng = np.random.default_rng(0)
    points = cloud(rng, 10)
    target = points + rng.normal(size=points.shape) * 0.5
    target[3] += 200
    others = np.arange(10) != 3
    robust, plain = (
        fit.apply(points) - target for fit in (fit_robustly(points, target), fit_similarity(points, target))
    )
    assert np.linalg.norm(robust[others], axis=1).mean() < 2
    assert np.linalg.norm(plain[others], axis=1).mean() > 10


@given(SEEDS, st.integers(1, 6))
def test_the_mean_of_one_shape_in_many_poses_is_that_shape(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    shape = cloud(rng, 7)
    moves = [
        Similarity(move.rotation, 1.0, move.translation)
        for move in (random_similarity(rng) for _ in range(count))
    ]
    shapes = np.stack([move.apply(shape) for move in moves])
    apart = np.abs(shapes - mean_shape(shapes)).max(axis=(1, 2))
    assert apart.min() < 1e-6


def test_the_mean_shape_stands_as_most_do_though_the_first_does_not() -> None:
    shape = cloud(np.random.default_rng(0), 7)
    odd = shape @ np.diag([-1.0, -1, 1])
    np.testing.assert_allclose(mean_shape([odd, shape, shape, shape]), shape, atol=1e-6)


def test_the_mean_shape_has_the_middle_size_and_the_first_pose() -> None:
    shape = cloud(np.random.default_rng(0), 7)
    mean = mean_shape([0.5 * shape, shape, 3 * shape])
    np.testing.assert_allclose(mean - mean.mean(axis=0), shape - shape.mean(axis=0), atol=1e-6)


def test_the_mean_shape_is_nearer_the_truth_than_a_shape_is() -> None:
    rng = np.random.default_rng(0)
    truth = cloud(rng, 20)
    shapes = np.stack([random_similarity(rng).apply(truth + rng.normal(size=truth.shape)) for _ in range(30)])
    mean = mean_shape(shapes)
    assert largest_distance(fit_similarity(mean, truth).apply(mean), truth) < 1


def test_the_mean_shape_is_made_of_parts_that_no_case_has_all_of() -> None:
    rng = np.random.default_rng(0)
    truth = cloud(rng, 12)
    shapes = np.stack([truth] * 4)
    shapes[0, 4:] = np.nan
    shapes[1, :1], shapes[1, 8:] = np.nan, np.nan
    shapes[2, :5] = np.nan
    shapes[3, :] = np.nan
    np.testing.assert_allclose(mean_shape(shapes), truth, atol=1e-6)


def test_a_point_that_nobody_has_is_missing_in_the_mean() -> None:
    shapes = np.stack([cloud(np.random.default_rng(0), 6)] * 3)
    shapes[:, 2] = np.nan
    assert np.flatnonzero(np.isnan(mean_shape(shapes)[:, 0])).tolist() == [2]


def test_a_mirrored_and_a_tiny_case_do_not_bend_the_mean() -> None:
    rng = np.random.default_rng(0)
    truth = cloud(rng, 15)
    shapes = truth + rng.normal(size=(12, 15, 3))
    clean = mean_shape(shapes)
    shapes[4] *= (-1, 1, 1)
    shapes[7] *= 0.1
    assert largest_distance(mean_shape(shapes), clean) < 1.5


@pytest.mark.parametrize("count", [1, 2])
def test_the_mean_of_one_or_two_points_stands_as_they_do(count: int) -> None:
    rng = np.random.default_rng(0)
    shape = np.array([[0.0, 0, 0], [10, 2, 1]])[:count]
    cases = shape + rng.normal(0, 0.1, (9, count, 3)) + rng.uniform(-50, 50, (9, 1, 3))
    mean = mean_shape(cases)
    np.testing.assert_allclose(mean - mean.mean(axis=0), shape - shape.mean(axis=0), atol=0.2)
    cases[3:, -1] = np.nan
    assert np.isfinite(mean_shape(cases)[0]).all() or count == 1
    assert np.isnan(mean_shape(np.full((3, count, 3), np.nan))).all()


def test_a_shape_with_all_points_in_one_spot_does_not_count() -> None:
    shape = cloud(np.random.default_rng(0), 5)
    np.testing.assert_allclose(mean_shape([np.zeros((5, 3)), shape, shape]), shape, atol=1e-6)


@st.composite
def symmetric_shapes(draw: st.DrawFn) -> tuple[Array, list[int]]:
    """A shape of pairs and midline points, 3 % asymmetric, in any pose and order, with its true pairs."""
    pairs, middle = draw(st.integers(4, 30)), draw(st.integers(2, 10))
    rng = np.random.default_rng(draw(SEEDS))
    side, line = rng.normal(size=(pairs, 3)), rng.normal(size=(middle, 3)) * (0, 1, 1)
    side[:, 0] = np.abs(side[:, 0]) + 0.3
    shape = np.concatenate([side, side * (-1, 1, 1), line])
    apart = np.linalg.norm(shape[:, None] - shape, axis=2) + 9 * np.eye(len(shape))
    noise = rng.normal(size=shape.shape) * min(0.03, apart.min() / 10)
    order = np.concatenate([np.arange(pairs) + pairs, np.arange(pairs), np.arange(middle) + 2 * pairs])
    shuffled = rng.permutation(len(shape))
    place = np.argsort(shuffled)
    return random_similarity(rng).apply(shape + noise)[shuffled] * SIZE, place[order[shuffled]].tolist()


@given(symmetric_shapes())
@settings(max_examples=20)
def test_pairs_are_found_in_an_asymmetric_shape(given_shape: tuple[Array, list[int]]) -> None:
    shape, pairs = given_shape
    assert find_symmetry([f"p{row}" for row in range(len(shape))], shape).order == pairs


def test_points_of_the_midline_only_make_no_pairs() -> None:
    rng = np.random.default_rng(0)
    shape = cloud(rng, 12) * (0, 1, 1) + rng.normal(size=(12, 3)) * 0.3
    symmetry = find_symmetry([str(row) for row in range(12)], shape)
    assert symmetry.order == list(range(12))
    assert not symmetry.lateral.any()


def test_a_flat_shape_is_not_mirrored_in_its_own_plane() -> None:
    side = np.array([[1, 0, 0], [2, 1, 0], [1.5, 3, 0], [0.8, -2, 0]], dtype=float)
    shape = np.concatenate([side, side * (-1.05, 1, 1), [[0, 2, 0], [0, -1, 0]]])
    assert find_symmetry([str(row) for row in range(10)], shape).order == [4, 5, 6, 7, 0, 1, 2, 3, 8, 9]


def test_a_shape_without_symmetry_has_no_pairs() -> None:
    shape = cloud(np.random.default_rng(3), 20)
    assert find_symmetry([str(row) for row in range(20)], shape).order == list(range(20))


@pytest.mark.parametrize("count", [4, 5, 6, 8, 12])
def test_a_chance_symmetry_is_not_clear(count: int) -> None:
    clear = [
        clear_symmetry([f"p{row}" for row in range(count)], cloud(np.random.default_rng(seed), count))
        for seed in range(8)
    ]
    assert clear == [None] * 8


def test_a_pair_by_name_that_nobody_has_placed_makes_nothing_clear() -> None:
    names = ["eye_L", "eye_R", *"abcdefg"]
    for seed in range(8):
        shape = np.concatenate([np.full((2, 3), np.nan), cloud(np.random.default_rng(seed), 7)])
        assert clear_symmetry(names, shape) is None


def test_names_alone_make_a_symmetry_clear_and_two_points_none() -> None:
    shape = np.array([[-10.0, 0, 0], [10, 0, 0], [1, 8, 9]])
    symmetry = clear_symmetry(["eye_L", "eye_R", "chin"], shape)
    assert symmetry is not None and symmetry.order == [1, 0, 2]
    assert clear_symmetry(["a", "b", "c"], shape) is None


@given(symmetric_shapes())
@settings(max_examples=10)
def test_the_symmetry_of_anatomy_is_clear(given_shape: tuple[Array, list[int]]) -> None:
    shape, pairs = given_shape
    symmetry = clear_symmetry([f"p{row}" for row in range(len(shape))], shape)
    assert symmetry is not None and symmetry.order == pairs


def test_a_point_to_one_side_without_counterpart_is_lateral() -> None:
    rng = np.random.default_rng(0)
    side, line = np.abs(cloud(rng, 6)) + 10, cloud(rng, 4) * (0, 1, 1)
    shape = np.concatenate([side, side[1:] * (-1, 1, 1), line])
    symmetry = find_symmetry([str(row) for row in range(len(shape))], shape)
    assert np.flatnonzero(symmetry.lateral).tolist() == [0]
    assert symmetry.order[0] == 0


@pytest.mark.parametrize(
    ("left", "right"),
    [("orbit_L", "orbit_R"), ("left orbit", "right orbit"), ("L1", "R1"), ("OrL", "OrR"), ("Fz-l", "Fz-r")],
)
def test_names_decide_where_the_shape_does_not(left: str, right: str) -> None:
    shape = np.array([[-10.0, 0, 0], [10, 0, 0], [np.nan] * 3, [0, 5, 2], [1, 8, 9]])
    assert find_symmetry([left, right, "nasion", "clival", "lateral"], shape).order[:2] == [1, 0]


def test_pairs_are_mutual_where_the_partner_by_name_is_not_known() -> None:
    rng = np.random.default_rng(0)
    side = np.abs(cloud(rng, 5)) + 10
    shape = np.concatenate([side, side * (-1, 1, 1)])
    names = ["a_L", *(str(row) for row in range(9)), "a_R"]
    order = find_symmetry(names, np.concatenate([shape, [[np.nan] * 3]])).order
    assert (order[0], order[10]) == (10, 0)
    assert [order[partner] for partner in order] == list(range(11))


def test_the_pairs_of_a_mouse_skull_are_those_of_anatomy(mouse_skulls: Path) -> None:
    sets = [read_landmarks(path) for path in sorted(mouse_skulls.glob("*.csv"))]
    names = sets[0].names
    symmetry = find_symmetry(names, mean_shape([landmarks.positions_of(names) for landmarks in sets]))
    pairs = {(names[row], names[partner]) for row, partner in enumerate(symmetry.order) if row < partner}
    assert pairs == {
        *[("L2", "L3"), ("L4", "L5"), ("L6", "L7"), ("L8", "L9"), ("L10", "L11"), ("L12", "L14")],
        *[("L15", "L17"), ("L18", "L20"), ("L22", "L25"), ("L24", "L27"), ("L30", "L31"), ("L32", "L33")],
        *[("L36", "L37"), ("L38", "L39"), ("L40", "L41"), ("L42", "L43"), ("L46", "L47")],
    }
    assert [names[row] for row in np.flatnonzero(symmetry.lateral)] == ["L49"]
    assert symmetry.residuals[~symmetry.lateral].max() < 0.2

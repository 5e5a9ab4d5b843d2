"""What is an ordinary shape of a population, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.shape_model import ShapeModel, learn_shape

Array = NDArray[np.float64]
RNG = np.random.default_rng(4)
HEAD = RNG.normal(0, 5, (12, 3))
LONG, BROAD = HEAD * [0, 0, 0.1], HEAD * [0.06, 0, 0]
NOISE = 0.05


def population(count: int, seed: int) -> Array:
    """Heads that are longer or broader than the mean one, in any pose, annotated with some noise."""
    rng = np.random.default_rng(seed)
    heads = []
    for _ in range(count):
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        turn[:, 0] *= np.linalg.det(turn)
        head = HEAD + rng.normal() * LONG + rng.normal() * BROAD + rng.normal(0, NOISE, HEAD.shape)
        heads.append(rng.uniform(0.8, 1.25) * head @ turn.T + rng.uniform(-50, 50, 3))
    return np.array(heads)


@pytest.fixture(scope="module")
def model() -> ShapeModel:
    return learn_shape(population(30, seed=0))


def test_the_modes_are_how_the_population_varies(model: ShapeModel) -> None:
    sizes = np.linalg.norm(model.modes, axis=(1, 2))
    assert len(sizes) == 12 and (np.diff(sizes) <= 1e-12).all()
    assert sizes[1] > 3 * sizes[2], "two modes, and noise"


def test_new_heads_are_ordinary(model: ShapeModel) -> None:
    misfits = np.array([model.misfits(head) for head in population(40, seed=1)])
    assert 0.6 < np.sqrt(np.mean(misfits**2)) < 1.2
    assert (misfits > 3).mean() < 0.01


def test_a_landmark_out_of_place_is_a_misfit_and_the_others_are_not(model: ShapeModel) -> None:
    for row, head in enumerate(population(12, seed=2)):
        head[row] += [0, 1.5, 0]
        misfits = model.misfits(head)
        assert misfits.argmax() == row and misfits[row] > 4
        assert np.delete(misfits, row).max() < 3.5


def test_what_is_not_there_says_nothing(model: ShapeModel) -> None:
    head = population(1, seed=3)[0]
    head[[2, 5]] = np.nan
    assert np.isnan(model.misfits(head)).nonzero()[0].tolist() == [2, 5]
    head[3:] = np.nan
    assert np.isnan(model.misfits(head)).all()


def test_incomplete_shapes_teach_what_they_show() -> None:
    heads = population(30, seed=0)
    heads[RNG.random(heads.shape[:2]) < 0.1] = np.nan
    model = learn_shape(heads)
    whole = population(10, seed=5)
    assert (np.array([model.misfits(head) for head in whole]) > 4).mean() < 0.02


def test_a_landmark_that_was_never_seen_has_no_place() -> None:
    heads = population(10, seed=0)
    heads[:, 4] = np.nan
    model = learn_shape(heads)
    assert np.isnan(model.mean[4]).all() and np.isnan(model.deviations[4])
    misfits = model.misfits(population(1, seed=1)[0])
    assert np.isnan(misfits[4]) and np.isfinite(np.delete(misfits, 4)).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_shapes_say_nothing_of_what_is_absurd(count: int) -> None:
    model = learn_shape(population(2, seed=0)[:count] if count else np.full((1, 12, 3), np.nan))
    misfits = model.misfits(population(1, seed=1)[0])
    assert misfits.shape == (12,) and np.isnan(misfits).all()


def test_a_mean_alone_calls_nothing_a_misfit() -> None:
    assert np.isnan(ShapeModel.of_mean(HEAD).misfits(HEAD + RNG.normal(0, 1, HEAD.shape))).all()

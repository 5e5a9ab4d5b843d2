"""Conformal radii hold what they promise."""

import numpy as np
import pytest

from LandmarkDetectionLib.detection.calibrate import (
    calibrated_presence,
    conformal_radius,
    fit_level,
    fit_presence,
)


def test_radius_is_the_conformal_quantile() -> None:
    errors = np.arange(1.0, 20.0)
    assert conformal_radius(errors, 0.9) == 18.0
    assert conformal_radius(errors[:8], 0.9) == np.inf


def test_coverage_on_new_points_is_at_least_the_nominal() -> None:
    rng = np.random.default_rng(0)
    hits = [rng.exponential() <= conformal_radius(rng.exponential(size=30), 0.9) for _ in range(4000)]
    assert 0.885 <= np.mean(hits) <= 0.93


def test_landmarks_with_few_errors_share_the_pooled_radius() -> None:
    errors = np.full((12, 2), np.nan)
    errors[:, 0] = np.linspace(0.1, 1.2, 12)
    errors[:3, 1] = 5.0
    level = fit_level(["many", "few"], errors, resolution=0.5)
    assert level is not None
    assert set(level.landmarks_mm) == {"many"}
    assert level.points == 15
    assert level.radius_of("few", np.nan) == 5.0


def test_too_few_errors_give_no_radius() -> None:
    assert fit_level(["a"], np.full((0, 1), np.nan), resolution=0.5) is None
    assert fit_level(["a"], np.ones((5, 1)), resolution=0.5) is None


def test_radii_in_spreads_follow_the_evidence() -> None:
    rng = np.random.default_rng(1)
    spreads = rng.uniform(0.1, 1.0, (200, 2))
    errors = spreads * rng.exponential(size=(200, 2))
    fitted = fit_level(["a", "b"], errors, spreads=spreads, resolution=0.5)
    assert fitted is not None
    new = rng.uniform(0.1, 1.0, 3000)
    radii = np.array([fitted.radius_of("a", spread) for spread in new])
    held = new * rng.exponential(size=3000) <= radii
    for part in (new < 0.3, new > 0.8):
        assert 0.86 <= held[part].mean() <= 0.95


def test_probabilities_of_presence_are_as_often_right_as_they_say() -> None:
    rng = np.random.default_rng(2)
    there = rng.random(4000) < 0.7
    logits = np.where(there, 4.0, 1.0) + rng.normal(0, 1.5, 4000)
    probabilities = calibrated_presence(logits, fit_presence(logits, there))
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        told = (probabilities >= low) & (probabilities < low + 0.1)
        assert abs(there[told].mean() - low - 0.05) < 0.08


def test_presence_that_can_be_told_for_sure_keeps_a_finite_slope() -> None:
    fitted = fit_presence(np.array([-5.0, -4, -3, -2, -1, 1, 2, 3, 4, 5]), np.array([False] * 5 + [True] * 5))
    assert fitted is not None and 0 < fitted[0] < 10


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_learnt_of_presence_where_nearly_all_cases_are_alike(there: bool) -> None:
    assert fit_presence(np.arange(40.0), (np.arange(40) >= 4) == there) is None


def test_a_misfit_counts_against_presence_beyond_three_deviations() -> None:
    """As under Student's t: an unusual skull keeps its landmarks, a landmark far out of place is lost."""
    misfits = np.array([np.nan, 0.0, 3.0, 4.0, 8.0, 20.0])
    likelihoods = (1 + np.fmax(misfits, 3.0) ** 2 / 4) ** -2.5
    probabilities = calibrated_presence(np.full(6, 5.0), None, misfits)
    odds = np.exp(5.0) * likelihoods / likelihoods[0]
    np.testing.assert_allclose(probabilities, odds / (1 + odds))
    assert probabilities[4] > 0.5 > 0.1 > probabilities[5]

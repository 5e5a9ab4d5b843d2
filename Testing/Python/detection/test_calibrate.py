"""Conformal radii hold what they promise."""

import numpy as np

from LandmarkDetectionLib.detection.calibrate import calibrate, conformal_radius


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
    calibration = calibrate(["many", "few"], errors)
    assert calibration is not None
    assert set(calibration.landmark_radius_mm) == {"many"}
    assert calibration.points == 15
    assert calibration.radius_of("few") == 5.0


def test_too_few_errors_give_no_radius() -> None:
    assert calibrate(["a"], np.full((0, 1), np.nan)) is None
    assert calibrate(["a"], np.ones((5, 1))) is None

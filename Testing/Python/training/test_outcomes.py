"""What validation has shown becomes the calibration and the figures of a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.detection.calibrate import calibrated_presence
from LandmarkDetectionLib.training.running.outcomes import (
    Outcome,
    calibration_of,
    figures_of,
    is_given,
    read_outcomes,
    tabulate,
)

NAMES = ("nose", "chin")
NOTHING = np.full(2, np.nan)
SCAN = Frame(size=(60, 60, 60), origin=(-15, -15, -15), spacing=(0.5, 0.5, 0.5))
UNCERTAIN = 0.5


def an_outcome(
    case: str,
    error: float,
    *,
    cut: int = 0,
    coarseness: int = 1,
    chin: bool = True,
    logit: float = 4.0,
    misfit: float = 1.0,
) -> Outcome:
    """Both landmarks `error` mm off; without the chin, if the scan does not show it."""
    truth = np.array([[0.0, 0, 0], [10, 0, 0] if chin else [np.nan] * 3])
    return Outcome(
        case=case,
        truth=truth,
        known=np.array([True, True]),
        positions=np.array([[error, 0, 0], [10, error, 0]]),
        frame=SCAN,
        spreads=np.array([0.5, 0.5]),
        presences=np.array([5.0, logit]),
        misfits=np.array([misfit, 1.0]),
        resolution=0.5 * coarseness,
        cut=cut,
        coarseness=coarseness,
    )


def test_the_table_says_what_was_found_and_what_was_missed() -> None:
    lost = Outcome(
        "b",
        np.ones((2, 3)),
        np.array([True, False]),
        np.full((2, 3), np.nan),
        SCAN,
        NOTHING,
        NOTHING,
        NOTHING,
        resolution=0.5,
    )
    table = tabulate([an_outcome("a", 0.3, chin=False), lost], NAMES)
    assert table[["case", "landmark"]].to_numpy().tolist() == [["a", "nose"], ["a", "chin"], ["b", "nose"]]
    assert table["present"].tolist() == [True, False, True]
    assert table["inside"].tolist() == [True, True, False]
    beyond = tabulate([an_outcome("a", 40.0)], NAMES)
    assert not beyond["inside"].any()
    errors = table["error_mm"].to_numpy()
    assert errors[0] == pytest.approx(0.3) and np.isnan(errors[1]) and np.isinf(errors[2])


def test_radii_come_from_whole_scans_and_presence_from_cut_ones_too() -> None:
    rng = np.random.default_rng(0)
    outcomes = [an_outcome(str(number), float(error)) for number, error in enumerate(rng.random(30))]
    for number in range(30):
        outcomes.append(an_outcome(str(number), 9.0, cut=1, chin=False, logit=float(rng.normal(-3, 1))))
    table = tabulate(outcomes, NAMES)
    calibration = calibration_of(table, NAMES, UNCERTAIN)
    assert calibration is not None and [level.points for level in calibration.levels] == [60]
    assert 0.8 < calibration.levels[0].pooled_mm < 1.0, "cut scans have errors of 9 mm here"
    own = calibration.levels[0].landmarks_mm["nose"]
    assert calibration.radius_of("nose", 0.5, spread=0.5) == pytest.approx(own)
    presence = calibration.presence_at(0.5)
    assert presence is not None
    slope, intercept = presence
    assert slope * 4 + intercept > 1 and slope * -3 + intercept < -1
    assert figures_of(table, NAMES, cap=1.5, found=0.8)["val_found"] == 1.0


def test_what_is_read_but_would_not_be_called_found_is_not_counted_as_found() -> None:
    unsure = tabulate([an_outcome(str(number), 0.2, logit=0.0) for number in range(30)], NAMES)
    figures = figures_of(unsure, NAMES, cap=1.5, found=0.8)
    assert figures["val_found"] == 0.5, "the chin alone"
    assert figures_of(unsure, NAMES, cap=1.5, found=0.4)["val_found"] == 1.0


def test_coarser_scans_have_a_presence_of_their_own() -> None:
    """A landmark with a logit of -2 is absent in a scan as it is, and there in a coarser one."""
    rng = np.random.default_rng(0)
    outcomes = []
    for number in range(30):
        for edge, there, absent in ((1, 5.0, -2.0), (2, -2.0, -9.0)):
            for cut, logit in enumerate((there, absent)):
                outcomes.append(
                    an_outcome(
                        str(number),
                        float(rng.random()),
                        cut=cut,
                        coarseness=edge,
                        chin=not cut,
                        logit=float(rng.normal(logit, 1)),
                    )
                )
    calibration = calibration_of(tabulate(outcomes, NAMES), NAMES, UNCERTAIN)
    assert calibration is not None and [level.points for level in calibration.levels] == [60, 60]
    as_it_is, coarser = (calibration.presence_at(resolution) for resolution in (0.5, 1.0))
    assert calibrated_presence(np.array([-2.0]), as_it_is) < 0.2
    assert calibrated_presence(np.array([-2.0]), coarser) > 0.8


def test_coarser_scans_have_radii_of_their_own_and_change_nothing_else() -> None:
    errors = np.random.default_rng(0).random(30)
    whole = [an_outcome(str(number), float(error)) for number, error in enumerate(errors)]
    coarser = [
        an_outcome(str(number), 3 * float(error), coarseness=2, logit=-6.0)
        for number, error in enumerate(errors)
    ]
    few = [an_outcome("0", 1.0, coarseness=4)]
    alone = calibration_of(tabulate(whole, NAMES), NAMES, UNCERTAIN)
    table = tabulate([*whole, *coarser, *few], NAMES)
    calibration = calibration_of(table, NAMES, UNCERTAIN)
    assert alone is not None and calibration is not None
    assert calibration.levels[0] == alone.levels[0]
    assert [level.resolution for level in calibration.levels] == [0.5, 1], "two points of 4 are too few"
    assert calibration.levels[1].pooled_mm == pytest.approx(3 * calibration.levels[0].pooled_mm, rel=0.1)
    assert calibration.levels[1].points == 30, "a chin that would not be given a position has no radius"
    assert figures_of(table, NAMES, cap=1.5, found=0.8) == figures_of(
        tabulate(whole, NAMES), NAMES, cap=1.5, found=0.8
    )


def test_a_look_that_is_no_coarser_than_the_scan_has_no_radii_of_its_own() -> None:
    """Where thick slices are prepared on a finer grid, a coarser look may show as much."""
    outcomes = [an_outcome(str(number), 0.1, coarseness=edge) for number in range(30) for edge in (1, 2)]
    table = tabulate(outcomes, NAMES).assign(resolution_mm=3.0)
    calibration = calibration_of(table, NAMES, UNCERTAIN)
    assert calibration is not None and [level.resolution for level in calibration.levels] == [3.0]


def test_an_engine_that_tells_no_spread_has_radii_in_mm() -> None:
    bare = Outcome(
        "a", np.zeros((2, 3)), np.ones(2, bool), np.ones((2, 3)), SCAN, NOTHING, NOTHING, NOTHING, 0.5
    )
    table = tabulate([Outcome(**{**bare.__dict__, "case": str(number)}) for number in range(12)], NAMES)
    calibration = calibration_of(table, NAMES, UNCERTAIN)
    assert calibration is not None and calibration.presence_at(0.5) is None
    assert calibration.levels[0].pooled_per_spread is None
    assert calibration.radius_of("nose", 0.5) == pytest.approx(3**0.5)


def test_without_cases_there_is_nothing_to_calibrate_on() -> None:
    table = tabulate([], NAMES)
    assert calibration_of(table, NAMES, UNCERTAIN) is None
    assert figures_of(table, NAMES, cap=1.0, found=0.8) == {}


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path: Path) -> None:
    names = ("1", "NA")
    table = tabulate([an_outcome(f"00{number}", 0.1 * number) for number in range(12)], names)
    table.to_csv(tmp_path / "validation.csv", index=False)
    read = read_outcomes(tmp_path / "validation.csv")
    pd.testing.assert_frame_equal(read, table)
    assert calibration_of(read, names, UNCERTAIN) == calibration_of(table, names, UNCERTAIN)
    tabulate([], names).to_csv(tmp_path / "empty.csv", index=False)
    assert calibration_of(read_outcomes(tmp_path / "empty.csv"), names, UNCERTAIN) is None


def test_what_the_shape_does_not_believe_is_not_given() -> None:
    """It counts against a landmark's presence, and such errors are no part of the radii."""
    table = tabulate([an_outcome("a", 0.3, logit=1.0), an_outcome("b", 0.3, logit=1.0, misfit=40.0)], NAMES)
    assert is_given(table, None, UNCERTAIN).tolist() == [True, True, False, True]

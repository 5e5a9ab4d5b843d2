"""What is said of a result in which little was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.detection.doubts import doubts
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.model.bundle import Bundle, Calibration, Level, load_bundle

NAMES = ("nasion", "bregma", "lambda", "inion")


def detected(count: int) -> tuple[Detection, ...]:
    """The first landmarks found, the others absent."""
    found = [Detection(name, np.zeros(3), "found", 0.9, 0.5) for name in NAMES[:count]]
    return (*found, *map(Detection.missing, NAMES[count:]))


def edges(length: float) -> NDArray[np.float64]:
    return np.full(3, length)


def validated(folder: Path, share: float, engine: str = "locate-refine") -> Bundle:
    metrics = {"validation": {"val_found": share}}
    calibration = Calibration(0.9, (Level(1.0, 40, 0.5, {}), Level(2.0, 40, 0.9, {})))
    return replace(load_bundle(folder), metrics=metrics, calibration=calibration, engine=engine)


def test_nothing_is_said_where_most_was_found(a_model: Path) -> None:
    assert doubts(detected(3), validated(a_model, 0.9), edges(1.0)) == ()


def test_a_scan_that_is_too_coarse_is_named_with_both_voxel_sizes(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), validated(a_model, 0.1), edges(3.0))
    assert sentence == (
        "none of the 4 landmarks was found, most likely because its voxels of about 3 mm are too coarse for "
        "the model, which works at 1 mm and reads 2 mm at most; use a finer scan."
    )


def test_a_model_that_finds_little_in_its_own_validation_was_trained_too_briefly(a_model: Path) -> None:
    (sentence,) = doubts(detected(1), validated(a_model, 0.12), edges(1.0))
    assert sentence == (
        "only 1 of 4 landmarks were found, most likely because the training was too short, for in its own "
        "validation the model found 12% of the landmarks; train it longer."
    )


def test_a_good_model_in_a_fine_scan_that_finds_little_sees_something_else(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), validated(a_model, 0.95), edges(2.1))
    assert "another anatomy than the model was trained on, or only a part of it" in sentence
    (sentence,) = doubts(detected(0), validated(a_model, 0.95, "dense"), edges(1.0))
    assert "lies otherwise" in sentence


def test_of_a_model_that_was_never_validated_two_causes_are_possible(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), load_bundle(a_model), edges(1.0))
    assert "too short or the scan shows another anatomy" in sentence and "never validated" in sentence


def test_missing_error_radii_are_told(a_model: Path) -> None:
    points = tuple(Detection(name, np.zeros(3), "found", 0.9) for name in NAMES)
    assert doubts(points, load_bundle(a_model), edges(1.0)) == ()
    (sentence,) = doubts(points, validated(a_model, 0.9), edges(3.0))
    assert sentence.startswith("no error radii")

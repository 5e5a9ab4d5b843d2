"""What is said of a result in which little was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.doubts import doubts
from LandmarkDetectionLib.detection.results import Detection, Status
from LandmarkDetectionLib.model.bundle import Bundle, Calibration, Level, load_bundle

NAMES = ("nasion", "bregma", "lambda", "inion")


def detected(count: int) -> tuple[Detection, ...]:
    """The first landmarks found, the others absent."""
    found = [Detection(name, np.zeros(3), "found", 0.9, 0.5) for name in NAMES[:count]]
    return (*found, *map(Detection.missing, NAMES[count:]))


def scan(spacing: float) -> Volume:
    """A scan of four cubic voxels along each axis, mm."""
    frame = Frame(size=(4, 4, 4), spacing=(spacing, spacing, spacing))
    return Volume(np.arange(64.0).reshape(frame.shape), frame)


def validated(folder: Path, share: float, engine: str = "locate-refine") -> Bundle:
    metrics = {"validation": {"val_found": share}}
    calibration = Calibration(0.9, (Level(1.0, 40, 0.5, {}), Level(2.0, 40, 0.9, {})))
    return replace(load_bundle(folder), metrics=metrics, calibration=calibration, engine=engine)


def test_nothing_is_said_where_most_was_found(a_model: Path) -> None:
    assert doubts(detected(3), validated(a_model, 0.9), scan(1.0)) == ()


def test_a_scan_that_is_too_coarse_is_named_with_both_voxel_sizes(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), validated(a_model, 0.1), scan(3.0))
    assert sentence == (
        "none of the 4 landmarks was found, most likely because its voxels of about 3 mm are too coarse for "
        "the model, which works at 1 mm and was calibrated on voxels of up to 2 mm; use a finer scan."
    )


def of_size(folder: Path, width: float) -> Bundle:
    """A model whose anatomy is so wide, mm; one of its landmarks was never seen."""
    mean = np.array([(0, 0, 0), (width, 0.2 * width, 0), (np.nan, np.nan, np.nan)])
    return replace(validated(folder, 0.1), shape=ShapeModel.of_mean(mean))


@pytest.mark.parametrize(
    ("width", "anatomy", "said"),
    [
        (
            24e3,
            24.0,
            "the scan is 24 m wide and the anatomy of the model 24 mm; is its unit right, and the model",
        ),
        (
            0.024,
            24.0,
            "the scan is 24 µm wide and the anatomy of the model 24 mm; is its unit right, and more than",
        ),
        (1020.0, 20.0, "the scan is 1.02 m wide and the anatomy of the model 20 mm; is its unit right"),
    ],
)
def test_a_scan_in_another_unit_is_told_with_both_sizes(
    a_model: Path, width: float, anatomy: float, said: str
) -> None:
    (sentence,) = doubts(detected(0), of_size(a_model, anatomy), scan(width / 4))
    assert sentence.startswith(f"none of the 4 landmarks was found, most likely because {said}")
    assert sentence.endswith("?")


@pytest.mark.parametrize("width", [0.31, 1.0, 29.0])
def test_a_scan_of_any_usual_width_is_not_doubted_for_it(a_model: Path, width: float) -> None:
    (sentence,) = doubts(detected(0), of_size(a_model, 4 / width), scan(1.0))
    assert "unit" not in sentence


def test_a_scan_of_one_value_shows_nothing(a_model: Path) -> None:
    empty = Volume(np.full((4, 4, 4), -1024, dtype=np.int16), scan(1.0).frame)
    (sentence,) = doubts(detected(1), validated(a_model, 0.1), empty)
    assert sentence == (
        "only 1 of 4 landmarks were found, most likely because all its voxels are -1024, so it shows "
        "nothing; export the scan again."
    )


def test_a_model_that_finds_little_in_its_own_validation_was_trained_too_briefly(a_model: Path) -> None:
    (sentence,) = doubts(detected(1), validated(a_model, 0.12), scan(1.0))
    assert sentence == (
        "only 1 of 4 landmarks were found, most likely because the training was too short, for in its own "
        "validation the model found 12% of the landmarks; train it longer."
    )


def test_a_good_model_in_a_fine_scan_that_finds_little_sees_something_else(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), validated(a_model, 0.95), scan(2.1))
    assert "another anatomy than the model was trained on, or only a part of it" in sentence
    (sentence,) = doubts(detected(0), validated(a_model, 0.95, "dense"), scan(1.0))
    assert "lies otherwise" in sentence


def test_of_a_model_that_was_never_validated_two_causes_are_possible(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), load_bundle(a_model), scan(1.0))
    assert "too short or the scan shows another anatomy" in sentence and "never validated" in sentence


def test_missing_error_radii_are_told(a_model: Path) -> None:
    points = tuple(Detection(name, np.zeros(3), "found", 0.9) for name in NAMES)
    assert doubts(points, load_bundle(a_model), scan(1.0)) == ()
    (sentence,) = doubts(points, validated(a_model, 0.9), scan(3.0))
    assert sentence.startswith("no error radii")


@pytest.mark.parametrize(
    ("status", "said"), [("absent", "was not found, "), ("uncertain", "was not found for sure, ")]
)
def test_a_landmark_alone_is_spoken_of_as_one(a_model: Path, status: Status, said: str) -> None:
    unsure = Detection("nasion", np.zeros(3), "uncertain", 0.6, 0.5)
    alone = Detection.missing("nasion") if status == "absent" else unsure
    (sentence,) = doubts([alone], validated(a_model, 0.9), scan(1.0))
    assert sentence.startswith(f"the landmark {said}most likely because the scan shows another anatomy")


def test_landmarks_that_lie_close_together_do_not_make_a_scan_too_wide(a_model: Path) -> None:
    (sentence,) = doubts(detected(0), of_size(a_model, 2.0), scan(1.9 * 2.0 * 10))
    assert "is its unit right" not in sentence

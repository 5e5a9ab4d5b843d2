"""A scan, however it is given, and the detector that finds its landmarks."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_series
from numpy.typing import NDArray

import LandmarkDetectionLib as ld
from LandmarkDetectionLib.api.images import volume_of
from LandmarkDetectionLib.data.volume import read_volume, write_volume
from LandmarkDetectionLib.phantom.skull import PhantomCase
from LandmarkDetectionLib.resources import synthetic_model

Scan = tuple[Any, Any, Any, Any]


def as_tuple(volume: ld.Volume) -> Scan:
    frame = volume.frame
    return volume.voxels, frame.spacing, frame.origin, frame.direction


def as_image(volume: ld.Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.frame.spacing.tolist())
    image.SetOrigin(volume.frame.origin.tolist())
    image.SetDirection(volume.frame.direction.ravel().tolist())
    return image


def test_a_scan_gives_the_same_landmarks_however_it_is_given(
    head: PhantomCase, quick: ld.LandmarkDetector, tmp_path: Path
) -> None:
    volume = head.volume
    write_volume(volume, tmp_path / "head.nrrd")
    array, spacing, origin, direction = as_tuple(volume)
    expected = quick.detect(volume)
    assert np.isfinite(expected.positions).all(axis=1).sum() == 2
    for image in (
        tmp_path / "head.nrrd",
        str(tmp_path / "head.nrrd"),
        as_image(volume),
        (array, spacing, origin, direction),
        (np.asfortranarray(array), tuple(spacing), list(origin), direction.ravel()),
        (array.astype(np.float64), spacing, origin, direction),
    ):
        landmarks = quick.detect(image)
        np.testing.assert_allclose(landmarks.positions, expected.positions, rtol=0, atol=1e-6)
        assert [item.status for item in landmarks.values()] == [item.status for item in expected.values()]


def test_a_dicom_folder_is_a_scan(quick: ld.LandmarkDetector, tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path / "series"))
    from_folder = quick.detect(tmp_path / "series")
    assert len(from_folder.found) == 2
    np.testing.assert_array_equal(from_folder.positions, quick.detect(volume).positions)


def test_the_landmarks_of_an_array_lie_in_its_world(head: PhantomCase, detector: ld.LandmarkDetector) -> None:
    landmarks = detector.detect(as_tuple(head.volume))
    assert tuple(landmarks) == head.landmarks.names == detector.landmark_names
    errors = np.linalg.norm(landmarks.positions - head.landmarks.positions, axis=1)
    assert errors.max() < head.volume.frame.spacing.max()
    assert landmarks["Nasion"].status == "found" and 0 < landmarks["Nasion"].radius < 20


def test_axes_that_are_not_at_right_angles_are_taken_as_they_are() -> None:
    sheared = np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, -1.0]])
    scan = np.zeros((4, 5, 6)), (1, 2, 3), (7, 8, 9), sheared
    frame = volume_of(scan).frame
    assert frame == ld.Frame(size=(6, 5, 4), spacing=(1, 2, 3), origin=(7, 8, 9), direction=sheared)
    np.testing.assert_allclose(frame.index_to_world((5, 1, 2)), (7 + 5 + 1.2, 8 + 1.6, 9 - 6))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, ">i2"])
def test_numbers_of_any_kind_are_voxels(quick: ld.LandmarkDetector, kind: Any) -> None:
    voxels = np.random.default_rng(2).integers(0, 2, (12, 13, 14))
    geometry = np.int64(8), np.zeros(3, bool), np.eye(3, dtype=int)
    spacing = np.repeat(geometry[0], 3)
    expected = quick.detect(ld.Volume(voxels.astype(np.int16), ld.Frame(size=(14, 13, 12), spacing=spacing)))
    landmarks = quick.detect((voxels.astype(kind), spacing, *geometry[1:]))
    np.testing.assert_allclose(landmarks.positions, expected.positions, atol=1e-3)


def test_a_volume_of_bools_is_a_scan(quick: ld.LandmarkDetector) -> None:
    voxels = np.random.default_rng(2).integers(0, 2, (12, 13, 14)).astype(bool)
    frame = ld.Frame(size=(14, 13, 12), spacing=(8, 8, 8))
    as_bytes = quick.detect(ld.Volume(voxels.astype(np.uint8), frame))
    np.testing.assert_array_equal(quick.detect(ld.Volume(voxels, frame)).positions, as_bytes.positions)


CUBE: NDArray[np.float64] = np.zeros((4, 5, 6))
AXES: NDArray[np.float64] = np.eye(3)
BROKEN: NDArray[np.float64] = np.full((4, 5, 6), np.nan)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CUBE, "type ndarray: give a path"),
        (lambda: [CUBE, (1, 1, 1), (0, 0, 0), AXES], "type list"),
        (lambda: None, "type NoneType"),
        (lambda: (CUBE, (1, 1, 1), (0, 0, 0)), "tuple of 3: give a path"),
        (lambda: (CUBE[0], (1, 1), (0, 0), np.eye(2)), "6 x 5 voxels, not a 3D volume"),
        (lambda: (CUBE[None], (1, 1, 1), (0, 0, 0), AXES), "6 x 5 x 4 x 1 voxels, not a 3D volume"),
        (lambda: (CUBE[:1], (1, 1, 1), (0, 0, 0), AXES), "6 x 5 x 1 voxels, not a 3D volume"),
        (lambda: (CUBE, None, (0, 0, 0), AXES), "three numbers each"),
        (lambda: (CUBE, (1, 1), (0, 0, 0), AXES), "three numbers each"),
        (lambda: (CUBE, (1, 1, 0), (0, 0, 0), AXES), "must be positive"),
        (lambda: (CUBE, (1, 1, 1), None, AXES), "three numbers each"),
        (lambda: (CUBE, (1, 1, 1), "here", AXES), "geometry is not usable"),
        (lambda: (CUBE, (1, 1, 1), (0, np.nan, 0), AXES), "origin must be finite"),
        (lambda: (CUBE, (1, 1, 1), (0, 0, 0), None), "geometry is not usable"),
        (lambda: (CUBE, (1, 1, 1), (0, 0, 0), np.eye(4)), "geometry is not usable"),
        (lambda: (CUBE, (1, 1, 1), (0, 0, 0), np.ones((3, 3))), "direction matrix invertible"),
        (lambda: (CUBE, (1, 1, 2), (0, 0, 0), np.diag([1, 1, 2])), "lengths [1.0, 1.0, 2.0]"),
        (lambda: (CUBE.astype(complex), (1, 1, 1), (0, 0, 0), AXES), "complex numbers"),
        (lambda: (CUBE.astype(str), (1, 1, 1), (0, 0, 0), AXES), "give integers or floats"),
        (lambda: (BROKEN, (1, 1, 1), (0, 0, 0), AXES), "NaN or infinite"),
        (
            lambda: ld.Volume(BROKEN, ld.Frame(size=(6, 5, 4))),
            "The volume: the image has voxels",
        ),
        (lambda: sitk.Image(6, 5, sitk.sitkInt16), "6 x 5 voxels, not a 3D volume"),
        (lambda: sitk.Image([6, 5, 4, 1], sitk.sitkInt16), "6 x 5 x 4 x 1 voxels, not a 3D volume"),
        (lambda: sitk.Image([6, 5, 4], sitk.sitkVectorUInt8, 3), "several values per voxel"),
        (lambda: "nowhere.nii.gz", "nowhere.nii.gz: there is no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_scan_is_refused_in_one_sentence(
    quick: ld.LandmarkDetector, make: Callable[[], Any], words: str
) -> None:
    with pytest.raises(ld.InputError) as refused:
        quick.detect(make())
    sentence = str(refused.value)
    assert words in sentence and sentence.endswith(".") and "\n" not in sentence, sentence


def test_progress_is_told_and_may_end_a_detection(head: PhantomCase, quick: ld.LandmarkDetector) -> None:
    told: list[tuple[str, float]] = []
    quick.detect(head.volume, progress=lambda *step: told.append(step))
    assert told and all(stage and 0 <= fraction <= 1 for stage, fraction in told)

    def cancel(stage: str, fraction: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        quick.detect(head.volume, progress=cancel)
    assert len(quick.detect(head.volume)) == 3, "and the detector goes on"


def test_threads_that_share_a_detector_take_turns(head: PhantomCase, quick: ld.LandmarkDetector) -> None:
    steps: list[int] = []
    found: list[ld.Landmarks] = []

    def detect(number: int) -> None:
        found.append(quick.detect(head.volume, progress=lambda *_: steps.append(number)))

    threads = [threading.Thread(target=detect, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns = [number for place, number in enumerate(steps) if place == 0 or steps[place - 1] != number]
    assert sorted(turns) == [0, 1, 2, 3]
    assert all(np.array_equal(item.positions, found[0].positions, equal_nan=True) for item in found)


def test_a_detection_that_lacked_memory_says_so(head: PhantomCase, detector: ld.LandmarkDetector) -> None:
    lacking = [True]

    def run_out_once(stage: str, fraction: float) -> None:
        if lacking.pop() if lacking else False:
            raise MemoryError

    landmarks = detector.detect(head.volume, progress=run_out_once)
    assert len(landmarks.found) > 10
    assert "Not enough memory on cpu: trying in smaller pieces" in landmarks.warnings[0]


def test_little_that_was_found_is_explained(detector: ld.LandmarkDetector) -> None:
    landmarks = detector.detect((np.zeros((12, 13, 14)), (8, 8, 8), (0, 0, 0), np.eye(3)))
    assert len(landmarks.warnings) == 1 and "most likely because" in landmarks.warnings[0]
    assert landmarks.warnings[0] in repr(landmarks)


def test_the_model_in_the_box_is_loaded_where_none_is_named() -> None:
    detector = ld.load_detector(device="cpu")
    assert repr(detector) == f"<LandmarkDetector '{detector.model_name}': 45 landmarks, on cpu>"
    assert "mouse" in detector.model_name and len(detector.landmark_names) == 45


def test_a_detector_says_what_it_is(quick: ld.LandmarkDetector) -> None:
    assert (quick.model_name, quick.landmark_names) == ("small", ("nasion", "bregma", "lambda"))
    assert repr(quick) == "<LandmarkDetector 'small': 3 landmarks, on cpu>"


def test_a_model_that_found_little_in_its_validation_is_doubted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(synthetic_model(), tmp_path / "model"))
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    description["metrics"]["validation"]["val_found"] = 0.1
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.warns(UserWarning, match="10%|10 %") as warned:
        ld.load_detector(folder, device="cpu")
    assert warned[0].filename == __file__


def test_a_model_or_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ld.InputError, match="nothing-here"):
        ld.load_detector(tmp_path / "nothing-here")
    with pytest.raises(ld.InputError, match="gpu: there is no such device; use auto"):
        ld.load_detector(synthetic_model(), device="gpu")


def test_what_was_given_is_not_changed(head: PhantomCase, quick: ld.LandmarkDetector) -> None:
    scan = replace(head.volume, voxels=head.volume.voxels.copy())
    quick.detect(scan)
    np.testing.assert_array_equal(scan.voxels, head.volume.voxels)

"""What counts as an input."""

from pathlib import Path

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.inputs import find_inputs


def make(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_file_is_a_case_of_its_name(tmp_path: Path) -> None:
    make(tmp_path, "Schädel 1.nii.gz")
    assert [case.name for case in find_inputs(tmp_path / "Schädel 1.nii.gz")] == ["Schädel 1"]


def test_a_folder_gives_its_images_without_their_masks(tmp_path: Path) -> None:
    make(tmp_path, "b.nii.gz", "a.nrrd", "b_mask.nii.gz", "lonely_mask.mha", "notes.txt")
    assert [case.name for case in find_inputs(tmp_path)] == ["a", "b", "lonely_mask"]


def test_a_folder_without_images_is_taken_for_dicom(tmp_path: Path) -> None:
    make(tmp_path / "series", "IM0001", "IM0002")
    cases = find_inputs(tmp_path / "series")
    assert [(case.name, case.image_path) for case in cases] == [("series", tmp_path / "series")]


def test_a_split_gives_its_cases(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("image_name,image_path\nx,images/x.nii.gz\n")
    cases = find_inputs(tmp_path / "test.csv")
    assert [(case.name, case.image_path) for case in cases] == [("x", tmp_path / "images" / "x.nii.gz")]


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.nrrd", "a.nii.gz")
    with pytest.raises(InputError, match="same case name"):
        find_inputs(tmp_path)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*check the path\.$"):
        find_inputs(tmp_path / "nowhere")

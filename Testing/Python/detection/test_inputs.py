"""What counts as an input."""

from pathlib import Path

import pytest

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.inputs import Input, Shard, find_inputs


def make(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_a_file_is_a_case_of_its_name(tmp_path: Path) -> None:
    make(tmp_path, "Schädel 1.nii.gz")
    assert [item.case.name for item in find_inputs(tmp_path / "Schädel 1.nii.gz")] == ["Schädel 1"]


def test_a_folder_gives_its_images_without_their_masks(tmp_path: Path) -> None:
    make(tmp_path, "b.nii.gz", "a.nrrd", "b_mask.nii.gz", "lonely_mask.mha", "notes.txt")
    assert [item.case.name for item in find_inputs(tmp_path)] == ["a", "b", "lonely_mask"]


def test_a_folder_without_images_is_taken_for_dicom(tmp_path: Path) -> None:
    make(tmp_path / "series", "IM0001", "IM0002")
    cases = [item.case for item in find_inputs(tmp_path / "series")]
    assert [(case.name, case.image_path) for case in cases] == [("series", tmp_path / "series")]


def test_a_folder_with_a_list_of_cases_is_that_list(tmp_path: Path) -> None:
    make(tmp_path / "images", "x.nii.gz")
    (tmp_path / "cases.csv").write_text("image_name,image_path\nskull,images/x.nii.gz\n")
    assert [item.case.name for item in find_inputs(tmp_path)] == ["skull"]


def test_a_folder_of_something_else_is_no_scan(tmp_path: Path) -> None:
    make(tmp_path / "model", "model.json", "weights.safetensors")
    with pytest.raises(InputError, match="no scans in this folder"):
        find_inputs(tmp_path / "model")


def test_a_split_gives_its_cases_without_a_look_at_their_annotations(tmp_path: Path) -> None:
    make(tmp_path / "images", "x.nii.gz")
    (tmp_path / "test.csv").write_text(
        "image_name,image_path,landmark_file_path\nx,images/x.nii.gz,nowhere.fcsv\n"
    )
    (item,) = find_inputs(tmp_path / "test.csv")
    assert (item.case.name, item.case.image_path) == ("x", tmp_path / "images" / "x.nii.gz")
    assert not item.problem


def test_a_row_without_a_scan_or_with_a_name_of_another_has_a_problem_and_the_others_none(
    tmp_path: Path,
) -> None:
    make(tmp_path, "x.nii.gz", "y.nii.gz")
    (tmp_path / "test.csv").write_text("image_name,image_path\nx,x.nii.gz\nx,y.nii.gz\nz,\nw,gone.nii.gz\n")
    problems = [item.problem for item in find_inputs(tmp_path / "test.csv")]
    assert not problems[0]
    assert "line 3" in problems[1] and "'x' stands already" in problems[1]
    assert "line 4" in problems[2] and "image_path is empty" in problems[2]
    assert "line 5" in problems[3] and "gone.nii.gz" in problems[3]


def test_hidden_and_half_written_files_are_no_scans(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz", "._a.nii.gz", ".writing-x-b.nii.gz", ".writing-y-a_mask.nii.gz")
    assert [item.case.name for item in find_inputs(tmp_path)] == ["a"]


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.nrrd", "a.nii.gz")
    with pytest.raises(InputError, match="same case name"):
        find_inputs(tmp_path)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*check the path\.$"):
        find_inputs(tmp_path / "nowhere")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shards_of_a_cohort_are_all_of_it_once(count: int) -> None:
    inputs = [Input(Case(f"{number}", Path(f"{number}.nii"))) for number in range(5)]
    parts = [Shard.parse(f"{number}/{count}").take(inputs) for number in range(1, count + 1)]
    assert sorted(item.case.name for part in parts for item in part) == ["0", "1", "2", "3", "4"]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1/0", "-1/3", "1/3/5", "1", ""])
def test_a_shard_that_is_none_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"write I/N with I from 1 to N"):
        Shard.parse(text)

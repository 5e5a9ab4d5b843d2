"""What a folder of scans gives."""

from pathlib import Path

import pytest

from LandmarkDetectionLib.data.collect import collect_cases
from LandmarkDetectionLib.data.errors import InputError


def make(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_scans_come_with_their_landmarks_and_masks_in_natural_order(tmp_path: Path) -> None:
    make(tmp_path, "s10.nii.gz", "s2.nrrd", "s2.mrk.json", "s2.csv", "s10.fcsv", "s10_mask.nii.gz", "s3.mha")
    first, second = collect_cases(tmp_path)
    assert (first.name, first.landmark_path, first.mask_path) == ("s2", tmp_path / "s2.mrk.json", None)
    assert second.landmark_path == tmp_path / "s10.fcsv"
    assert second.mask_path == tmp_path / "s10_mask.nii.gz"


def test_landmarks_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    make(tmp_path / "scans", "a.nii.gz", "a.csv")
    make(tmp_path / "points", "a.mrk.json")
    (case,) = collect_cases(tmp_path / "scans", landmarks=tmp_path / "points")
    assert case.landmark_path == tmp_path / "points" / "a.mrk.json"


def test_the_group_is_what_the_expression_finds(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"{name}.{end}" for name in ("X129_a", "129_b", "B6F1_c", "lone") for end in ("nrrd", "csv")),
    )
    groups = {case.name: case.group for case in collect_cases(tmp_path, group="(F1)_|^X?(129)")}
    assert groups == {"X129_a": "129", "129_b": "129", "B6F1_c": "F1", "lone": ""}
    assert {case.group for case in collect_cases(tmp_path, group="[0-9]+")} == {"129", "6", ""}


@pytest.mark.parametrize(
    ("names", "group", "said"),
    [
        (("a.nii.gz",), None, "none with landmarks"),
        (("a.nii.gz", "a.csv"), "(", "not a regular expression"),
        (("a.nii.gz", "a.nrrd", "a.csv"), None, "same case name"),
    ],
)
def test_what_cannot_be_listed_is_refused(
    tmp_path: Path, names: tuple[str, ...], group: str | None, said: str
) -> None:
    make(tmp_path, *names)
    with pytest.raises(InputError, match=said):
        collect_cases(tmp_path, group=group)

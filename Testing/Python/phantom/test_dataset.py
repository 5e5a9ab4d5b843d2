"""A data set of synthetic cases on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.cases import read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.table import read_table
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.phantom.dataset import case_seed, write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import landmark_table, make_case

SETTINGS = PhantomSettings(spacing=8, cut_fraction=0.5, reorient_fraction=1)


def test_a_data_set_reads_back_as_it_was_made(tmp_path: Path) -> None:
    written = write_dataset(tmp_path, 4, seed=3, settings=SETTINGS)
    cases = read_split(tmp_path / "cases.csv", supervised=True)
    assert [case.name for case in cases] == [case.name for case in written]
    assert read_table(tmp_path / "landmarks.csv") == landmark_table()
    absent = 0
    for number, case in enumerate(cases, start=1):
        made = make_case(SETTINGS, case_seed(3, number))
        image = read_volume(case.image_path)
        np.testing.assert_array_equal(image.voxels, made.volume.voxels)
        assert image.frame.agrees_with(made.volume.frame, tolerance=1e-3)
        assert case.landmark_path is not None
        landmarks = read_landmarks(case.landmark_path)
        assert landmarks.names == made.landmarks.names
        np.testing.assert_allclose(landmarks.positions, made.landmarks.positions, atol=1e-3)
        absent += (~landmarks.present).sum()
    assert absent > 0


def test_the_list_of_cases_has_relative_paths_no_mask_and_a_group_for_each_person(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, settings=SETTINGS)
    lines = (tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "image_name,image_path,landmark_file_path,landmark_mask_path,group",
        "phantom_001,images/phantom_001.nii.gz,landmarks/phantom_001.mrk.json,,phantom_001",
        "phantom_002,images/phantom_002.nii.gz,landmarks/phantom_002.mrk.json,,phantom_002",
    ]


def test_asking_for_more_cases_leaves_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few = write_dataset(tmp_path / "few", 1, seed=9, settings=SETTINGS)
    many = write_dataset(tmp_path / "many", 3, seed=9, settings=SETTINGS)
    for field in ("image_path", "landmark_path"):
        assert getattr(few[0], field).read_bytes() == getattr(many[0], field).read_bytes()


def test_data_sets_of_neighbouring_seeds_share_no_case() -> None:
    seeds = {case_seed(seed, number) for seed in range(20) for number in range(1, 21)}
    assert len(seeds) == 400


def test_progress_is_told_after_every_case(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_dataset(tmp_path, 2, settings=SETTINGS, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("cases", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_wrong_numbers_are_refused_before_anything_is_written(tmp_path: Path, cases: int, seed: int) -> None:
    with pytest.raises(InputError, match="give a whole number"):
        write_dataset(tmp_path / "new", cases, seed=seed)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match=r"Cannot write in .*file"):
        write_dataset(tmp_path / "file", 1, settings=SETTINGS)

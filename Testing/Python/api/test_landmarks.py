"""The landmarks of a scan in the hands of a program."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import LandmarkDetectionLib as ld
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.detection.results import read_case


@pytest.fixture
def landmarks() -> ld.Landmarks:
    return ld.Landmarks(
        [
            ld.Detection("nasion", np.array([1.5, -2.0, 3.25]), "found", 0.98, 0.75),
            ld.Detection("bregma", np.array([4.0, 5.0, -6.0]), "uncertain", 0.4),
            ld.Detection.missing("lambda", 0.1),
        ],
        ["look at it."],
    )


def test_they_are_a_dictionary_in_the_models_order(landmarks: ld.Landmarks) -> None:
    assert list(landmarks) == ["nasion", "bregma", "lambda"] and len(landmarks) == 3
    assert [item.name for item in landmarks.values()] == list(landmarks)
    nasion = landmarks["nasion"]
    assert (nasion.status, nasion.radius, nasion.confidence) == ("found", 0.75, 0.98)
    assert nasion.position.tolist() == [1.5, -2.0, 3.25]
    assert "bregma" in landmarks and "inion" not in landmarks and landmarks.get("inion") is None


def test_a_name_that_there_is_not_is_told_with_the_nearest(landmarks: ld.Landmarks) -> None:
    with pytest.raises(KeyError, match=r"no landmark 'nasoin', perhaps 'nasion'; list\(landmarks\)"):
        landmarks["nasoin"]


def test_found_are_those_that_the_detector_is_sure_of(landmarks: ld.Landmarks) -> None:
    assert list(landmarks.found) == ["nasion"]
    assert list(ld.Landmarks(list(landmarks.values())[1:]).found) == []


def test_positions_are_rows_in_order(landmarks: ld.Landmarks) -> None:
    rows = [[1.5, -2.0, 3.25], [4.0, 5.0, -6.0], [np.nan] * 3]
    np.testing.assert_array_equal(landmarks.positions, rows)
    assert ld.Landmarks([]).positions.shape == (0, 3)


def test_they_show_how_many_there_are_of_each_status_and_the_warnings(landmarks: ld.Landmarks) -> None:
    assert repr(landmarks) == "<Landmarks: 1 found, 1 uncertain, 1 absent; look at it.>"


def test_a_dataframe_has_a_row_for_each(landmarks: ld.Landmarks) -> None:
    table = landmarks.to_dataframe()
    assert list(table) == ["name", "x", "y", "z", "status", "confidence", "radius_mm"]
    assert table["status"].tolist() == ["found", "uncertain", "absent"]
    np.testing.assert_array_equal(table[["x", "y", "z"]].to_numpy(), landmarks.positions)
    np.testing.assert_array_equal(table["radius_mm"], [0.75, np.nan, np.nan])


def test_without_pandas_a_dataframe_says_what_to_install(
    landmarks: ld.Landmarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ld.InputError, match=r"to_dataframe needs pandas.*pip install pandas"):
        landmarks.to_dataframe()


@pytest.mark.parametrize("name", ["head.mrk.json", "head.fcsv", "head.csv", "HEAD.CSV"])
def test_a_saved_file_reads_as_the_same_landmarks(landmarks: ld.Landmarks, tmp_path: Path, name: str) -> None:
    landmarks.save(tmp_path / "new folder" / name)
    read = read_landmarks(tmp_path / "new folder" / name)
    assert read.names == tuple(landmarks)
    np.testing.assert_allclose(read.positions, landmarks.positions, atol=1e-6)


def test_the_saved_table_is_the_one_that_evaluate_reads(landmarks: ld.Landmarks, tmp_path: Path) -> None:
    landmarks.save(str(tmp_path / "head.csv"))
    read = ld.Landmarks(read_case(tmp_path, "head").detections)
    pd.testing.assert_frame_equal(read.to_dataframe(), landmarks.to_dataframe())


def test_a_file_of_another_kind_is_refused(landmarks: ld.Landmarks, tmp_path: Path) -> None:
    with pytest.raises(ld.InputError, match=r"head\.xlsx: not a landmark file; its name must end in"):
        landmarks.save(tmp_path / "head.xlsx")
    assert list(tmp_path.iterdir()) == []

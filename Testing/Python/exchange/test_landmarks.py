"""Landmark files between programs: nothing is lost, moved or made up on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LandmarkDetectionLib.data.afids import AFIDS
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import CoordinateSystem, read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import read_table
from LandmarkDetectionLib.exchange.landmarks import convert_landmarks
from train_cli.app import main

WITH_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SUFFIXES = st.sampled_from([".mrk.json", ".fcsv", ".csv"])
SYSTEMS = st.sampled_from(["LPS", "RAS"])
PLACES = st.tuples(*[st.floats(-1e3, 1e3).map(lambda value: value + 0.0)] * 3)  # no -0.0
ABSENT = (np.nan,) * 3


@st.composite
def landmark_sets(
    draw: st.DrawFn, names: tuple[str, ...] = ("Nasion", "orbit_L", "a, b", "7")
) -> LandmarkSet:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    return LandmarkSet(chosen, np.array([draw(PLACES | st.just(ABSENT)) for _ in chosen]))


def system_for(suffix: str, system: CoordinateSystem) -> CoordinateSystem:
    return "LPS" if suffix == ".csv" else system


@WITH_A_FOLDER
@given(landmark_sets(), SUFFIXES, SUFFIXES, SYSTEMS, SYSTEMS)
def test_landmarks_come_back_as_they_were_through_any_two_kinds_and_frames(
    tmp_path: Path,
    landmarks: LandmarkSet,
    first: str,
    second: str,
    system: CoordinateSystem,
    other: CoordinateSystem,
) -> None:
    write_landmarks(landmarks, tmp_path / "a.csv")
    convert_landmarks(tmp_path / "a.csv", tmp_path / f"b{first}", system=system_for(first, system))
    convert_landmarks(tmp_path / f"b{first}", tmp_path / f"c{second}", system=system_for(second, other))
    back = convert_landmarks(tmp_path / f"c{second}", tmp_path / "d.csv")
    assert back.names == landmarks.names
    np.testing.assert_array_equal(back.positions, landmarks.positions)
    assert (tmp_path / "d.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_a_file_in_ras_has_the_other_signs_of_x_and_y(tmp_path: Path) -> None:
    write_landmarks(LandmarkSet(["A"], np.array([[1.0, 2.0, 3.0]])), tmp_path / "a.csv")
    convert_landmarks(tmp_path / "a.csv", tmp_path / "a.fcsv", system="RAS")
    assert "\n1,-1.0,-2.0,3.0,0,0,0,1," in (tmp_path / "a.fcsv").read_text()
    with pytest.raises(InputError, match=r"b\.csv: a \.csv is always LPS"):
        convert_landmarks(tmp_path / "a.fcsv", tmp_path / "b.csv", system="RAS")


@WITH_A_FOLDER
@given(landmark_sets())
def test_skullengine_gets_its_marks_for_what_is_absent_and_they_are_read_back(
    tmp_path: Path, landmarks: LandmarkSet
) -> None:
    write_landmarks(landmarks, tmp_path / "a.mrk.json")
    near = {(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)}
    if any(tuple(np.round(place, 5)) in near for place in landmarks.positions):
        return
    convert_landmarks(tmp_path / "a.mrk.json", tmp_path / "s.csv", write_as="skullengine")
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert rows[0] == "name,x,y,z"
    assert sum(row.endswith(",-1.0,-1.0,-1.0") for row in rows) == (~landmarks.present).sum()
    back = convert_landmarks(tmp_path / "s.csv", tmp_path / "b.mrk.json", read_as="skullengine")
    np.testing.assert_array_equal(back.positions, landmarks.positions)


def test_files_as_skullengine_writes_them(tmp_path: Path) -> None:
    (tmp_path / "annotated.csv").write_text(
        "name,x,y,z\nFMP,0.0,0.0,0.0\nGn,84.3968,41.0069,3.20086\nS,1,1,1\n"
    )
    (tmp_path / "detected.csv").write_text("lmk_name,x,y,z\nGn,84.25,41.5,3.0\nS,-1,-1,-1\n")
    for name, present in (("annotated", [False, True, False]), ("detected", [True, False])):
        landmarks = convert_landmarks(
            tmp_path / f"{name}.csv", tmp_path / f"{name}.fcsv", read_as="skullengine"
        )
        assert landmarks.present.tolist() == present
    as_they_are = read_landmarks(tmp_path / "annotated.csv")
    assert as_they_are.present.all()  # nobody said that they are SkullEngine's


def test_skullengines_file_of_labels_names_the_balls_of_its_masks(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("landmark_label,landmark_name\n1,Gb\n2,N\n")
    table = read_table(tmp_path / "labels.csv")
    assert dict(zip(table.names, table.labels, strict=True)) == {"Gb": 1, "N": 2}


def test_a_landmark_that_skullengine_would_take_for_absent_is_refused(tmp_path: Path) -> None:
    write_landmarks(LandmarkSet(["A"], np.zeros((1, 3))), tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"a\.csv: 'A' lies where SkullEngine takes .* move it"):
        convert_landmarks(tmp_path / "a.csv", tmp_path / "b.csv", write_as="skullengine")
    with pytest.raises(InputError, match=r"b\.fcsv: the skullengine files are \.csv"):
        convert_landmarks(tmp_path / "a.csv", tmp_path / "b.fcsv", write_as="skullengine")


@WITH_A_FOLDER
@given(landmark_sets(AFIDS), st.sampled_from([".fcsv", ".mrk.json"]), SYSTEMS)
def test_afids_are_written_by_number_and_read_by_name(
    tmp_path: Path, landmarks: LandmarkSet, suffix: str, system: CoordinateSystem
) -> None:
    write_landmarks(landmarks, tmp_path / "a.csv")
    numbered = tmp_path / f"b{suffix}"
    convert_landmarks(tmp_path / "a.csv", numbered, write_as="afids", system=system)
    back = read_landmarks(numbered)
    assert back.names == tuple(name for name in AFIDS if name in landmarks.names)
    np.testing.assert_array_equal(back.positions_of(landmarks.names), landmarks.positions)
    assert back.descriptions == tuple(f"AFID{AFIDS.index(name) + 1:02d}" for name in back.names)


def test_what_is_no_afid_has_no_number(tmp_path: Path) -> None:
    write_landmarks(LandmarkSet(["AC", "Nasion"], np.ones((2, 3))), tmp_path / "a.csv")
    with pytest.raises(InputError, match="'Nasion' is no AFID"):
        convert_landmarks(tmp_path / "a.csv", tmp_path / "b.fcsv", write_as="afids")


def test_the_command_converts_a_folder_and_a_bad_file_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_landmarks(LandmarkSet(["A"], np.ones((1, 3))), tmp_path / "good.mrk.json")
    (tmp_path / "bad.fcsv").write_text("{")
    files = [str(tmp_path / name) for name in ("bad.fcsv", "good.mrk.json")]
    command = ["landmarks", *files, "--output", str(tmp_path / "out"), "--to", ".csv"]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "bad.fcsv" in said.err and "1 of 2 files converted" in said.out
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good.csv"]


def test_the_command_overwrites_neither_what_it_reads_nor_what_it_has_just_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landmarks = LandmarkSet(["A"], np.ones((1, 3)))
    for name in ("a.csv", "a.fcsv"):
        write_landmarks(landmarks, tmp_path / name)
    files = [str(tmp_path / name) for name in ("a.csv", "a.fcsv")]
    assert main(["landmarks", *files, "--output", str(tmp_path / "out")]) == 2
    assert "several files would have one name" in capsys.readouterr().err
    assert main(["landmarks", files[0], "--output", str(tmp_path), "--to", ".csv"]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert main(["landmarks", files[0], "--output", str(tmp_path / "b.mrk.json"), "--frame", "RAS"]) == 0
    assert '"coordinateSystem": "RAS"' in (tmp_path / "b.mrk.json").read_text()

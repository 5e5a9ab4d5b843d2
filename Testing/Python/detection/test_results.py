"""The files in which a detector hands over its results."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.detection.results import (
    CaseDetections,
    CaseOutcome,
    Detection,
    Status,
    read_case,
    summary_row,
    summary_text,
    write_case,
)

HEADER = "name,x,y,z,status,confidence,radius_mm\n"

RESULT = CaseDetections(
    "mouse 1",
    (
        Detection("nasion", np.array([1.5, -20.25, 3.0]), "found", 0.9375, 0.25),
        Detection("bregma, left", np.array([0.0, 0.0, 0.0]), "uncertain", 0.5),
        Detection.missing("inion", 0.125),
    ),
)


def test_a_case_comes_back_from_its_csv(tmp_path: Path) -> None:
    write_case(RESULT, tmp_path)
    assert_same(read_case(tmp_path, "mouse 1"), RESULT)


def test_the_csv_is_plain_text_with_empty_cells_for_what_is_not_there(tmp_path: Path) -> None:
    _, table = write_case(RESULT, tmp_path)
    assert table == tmp_path / "mouse 1.csv"
    assert table.read_text() == HEADER + (
        "nasion,1.5,-20.25,3.0,found,0.9375,0.25\n"
        '"bregma, left",0.0,0.0,0.0,uncertain,0.5,\n'
        "inion,,,,absent,0.125,\n"
    )


def test_slicer_sees_positions_missing_points_and_the_error_radius(tmp_path: Path) -> None:
    markups, _ = write_case(RESULT, tmp_path)
    points = json.loads(markups.read_text())["markups"][0]["controlPoints"]
    assert [point["label"] for point in points] == ["nasion", "bregma, left", "inion"]
    assert [point["positionStatus"] for point in points] == ["defined", "defined", "missing"]
    assert [point["description"] for point in points] == [
        "found; confidence 0.938; radius 0.25 mm",
        "uncertain; confidence 0.5",
        "absent; confidence 0.125",
    ]
    landmarks = read_landmarks(markups)
    np.testing.assert_array_equal(landmarks.positions, [item.position for item in RESULT.detections])


def test_the_markups_carry_confidence_and_radius_as_measurements(tmp_path: Path) -> None:
    markups, _ = write_case(RESULT, tmp_path)
    stored = {item["name"]: item for item in json.loads(markups.read_text())["markups"][0]["measurements"]}
    assert stored["confidence"]["controlPointValues"] == [0.9375, 0.5, 0.125]
    assert stored["radius"]["controlPointValues"][0] == 0.25
    assert stored["radius"]["units"] == "mm"


def test_nothing_but_the_two_files_is_left_behind(tmp_path: Path) -> None:
    paths = write_case(RESULT, tmp_path / "new" / "folder")
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
lengths = st.floats(0, 1e4)
coordinates = st.tuples(*[st.floats(-1e4, 1e4)] * 3)


@st.composite
def detections_of(draw: st.DrawFn, name: str) -> Detection:
    status: Status = draw(st.sampled_from(("found", "uncertain", "absent")))
    confidence = draw(st.floats(0, 1))
    if status == "absent":
        return Detection.missing(name, confidence)
    return Detection(name, np.array(draw(coordinates)), status, confidence, draw(lengths | st.just(math.nan)))


@given(st.lists(names, unique=True, max_size=5).flatmap(lambda all_: st.tuples(*map(detections_of, all_))))
def test_any_result_comes_back_to_a_millionth_of_a_millimetre(
    tmp_path_factory: pytest.TempPathFactory, detections: tuple[Detection, ...]
) -> None:
    folder = tmp_path_factory.mktemp("results")
    write_case(CaseDetections("case", detections), folder)
    assert_same(read_case(folder, "case"), CaseDetections("case", detections))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,x,y,z,status,confidence\n", "the column 'radius_mm' is missing"),
        ("", "the column 'name' is missing"),
        (HEADER + "A,1,2,3,found,0.5,\nA,1,2,3,found,0.5,\n", "line 3: 'A' stands there twice"),
        (HEADER + "A,1,two,3,found,0.5,\n", "line 2: the y 'two' is not a number"),
        (HEADER + "A,1,2,3,seen,0.5,\n", "line 2: the status is 'seen'"),
        (HEADER + "A,1,2,3,absent,0.5,\n", "an absent one has none"),
        (HEADER + "A,1,,3,absent,0.5,\n", "an absent one has none"),
        (HEADER + "A,1,,3,found,0.5,\n", "a found or uncertain landmark has a position"),
        (HEADER + "A,1,inf,3,found,0.5,\n", "the y 'inf' is not a number"),
        (HEADER + "A,1,2,3,found,1.5,\n", "the confidence is 1.5"),
        (HEADER + "A,1,2,3,found,,\n", "the confidence is nan"),
        (HEADER + "A,1,2,3,found,0.5,-1\n", "the radius is -1.0 mm"),
        (HEADER + ",1,2,3,found,0.5,\n", "the landmark has no name"),
        (HEADER + "A,1,2\n", "the status is ''"),
    ],
)
def test_a_damaged_csv_is_named_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "case.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_case(tmp_path, "case")
    message = str(caught.value)
    assert says in message
    assert str(tmp_path / "case.csv") in message
    assert message.endswith(".") and "\n" not in message


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "case.csv").write_bytes(b"\xff\x00\x81")
    with pytest.raises(InputError, match="the file is not UTF-8 text"):
        read_case(tmp_path, "case")


def test_a_case_without_a_file_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nobody\.csv: no detections of the case 'nobody'"):
        read_case(tmp_path, "nobody")


@pytest.mark.parametrize("case", ["", "..", ".", "a/b", "/etc/passwd", "a\\b"])
def test_a_case_name_cannot_lead_out_of_the_folder(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        write_case(CaseDetections(case, ()), tmp_path)
    with pytest.raises(InputError, match="cannot name a file"):
        read_case(tmp_path, case)


def test_the_summary_counts_each_case_and_says_why_one_failed() -> None:
    outcomes = [
        CaseOutcome("mouse 1", Path("scans/1.nii.gz"), RESULT),
        CaseOutcome("mouse 2", Path("scans/2.nii.gz"), None, "scans/2.nii.gz: there is no such file; check."),
        CaseOutcome("empty", Path("scans/3.nii.gz"), CaseDetections("empty", (Detection.missing("A", 0.1),))),
    ]
    lines = [summary_row(outcomes[0], 1.25, "inion"), *map(summary_row, outcomes[1:])]
    rows = [list(row.values()) for row in csv.DictReader(summary_text(lines).splitlines())]
    image = str(Path("scans/1.nii.gz"))
    assert rows[0] == ["mouse 1", "1", "1", "1", "0.71875", "0.5", "1.25", "inion", image, ""]
    assert rows[1][1:] == [*[""] * 7, str(Path("scans/2.nii.gz")), outcomes[1].error]
    assert rows[2][1:8] == ["0", "0", "1", "", "", "", ""]


def test_a_landmark_cannot_be_detected_twice_in_a_case() -> None:
    with pytest.raises(ValueError, match="unique"):
        CaseDetections("case", (Detection.missing("A"), Detection.missing("A")))


def assert_same(actual: CaseDetections, expected: CaseDetections) -> None:
    assert actual.case == expected.case
    assert [item.name for item in actual.detections] == [item.name for item in expected.detections]
    for ours, theirs in zip(actual.detections, expected.detections, strict=True):
        assert ours.status == theirs.status
        np.testing.assert_allclose(ours.position, theirs.position, atol=1e-6, rtol=0)
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-6)
        np.testing.assert_allclose(ours.radius_mm, theirs.radius_mm, atol=1e-6)

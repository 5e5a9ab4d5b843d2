"""Detections that cannot be evaluated are refused, and those that a person has changed are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.digests import ScanIdentity, file_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.records import RECORDS_NAME, Entry, Records
from LandmarkDetectionLib.detection.results import CaseDetections, Detection, write_case
from LandmarkDetectionLib.evaluation.detections import DetectionsFolder

NAMES = ("A", "B", "C", "D", "E")
TRUTH = LandmarkSet(NAMES, np.arange(15.0).reshape(5, 3))
CASE = Case("one", Path("one.nii.gz"), Path("truth/one.mrk.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The results of a case, with the record of their digests; the last landmark is absent."""
    found = [Detection(name, point, "found", 0.9) for name, point in zip(NAMES, TRUTH.positions, strict=True)]
    files = write_case(CaseDetections("one", (*found[:4], Detection.missing("E"))), tmp_path)
    digests = {file.name: [file_digest(file)] for file in files}
    entry = Entry("one.nii.gz", ScanIdentity("", ""), "a model", digests, {}, 1.0, ())
    Records(tmp_path / RECORDS_NAME).put("one", entry)
    return tmp_path


def record_in(folder: Path) -> Path:
    return folder / RECORDS_NAME / "cases" / "one.json"


def correct(folder: Path) -> None:
    """As a person does in Slicer: move one landmark."""
    marked = read_landmarks(folder / "one.mrk.json")
    moved = marked.positions + np.array([(0.5, 0, 0), *[(0, 0, 0)] * 4])
    write_landmarks(LandmarkSet(marked.names, moved), folder / "one.mrk.json")


def cut(folder: Path) -> None:
    lines = (folder / "one.csv").read_text().splitlines()
    (folder / "one.csv").write_text("\n".join(lines[:4]) + "\n")


def changes(folder: Path, case: Case = CASE) -> list[str]:
    results = DetectionsFolder(folder)
    results.read(case, TRUTH)
    return results.changes()


def test_nothing_is_said_of_results_as_they_were_written(folder: Path) -> None:
    assert changes(folder) == []
    record_in(folder).unlink()
    assert changes(folder) == []
    (folder / "one.mrk.json").unlink()
    assert changes(folder) == []


@pytest.mark.parametrize("record", ["kept", "gone", "damaged"])
def test_a_markup_file_that_a_person_corrected_is_told(folder: Path, record: str) -> None:
    correct(folder)
    if record == "gone":
        record_in(folder).unlink()
    if record == "damaged":
        record_in(folder).write_text("[1]")
    (sentence,) = changes(folder)
    assert "one.mrk.json says otherwise than the .csv" in sentence
    assert "what was evaluated is the .csv, without the corrections" in sentence


def test_a_landmark_that_a_person_removed_added_or_damaged_is_a_correction(folder: Path) -> None:
    marked = read_landmarks(folder / "one.mrk.json")
    added = LandmarkSet([*NAMES, "F"], np.vstack([marked.positions, [(1, 2, 3)]]))
    for corrected in (LandmarkSet(NAMES[1:], marked.positions[1:]), added):
        write_landmarks(corrected, folder / "one.mrk.json")
        assert len(changes(folder)) == 1
    (folder / "one.mrk.json").write_text("{")
    assert len(changes(folder)) == 1


def test_a_table_that_a_person_edited_is_told(folder: Path) -> None:
    path = folder / "one.csv"
    path.write_text(path.read_text().replace("A,0.0,1.0,2.0", "A,0.5,1.0,2.0"))
    (sentence,) = changes(folder)
    assert "one.csv changed since detect wrote it" in sentence and "as it is now" in sentence


@pytest.mark.parametrize("recorded", [True, False])
def test_a_table_that_lacks_landmarks_of_its_markup_file_is_refused(folder: Path, recorded: bool) -> None:
    cut(folder)
    if not recorded:
        record_in(folder).unlink()
    with pytest.raises(
        InputError, match=r"one\.csv: it lacks 2 of the 5 landmarks of one\.mrk\.json .* \(D, E\)"
    ):
        changes(folder)


def test_the_truth_beside_the_detections_is_no_correction_of_them(folder: Path) -> None:
    correct(folder)
    assert changes(folder, replace(CASE, landmark_path=folder / "one.mrk.json")) == []


def test_names_of_another_spelling_are_refused(folder: Path) -> None:
    lower = LandmarkSet([name.lower() for name in NAMES], TRUTH.positions)
    with pytest.raises(InputError, match=r"\(A, B, C and 2 more\) is in the truth, .*\(a, b, c and 2 more\)"):
        DetectionsFolder(folder).read(CASE, lower)

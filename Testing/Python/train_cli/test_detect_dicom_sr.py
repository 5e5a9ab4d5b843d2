"""The flag `--dicom-sr` of `detect`: who gets a report, and what becomes of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
from Testing.dicom_files import write_series

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

WORLD = "1.2.3.4.5.6"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two patients with a DICOM series each."""
    for number, name in enumerate(("Huber", "Moser")):
        folder = tmp_path / "wards" / name
        write_series(
            folder, uid=f"1.2.3.{number}", FrameOfReferenceUID=WORLD, PatientName=name, PatientID=name
        )
    return tmp_path / "wards"


@pytest.fixture
def command(a_model: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("--model", a_model, "--output", tmp_path / "out", "--device", "cpu")


@pytest.fixture
def with_reports(command: tuple[object, ...]) -> tuple[object, ...]:
    pytest.importorskip("highdicom", reason='highdicom is not installed: pip install "highdicom>=0.28"')
    return (*command, "--dicom-sr")


def points_in(path: Path) -> list[list[float]]:
    """The points of a report, in the order of its landmarks."""
    (imaging,) = [
        item
        for item in pydicom.dcmread(path).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    inside = [item for group in imaging.ContentSequence for item in group.ContentSequence]
    return [list(item.GraphicData) for item in inside if item.ValueType == "SCOORD3D"]


def cases_of(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in said["cases"]}


def test_each_scan_that_came_as_dicom_gets_a_report_and_of_the_others_it_is_said(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    write_volume(Volume(np.zeros((9, 9, 9), np.int16), Frame(size=(9, 9, 9))), tmp_path / "plain.nii.gz")
    finished = run("detect", scans, tmp_path / "plain.nii.gz", *with_reports, "--each", "--json")
    assert finished.code == 0, finished.err
    assert "plain: it did not come as a DICOM series, so there is no DICOM SR of it." in finished.err
    for name, case in cases_of(finished.json).items():
        files = [Path(file).name for file in case["files"]]
        report = [] if name == "plain" else [f"{name}.sr.dcm"]
        assert files == [f"{name}.mrk.json", f"{name}.csv", *report]
        if report:
            found = [item["position"] for item in case["landmarks"] if item["position"]]
            points = points_in(tmp_path / "out" / report[0])
            assert len(found) == 2
            np.testing.assert_allclose(points, found, rtol=0, atol=1e-4)
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.sr.dcm"))
    assert b"Huber" not in content and b"Moser" not in content


def test_results_of_an_earlier_run_get_their_reports_too(
    run: Run, scans: Path, command: tuple[object, ...], with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans, *command).code == 0
    assert list((tmp_path / "out").glob("*.sr.dcm")) == []
    finished = run("detect", scans, *with_reports, "--json")
    assert finished.code == 0 and all(case["done_before"] for case in finished.json["cases"])
    reports = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.sr.dcm")}
    assert len(reports) == 2


def test_the_same_command_leaves_the_same_reports(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans, *with_reports).code == 0
    reports = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.sr.dcm")}
    assert "2 of 2 were done before" in run("detect", scans, *with_reports).out
    assert len(reports) == 2 and {path: path.read_bytes() for path in reports} == reports


def test_a_result_that_was_corrected_is_reported_as_corrected(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    first = run("detect", scans, *with_reports, "--json").json
    name = next(iter(cases_of(first)))
    markups, report = (tmp_path / "out" / f"{name}{end}" for end in (".mrk.json", ".sr.dcm"))
    content = json.loads(markups.read_text())
    points = content["markups"][0]["controlPoints"]
    moved = next(point for point in points if point["positionStatus"] == "defined")
    moved["position"] = [1.0, 2.0, 3.0]
    markups.write_text(json.dumps(content))
    before = points_in(report)
    assert b"Manual" not in report.read_bytes()
    assert run("detect", scans, *with_reports).code == 0
    assert points_in(report) == [[1.0, 2.0, 3.0], *before[1:]]
    assert report.read_bytes().count(b"Manual") == 1 and b"Person Observer Name" in report.read_bytes()


def test_a_report_goes_with_the_result_that_it_is_of(
    run: Run, scans: Path, command: tuple[object, ...], with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans, *with_reports).code == 0
    assert run("detect", scans, *command, "--again").code == 0
    assert list((tmp_path / "out").glob("*.sr.dcm")) == []


def test_a_persons_own_file_of_that_name_is_kept(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    names = list(cases_of(run("detect", scans, *with_reports, "--json").json))
    own = tmp_path / "out" / f"{names[0]}.sr.dcm"
    own.write_bytes(b"mine")
    finished = run("detect", scans, *with_reports, "--json")
    assert finished.code == 2 and f"{own}: it was changed since" in finished.err
    assert own.read_bytes() == b"mine" and finished.json["exit_code"] == 2
    assert run("detect", scans, *with_reports, "--overwrite").code == 0 and own.read_bytes() != b"mine"


def test_a_series_without_a_frame_of_reference_has_results_and_no_report(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    shutil.rmtree(scans / "Moser")
    write_series(scans / "Moser", uid="1.2.3.7", PatientID="Moser")
    finished = run("detect", scans, *with_reports, "--json")
    assert finished.code == 2 and finished.err.count("has no FrameOfReferenceUID (0020,0052)") == 1
    assert [case["error"] for case in finished.json["cases"]] == [None, None]
    out = tmp_path / "out"
    assert (len(list(out.glob("*.mrk.json"))), len(list(out.glob("*.sr.dcm")))) == (2, 1)


def test_the_patient_is_told_where_that_is_asked_for(
    run: Run, scans: Path, with_reports: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans, *with_reports, "--with-patient").code == 0
    reports = [pydicom.dcmread(path) for path in (tmp_path / "out").glob("*.sr.dcm")]
    assert {str(report.PatientName) for report in reports} == {"Huber", "Moser"}
    assert run("detect", scans, *with_reports).code == 0
    assert not any(b"Huber" in path.read_bytes() for path in (tmp_path / "out").glob("*.sr.dcm"))


def test_results_beside_the_slices_change_nothing_of_the_scan(
    run: Run, scans: Path, a_model: Path, with_reports: tuple[object, ...]
) -> None:
    beside = (*with_reports, "--output", scans / "Huber")
    assert run("detect", scans / "Huber", *beside).code == 0
    again = run("detect", scans / "Huber", *beside)
    assert again.code == 0 and "1 of 1 were done before" in again.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--dicom-sr", "--anonymous"), "a DICOM SR says by UIDs which study it is of; give one of the two."),
        (("--with-patient",), "give --dicom-sr too."),
    ],
)
def test_flags_that_make_no_sense_together(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    finished = run("detect", scans, *command, *flags)
    assert finished.code == 2 and said in finished.err and not (tmp_path / "out").exists()


def test_without_highdicom_it_is_said_what_to_install(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)  # importing it raises ImportError
    finished = run("detect", scans, *command, "--dicom-sr")
    assert finished.code == 2 and 'pip install "highdicom>=0.28"' in finished.err
    assert not (tmp_path / "out").exists()

"""`--report` of evaluate, check and detect, from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from LandmarkDetectionLib.data.cases import case_landmarks, read_split
from LandmarkDetectionLib.detection.results import CaseDetections, Detection, write_case
from Testing.small_model import write_small_model

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run


def detect_nearly(split: Path, folder: Path, off_mm: float) -> None:
    for case in read_split(split, supervised=True):
        truth = case_landmarks(case, None)
        write_case(
            CaseDetections(
                case.name,
                tuple(
                    Detection(name, place + np.array([off_mm, 0.0, 0.0]), "found", 0.9, 3.0)
                    for name, place in zip(truth.names, truth.positions, strict=True)
                    if np.isfinite(place).all()
                ),
            ),
            folder,
        )


def test_evaluate_writes_a_report_and_sets_other_detections_beside(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    detect_nearly(data_set / "cases.csv", tmp_path / "ours", 1.0)
    detect_nearly(data_set / "cases.csv", tmp_path / "theirs", 4.0)
    flags = ("--detections", tmp_path / "ours", "--output", tmp_path / "e", "--report", tmp_path / "report")
    finished = run("evaluate", data_set / "cases.csv", *flags, "--compare", tmp_path / "theirs")
    assert finished.code == 0, finished.err
    assert f"Report: open {tmp_path / 'report' / 'index.html'} in a browser." in " ".join(
        finished.out.split()
    )
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "the error of theirs minus that of ours is +3.000 mm" in text
    assert len(list((tmp_path / "report" / "cases").iterdir())) == 5
    assert list((tmp_path / "report" / "crops").iterdir())


def test_a_case_without_its_scan_is_told_and_the_report_is_there(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    detect_nearly(data_set / "cases.csv", tmp_path / "ours", 1.0)
    (data_set / "images/phantom_003.nii.gz").write_bytes(b"damaged")
    flags = ("--detections", tmp_path / "ours", "--output", tmp_path / "e", "--report", tmp_path / "report")
    finished = run("evaluate", data_set / "cases.csv", *flags)
    assert finished.code == 0
    assert "phantom_003 has no pictures: " in finished.err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--compare", "."], "--compare: the comparison stands in the report; give --report DIR too."),
        (["--report", "thesis"], "something other than a report stands there"),
        (["--report", "."], ".: e lies in it; give a folder of its own for the report."),
        (["--report", "report", "--compare", "nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_evaluate_refuses_what_makes_no_report(
    run: Run, data_set: Path, tmp_path: Path, flags: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("1", encoding="utf-8")
    detect_nearly(data_set / "cases.csv", tmp_path / "ours", 1.0)
    finished = run("evaluate", data_set / "cases.csv", "--detections", "ours", "--output", "e", *flags)
    assert finished.code == 2
    assert sentence in " ".join(finished.err.split())
    assert not (tmp_path / "report").exists()


def test_check_writes_a_report(run: Run, data_set: Path, tmp_path: Path) -> None:
    (data_set / "images/phantom_003.nii.gz").write_bytes(b"damaged")
    finished = run("check", data_set / "cases.csv", "--report", tmp_path / "report")
    assert finished.code == 2
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "phantom_003" in text
    assert len(list((tmp_path / "report" / "landmarks").iterdir())) > 10


def test_detect_writes_a_report_of_what_was_found_and_of_earlier_runs(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    scans = [data_set / f"images/phantom_00{number}.nii.gz" for number in (1, 2)]
    flags = ("--model", write_small_model(tmp_path / "model", spacing=8.0), "--output", tmp_path / "d")
    assert run("detect", scans[0], *flags).code == 0
    finished = run("detect", *scans, *flags, "--report", tmp_path / "report")
    assert finished.code == 0, finished.err
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "phantom_001" in text and "phantom_002" in text
    assert (tmp_path / "report" / "measurements.csv").read_text(encoding="utf-8").startswith("case,")


def test_detect_refuses_a_measurement_of_a_landmark_that_the_model_does_not_know(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("name,kind,a,b,c,d\nwidth,distance,nasion,elbow,,\n", encoding="utf-8")
    scan = data_set / "images/phantom_001.nii.gz"
    flags = (
        "--model",
        write_small_model(tmp_path / "model", spacing=8.0),
        "--output",
        tmp_path / "d",
        "--measure",
        tmp_path / "m.csv",
    )
    assert "give --report DIR too" in " ".join(run("detect", scan, *flags).err.split())
    finished = run("detect", scan, *flags, "--report", tmp_path / "report")
    assert finished.code == 2
    assert "the model has no landmark 'elbow'" in " ".join(finished.err.split())
    assert not (tmp_path / "d").exists()


def test_the_other_model_is_not_charged_with_cases_that_only_ours_lacks(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    detect_nearly(data_set / "cases.csv", tmp_path / "ours", 1.0)
    detect_nearly(data_set / "cases.csv", tmp_path / "theirs", 4.0)
    (tmp_path / "ours" / "phantom_003.csv").unlink()
    flags = ("--detections", tmp_path / "ours", "--output", tmp_path / "e", "--report", tmp_path / "report")
    finished = run("evaluate", data_set / "cases.csv", *flags, "--compare", tmp_path / "theirs", "--json")
    assert finished.code == 2 and finished.json["n_cases"] == 5
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    row = text[text.index('<th scope="row">theirs</th>') :]
    assert "<td>0 of " in row[: row.index("</tr>")]
    assert str(tmp_path) not in text


def test_a_shard_has_no_report_of_its_own(run: Run, data_set: Path, tmp_path: Path) -> None:
    scan = data_set / "images/phantom_001.nii.gz"
    finished = run("detect", scan, "--output", tmp_path / "d", "--shard", "1/2", "--report", tmp_path / "r")
    assert finished.code == 2 and "run the same command afterwards without --shard" in " ".join(
        finished.err.split()
    )

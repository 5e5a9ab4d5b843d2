"""The command `detect`: what it says, keeps, goes on with and hands to scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.detection.detector import DenseDetector
from LandmarkDetectionLib.detection.inputs import anonymous_reason
from LandmarkDetectionLib.detection.results import Detection
from Testing.dicom_files import write_series

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three small scans of noise."""
    for number, name in enumerate(("a", "b", "c")):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", number)
    return tmp_path / "scans"


def write_scan(path: Path, seed: int, edge: float = 1.0) -> None:
    voxels = np.random.default_rng(seed).normal(0, 100, (16, 16, 16)).astype(np.int16)
    write_volume(Volume(voxels, Frame(size=(16, 16, 16), spacing=(edge, edge, edge))), path)


@pytest.fixture
def command(a_model: Path, tmp_path: Path) -> tuple[object, ...]:
    """What follows the inputs: model, output and device."""
    return ("--model", a_model, "--output", tmp_path / "out", "--device", "cpu")


@pytest.fixture
def blind_model(a_model: Path) -> Path:
    """One that finds nothing."""
    path = a_model / "model.json"
    text = path.read_text().replace('"threshold": 0.4', '"threshold": 1.0, "uncertain": 1.0')
    path.write_text(text)
    return a_model


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("?.*")}


def test_the_same_command_does_what_is_missing_and_says_how_much_was_done(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans / "a.nii.gz", scans / "b.nii.gz", *command).code == 0
    before = times(tmp_path / "out")
    finished = run("detect", scans, *command)
    assert finished.code == 0 and "2 of 3 were done before; --again does them anew." in finished.out
    after = times(tmp_path / "out")
    assert before.items() < after.items() and set(after) - set(before) == {"c.csv", "c.mrk.json"}
    assert run("detect", scans, *command, "--again").code == 0
    assert not set(before.items()) & set(times(tmp_path / "out").items())


def test_the_summary_keeps_the_cases_of_earlier_runs(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        assert run("detect", scans / f"{name}.nii.gz", *command).code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert set(summary["case"]) == {"a", "b"}
    assert {"misfit_mm", "least_fitting"} <= set(summary.columns)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals on Windows")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_that_the_same_command_goes_on_and_it_does(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path, stop: signal.Signals
) -> None:
    for number in range(60):
        write_scan(scans / f"more_{number}.nii.gz", number)
    job = subprocess.Popen(
        [sys.executable, "-m", "train_cli", "detect", *map(str, (scans, *command))],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "out/b.csv").is_file() and job.poll() is None:
        time.sleep(0.01)
    os.kill(job.pid, stop)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130 and "Traceback" not in said, said
    told = re.search(r"Stopped\. The same command goes on with the (\d+) scans that are missing\.", said)
    assert told is not None
    done = 63 - int(told[1])
    assert 0 < done < 63
    assert len(pd.read_csv(tmp_path / "out/summary.csv")) in (done, done + 1), "one may be written already"
    finished = run("detect", scans, *command)
    before = re.search(r"(\d+) of 63 were done before", finished.out)
    assert finished.code == 0 and before is not None and int(before[1]) in (done, done + 1)
    assert len(pd.read_csv(tmp_path / "out/summary.csv")) == 63


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals on Windows")
def test_a_killed_process_leaves_a_summary_and_the_same_command_goes_on(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    for number in range(60):
        write_scan(scans / f"more_{number}.nii.gz", number)
    (scans / "a.nii.gz").write_bytes(b"nothing")
    arguments = [sys.executable, "-m", "train_cli", "detect", *map(str, (scans, *command)), "--quiet"]
    job = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL)
    summary = tmp_path / "out/summary.csv"
    while not summary.is_file() and job.poll() is None:
        time.sleep(0.01)
    job.kill()
    assert job.wait() == -signal.SIGKILL, "before all was done"
    assert pd.read_csv(summary)["case"].tolist()[0] == "a"
    finished = run("detect", scans, *command, "--quiet")
    assert finished.code == 2 and "summary.csv" not in finished.err, "one is no scan"
    assert len(pd.read_csv(summary)) == 63


def test_a_corrected_result_is_kept_and_the_others_go_on(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    assert run("detect", scans, *command).code == 0
    before = pd.read_csv(tmp_path / "out/summary.csv").set_index("case")["found"].to_dict()
    corrected = tmp_path / "out/b.mrk.json"
    corrected.write_text(corrected.read_text().replace("nasion", "Nasion"))
    content = corrected.read_text()
    assert run("detect", scans, *command).code == 0, "nothing is to be done, so nothing is refused"
    finished = run("detect", scans, *command, "--again", "--quiet")
    assert finished.code == 2 and finished.err.count("so it is kept") == 1 and str(corrected) in finished.err
    assert corrected.read_text() == content
    rows = pd.read_csv(tmp_path / "out/summary.csv").set_index("case")
    assert rows["error"].isna().all() and rows["found"].to_dict() == before
    assert run("detect", scans, *command, "--again", "--overwrite").code == 0
    assert corrected.read_text() != content


def test_a_corrected_result_is_given_as_corrected(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    first = {case["name"]: case for case in run("detect", scans, *command, "--json").json["cases"]}
    summary = (tmp_path / "out/summary.csv").read_bytes()
    present = [item["name"] for item in first["b"]["landmarks"] if item["position"]]
    (absent,) = [item["name"] for item in first["b"]["landmarks"] if not item["position"]]
    moved, removed = present
    path = tmp_path / "out/b.mrk.json"
    content = json.loads(path.read_text())
    points = {point["label"]: point for point in content["markups"][0]["controlPoints"]}
    points[moved]["position"] = [1.0, 2.0, 3.0]
    points[absent] |= {"position": [4.0, 5.0, 6.0], "positionStatus": "defined"}
    points[removed]["positionStatus"] = "missing"
    path.write_text(json.dumps(content))
    (tmp_path / "out/c.mrk.json").write_text((tmp_path / "out/c.mrk.json").read_text() + "\n")
    finished = run("detect", scans, *command, "--json")
    second = {case["name"]: case for case in finished.json["cases"]}
    assert [second[name]["corrected"] for name in "abc"] == [False, True, False], "c was only saved again"
    by_hand = {item["name"]: item for item in second["b"]["landmarks"]}
    placed = {"status": "found", "confidence": 1.0, "radius_mm": None}
    assert by_hand[moved] == {"name": moved, "position": [1.0, 2.0, 3.0], **placed}
    assert by_hand[absent] == {"name": absent, "position": [4.0, 5.0, 6.0], **placed}
    nowhere = {"status": "absent", "confidence": 0.0, "radius_mm": None}
    assert by_hand[removed] == {"name": removed, "position": None, **nowhere}
    assert second["b"]["counts"] == {"found": 2, "uncertain": 0, "absent": 1}
    assert (tmp_path / "out/summary.csv").read_bytes() == summary
    assert "1 of them were corrected since" in run("detect", scans, *command).out


def test_a_persons_landmarks_beside_the_scans_are_kept_where_results_go_there_too(
    run: Run, scans: Path, a_model: Path
) -> None:
    (scans / "a.csv").write_text("name,x,y,z\nnasion,1,2,3\n")
    (scans / "b.mrk.json").write_text("{}")
    finished = run("detect", scans, "--model", a_model, "--output", scans, "--device", "cpu", "--json")
    assert finished.code == 2 and finished.err.count("was not written by this program") == 2
    assert (scans / "a.csv").read_text() == "name,x,y,z\nnasion,1,2,3\n"
    assert (scans / "b.mrk.json").read_text() == "{}"
    assert [case["error"] is None for case in finished.json["cases"]] == [False, False, True]


def test_a_split_of_the_name_summary_in_the_output_folder_is_never_overwritten(
    run: Run, scans: Path, a_model: Path
) -> None:
    split = scans / "summary.csv"
    split.write_text("image_name,image_path\nhead,a.nii.gz\n")
    flags = ("--model", a_model, "--output", scans, "--device", "cpu", "--overwrite")
    finished = run("detect", split, *flags)
    assert finished.code == 2 and "the same run reads this file" in finished.err
    assert split.read_text().startswith("image_name") and (scans / "head.csv").is_file()


def test_a_scan_named_summary_is_refused_and_the_others_go_on(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    shutil.move(scans / "a.nii.gz", scans / "summary.nii.gz")
    finished = run("detect", scans, *command, "--quiet")
    assert finished.code == 2 and "rename the case" in finished.err
    assert "summary.csv of the case 'summary' would overwrite the summary.csv of all cases" in finished.err
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert summary["case"].tolist()[0] == "summary" and summary["found"].notna().sum() == 2
    assert (tmp_path / "out/b.csv").is_file() and not (tmp_path / "out/summary.mrk.json").exists()


def test_two_inputs_with_a_scan_of_one_name_do_not_share_its_files(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    write_scan(tmp_path / "others/B.nii.gz", 9)
    write_scan(tmp_path / "others/d.nii.gz", 8)
    finished = run("detect", scans, tmp_path / "others", *command, "--json")
    assert finished.code == 2
    failed = [case for case in finished.json["cases"] if case["error"]]
    assert [case["name"] for case in failed] == ["B"] and "'b'" in failed[0]["error"]
    assert len(finished.json["cases"]) == 5 and (tmp_path / "out/d.csv").is_file()


@pytest.mark.parametrize("removed", [False, True])
def test_a_scan_that_is_replaced_or_removed_while_it_is_detected_fails_and_the_others_go_on(
    run: Run,
    scans: Path,
    command: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    removed: bool,
) -> None:
    detect = DenseDetector.detect
    path = scans / "b.nii.gz"

    def meanwhile(self: DenseDetector, volume: Volume, **rest: Any) -> tuple[Detection, ...]:
        if (tmp_path / "out/a.csv").is_file() and not (tmp_path / "out/c.csv").is_file():
            path.unlink(missing_ok=True)
            if not removed:
                write_scan(path, 99)
        return detect(self, volume, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(DenseDetector, "detect", meanwhile)
        finished = run("detect", scans, *command, "--json")
    assert finished.code == 2
    errors = {case["name"]: case["error"] for case in finished.json["cases"]}
    assert errors == {
        "a": None,
        "b": f"{path}: the scan was changed or removed while it was in use; detect in it again.",
        "c": None,
    }
    assert not (tmp_path / "out/b.csv").exists() and (tmp_path / "out/c.csv").is_file()
    if not removed:
        assert "2 of 3 were done before" in run("detect", scans, *command).out


def failing(error: Exception) -> Any:
    """The detection of a detector that fails in the second scan that it sees."""
    detect, seen = DenseDetector.detect, []

    def failing_once(self: DenseDetector, volume: Volume, **rest: Any) -> tuple[Detection, ...]:
        if volume.voxels[0, 0, 0] not in seen:
            seen.append(volume.voxels[0, 0, 0])
        if len(seen) == 2:
            raise error
        return detect(self, volume, **rest)

    return failing_once


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_a_scan_that_needs_more_memory_than_there_is_fails_and_the_others_go_on(
    run: Run, scans: Path, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(DenseDetector, "detect", failing(error))
    finished = run("detect", scans, *command, "--json")
    assert finished.code == 2 and "Traceback" not in finished.err
    errors = [case["error"] for case in finished.json["cases"]]
    assert errors[0] is errors[2] is None
    assert errors[1].startswith(f"{scans / 'b.nii.gz'}: this machine has too little memory for the scan; ")


@pytest.mark.parametrize("anonymous", [False, True])
def test_a_fault_of_ours_in_one_scan_is_shown_and_the_others_go_on(
    run: Run,
    scans: Path,
    command: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anonymous: bool,
) -> None:
    monkeypatch.setattr(DenseDetector, "detect", failing(ValueError(f"never seen in {scans}")))
    flags = ["--anonymous"] if anonymous else []
    finished = run("detect", scans, *command, "--json", *flags)
    assert finished.code == finished.json["exit_code"] == 1
    assert "failing_once" in finished.err and "ValueError" in finished.err
    assert (str(scans) in finished.err) != anonymous
    errors = [case["error"] for case in finished.json["cases"]]
    assert errors[0] is errors[2] is None and "by a fault of train_cli, not of your data" in errors[1].lower()
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert summary["error"].notna().tolist() == [True, False, False]
    assert "2 of 3 were done before" in run("detect", scans, *command, *flags).out


def test_pictures_are_drawn_beside_the_results(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    finished = run("detect", scans / "a.nii.gz", *command, "--pictures", "--json")
    assert finished.code == 0, finished.err
    files = [Path(path).name for path in finished.json["cases"][0]["files"]]
    assert files == ["a.mrk.json", "a.csv", "a.png"]
    assert all((tmp_path / "out" / name).stat().st_size for name in files)


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_where_nothing_is_found_the_exit_code_is_3_and_quiet_says_why(
    run: Run, scans: Path, blind_model: Path, command: tuple[object, ...], names: tuple[str, ...]
) -> None:
    inputs = [scans / f"{name}.nii.gz" for name in names]
    finished = run("detect", *inputs, *command, "--quiet")
    assert finished.code == 3 and finished.out == ""
    assert f"{', '.join(names)}: none of the 3 landmarks was found, most likely because" in finished.err
    again = run("detect", *inputs, *command, "--quiet", "--allow-empty")
    assert again.code == 0 and again.err == finished.err, "said again of what was done before"


LANDMARK = {"name": str, "position": list, "status": str, "confidence": float, "radius_mm": float}
CASE = {
    "name": str,
    "image": str,
    "done_before": bool,
    "corrected": bool,
    "counts": dict,
    "lowest_confidence": float,
    "misfit_mm": float,
    "least_fitting": str,
    "landmarks": list,
    "files": list,
    "seconds": float,
    "warnings": list,
    "error": str,
}
RUN = {
    "model": str,
    "engine": str,
    "training_fingerprint": str,
    "output": str,
    "exit_code": int,
    "warnings": list,
    "cases": list,
}
MAY_BE_NULL = {
    *("training_fingerprint", "position", "radius_mm", "lowest_confidence", "misfit_mm", "seconds", "error"),
}


def assert_schema(values: dict[str, Any], schema: dict[str, type]) -> None:
    assert list(values) == list(schema)
    for key, value in values.items():
        assert type(value) is schema[key] or (value is None and key in MAY_BE_NULL), (key, value)


def test_the_json_is_what_its_document_says(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    (scans / "d.nii.gz").write_bytes(b"nothing")
    finished = run("detect", scans, *command, "--json")
    said = finished.json
    assert_schema(said, RUN)
    assert finished.code == said["exit_code"] == 2
    assert [case["name"] for case in said["cases"]] == ["a", "b", "c", "d"]
    for case in said["cases"]:
        assert_schema(case, CASE)
        assert list(case["counts"]) == ["found", "uncertain", "absent"]
        for landmark in case["landmarks"]:
            assert_schema(landmark, LANDMARK)
            assert (landmark["position"] is None) == (landmark["status"] == "absent")
        if case["error"] is None:
            table = pd.read_csv(tmp_path / "out" / f"{case['name']}.csv")
            assert table["status"].value_counts().to_dict() == {k: n for k, n in case["counts"].items() if n}
            first = case["landmarks"][0]
            np.testing.assert_allclose(
                first["position"], table.loc[0, ["x", "y", "z"]].astype(float), atol=1e-5
            )
            assert all(Path(path).is_file() for path in case["files"]) and case["seconds"] > 0
    failed = said["cases"][-1]
    assert failed["landmarks"] == failed["files"] == [] and failed["seconds"] is None
    assert "d.nii.gz" in failed["error"] and set(failed["counts"].values()) == {0}
    document = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    assert [key for key in (*RUN, *CASE, *LANDMARK) if f"`{key}`" not in document] == []


def test_what_was_done_before_stands_in_the_json_as_it_was(
    run: Run, scans: Path, command: tuple[object, ...]
) -> None:
    first = run("detect", scans, *command, "--json").json
    second = run("detect", scans, *command, "--json").json
    assert [case["done_before"] for case in second["cases"]] == [True] * 3
    for case in (*first["cases"], *second["cases"]):
        del case["done_before"]
        for landmark in case["landmarks"]:
            landmark["confidence"] = round(landmark["confidence"], 4)
            landmark["position"] = landmark["position"] and np.round(landmark["position"], 4).tolist()
        case["lowest_confidence"] = round(case["lowest_confidence"], 4)
    assert first == second


def cut(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-20])


def flip(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))


@pytest.mark.parametrize("spoil", [Path.unlink, cut, flip])
def test_bundle_show_warns_of_weights_that_cannot_be_used(
    run: Run, a_model: Path, spoil: Callable[[Path], None]
) -> None:
    assert run("bundle", "show", a_model, "--json").json["whole"] is True
    spoil(a_model / "weights.safetensors")
    finished = run("bundle", "show", a_model)
    assert finished.code == 2 and "nasion" in finished.out
    (line,) = finished.err.splitlines()
    assert line == run("bundle", "verify", a_model).err.strip()
    assert run("bundle", "show", a_model, "--json").json["whole"] is False


def test_the_keys_of_bundle_show_are_plain(run: Run, a_model: Path) -> None:
    path = a_model / "model.json"
    description = json.loads(path.read_text())
    description["training_data"] = {"fingerprint": "abc", "training_cases": 7, "validation_cases": 2}
    description["metrics"] = {"validation": {"val_mre_mm": 1.5, "val_found": 0.9}}
    path.write_text(json.dumps(description))
    shown = run("bundle", "show", a_model, "--json").json
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", key) for key in shown)
    assert (shown["training_fingerprint"], shown["training_cases"], shown["val_mre_mm"]) == ("abc", 7, 1.5)
    assert shown["spacing_mm"] == 1.0 and shown["intended_use"] == "not stated"


def test_help_tells_the_exit_codes(run: Run) -> None:
    said = " ".join(run("detect", "--help").out.split())
    assert "3 not one landmark was found in any scan" in said and "130 stopped" in said
    assert "3 detect found nothing in any scan" in " ".join(run("--help").out.split())


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Two patients, one of them with a damaged file, under folders that bear their names."""
    for uid, name in (("1.2.3.1", "Huber_Resi_2025-03-17"), ("1.2.3.2", "Huber_Alois")):
        write_series(
            tmp_path / "wards" / name / "ct",
            uid=uid,
            InstitutionName=f"hospital {uid}",
            PatientName="Huber^Resi",
            PatientID="4711",
            StudyDate="20250317",
        )
    damaged = next((tmp_path / "wards/Huber_Alois/ct").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-100])
    return tmp_path / "wards"


def test_anonymous_results_say_neither_who_nor_where_nor_when(
    run: Run, hospital: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    finished = run("detect", hospital, *command, "--each", "--anonymous", "--pictures", "--json")
    assert finished.code == 2, "one scan is damaged"
    cases = {case["name"]: case for case in json.loads(finished.out)["cases"]}
    assert len(cases) == 2 and all(re.fullmatch("scan-[0-9a-f]{12}", name) for name in cases)
    assert all(case["image"] is None for case in cases.values())
    (failed,) = (case for case in cases.values() if case["error"])
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) >= 7, "three files of a case, the summary, and records of case, failure and summary"
    contents = [str(path.relative_to(tmp_path)).encode() + path.read_bytes().lower() for path in written]
    for text in (*contents, finished.err.encode().lower(), finished.out.encode().lower()):
        for secret in (b"huber", b"resi", b"alois", b"4711", b"2025", b"wards"):
            assert secret not in text
    again = run("detect", hospital, *command, "--each", "--anonymous", "--pictures")
    assert "1 of 2 were done before" in again.out and failed["name"] in again.err


def test_anonymous_scans_keep_their_names_wherever_they_lie(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    (scans / "gone.csv").write_text("image_name,image_path\nHuber,a.nii.gz\nResi,away.nii.gz\n")
    assert run("detect", scans, *command, "--anonymous").code == 0
    names = set(pd.read_csv(tmp_path / "out/summary.csv")["case"])
    scans = scans.rename(tmp_path / "elsewhere")
    shutil.copy(scans / "a.nii.gz", scans / "copy.nii.gz")
    finished = run("detect", scans, scans / "gone.csv", *command, "--anonymous")
    assert "3 of 4 were done before" in finished.out and "unread-1: " in finished.err
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert set(summary["case"]) == {*names, "unread-1"} and summary["image_path"].isna().all()


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("/a/Huber.nii.gz: the file is cut short; copy it again.", "The file is cut short; copy it again."),
        ("/a/Huber.nii.gz, line 3: Huber is twice there; rename it.", ""),
        ("/a/Huber.nii.gz: /b/c.nii.gz has the same name; rename one.", ""),
        ("It is empty.", ""),
    ],
)
def test_a_reason_without_a_name(sentence: str, reason: str) -> None:
    otherwise = "It cannot be used; detect in it without --anonymous to see why."
    assert anonymous_reason(sentence, Path("/a/Huber.nii.gz")) == (reason or otherwise)


def test_a_path_with_nothing_behind_it_stops_no_other(
    run: Run, scans: Path, command: tuple[object, ...], tmp_path: Path
) -> None:
    finished = run("detect", scans / "a.nii.gz", tmp_path / "gone.nii.gz", *command, "--json")
    cases = {case["name"]: case["error"] for case in json.loads(finished.out)["cases"]}
    assert finished.code == 2 and cases["a"] is None and "there is no such file or folder" in cases["gone"]
    alone = run("detect", tmp_path / "gone.nii.gz", *command, "--json")
    assert alone.code == 2 and json.loads(alone.out)["cases"] == []
    assert json.loads(alone.out)["warnings"][0] in alone.err


def test_no_anonymous_patient_whose_scan_takes_a_choice_is_lost(
    run: Run, command: tuple[object, ...], tmp_path: Path
) -> None:
    for patient in ("Huber", "Moser"):
        for number in (1, 2):
            folder = tmp_path / "wards" / patient / str(number)
            write_series(folder, uid=f"1.{len(patient)}.{ord(patient[0])}.{number}", PatientID=patient)
    finished = run("detect", tmp_path / "wards", *command, "--anonymous", "--json")
    cases = json.loads(finished.out)["cases"]
    assert finished.code == 2 and [case["name"] for case in cases] == ["unread-1", "unread-2"]
    assert all(case["error"] for case in cases) and "Huber" not in finished.out + finished.err


@pytest.mark.parametrize(
    ("cases", "metrics", "said"),
    [
        (0, {}, "none: nobody knows how far off it is"),
        (8, {"validation": {"val_found": 1.0}}, "on cases of their own"),
        (0, {"validation": {"val_found": 1.0}}, "in folds: each case by networks that had not seen it"),
    ],
)
def test_bundle_show_says_on_what_the_figures_of_a_model_stand(
    run: Run, a_model: Path, cases: int, metrics: dict[str, object], said: str
) -> None:
    description = json.loads((a_model / "model.json").read_text(encoding="utf-8"))
    description["training_data"]["validation_cases"] = cases
    description["metrics"] = metrics
    (a_model / "model.json").write_text(json.dumps(description), encoding="utf-8")
    assert run("bundle", "show", a_model, "--json").json["validation"] == said

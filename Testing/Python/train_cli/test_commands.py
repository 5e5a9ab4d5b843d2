"""The commands, run for real on small phantoms."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_files import write_series

from LandmarkDetectionLib.data.cases import Case, case_landmarks, read_split, write_split
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import mask_centres, read_mask
from LandmarkDetectionLib.data.table import read_table
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.detection.results import CaseDetections, Detection, write_case
from train_cli.app import app, main

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

ROOT = Path(__file__).parents[3]
COMMANDS = [command.name for command in app.registered_commands]


def detect_perfectly(split: Path, folder: Path, *, off_mm: float = 0.0) -> None:
    """Write detections that lie `off_mm` from the truth."""
    for case in read_split(split, supervised=True):
        truth = case_landmarks(case, None)
        detections = tuple(
            Detection(name, position + np.array([off_mm, 0.0, 0.0]), "found", 0.9)
            if np.isfinite(position).all()
            else Detection.missing(name)
            for name, position in zip(truth.names, truth.positions, strict=True)
        )
        write_case(CaseDetections(case.name, detections), folder)


def test_the_program_starts_as_a_module() -> None:
    finished = as_a_process("--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert all(str(command) in finished.stdout for command in COMMANDS)


def test_accents_in_paths_do_not_matter_where_the_terminal_lacks_them(data_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "Schädel été"
    data_set.rename(folder)
    finished = as_a_process("split", folder / "cases.csv", "--output", folder / "öut", encoding="ascii")
    assert finished.returncode == 0, finished.stderr
    assert r"Sch\xe4del" in finished.stdout
    assert len(read_split(folder / "öut/train.csv", supervised=True)) == 3


def as_a_process(*arguments: object, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train_cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding=encoding)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_standard_flags(run: Run, command: str) -> None:
    finished = run(command, "--help")
    assert finished.code == 0
    assert all(flag in finished.out for flag in ("--device", "--seed", "--quiet", "--json"))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "demo"])
def test_help_shows_an_example(run: Run, command: str) -> None:
    assert f"train_cli {command} " in run(command, "--help").out.split("Examples:")[1]


def test_phantom_writes_cases_that_read(run: Run, tmp_path: Path) -> None:
    finished = run("phantom", tmp_path / "made", "--cases", 2, "--spacing", 12, "--json")
    assert finished.code == 0
    cases = read_split(Path(finished.json["csv"]), supervised=True)
    assert [case.name for case in cases] == finished.json["cases"]
    assert read_volume(cases[0].image_path).frame.spacing.min() == pytest.approx(12)
    assert set(case_landmarks(cases[0], None).names) == set(read_table(tmp_path / "made/landmarks.csv").names)


def test_the_seed_decides_the_phantom(run: Run, tmp_path: Path) -> None:
    flags = ("--cases", 1, "--spacing", 12, "--quiet")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("phantom", tmp_path / name, *flags, "--seed", seed).code == 0
    a, b, c = ((tmp_path / name / "landmarks/phantom_001.mrk.json").read_text() for name in "abc")
    assert a == b != c


def test_masks_lie_on_the_images_own_grid_with_a_ball_at_each_landmark(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masks"
    finished = run("masks", data_set / "cases.csv", "--output", output, "--positive", 12, "--negative", 25)
    assert finished.code == 0
    table = read_table(output / "landmarks.csv")
    for case in read_split(output / "cases.csv", supervised=True):
        assert case.mask_path == output / f"{case.name}_mask.nii.gz"
        mask = read_mask(case.mask_path)
        assert mask.frame.agrees_with(read_volume(case.image_path).frame, tolerance=1e-3)
        assert mask.voxels.dtype == np.int16
        assert -1 in mask.voxels
        truth = case_landmarks(case, table)
        centres = mask_centres(mask.voxels, mask.frame)
        assert set(centres) == {table.labels[table.names.index(name)] for name in truth.names}
        for label, centre in centres.items():
            position = truth.positions_of([table.names[table.labels.index(label)]])[0]
            assert np.linalg.norm(centre - position) < 10


def test_larger_radii_draw_larger_balls_and_shells(run: Run, data_set: Path, tmp_path: Path) -> None:
    counts = []
    for radii in ([], ["--positive", 10], ["--negative", 20], ["--positive", 10, "--negative", 60]):
        assert run("masks", data_set / "cases.csv", "--output", tmp_path, "--quiet", *radii).code == 0
        voxels = read_mask(tmp_path / "phantom_001_mask.nii.gz").voxels
        counts.append((np.count_nonzero(voxels > 0), np.count_nonzero(voxels < 0)))
    (default, _), (small, small_shell), (half, half_shell), (_, wide_shell) = counts
    assert default > small
    assert (half, half_shell) == (small, small_shell), "a shell of 20 mm goes with a ball of 10 mm"
    assert wide_shell > small_shell


def test_masks_without_a_table_find_the_pairs(run: Run, data_set: Path, tmp_path: Path) -> None:
    given = read_table(data_set / "landmarks.csv")
    (data_set / "landmarks.csv").unlink()
    finished = run("masks", data_set / "cases.csv", "--output", tmp_path / "masks")
    assert finished.code == 0
    found = read_table(tmp_path / "masks/landmarks.csv")
    pairs = {item.name: item.pair for item in given.landmarks}
    assert {item.name: item.pair for item in found.landmarks} == pairs
    assert "Left-right pairs" in finished.out


def test_masks_take_labels_and_pairs_from_the_table_given(run: Run, data_set: Path, tmp_path: Path) -> None:
    table = data_set / "landmarks.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    mine = tmp_path / "mine.csv"
    mine.write_text("name,label\n" + "".join(f"{row['name']},{100 + int(row['label'])}\n" for row in rows))
    assert run("masks", data_set / "cases.csv", "--output", tmp_path / "m", "--table", mine).code == 0
    assert read_table(tmp_path / "m/landmarks.csv").labels == tuple(range(101, 101 + len(rows)))
    assert read_mask(tmp_path / "m/phantom_001_mask.nii.gz").voxels.max() > 100


def test_one_bad_case_does_not_stop_the_masks_of_the_others(run: Run, data_set: Path, tmp_path: Path) -> None:
    bad = data_set / "images/phantom_002.nii.gz"
    bad.write_bytes(bad.read_bytes()[:2000])
    (data_set / "landmarks/phantom_004.mrk.json").unlink()
    finished = run("masks", data_set / "cases.csv", "--output", tmp_path / "masks", "--json")
    assert finished.code == 2
    assert sorted(finished.json["masks"]) == ["phantom_001", "phantom_003", "phantom_005"]
    assert len(finished.json["failed"]) == 2
    names = [case.name for case in read_split(tmp_path / "masks/cases.csv", supervised=True)]
    assert names == ["phantom_001", "phantom_003", "phantom_005"]
    assert "phantom_002.nii.gz" in finished.err
    assert "phantom_004.mrk.json" in finished.err


def test_split_gives_each_case_to_one_part_and_repeats_itself(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    flags = ("--val", 0.2, "--test", 0.2, "--json")
    first = run("split", data_set / "cases.csv", "--output", tmp_path / "a", *flags)
    run("split", data_set / "cases.csv", "--output", tmp_path / "b", *flags)
    other = run("split", data_set / "cases.csv", "--output", tmp_path / "c", *flags, "--seed", 5)
    assert (first.code, other.code) == (0, 0)
    assert first.json["counts"] == [{"train": 3, "val": 1, "test": 1}]
    parts = {part: (tmp_path / "a" / f"{part}.csv") for part in ("train", "val", "test")}
    names = [case.name for path in parts.values() for case in read_split(path, supervised=True)]
    assert sorted(names) == [f"phantom_{number:03d}" for number in range(1, 6)]
    assert all(path.read_text() == (tmp_path / "b" / path.name).read_text() for path in parts.values())
    assert any(path.read_text() != (tmp_path / "c" / path.name).read_text() for path in parts.values())
    assert (tmp_path / "a/landmarks.csv").is_file()


def test_split_keeps_a_patient_in_one_part(run: Run, data_set: Path, tmp_path: Path) -> None:
    lines = (data_set / "cases.csv").read_text().splitlines()
    patients = ["patient", "p1", "p1", "p2", "p3", "p3"]
    path = data_set / "cases.csv"
    path.write_text("\n".join(f"{line},{patient}" for line, patient in zip(lines, patients, strict=True)))
    for seed in range(6):
        finished = run("split", path, "--output", tmp_path, "--group", "patient", "--seed", seed)
        assert finished.code == 0
        homes = {
            case.name: part
            for part in ("train", "val", "test")
            for case in read_split(tmp_path / f"{part}.csv", supervised=True)
        }
        assert homes["phantom_001"] == homes["phantom_002"]
        assert homes["phantom_004"] == homes["phantom_005"]


def test_every_case_is_a_test_case_of_one_fold(run: Run, data_set: Path, tmp_path: Path) -> None:
    finished = run("split", data_set / "cases.csv", "--output", tmp_path, "--folds", 3, "--val", 0, "--json")
    assert finished.code == 0
    tests = [read_split(tmp_path / f"fold_{fold}" / "test.csv", supervised=True) for fold in range(3)]
    assert sorted(case.name for cases in tests for case in cases) == [f"phantom_{n:03d}" for n in range(1, 6)]
    assert sum(count["test"] for count in finished.json["counts"]) == 5


def test_check_passes_a_sound_data_set(run: Run, data_set: Path) -> None:
    finished = run("check", data_set / "cases.csv", "--json")
    assert finished.code == 0, finished.out
    assert finished.json["errors"] == 0


def test_check_finds_a_case_in_two_splits(run: Run, data_set: Path, tmp_path: Path) -> None:
    run("split", data_set / "cases.csv", "--output", tmp_path)
    (tmp_path / "val.csv").write_text((tmp_path / "test.csv").read_text())
    finished = run("check", *(tmp_path / f"{part}.csv" for part in ("train", "val", "test")), "--json")
    assert finished.code == 2
    leaks = [finding for finding in finished.json["findings"] if finding["severity"] == "error"]
    assert any("val.csv" in finding["message"] and "test.csv" in finding["message"] for finding in leaks)


def test_check_shows_people_a_table(run: Run, data_set: Path) -> None:
    (data_set / "images/phantom_003.nii.gz").unlink()
    finished = run("check", data_set / "cases.csv")
    assert finished.code == 2
    assert "phantom_003" in finished.out
    assert "Errors: 1." in finished.out


def test_evaluate_measures_what_was_put_in(run: Run, data_set: Path, tmp_path: Path) -> None:
    detect_perfectly(data_set / "cases.csv", tmp_path / "detections", off_mm=1.5)
    flags = ("--detections", tmp_path / "detections", "--output", tmp_path / "e", "--radii", "1,2")
    finished = run("evaluate", data_set / "cases.csv", *flags, "--json")
    assert finished.code == 0
    assert finished.json["mre_mm"]["mean"] == pytest.approx(1.5, abs=1e-3)
    assert finished.json["sdr"] == {"1": 0.0, "2": 1.0}
    assert finished.json["missed"] == 0
    written = {path.name for path in (tmp_path / "e").iterdir()}
    assert {"metrics.json", "per_landmark.csv", "per_case.csv", "errors.png"} <= written
    assert json.loads((tmp_path / "e/metrics.json").read_text())["n_cases"] == 5
    shown = run("evaluate", data_set / "cases.csv", *flags)
    assert "1.500" in shown.out


def test_evaluate_counts_a_case_without_detections_as_missed(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    detect_perfectly(data_set / "cases.csv", tmp_path / "detections")
    (tmp_path / "detections/phantom_003.csv").unlink()
    flags = ("--detections", tmp_path / "detections", "--output", tmp_path / "e")
    assert "1, missed in all landmarks" in run("evaluate", data_set / "cases.csv", *flags).out
    finished = run("evaluate", data_set / "cases.csv", *flags, "--json")
    assert finished.code == 2
    assert "phantom_003" in finished.err
    assert finished.json["n_cases"] == 5
    truth = case_landmarks(read_split(data_set / "cases.csv", supervised=True)[2], None)
    assert finished.json["missed"] == truth.present.sum()


def test_evaluate_says_at_once_that_there_are_no_detections(run: Run, data_set: Path, tmp_path: Path) -> None:
    flags = ("--detections", tmp_path / "nowhere", "--output", tmp_path / "e")
    finished = run("evaluate", data_set / "cases.csv", *flags)
    assert finished.code == 2
    assert "nowhere: there is no such folder" in " ".join(finished.err.split())
    assert finished.err.count("phantom_") == 0 and not (tmp_path / "e").exists()


def test_split_speaks_of_folds_only_where_there_are_any(run: Run, data_set: Path, tmp_path: Path) -> None:
    assert "fold " not in run("split", data_set / "cases.csv", "--output", tmp_path / "s").out
    folds = ("--folds", "2", "--output", tmp_path / "f")
    assert "fold " in run("split", data_set / "cases.csv", *folds).out


def test_evaluate_needs_no_images(run: Run, data_set: Path, tmp_path: Path) -> None:
    detect_perfectly(data_set / "cases.csv", tmp_path / "detections")
    (tmp_path / "detections/phantom_003.csv").unlink()
    for image in (data_set / "images").iterdir():
        image.unlink()
    flags = ("--detections", tmp_path / "detections", "--output", tmp_path / "e", "--json")
    finished = run("evaluate", data_set / "cases.csv", *flags)
    assert finished.json["n_cases"] == 5 and finished.json["missed"] > 0


def test_evaluate_refuses_detections_under_other_names(run: Run, data_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "detections"
    detect_perfectly(data_set / "cases.csv", folder)
    table = folder / "phantom_003.csv"
    text = table.read_text()
    header = text.splitlines()[0]
    table.write_text(header + text.removeprefix(header).swapcase().replace("FOUND", "found"))
    flags = ("--detections", folder, "--output", tmp_path / "e", "--json")
    finished = run("evaluate", data_set / "cases.csv", *flags)
    assert finished.code == 2 and [*finished.json["failed"]] == ["phantom_003"]
    sentence = finished.json["failed"]["phantom_003"]
    for word in ("phantom_003.csv", "nASION", "phantom_003.mrk.json", "Nasion", "spell the names alike"):
        assert word in sentence
    table.write_text(header)
    sentence = run("evaluate", data_set / "cases.csv", *flags).json["failed"]["phantom_003"]
    assert "phantom_003.csv: not one landmark stands there" in sentence


def test_evaluate_says_once_that_corrections_are_left_out(run: Run, data_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "detections"
    detect_perfectly(data_set / "cases.csv", folder)
    for number in (2, 3):
        path = folder / f"phantom_00{number}.mrk.json"
        marked = read_landmarks(path)
        write_landmarks(LandmarkSet(marked.names, marked.positions + 1.0), path)
    flags = ("--detections", folder, "--output", tmp_path / "e")
    finished = run("evaluate", data_set / "cases.csv", *flags, "--quiet")
    assert (finished.code, finished.out) == (0, "")
    (line,) = finished.err.splitlines()
    assert "phantom_002.mrk.json, phantom_003.mrk.json" in line and "without the corrections" in line
    assert run("evaluate", data_set / "cases.csv", *flags, "--json").json["warnings"] == [line]


def test_evaluate_leaves_out_the_interval_of_one_case(run: Run, data_set: Path, tmp_path: Path) -> None:
    split = data_set / "cases.csv"
    write_split(read_split(split, supervised=True)[:1], split)
    detect_perfectly(split, tmp_path / "detections", off_mm=1.5)
    finished = run("evaluate", split, "--detections", tmp_path / "detections", "--output", tmp_path / "e")
    assert finished.code == 0 and "1.500" in finished.out
    assert "nan" not in finished.out and "interval" not in finished.out


def test_columns_of_the_persons_own_go_through_masks_to_the_split(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    cases = data_set / "cases.csv"
    lines = cases.read_text().splitlines()
    patients = [" patient", "p1", "p1", "p2", "p3", "p3"]
    cases.write_text("\n".join(f"{line},{patient}" for line, patient in zip(lines, patients, strict=True)))
    assert run("masks", cases, "--output", tmp_path / "masks").code == 0
    assert [case.other["patient"] for case in read_split(tmp_path / "masks/cases.csv", supervised=True)] == (
        patients[1:]
    )
    finished = run(
        *("split", tmp_path / "masks/cases.csv", "--output", tmp_path / "s"),
        *("--group", "patient", "--folds", "3", "--val", "0"),
    )
    assert finished.code == 0, finished.err
    groups = [
        {case.group for case in read_split(path, supervised=True)} for path in tmp_path.glob("s/*/test.csv")
    ]
    assert sorted(groups, key=sorted) == [{"p1"}, {"p2"}, {"p3"}]


def test_masks_of_axes_that_are_not_at_right_angles_are_nrrd(
    run: Run, data_set: Path, tmp_path: Path
) -> None:
    (case, *_) = read_split(data_set / "cases.csv", supervised=True)
    volume = read_volume(case.image_path)
    sheared = np.array(volume.frame.direction)
    sheared[:, 2] += 0.2 * sheared[:, 1]
    frame = Frame(
        size=volume.frame.size, origin=volume.frame.origin, spacing=volume.frame.spacing, direction=sheared
    )
    write_volume(Volume(volume.voxels, frame), tmp_path / "tilted.nrrd")
    write_landmarks(LandmarkSet(["Nasion"], frame.centre[None]), tmp_path / "tilted.mrk.json")
    case = Case("tilted", tmp_path / "tilted.nrrd", tmp_path / "tilted.mrk.json")
    write_split([case], tmp_path / "cases.csv")
    assert run("masks", tmp_path / "cases.csv", "--output", tmp_path / "m").code == 0
    mask = read_mask(tmp_path / "m/tilted_mask.nrrd")
    assert mask.frame.agrees_with(frame, tolerance=1e-3)
    assert run("check", tmp_path / "m/cases.csv", "--json").json["errors"] == 0


def test_check_is_not_silent_about_errors_when_quiet(run: Run, data_set: Path) -> None:
    (data_set / "images/phantom_003.nii.gz").unlink()
    finished = run("check", data_set / "cases.csv", "--quiet")
    assert (finished.code, finished.out) == (2, "")
    assert "error: " in finished.err and "phantom_003.nii.gz" in finished.err


def test_json_says_what_failed_where_everything_did(run: Run, data_set: Path, tmp_path: Path) -> None:
    for image in (data_set / "images").iterdir():
        image.write_bytes(b"damaged")
    finished = run("masks", data_set / "cases.csv", "--output", tmp_path / "m", "--json")
    assert finished.code == 2
    assert len(finished.json["failed"]) == 5


@pytest.mark.parametrize("flags", [["--json"], ["--quiet"], ["--json", "--quiet"]])
def test_standard_output_holds_json_or_nothing(
    run: Run, data_set: Path, tmp_path: Path, flags: list[str]
) -> None:
    commands = [
        ("phantom", tmp_path / "p", "--cases", 1, "--spacing", 12),
        ("masks", data_set / "cases.csv", "--output", tmp_path / "masks"),
        ("split", data_set / "cases.csv", "--output", tmp_path / "splits"),
        ("check", data_set / "cases.csv"),
    ]
    for command in commands:
        finished = run(*command, *flags)
        assert finished.code == 0
        if "--json" in flags:
            assert finished.json
        else:
            assert finished.out == ""
        if "--quiet" in flags:
            assert finished.err == ""


def test_a_fault_of_ours_shows_its_traceback_and_says_so(
    run: Run, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr("LandmarkDetectionLib.data.splits.split_by_group", broken)
    finished = run("split", data_set / "cases.csv", "--output", tmp_path)
    assert finished.code == 1
    assert "Traceback" in finished.err
    assert "a wheel came off" in finished.err
    assert "not of your data" in finished.err


def test_ctrl_c_ends_with_130(data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("LandmarkDetectionLib.data.splits.split_by_group", interrupted)
    assert main(["split", str(data_set / "cases.csv"), "--output", str(tmp_path)]) == 130


def test_the_commands_agree_on_a_data_set_of_masks_only(run: Run, data_set: Path, tmp_path: Path) -> None:
    """Masks as exported, without landmark files, can be split and checked."""
    run("masks", data_set / "cases.csv", "--output", tmp_path / "masks")
    cases = read_split(tmp_path / "masks/cases.csv", supervised=True)
    write_split([replace(case, landmark_path=None) for case in cases], tmp_path / "masks/only.csv")
    assert run("check", tmp_path / "masks/only.csv").code == 0
    assert run("split", tmp_path / "masks/only.csv", "--output", tmp_path / "splits").code == 0
    assert run("check", tmp_path / "splits/train.csv", tmp_path / "splits/test.csv").code == 0


@pytest.mark.parametrize(
    ("steps", "total", "lines"),
    [
        (range(5), 4, ["Training step 2: 2 of 4, left 0:00:40", "Training step 4: 4 of 4, left 0:00:00"]),
        (range(1000, 1003), 1010, ["Training step 1002: 1002 of 1010, left 0:02:40"]),
    ],
    ids=["from the start", "what was done before says nothing of the speed"],
)
def test_where_there_is_no_terminal_progress_is_told_in_lines(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    steps: range,
    total: int,
    lines: list[str],
) -> None:
    from train_cli import console

    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    for quiet, told in ((False, lines), (True, [])):
        with console.Console(quiet=quiet).progress("Training") as advance:
            for done in steps:
                advance(done, total, f"step {done}")
        assert capsys.readouterr().err.splitlines() == told


def test_groups_that_match_nothing_are_told(run: Run, data_set: Path, tmp_path: Path) -> None:
    finished = run(
        "cases",
        data_set / "images",
        "--landmarks",
        data_set / "landmarks",
        "--group",
        "x{9}",
        "--output",
        tmp_path / "cases.csv",
    )
    assert finished.code == 0 and "--group x{9} matches no case" in finished.err


def test_cases_lists_the_dicom_series_of_a_hospital_and_leaves_out_names(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "Doe"
    for number, words in ((2, "bone"), (3, "soft")):
        tags = {"PatientID": "P7", "SeriesNumber": number, "SeriesDescription": words}
        write_series(folder / str(number), uid=f"1.{number}", **tags)
        (folder / f"{number}.csv").write_text("name,x,y,z\nL1,0,0,0\n")
    listing = tmp_path / "cases.csv"
    refused = run("cases", folder, "--output", listing, "--json")
    assert refused.code == 2 and "--series" in refused.err
    assert [item["description"] for item in refused.json["series"]] == ["bone", "soft"]
    assert run("cases", folder, "--output", listing, "--series", "bone").code == 0
    assert [case.name for case in read_split(listing, supervised=True)] == ["2"]
    hidden = run("cases", folder, "--output", listing, "--each", "--anonymous", "--json")
    assert [case.group for case in read_split(listing, supervised=True)] == ["1", "1"]
    assert hidden.json["cases"] == ["case-1", "case-2"] and "P7" not in hidden.out + listing.read_text()

"""From cases to landmarks by the commands alone: plan, train, detect, evaluate, bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.model.bundle import VERSION, Calibration, Level
from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from train_cli.app import main
from train_cli.console import Console

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

ROOT = Path(__file__).parents[3]
SMALL = (
    *("--set", "network.channels=[8,8,8]", "--set", "sampling.crop=[16,16,16]"),
    *("--set", "training.epochs=2", "--set", "training.steps_per_epoch=3", "--set", "training.workers=0"),
)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with splits, config.yaml and a run of six steps, all made by the commands."""
    folder = tmp_path_factory.mktemp("engine")
    write_dataset(folder / "data", 5, seed=3, settings=PhantomSettings(spacing=10.0, metal_fraction=0.0))
    splits = folder / "splits/train.csv", folder / "splits/val.csv"
    for line in (
        ["masks", folder / "data/cases.csv", "--output", folder / "masks"],
        ["split", folder / "masks/cases.csv", "--output", folder / "splits"],
        ["plan", *splits, "--output", folder / "config.yaml", "--engine", "dense"],
        ["train", folder / "config.yaml", "--output", folder / "run", *SMALL],
    ):
        assert main([*map(str, line), "--quiet"]) == 0, line
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """The same in a folder that a test may spoil."""
    return Path(shutil.copytree(trained_once, tmp_path / "engine"))


def test_plan_writes_every_value_with_its_meaning_and_says_why(trained: Path) -> None:
    text = (trained / "config.yaml").read_text(encoding="utf-8")
    reasons = [line for line in text.splitlines() if line.startswith("# ")]
    assert any(line.startswith("# image.spacing 10 mm") for line in reasons)
    assert any("image.normaliser fixed: Hounsfield units" in line for line in reasons)
    values = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("  # " in line for line in values)
    assert yaml.safe_load(text)["data"]["train"] == "splits/train.csv"


def test_plan_stays_within_the_hours_given(run: Run, trained: Path) -> None:
    splits = trained / "splits"
    finished = run(
        "plan", splits / "train.csv", "--output", trained / "short.yaml", "--hours", "0.0001", "--json"
    )
    assert finished.code == 0 and finished.json["reasons"]
    short = yaml.safe_load((trained / "short.yaml").read_text())["training"]["epochs"]
    assert short == 2 < yaml.safe_load((trained / "config.yaml").read_text())["training"]["epochs"]


def test_a_value_that_is_set_reaches_the_run(trained: Path) -> None:
    config = yaml.safe_load((trained / "run/config.yaml").read_text())
    assert config["network"]["channels"] == [8, 8, 8] and config["training"]["epochs"] == 2
    assert pd.read_csv(trained / "run/metrics.csv")["step"].tolist() == [3, 6]


def test_a_training_ends_with_a_page_of_its_curves_and_of_what_it_was_shown(trained: Path) -> None:
    text = (trained / "run/report/index.html").read_text(encoding="utf-8")
    assert "2 epochs, 6 steps" in text and "What it was shown" in text
    shown = (trained / "run/report/samples/network.png").read_bytes()
    assert shown == (trained / "run/samples.png").read_bytes() and shown.startswith(b"\x89PNG")


def test_detect_writes_what_slicer_and_scripts_read(run: Run, trained: Path, tmp_path: Path) -> None:
    test = trained / "splits/test.csv"
    command = ("detect", test, "--model", trained / "run/model", "--output", tmp_path / "out", "--json")
    finished = run(*command, "--allow-empty")
    assert finished.code == 0, finished.err
    case = finished.json["cases"][0]["name"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{case}.mrk.json",
        f"{case}.csv",
        "summary.csv",
        "detection-records",
    }
    table = pd.read_csv(tmp_path / "out" / f"{case}.csv")
    markups = read_landmarks(tmp_path / "out" / f"{case}.mrk.json")
    assert tuple(table["name"]) == markups.names and len(markups) == 16
    np.testing.assert_allclose(markups.positions, table[["x", "y", "z"]].to_numpy(), atol=1e-5)
    finished = run(
        "evaluate", test, "--detections", tmp_path / "out", "--output", tmp_path / "eval", "--json"
    )
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert metrics["n_cases"] == 1 and metrics["n_points"] + metrics["presence"]["tn"] <= 16


def test_an_image_a_folder_and_a_split_give_the_same_landmarks(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    image = sorted((trained / "data/images").iterdir())[0]
    model = trained / "run/model"
    flags = ("--model", model, "--allow-empty")
    assert run("detect", image, *flags, "--output", tmp_path / "one").code == 0
    assert run("detect", trained / "data/images", *flags, "--output", tmp_path / "all").code == 0
    name = image.name.removesuffix(".nii.gz") + ".csv"
    assert (tmp_path / "one" / name).read_text() == (tmp_path / "all" / name).read_text()
    assert len(pd.read_csv(tmp_path / "all/summary.csv")) == 5


def test_one_bad_scan_does_not_stop_the_others(run: Run, trained: Path, tmp_path: Path) -> None:
    images = trained / "data/images"
    bad = sorted(images.iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:200])
    finished = run("detect", images, "--model", trained / "run/model", "--output", tmp_path, "--quiet")
    assert finished.code == 2
    assert finished.err.count(bad.name) == 1 and "Traceback" not in finished.err
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert summary["error"].notna().sum() == 1 and summary["found"].notna().sum() == 4


def test_train_goes_on_where_it_ended_and_refuses_another_configuration(run: Run, trained: Path) -> None:
    config = trained / "config.yaml"
    assert run("train", config, "--output", trained / "again", *SMALL, "--quiet").code == 0
    finished = run("train", config, "--output", trained / "again", *SMALL, "--seed", "9", "--quiet")
    assert finished.code == 2 and "another configuration (training.seed was 0, not 9)" in finished.err


def test_a_model_that_finds_nothing_is_no_success(run: Run, trained: Path) -> None:
    """Six steps teach nothing: train, bundle show and their JSON say so."""
    finished = run("train", trained / "config.yaml", "--output", trained / "run", *SMALL, "--quiet", "--json")
    assert finished.code == 0
    (warning,) = finished.json["warnings"]
    assert "of the landmarks of the cases that it was validated on" in warning
    assert warning in finished.err
    assert warning in run("bundle", "show", trained / "run/model", "--quiet").err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals on Windows")
@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_a_training_that_is_stopped_says_how_to_go_on_and_goes_on(trained: Path, stop: str) -> None:
    """A signal to the whole job, as a terminal and a cluster send it."""
    settings = [*SMALL[:4], "--set", "training.epochs=5000", "--set", "training.steps_per_epoch=1"]
    command = ["train", trained / "config.yaml", "--output", trained / "stopped", *settings]
    job = _start([*command, "--set", "training.workers=1"])
    last = trained / "stopped" / "checkpoints" / "last.ckpt"
    while not last.is_file() and job.poll() is None:
        time.sleep(0.05)
    assert _stop(job, stop) == "Stopped. The same command goes on from the end of the last epoch."
    job = _start([*command, "--set", "training.workers=1"])
    assert job.stdout is not None
    assert "Training: goes on from the end of epoch " in job.stdout.readline()
    _stop(job, stop)


def _start(command: Sequence[object]) -> subprocess.Popen[str]:
    """A job that heeds Ctrl-C, even where the tests run in a shell's background, which does not."""
    return subprocess.Popen(
        [sys.executable, "-m", "train_cli", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def _stop(job: subprocess.Popen[str], how: str) -> str:
    """The last line that a job says when a signal stops it."""
    os.killpg(job.pid, getattr(signal, how))
    _, said = job.communicate(timeout=120)
    assert job.returncode == 130 and "Traceback" not in said, said
    return said.splitlines()[-1]


def test_the_default_engine_trains_two_networks_into_one_bundle(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tuple[str, int]] = []

    def track(console: Console, items: Sequence[Any], what: str) -> Iterator[Any]:
        bars.append((what, len(items)))
        return iter(items)

    splits = trained / "splits/train.csv", trained / "splits/val.csv"
    config, model = trained / "default.yaml", trained / "default/model"
    assert run("plan", *splits, "--output", config, "--quiet").code == 0
    small = (
        *("--set", "locate.channels=[8,8]", "--set", "locate.field=16", "--set", "refine.field=16"),
        *("--set", "refine.channels=[8,8]", "--set", "refine.window=9", *SMALL[4:]),
    )
    monkeypatch.setattr(Console, "track", track)
    for _ in range(2):
        assert run("train", config, "--output", trained / "default", *small, "--quiet").code == 0
    assert bars[-1] == ("Detecting in the validation cases", 1)
    for stage in ("locate", "refine"):
        assert pd.read_csv(trained / "default" / stage / "metrics.csv")["step"].tolist() == [3]
        assert (trained / "default" / stage / "checkpoints/last.ckpt").is_file()
    validated = pd.read_csv(trained / "default/validation.csv")
    assert set(validated["cut"]) == {0, 1, 2} and validated["case"].nunique() == 1
    for _, seen in validated.groupby("cut"):
        assert set(seen["coarseness"]) == {1, 2, 4}
    assert run("bundle", "verify", model).code == 0
    assert run("bundle", "show", model, "--json").json["engine"] == "locate-refine"
    images = trained / "data/images"
    finished = run("detect", images, "--model", model, "--output", tmp_path, "--json", "--allow-empty")
    assert finished.code == 0 and len(finished.json["cases"]) == 5, finished.err


def test_several_processes_train_one_model_and_one_speaks(trained: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "train_cli"]
    train = ["train", trained / "config.yaml", "--output", trained / "shared", "--device", "cpu", *SMALL]
    finished = subprocess.run(
        [*torchrun, *map(str, train), "--json"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert Path(json.loads(finished.stdout)["bundle"]) == trained / "shared/model"
    assert pd.read_csv(trained / "shared/metrics.csv")["step"].tolist() == [3, 6]
    weights = (trained / "shared/model/weights.safetensors").read_bytes()
    assert weights != (trained / "run/model/weights.safetensors").read_bytes(), "each has crops of its own"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model: (model / "weights.safetensors").unlink(), ["weights.safetensors", "missing"]),
        (lambda model: (model / "model.json").unlink(), ["model.json is missing"]),
        (
            lambda model: rewrite(model, f'"version": {VERSION}', '"version": 99'),
            ["model.json", "version 99", f"version {VERSION}"],
        ),
        (lambda model: rewrite(model, '"engine": "dense"', '"engine": "x"'), ["model.json", "engine 'x'"]),
        (lambda model: rewrite(model, '"landmarks":', '"points":'), ["model.json", "'landmarks'"]),
        (lambda model: rewrite(model, '"overlap": 0.25', '"overlap": 3'), ["model.json", "overlap 3"]),
    ],
)
def test_a_wrong_bundle_is_refused_in_one_sentence(
    run: Run, trained: Path, tmp_path: Path, spoil: object, said: list[str]
) -> None:
    model = trained / "run/model"
    assert callable(spoil)
    spoil(model)
    commands = (
        ("detect", trained / "data/images", "--model", model, "--output", tmp_path / "out"),
        ("bundle", "verify", model),
    )
    for command in commands:
        finished = run(*command)
        assert finished.code == 2 and finished.err.count("\n") == 1, finished.err
        assert all(word in finished.err for word in said)


def rewrite(model: Path, old: str, new: str) -> None:
    path = model / "model.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_model_says_what_it_is_for(run: Run, trained: Path) -> None:
    model = trained / "run/model"
    use = "Research on synthetic heads; not for patients."
    finished = run("bundle", "describe", model, "--licence", "CC0-1.0", "--intended-use", use, "--json")
    assert finished.code == 0, finished.err
    shown = run("bundle", "show", model, "--json").json
    assert shown["licence"] == "CC0-1.0" and shown["intended_use"] == use
    run("bundle", "describe", model, "--licence", "GPL-3.0")
    assert run("bundle", "show", model, "--json").json["intended_use"] == use
    assert run("bundle", "verify", model).code == 0


def test_folds_make_a_model_of_all_cases_that_knows_its_error(run: Run, trained: Path) -> None:
    cases, config, output = trained / "masks/cases.csv", trained / "all.yaml", trained / "crossed"
    assert run("plan", cases, "--output", config, "--engine", "dense", "--quiet").code == 0
    command = ("train", config, "--output", output, "--folds", "2", *SMALL, "--quiet")
    finished = run(*command)
    assert finished.code == 0, finished.err
    parts = [pd.read_csv(output / f"fold-{number}/validation.csv") for number in (1, 2)]
    held_out = [set(part["case"]) for part in parts]
    assert len(held_out[0] | held_out[1]) == 5 and not held_out[0] & held_out[1]
    whole = pd.read_csv(output / "validation.csv")
    pd.testing.assert_frame_equal(whole, pd.concat(parts, ignore_index=True))
    description = json.loads((output / "model/model.json").read_text())
    assert description["training_data"]["training_cases"] == 5
    assert description["training_data"]["validation_cases"] == 0
    assert set(whole["coarseness"]) == {1, 2, 4}
    errors = whole.loc[whole["coarseness"] == 1, "error_mm"].to_numpy()
    found = np.isfinite(errors).sum() / (~np.isnan(errors)).sum()
    assert description["metrics"]["validation"]["val_found"] == pytest.approx(found)
    before = (output / "fold-1/metrics.csv").read_text()
    assert run(*command).code == 0
    assert (output / "fold-1/metrics.csv").read_text() == before, "what has ended is not trained again"
    assert run(*command, "--fold", "1/2").code == 2


def test_folds_want_no_validation_cases(run: Run, trained: Path, tmp_path: Path) -> None:
    finished = run("train", trained / "config.yaml", "--output", tmp_path, "--folds", "2", *SMALL, "--quiet")
    assert finished.code == 2 and "data.val=null" in finished.err


def test_parts_that_commands_train_at_once_make_the_model_that_one_command_makes(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    cases, config, output = trained / "masks/cases.csv", trained / "all.yaml", trained / "crossed"
    assert run("plan", cases, "--output", config, "--engine", "dense", "--quiet").code == 0
    every = ("train", config, "--folds", "2", *SMALL, "--device", "cpu")
    empty = ("--set", f"data.cache={tmp_path / 'cache'}", "--output", output)  # both jobs fill it
    jobs = [_start([*every, *empty, "--fold", number]) for number in (1, 2)]
    said = [job.communicate(timeout=240) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert "the same command without --fold" in said[0][0]
    assert sorted(path.name for path in output.iterdir()) == ["fold-1", "fold-2"]
    ended = [(output / f"fold-{number}/model/model.json").stat() for number in (1, 2)]

    shutil.copytree(output, trained / "together")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "train_cli"]
    command = [*torchrun, *map(str, (*every, *empty[:2], "--output", trained / "together"))]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert run("bundle", "verify", trained / "together/model").code == 0

    assert run(*every, *empty, "--quiet").code == 0
    assert [(output / f"fold-{number}/model/model.json").stat() for number in (1, 2)] == ended
    assert run(*every, "--output", trained / "alone", "--quiet").code == 0
    for file in ("validation.csv", "model/model.json", "model/weights.safetensors"):
        assert (output / file).read_bytes() == (trained / "alone" / file).read_bytes()


def test_a_part_of_which_the_network_was_deleted_is_trained_anew(run: Run, trained: Path) -> None:
    cases, config, output = trained / "masks/cases.csv", trained / "all.yaml", trained / "crossed"
    assert run("plan", cases, "--output", config, "--engine", "dense", "--quiet").code == 0
    every = ("train", config, "--folds", "2", *SMALL, "--output", output, "--quiet")
    assert run(*every, "--fold", "2").code == 0
    before = (output / "fold-2/validation.csv").stat().st_mtime_ns
    shutil.rmtree(output / "fold-2/checkpoints")
    (output / "fold-2/previous.ckpt").unlink()
    assert run(*every).code == 0
    assert (output / "fold-2/validation.csv").stat().st_mtime_ns > before


@pytest.mark.parametrize("fold", ["1/2", "0", "3", "two"])
def test_a_part_that_there_is_not_is_refused(run: Run, trained: Path, tmp_path: Path, fold: str) -> None:
    command = ("train", trained / "config.yaml", "--output", tmp_path, "--folds", "2", "--fold", fold)
    finished = run(*command)
    assert finished.code == 2 and f"--fold {fold} --folds 2: write --fold k" in finished.err


def test_a_part_of_a_run_with_other_settings_is_refused(run: Run, trained: Path, tmp_path: Path) -> None:
    command = ("train", trained / "config.yaml", "--set", "data.val=null", *SMALL, "--quiet")
    parts = (*command, "--output", tmp_path / "run", "--folds", "2")
    assert run(*parts, "--fold", "1").code == 0
    for other in (("--fold", "2", "--seed", "9"), ("--seed", "9"), ("--fold", "2", "--folds", "3")):
        finished = run(*parts, *other)
        assert finished.code == 2 and "fold-1: this run was started with another" in finished.err
    assert not (tmp_path / "run/fold-2").exists()


def test_parts_are_not_trained_one_after_the_other_under_torchrun(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    changes = ("--set", "data.val=null", *SMALL)
    finished = run(
        "train", trained / "config.yaml", "--output", tmp_path, "--folds", "2", *changes, "--quiet"
    )
    assert finished.code == 2 and "train fold-1, fold-2 first, each with --fold" in finished.err
    assert not (tmp_path / "fold-1").exists()


def test_folds_in_the_folder_of_another_run_are_refused_before_anything_is_trained(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    cases, config = trained / "masks/cases.csv", tmp_path / "all.yaml"
    assert run("plan", cases, "--output", config, "--engine", "dense", "--quiet").code == 0
    for taken in (tmp_path / "run", tmp_path / "run/fold-2"):
        taken.mkdir()
        shutil.copy(trained / "run/config.yaml", taken)
        finished = run("train", config, "--output", tmp_path / "run", "--folds", "2", *SMALL, "--quiet")
        assert finished.code == 2 and f"{taken}: this run was started with another" in finished.err
        (taken / "config.yaml").unlink()
    assert not (tmp_path / "run/fold-1").exists()


def test_folds_of_two_splits_want_names_of_their_own(run: Run, trained: Path, tmp_path: Path) -> None:
    twice = ("--set", f"data.val={trained / 'splits/train.csv'}", "--fold", "1/2")
    finished = run("train", trained / "config.yaml", *twice, "--output", tmp_path, *SMALL, "--quiet")
    assert finished.code == 2 and "a name of its own" in finished.err


def test_bundle_shows_verifies_and_packs(run: Run, trained: Path, tmp_path: Path) -> None:
    model = trained / "run/model"
    shown = run("bundle", "show", model, "--json")
    assert shown.code == 0 and shown.json["landmarks"] == 16 and "Nasion" in shown.json["names"]
    assert "Nasion" in run("bundle", "show", model).out
    assert run("bundle", "verify", model).code == 0
    assert run("bundle", "export", model, "--output", tmp_path / "model.zip").code == 0
    with zipfile.ZipFile(tmp_path / "model.zip") as packed:
        assert {Path(name).name for name in packed.namelist()} == {"model.json", "weights.safetensors"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "nowhere.csv"], ["nowhere.csv"]),
        (["plan", "{splits}/train.csv", "--engine", "magic"], ["--engine magic", "dense"]),
        (
            ["plan", "{splits}/train.csv", "--output", "{splits}/train.csv/x.yaml"],
            ["train.csv", "choose a folder"],
        ),
        (["train", "nowhere.yaml", "--output", "x"], ["nowhere.yaml", "train_cli plan"]),
        (["train", "{config}", "--output", "x", "--set", "training.epoch=3"], ["training.epoch=3"]),
        (["train", "{config}", "--output", "x", "--set", "training.epochs=-3"], ["training.epochs", "-3"]),
        (["train", "{config}", "--output", "x", "--fold", "6/5"], ["--fold 6/5"]),
        (["train", "{config}", "--output", "{config}/run"], ["config.yaml", "choose a folder"]),
        (["detect", "nowhere.nii.gz", "--model", "{model}", "--output", "x"], ["nowhere.nii.gz"]),
        (["detect", "{config}", "--model", "nowhere", "--output", "x"], ["nowhere"]),
        (
            ["detect", "{image}", "--model", "{model}", "--output", "{config}/out"],
            ["config.yaml", "choose a folder"],
        ),
        (["bundle", "show", "nowhere"], ["nowhere"]),
        (["bundle", "export", "{model}", "--output", "{config}/x.zip"], ["config.yaml", "choose a folder"]),
    ],
)
def test_wrong_arguments_give_one_sentence(
    run: Run, trained: Path, arguments: list[str], said: list[str]
) -> None:
    places = {
        "splits": trained / "splits",
        "config": trained / "config.yaml",
        "model": trained / "run/model",
        "image": sorted((trained / "data/images").iterdir())[0],
    }
    finished = run(*(word.format(**places) for word in arguments), "--quiet")
    assert finished.code == 2 and "Traceback" not in finished.err
    assert finished.err.count("\n") == 1, finished.err
    assert all(word in finished.err for word in said), finished.err


def test_a_scan_that_is_too_coarse_for_error_radii_is_named(run: Run, trained: Path, tmp_path: Path) -> None:
    path = trained / "run/model/model.json"
    model = json.loads(path.read_text())
    model["detection"]["uncertain"] = 0.02  # six steps of training are sure of nothing
    model["calibration"] = asdict(Calibration(0.9, (Level(10.0, 40, 3.0, {}),)))
    path.write_text(json.dumps(model))
    scan = read_volume(min((trained / "data/images").iterdir()))
    write_volume(scan, tmp_path / "fine.nii.gz")
    write_volume(scan.averaged((1, 1, 2)), tmp_path / "coarse.nii.gz")
    for name, told in (("fine", False), ("coarse", True)):
        command = ("detect", tmp_path / f"{name}.nii.gz", "--model", path.parent, "--device", "cpu")
        finished = run(*command, "--output", tmp_path / "out")
        assert finished.code == 0 and (f"{name}: no error radii" in finished.err) is told, finished.err
        rows = pd.read_csv(tmp_path / f"out/{name}.csv")
        given = rows[rows["status"] != "absent"]
        assert len(given) and given["radius_mm"].isna().all() == told


def test_a_scan_of_something_else_is_named(run: Run, tmp_path: Path) -> None:
    """By the model in the box."""
    voxels = np.random.default_rng(0).integers(0, 99, (40, 40, 40)).astype(np.uint8)
    write_volume(Volume(voxels, Frame(size=(40, 40, 40))), tmp_path / "noise.nii.gz")
    finished = run("detect", tmp_path / "noise.nii.gz", "--output", tmp_path / "out", "--device", "cpu")
    assert finished.code == 3 and "noise: none of the 45 landmarks was found" in finished.err
    assert "its voxels of about 1 mm are too coarse for the model" in finished.err

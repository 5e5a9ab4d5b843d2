"""Plan, train and evaluate from Python."""

from __future__ import annotations

import inspect
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import yaml

import LandmarkDetectionLib as ld
from LandmarkDetectionLib.data.cases import Case, case_landmarks, read_split
from train_cli.app import app

SMALL = {
    "training.epochs": np.int64(2),
    "training.steps_per_epoch": 2,
    "training.learning_rate": 1e-05,
    "sampling.crop": (16, 16, 16),
    "network.channels": np.array([8, 8, 8]),
}
SHOWN = {"quiet", "json", "help"}
"""Flags of what a command prints."""


@pytest.mark.parametrize(
    ("name", "of_the_command_only"),
    [("plan", set()), ("train", set()), ("evaluate", {"device", "report", "compare"})],
)
def test_the_functions_have_the_words_and_defaults_of_the_commands(
    name: str, of_the_command_only: set[str]
) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    words = {"from": "base"}  # a word of Python itself
    named = {max(item.opts, key=len).lstrip("-"): item for item in command.params}
    flags = {words.get(word, word): item for word, item in named.items()}
    parameters = inspect.signature(getattr(ld, name)).parameters
    assert set(parameters) == set(flags) - SHOWN - of_the_command_only
    for word, parameter in parameters.items():
        if flags[word].required or word == "output":
            continue
        default = flags[word].default
        assert parameter.default == default or str(parameter.default) == str(default), word


def test_what_is_planned_and_trained_detects(heads: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        config = ld.plan(heads, output=tmp_path / "config.yaml", engine="dense", name="trial", seed=5)
    assert config == tmp_path / "config.yaml" and (tmp_path / "config-landmarks.csv").is_file()
    planned = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert (planned["name"], planned["engine"], planned["training"]["seed"]) == ("trial", "dense", 5)
    changed = {**SMALL, "data.cache": tmp_path / "elsewhere"}
    with pytest.warns(UserWarning, match="The model trial found 0% of the landmarks") as warned:
        model = ld.train(str(config), output=tmp_path / "run", set=changed, fold="1/5", device="cpu", seed=7)
    assert warned[0].filename == __file__
    assert model == tmp_path / "run" / "model" and (tmp_path / "elsewhere").is_dir()
    used = yaml.safe_load((tmp_path / "run/config.yaml").read_text(encoding="utf-8"))
    assert used["training"]["epochs"] == 2 and used["network"]["channels"] == [8, 8, 8]
    assert used["training"]["learning_rate"] == 1e-05 and used["training"]["seed"] == 7
    assert used["data"]["fold"] == "1/5"
    with pytest.warns(UserWarning, match="The model trial found 0% of the landmarks"):
        detector = ld.load_detector(model, device="cpu")
    assert detector.model_name == "trial" and len(detector.landmark_names) == 16


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("plan", {"train": "nowhere.csv"}, "nowhere.csv: there is no such list of cases"),
        ("plan", {"train": "{heads}", "engine": "magic"}, "magic: there is no such engine"),
        ("plan", {"train": "{heads}", "device": "gpu"}, "gpu: there is no such device"),
        (
            "train",
            {"config": "nowhere.yaml", "output": "run"},
            "nowhere.yaml: there is no such configuration",
        ),
        ("plan", {"train": "{heads}", "seed": -1}, "seed is -1: give a number of 0 or more"),
        ("plan", {"train": "{heads}", "hours": float("nan")}, "hours is nan: give a number"),
        ("train", {"config": "c.yaml", "output": "run", "folds": 1}, "folds is 1: give a number of 2"),
        ("evaluate", {"split": "{heads}", "detections": "d", "seed": 2**32}, "below 4294967296."),
        ("train", {"config": "c.yaml", "output": "run", "fold": 2}, "of how many"),
        ("train", {"config": "c.yaml", "output": "run", "fold": 3, "folds": 2}, "with k from 1 to 2"),
        ("evaluate", {"split": "nowhere.csv", "detections": "d"}, "nowhere.csv: there is no such list"),
        ("evaluate", {"split": "{heads}", "detections": "d"}, "d: there is no such folder"),
        (
            "evaluate",
            {"split": "{heads}", "detections": Path(__file__).parent},
            "none of the cases can be used, the first",
        ),
    ],
)
def test_wrong_arguments_give_one_sentence(
    heads: Path, function: str, arguments: dict[str, object], words: str
) -> None:
    given = {key: str(heads) if value == "{heads}" else value for key, value in arguments.items()}
    with pytest.raises(ld.InputError) as refused:
        getattr(ld, function)(**given)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_without_the_packages_of_training_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("LandmarkDetectionLib.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ld.InputError, match=r'train needs lightning.*pip install -e "\.\[train\]"'):
        ld.train("config.yaml", output="run")


def detect_all_off_by_one(heads: Path, folder: Path) -> list[Case]:
    """Detections that lie 1 mm from the truth."""
    cases = read_split(heads, supervised=True)
    for case in cases:
        truth = case_landmarks(case, None)
        found = [
            ld.Detection(name, position + np.array([0, 0, 1]), "found", 0.9)
            for name, position in zip(truth.names, truth.positions, strict=True)
        ]
        ld.Landmarks(found).save(folder / f"{case.name}.csv")
    return cases


def test_an_evaluation_has_the_numbers_and_writes_the_files_of_the_command(
    heads: Path, tmp_path: Path
) -> None:
    detect_all_off_by_one(heads, tmp_path / "detections")
    evaluation = ld.evaluate(heads, detections=tmp_path / "detections", radii=(2.0, 0.5))
    assert isinstance(evaluation, ld.Evaluation) and not (tmp_path / "evaluation").exists()
    assert evaluation.metrics["mre_mm"]["mean"] == pytest.approx(1, abs=1e-5)
    assert evaluation.metrics["sdr"] == {"0.5": 0.0, "2": 1.0}
    assert len(evaluation.per_landmark()) == 16 and len(evaluation.per_case()) == 5
    again = ld.evaluate(heads, detections=tmp_path / "detections", output=tmp_path / "evaluation")
    table = pd.read_csv(tmp_path / "evaluation" / "per_landmark.csv")
    pd.testing.assert_frame_equal(table, again.per_landmark().round(6), check_dtype=False)


def test_cases_that_cannot_be_evaluated_are_python_warnings(heads: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(heads.parent, tmp_path / "data"))
    cases = detect_all_off_by_one(data / "cases.csv", tmp_path / "detections")
    (tmp_path / "detections" / f"{cases[1].name}.csv").unlink()
    assert cases[2].landmark_path is not None
    cases[2].landmark_path.write_text("no landmarks", encoding="utf-8")
    with pytest.warns(UserWarning) as warned:
        evaluation = ld.evaluate(data / "cases.csv", detections=tmp_path / "detections")
    assert [cases[2].name in str(warned[0].message), cases[1].name in str(warned[1].message)] == [True, True]
    assert {item.filename for item in warned} == {__file__}
    assert evaluation.metrics["n_cases"] == 4 and evaluation.metrics["missed"] == 16


def test_images_are_not_needed_to_evaluate(heads: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(heads.parent, tmp_path / "data"))
    detect_all_off_by_one(data / "cases.csv", tmp_path / "detections")
    shutil.rmtree(data / "images")
    assert ld.evaluate(data / "cases.csv", detections=tmp_path / "detections").metrics["n_cases"] == 5

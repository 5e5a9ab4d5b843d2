"""`plan --from` and `train --from`: a model that goes on from another, by the commands alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from train_cli.app import main

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

SHORT = ("--set", "training.epochs=2", "--set", "training.steps_per_epoch=1", "--set", "training.workers=0")
SMALL = ("--set", "network.channels=[8,8,8]", "--set", "sampling.crop=[16,16,16]")


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five cases, the configuration of a dense model, and that model after two steps."""
    folder = tmp_path_factory.mktemp("from")
    write_dataset(folder / "data", 5, seed=3, settings=PhantomSettings(spacing=10.0, metal_fraction=0.0))
    cases, config = folder / "data/cases.csv", folder / "config.yaml"
    for line in (
        ["plan", cases, "--output", config, "--engine", "dense", "--name", "first"],
        ["train", config, "--output", folder / "run", *SMALL, *SHORT],
    ):
        assert main([*map(str, line), "--quiet"]) == 0, line
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """The same in a folder that a test may spoil."""
    return Path(shutil.copytree(trained_once, tmp_path / "from"))


def test_a_plan_from_a_model_is_trained_from_it(run: Run, trained: Path) -> None:
    model, again = trained / "run/model", trained / "again.yaml"
    finished = run("plan", trained / "data/cases.csv", "--output", again, "--from", model, "--name", "second")
    assert finished.code == 0, finished.err
    assert "one part in 10 of the steps: the training goes on from first, which knows 16 of" in finished.out
    planned, anew = (yaml.safe_load((trained / name).read_text()) for name in ("again.yaml", "config.yaml"))
    assert planned["training"]["base"] == "run/model" and planned["network"]["channels"] == [8, 8, 8]
    assert planned["training"]["epochs"] == pytest.approx(anew["training"]["epochs"] / 10, abs=0.5)
    finished = run("train", again, "--output", trained / "again", *SMALL[2:], *SHORT, "--quiet")
    assert finished.code == 0, finished.err
    description = json.loads((trained / "again/model/model.json").read_text())
    first = json.loads((model / "model.json").read_text())
    assert description["training_data"]["from"]["name"] == "first"
    assert len(description["training_data"]["from"]["fingerprint"]) == 64
    assert description["training_data"]["from"]["training_data"] == first["training_data"]
    shown = run("bundle", "show", trained / "again/model", "--json").json
    assert shown["from"] == "first" and "scans" not in shown
    assert run("bundle", "show", model, "--json").json.get("from") is None


def test_train_from_a_model_takes_a_tenth_of_the_epochs_and_goes_on_as_it_began(
    run: Run, trained: Path
) -> None:
    model, config = trained / "run/model", trained / "config.yaml"
    few = ("--set", "training.steps_per_epoch=1", "--set", "training.workers=0")
    command = ("train", config, "--output", trained / "again", "--from", model, *SMALL, *few, "--quiet")
    for _ in range(2):
        finished = run(*command)
        assert finished.code == 0, finished.err
    saved = yaml.safe_load((trained / "again/config.yaml").read_text())
    assert saved["training"]["base"] == "../run/model"
    assert saved["training"]["epochs"] == max(
        round(yaml.safe_load(config.read_text())["training"]["epochs"] / 10), 2
    )
    finished = run("train", config, "--output", trained / "again", *SMALL, *few, "--quiet")
    assert (
        finished.code == 2 and "training.base was" in finished.err and "training.epochs was" in finished.err
    )


def test_networks_of_other_sizes_are_refused_with_the_key(run: Run, trained: Path) -> None:
    command = (
        "train",
        trained / "config.yaml",
        "--output",
        trained / "again",
        "--from",
        trained / "run/model",
    )
    finished = run(*command, *SHORT, "--set", "image.spacing=12", "--quiet")
    assert finished.code == 2 and finished.err.count("\n") == 1
    assert "image.spacing is 10.0 in the model and 12.0 in the configuration" in finished.err
    assert "network.channels is [8, 8, 8] in the model and [16, 32, 64] in the configuration" in finished.err
    assert not (trained / "again/config.yaml").exists()


def _cut_short(model: Path) -> None:
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _of_the_other_engine(model: Path) -> None:
    boxed = Path(__file__).parents[3] / "Resources/Models/mouse-skull-microct"
    shutil.rmtree(model)
    shutil.copytree(boxed, model)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut_short, "the weights are damaged or of another model"),
        (lambda model: (model / "model.json").unlink(), "model.json is missing"),
        (shutil.rmtree, "this is not a model"),
        (_of_the_other_engine, "this model is of the engine locate-refine, the training of dense"),
    ],
    ids=["damaged", "without a description", "none", "of the other engine"],
)
def test_a_model_that_cannot_be_gone_on_from_is_refused_in_one_sentence(
    run: Run, trained: Path, spoil: Callable[[Path], None], said: str
) -> None:
    model = trained / "run/model"
    spoil(model)
    for command in (
        ("plan", trained / "data/cases.csv", "--engine", "dense", "--output", trained / "again.yaml"),
        ("train", trained / "config.yaml", *SMALL, *SHORT, "--output", trained / "again"),
    ):
        finished = run(*command, "--from", model, "--quiet")
        assert finished.code == 2 and finished.err.count("\n") == 1, finished.err
        assert said in finished.err and str(model) in finished.err
    assert not (trained / "again.yaml").exists() and not (trained / "again/config.yaml").exists()

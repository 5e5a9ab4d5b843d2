from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from train_cli.app import main

SETTINGS = PhantomSettings(spacing=10.0, cut_fraction=0.0, metal_fraction=0.0, anisotropic_fraction=0.0)


@dataclass(frozen=True)
class Finished:
    """A command that has run: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        values = json.loads(self.out)
        assert isinstance(values, dict)
        return values


Run = Callable[..., Finished]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command for real, in this process."""

    def run_command(*arguments: object) -> Finished:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Finished(code, *capsys.readouterr())

    return run_command


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_dataset(folder, 5, seed=3, settings=SETTINGS)
    return folder


@pytest.fixture
def data_set(made_once: Path, tmp_path: Path) -> Path:
    """A folder of five small phantom cases that a test may spoil."""
    folder = tmp_path / "data"
    shutil.copytree(made_once, folder)
    return folder

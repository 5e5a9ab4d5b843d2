"""The command `detect` on many scans: in shards, reading ahead."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A list of ten small scans of noise, one of which is damaged and one not there."""
    folder = tmp_path / "scans"
    names = [f"scan {number}" for number in range(10)]
    for seed, name in enumerate(names):
        voxels = np.random.default_rng(seed).normal(0, 100, (16, 16, 16)).astype(np.int16)
        write_volume(Volume(voxels, Frame(size=(16, 16, 16), spacing=(1, 1, 1))), folder / f"{name}.nii.gz")
    (folder / "scan 4.nii.gz").write_bytes(b"nothing")
    (folder / "scan 5.nii.gz").unlink()
    rows = [f"{name},{name}.nii.gz" for name in names]
    (folder / "list.csv").write_text("\n".join(["image_name,image_path", *rows]) + "\n")
    return folder / "list.csv"


def flags(model: Path, output: Path) -> tuple[object, ...]:
    return ("--model", model, "--output", output, "--device", "cpu")


def test_three_shards_at_once_give_what_one_run_gives(
    run: Run, scans: Path, a_model: Path, tmp_path: Path
) -> None:
    whole = run("detect", scans, *flags(a_model, tmp_path / "whole"), "--json")
    arguments = map(str, ("detect", scans, *flags(a_model, tmp_path / "parts"), "--json"))
    command = [sys.executable, "-m", "train_cli", *arguments]
    jobs = [
        subprocess.Popen(
            [*command, "--shard", f"{number}/3"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for number in (1, 2, 3)
    ]
    said = [json.loads(job.communicate(timeout=120)[0]) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 2, 2] and whole.code == 2
    cases = [[case["name"] for case in part["cases"]] for part in said]
    assert cases[0] == ["scan 0", "scan 3", "scan 6", "scan 9"]
    assert sorted(chain.from_iterable(cases)) == [case["name"] for case in whole.json["cases"]]
    results = {path.name for path in (tmp_path / "whole").iterdir()}
    assert len(results) == 2 * 8 + 2 and results == {path.name for path in (tmp_path / "parts").iterdir()}
    for name in results - {"detection-records"}:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x"])
def test_a_shard_that_is_none_is_refused(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, shard: str
) -> None:
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--shard", shard)
    assert finished.code == 2 and f"--shard {shard}: write I/N" in finished.err
    assert not (tmp_path / "out").exists()


def test_a_shard_without_scans_is_done(run: Run, scans: Path, a_model: Path, tmp_path: Path) -> None:
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--shard", "12/12")
    assert finished.code == 0 and "Shard 12/12: 0 of 10 scans." in finished.out

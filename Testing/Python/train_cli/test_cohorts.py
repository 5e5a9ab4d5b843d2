"""The command `detect` on many scans: in shards, reading ahead."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import weakref
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.detection.detector import DenseDetector
from LandmarkDetectionLib.detection.results import Detection

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


def begun(scans: Path, model: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """A detection in a process of its own."""
    arguments = [sys.executable, "-m", "train_cli", "detect", *map(str, (scans, *flags(model, output)))]
    return subprocess.Popen(
        [*arguments, "--json", *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def test_three_shards_at_once_give_what_one_run_gives(scans: Path, a_model: Path, tmp_path: Path) -> None:
    jobs = [begun(scans, a_model, tmp_path / "parts", "--shard", f"{number}/3") for number in (1, 2, 3)]
    said = [json.loads(job.communicate(timeout=120)[0]) for job in jobs]
    alone = begun(scans, a_model, tmp_path / "whole")
    whole = json.loads(alone.communicate(timeout=120)[0])
    assert [job.returncode for job in (*jobs, alone)] == [0, 2, 2, 2]
    cases = [[case["name"] for case in part["cases"]] for part in said]
    assert cases[0] == ["scan 0", "scan 3", "scan 6", "scan 9"]
    assert sorted(chain.from_iterable(cases)) == [case["name"] for case in whole["cases"]]
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


def test_the_next_scan_is_read_while_one_is_computed_and_two_are_in_memory_at_most(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[weakref.ref[Volume], int]] = []
    in_memory, ahead = [], []
    detect = DenseDetector.detect

    def reading(path: Path) -> Volume:
        in_memory.append(1 + sum(volume() is not None for volume, _ in read))
        volume = read_volume(path)
        read.append((weakref.ref(volume), len(in_memory)))
        return volume

    def when_the_next_is_read(self: DenseDetector, volume: Volume, **rest: Any) -> tuple[Detection, ...]:
        begun = next(count for reference, count in read if reference() is volume)
        end = time.monotonic() + 20
        while len(in_memory) == begun < 9 and time.monotonic() < end:
            time.sleep(0.005)
        ahead.append(len(in_memory) - begun)
        return detect(self, volume, **rest)

    monkeypatch.setattr("LandmarkDetectionLib.detection.reading.read_volume", reading)
    monkeypatch.setattr(DenseDetector, "detect", when_the_next_is_read)
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--json")
    assert [bool(case["error"]) for case in finished.json["cases"]] == [n in (4, 5) for n in range(10)]
    assert "scan 4.nii.gz" in finished.err and "scan 5.nii.gz" in finished.err
    assert ahead == [1] * 7 + [0]
    assert len(in_memory) == 9 and max(in_memory) == 2

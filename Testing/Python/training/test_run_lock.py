"""One training at a time in a run folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.training.running.run_lock import locked

ROOT = Path(__file__).parents[3]
HOLDS = """
import sys, time
from pathlib import Path
from LandmarkDetectionLib.training.running.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(run: Path) -> subprocess.Popen[str]:
    """Another process that has the folder."""
    job = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(run)], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert job.stdout is not None and job.stdout.readline() == "held\n"
    return job


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    job = hold(tmp_path / "run")
    words = rf"run: another training runs in this folder \(process {job.pid} on .*\); wait for it"
    with pytest.raises(InputError, match=words), locked(tmp_path / "run"):
        pass
    job.kill()
    job.wait()
    with locked(tmp_path / "run"):
        pass


def test_a_training_within_another_one_of_this_process_keeps_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with locked(tmp_path / "run"):
            pass
        finished = subprocess.run(
            [sys.executable, "-c", HOLDS, str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True
        )
        assert finished.returncode == 1 and "another training runs in this folder" in finished.stderr


def test_two_folders_do_not_mind_each_other(tmp_path: Path) -> None:
    job = hold(tmp_path / "one")
    with locked(tmp_path / "other"):
        pass
    job.kill()
    job.wait()

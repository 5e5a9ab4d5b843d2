"""Writing files: whatever keeps one from being written is said with the name that the person knows."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder, replacing, unwritable, write_text

ROOT = Path(__file__).parents[3]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
exec "$2" - "$1" <<'END'
import sys
from pathlib import Path
import numpy as np
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
noise = np.random.default_rng(0).integers(0, 1000, (60, 60, 60)).astype(np.int16)
for suffix in (".nii.gz", ".nii", ".nrrd", ".mha"):
    try:
        write_volume(Volume(noise, Frame(size=(60, 60, 60))), Path(sys.argv[1]) / f"scan{suffix}")
        print("written", suffix)
    except InputError as error:
        print(error)
print([path.name for path in Path(sys.argv[1]).iterdir()])
END
"""


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and ".writing-" not in sentence
    return sentence


def fail(path: Path, error: Exception) -> None:
    with replacing(path):
        raise error


def test_a_full_disk_says_which_file_and_to_make_room(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / ".writing-abc"):
        sentence = refusal(partial(fail, folder / "one.csv", FULL))
        assert sentence == (
            f"Cannot write {tmp_path / 'one.csv'} (no space left on device): make room on the disk, or "
            "write to another one."
        )
        assert list(folder.glob("*one.csv")) == []
    unmade = unwritable(tmp_path / ".writing-abc", FULL)
    assert str(unmade) == (
        f"Cannot write in {tmp_path} (no space left on device): make room on the disk, or choose a folder on "
        "another one."
    )


def test_any_other_error_of_writing_does_not_speak_of_room(tmp_path: Path) -> None:
    (tmp_path / "one.csv").mkdir()
    assert "close it elsewhere, or choose another name." in refusal(
        lambda: write_text(tmp_path / "one.csv", "")
    )
    with pytest.raises(RuntimeError, match="not of the disk"):
        fail(tmp_path / "two.csv", RuntimeError("not of the disk"))


@pytest.mark.parametrize("writer", ["silent", "of its own words"])
def test_a_writer_that_does_not_say_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    total, used, _ = shutil.disk_usage(tmp_path)
    usage = type(shutil.disk_usage(tmp_path))(total, used, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    def write() -> None:
        with replacing(tmp_path / "scan.nii.gz"):
            if writer != "silent":
                raise RuntimeError("Exception thrown in SimpleITK ImageFileWriter_Execute")

    assert "scan.nii.gz (no space left on device): make room on the disk" in refusal(write)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("unshare"), reason="a disk is made on Linux only"
)
def test_scans_on_a_disk_that_is_really_full(tmp_path: Path) -> None:
    command = ["unshare", "-rm", "bash", "-c", ON_A_SMALL_DISK, "bash", str(tmp_path), sys.executable]
    finished = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    if finished.returncode in (1, 77) and "Traceback" not in finished.stderr:
        pytest.skip(f"no disk can be made here: {finished.stderr}")
    *sentences, left = finished.stdout.splitlines()
    assert len(sentences) == 4 and left == "[]", finished
    assert all("make room" in sentence and "/scan." in sentence for sentence in sentences)


def test_a_file_where_a_folder_is_wanted_is_called_a_file(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("mine")
    cure = "choose a folder that you can write in."
    assert refusal(lambda: make_folder(file)) == f"Cannot write in {file}, which is a file: {cure}"
    below = file / "a" / "b"
    assert refusal(lambda: write_text(below / "c.csv", "")) == (
        f"Cannot write in {below}, for {file} is a file: {cure}"
    )
    assert file.read_text() == "mine"

"""Every writer: whatever happens to it, the old file or the new one is there in full, and nothing else stays.

A writer runs in a process of its own that is killed before each of its steps (what it opens for writing,
renames, removes or makes), killed amid a write, given a full disk (no file may grow beyond a size), or is a
user without rights to the folder.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from LandmarkDetectionLib.data import files
from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.digests import ScanIdentity
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import UNFINISHED, write_text
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.detection.records import Entry, Records
from LandmarkDetectionLib.detection.results import CaseDetections, Detection, write_case
from LandmarkDetectionLib.detection.results_folder import ResultsFolder
from LandmarkDetectionLib.evaluation.figures import write_figure
from LandmarkDetectionLib.model.bundle import describe_bundle, load_bundle, pack_bundle, save_bundle
from LandmarkDetectionLib.training.config import write_config
from LandmarkDetectionLib.training.running.checkpoints import AtomicCheckpointIO
from Testing.fuzz.configs import config_of
from Testing.small_model import write_small_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes that fork, and limits of Linux")

Write = Callable[[Path, int], object]
"""Writes a version, a number, of its files into a folder."""
_FORK = multiprocessing.get_context("fork")
_NOBODY = 65534
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}
NAMES = [f"landmark {number}" for number in range(40)]
DONE, REFUSED, FAILED = 0, 11, 12


def landmarks(version: int) -> LandmarkSet:
    return LandmarkSet(NAMES, np.random.default_rng(version).normal(size=(40, 3)))


def detections(version: int) -> CaseDetections:
    return CaseDetections(
        "case", tuple(Detection(name, np.full(3, version), "found", 0.5, 1.0) for name in NAMES)
    )


def scan(suffix: str) -> Write:
    def write(folder: Path, version: int) -> None:
        voxels = np.random.default_rng(version).integers(0, 1000, (12, 13, 14)).astype(np.int16)
        write_volume(Volume(voxels, Frame(size=(14, 13, 12))), folder / f"scan{suffix}")

    return write


def split(folder: Path, version: int) -> None:
    cases = [Case(f"case {number}", folder / f"{version}.nii", folder / "a.csv") for number in range(60)]
    write_split(cases, folder / "train.csv")


def config(folder: Path, version: int) -> None:
    write_config(config_of("dense", folder), folder / "config.yaml", header=f"{version}" * 100)


def figure(folder: Path, version: int) -> None:
    drawing = Figure()
    drawing.subplots().plot([0, version])
    write_figure(drawing, folder / "errors.png")


def record(folder: Path, version: int) -> None:
    row = {"case": "case", "image_path": "a.nii", "error": "no. " * 500}
    files_of_case = {"case.csv": ["digest" * 500]}
    entry = Entry("a.nii", ScanIdentity("a", "b"), str(version), files_of_case, row, 1.5, ())
    Records(folder).put("case", entry)
    Records(folder).put_failure(row)


def table(folder: Path, version: int) -> None:
    names = [f"{name} of {version}" * 4 for name in NAMES]
    write_table(LandmarkTable.from_names(names), folder / "landmarks.csv")


def weights(version: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((2000,), float(version))}


def bundle(folder: Path, version: int) -> None:
    save_bundle(load_bundle(MODEL[0]), weights(version), folder / "model")


def packed_bundle(folder: Path, version: int) -> None:
    pack_bundle(MODEL[version - 1], folder / "model.zip")


def description(folder: Path, version: int) -> None:
    if not (folder / "small model").exists():
        write_small_model(folder / "small model")
    describe_bundle(folder / "small model", licence=f"{version}" * 3000)


def results(folder: Path, version: int) -> None:
    """A case and the summary, as `detect` writes them."""
    scan_path = MODEL[0].parent / "scan.nii.gz"
    there = ResultsFolder(folder, MODEL[0], load_bundle(MODEL[0]), overwrite=True)
    case = Case("case", scan_path)
    outcome = there.keep(case, detections(version), ScanIdentity("a", "b"), seconds=1.0)
    there.summarise([outcome])


MODEL: list[Path] = []
WRITERS: dict[str, Write] = {
    "text": lambda folder, version: write_text(folder / "a.txt", f"{version}" * 5000),
    ".mrk.json": lambda folder, version: write_landmarks(landmarks(version), folder / "a.mrk.json"),
    ".fcsv": lambda folder, version: write_landmarks(landmarks(version), folder / "a.fcsv"),
    "landmarks as .csv": lambda folder, version: write_landmarks(landmarks(version), folder / "a.csv"),
    "split": split,
    "landmarks.csv": table,
    **{f"scan as {suffix}": scan(suffix) for suffix in (".nii", ".nii.gz", ".nrrd", ".mha")},
    "config.yaml": config,
    "figure": figure,
    "result": lambda folder, version: write_case(detections(version), folder),
    "record": record,
    "results folder": results,
    "bundle": bundle,
    "packed bundle": packed_bundle,
    "description of a bundle": description,
    "checkpoint": lambda folder, version: AtomicCheckpointIO().save_checkpoint(
        weights(version), folder / "last.ckpt"
    ),
}
IN_PARTS = {"bundle", "results folder", "record", "result"}
"""Writers of several files: each is whole, but some may be new, or missing, where others are old."""


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    """Two models, and a scan beside them, that every user can read."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        MODEL[:] = [write_small_model(folder / "1"), write_small_model(folder / "2", spacing=2.0)]
        scan(".nii.gz")(folder, 1)
        yield


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name but unfinished ones; those in the records too."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    return {name: content for name, content in named.items() if UNFINISHED not in name}


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{UNFINISHED}*"))


def run(write: Write, folder: Path, prepare: Callable[[], object]) -> int:
    """The exit code of a process that prepares for a disaster and writes version 2."""
    process = _FORK.Process(target=_write, args=(write, folder, prepare))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _write(write: Write, folder: Path, prepare: Callable[[], object]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    prepare()
    try:
        write(folder, 2)
    except InputError as error:
        sentence = str(error)
        whole = sentence.endswith(".") and str(folder) in sentence and UNFINISHED not in sentence
        os._exit(REFUSED if whole else FAILED)
    except BaseException:
        os._exit(FAILED)
    os._exit(DONE)


def killed_at(step: int, steps: Synchronized[int]) -> Callable[[], None]:
    """Count what changes files, and end this process before the step of a number."""

    def watch(event: str, values: tuple[object, ...]) -> None:
        opens = event == "open" and isinstance(values[2], int) and values[2] & _WRITES
        if event in _STEPS or (opens and values[0] != os.devnull):
            if steps.value == step:
                os.kill(os.getpid(), signal.SIGKILL)
            steps.value += 1

    return lambda: sys.addaudithook(watch)


def limited(size: int, *, killed: bool) -> Callable[[], None]:
    """Let no file grow beyond a size: the disk is full, or the process ends amid its write."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def check_whole(name: str, folder: Path, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Each file is the old one or the new one."""
    there = contents(folder)
    for file, content in there.items():
        if not file.startswith(("cases/", "detection-records/")):  # records have times of their own
            assert content in (before.get(file), after.get(file)), file
    if name not in IN_PARTS:
        assert there.keys() == before.keys()


def check_recovers(
    write: Write, folder: Path, after: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same writer succeeds in the folder as it was left, and a day later nothing else is there."""
    for left in unfinished(folder):
        os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    monkeypatch.setattr(files, "_TIDIED", set())
    write(folder, 2)
    assert contents(folder).keys() == after.keys() and unfinished(folder) == []


@pytest.fixture
def versions(writer: str, tmp_path: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What is in the folder before and after, by file."""
    write, found = WRITERS[writer], []
    for version in (1, 2):
        write(tmp_path / "folder", version)
        found.append(contents(tmp_path / "folder"))
    write(tmp_path / "folder", 1)
    return found[0], found[1]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_is_killed_at_any_step_leaves_the_old_file_or_the_new_one(
    writer: str,
    tmp_path: Path,
    versions: tuple[dict[str, bytes], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, folder = WRITERS[writer], tmp_path / "folder"
    step, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        code = run(write, folder, killed_at(step, _FORK.Value("i", 0)))
        check_whole(writer, folder, *versions)
        step += 1
    assert code == DONE and step > 2
    check_recovers(write, folder, versions[1], monkeypatch)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_is_killed_amid_a_write_or_has_a_full_disk_leaves_the_old_file(
    writer: str,
    tmp_path: Path,
    versions: tuple[dict[str, bytes], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, folder = WRITERS[writer], tmp_path / "folder"
    old, new = versions
    sizes = [len(content) for name, content in new.items() if content and content != old[name]]
    places = (0, min(sizes) // 2, max(sizes) - 1)
    for size in places:
        assert run(write, folder, limited(size, killed=False)) == REFUSED, size
        assert unfinished(folder) == []
        check_whole(writer, folder, *versions)
    for size in places:
        assert run(write, folder, limited(size, killed=True)) in (-signal.SIGXFSZ, REFUSED)
        check_whole(writer, folder, *versions)
    check_recovers(write, folder, versions[1], monkeypatch)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_of_another_user_is_refused_in_a_sentence(writer: str, open_folder: Path) -> None:
    write, folder = WRITERS[writer], open_folder / "folder"
    write(folder, 1)
    before = contents(folder)
    assert run(write, folder, lambda: os.seteuid(_NOBODY)) == REFUSED
    assert contents(folder) == before and unfinished(folder) == []


def test_the_list_of_writers_is_whole() -> None:
    """Nothing opens a file to write it but through `data/files.py`, and what only appends or is temporary."""
    library = Path(files.__file__).parents[1]
    known = {"data/files.py", "data/volume.py", "model/bundle.py", "evaluation/figures.py"}
    known |= {"training/cases/cache.py", "training/running/run_lock.py", "training/running/checkpoints.py"}
    known |= {"worker/shared_volume.py", "worker/__main__.py"}  # a folder of a session; its streams
    known |= {"report/folder.py", "report/charts.py"}  # a folder that is renamed as a whole; into memory
    writing = ('.open("w', ".write_bytes(", ".write_text(", "savefig(", "os.fdopen(", "np.save(", 'open("a')
    found = {
        path.relative_to(library).as_posix()
        for path in library.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in writing)
    }
    assert found <= known, "list its writer above"

"""The worker as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.digests import identify
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.detection.detector import DenseDetector, load_detector
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.worker import session
from LandmarkDetectionLib.worker.protocol import (
    Cancel,
    Detect,
    Event,
    Failure,
    Notice,
    Progress,
    Ready,
    Request,
    Result,
    decode,
    encode,
)
from LandmarkDetectionLib.worker.shared_volume import SharedVolume, write_in_pieces
from Testing.fuzz import mutate

ROOT = Path(__file__).parents[3]
RUBBISH = 400
"""Lines of damaged messages."""
COMMAND = [sys.executable, "-m", "LandmarkDetectionLib.worker"]
CPU = torch.device("cpu")


class Worker:
    """A worker process, and what it says."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def ask(self, request: Request) -> None:
        self.write(encode(request))

    def hear(self) -> Event:
        assert self.process.stdout is not None
        event = decode(self.process.stdout.readline().decode())
        assert not isinstance(event, Detect | Cancel)
        return event

    def end_of(self, number: int) -> tuple[list[Event], Result | Failure]:
        """All events up to the one that ends a request, and that one."""
        events: list[Event] = []
        while True:
            event = self.hear()
            if isinstance(event, Result | Failure) and event.number == number:
                return events, event
            events.append(event)


@pytest.fixture
def a_worker() -> Iterator[Worker]:
    worker = Worker()
    assert isinstance(worker.hear(), Ready)
    yield worker
    worker.process.kill()
    worker.process.wait()
    for stream in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
        if stream is not None:
            stream.close()


def same(one: tuple[Detection, ...], other: tuple[Detection, ...]) -> bool:
    return [item.name for item in one] == [item.name for item in other] and all(
        np.allclose(a.position, b.position, atol=1e-9, equal_nan=True) and a.status == b.status
        for a, b in zip(one, other, strict=True)
    )


def test_it_finds_in_a_mapped_scan_and_in_a_file_what_the_detector_finds(
    a_worker: Worker, a_model: Path, a_scan: Volume, a_shared_scan: SharedVolume, a_scan_file: Path
) -> None:
    expected = load_detector(a_model, CPU).detect(a_scan)
    assert any(item.present for item in expected) and not all(item.present for item in expected)
    scans: list[SharedVolume | Path] = [a_shared_scan, a_scan_file]
    for number, scan in enumerate(scans):
        a_worker.ask(Detect(number, a_model, "cpu", scan))
        events, result = a_worker.end_of(number)
        assert isinstance(result, Result), result
        assert same(result.detections, expected)
        assert result.scan == (identify(scan) if isinstance(scan, Path) else ("", ""))
        assert result.device == "cpu" and result.seconds > 0
        progress = [event for event in events if isinstance(event, Progress)]
        assert progress[-1].fraction == 1 and progress[-1].stage == "detect"
        assert any(event.seconds_left is not None for event in progress)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"model": Path("nowhere")}, "model", "model.json"),
        ({"scan": Path("nowhere.nii.gz")}, "volume", "nowhere.nii.gz"),
        ({"scan": SharedVolume(Path("gone.npy"), Frame(size=(3, 3, 3)))}, "volume", "gone.npy"),
        ({"device": "cuda:99"}, "device", "cuda:99"),
        ({"device": "abacus"}, "device", "abacus"),
    ],
)
def test_what_is_wrong_is_said_and_the_next_request_is_served(
    a_worker: Worker,
    a_model: Path,
    a_shared_scan: SharedVolume,
    changes: dict[str, object],
    kind: str,
    said: str,
) -> None:
    right: dict[str, object] = {"model": a_model, "device": "cpu", "scan": a_shared_scan}
    a_worker.ask(Detect(number=1, **(right | changes)))  # type: ignore[arg-type]
    _, failure = a_worker.end_of(1)
    assert isinstance(failure, Failure)
    assert failure.kind == kind and said in failure.text and failure.text.endswith(".")
    a_worker.ask(Detect(number=2, **right))  # type: ignore[arg-type]
    assert isinstance(a_worker.end_of(2)[1], Result)


def test_a_cancelled_detection_stops_and_one_that_waits_does_not_start(
    a_worker: Worker, a_model: Path, a_shared_scan: SharedVolume, tmp_path: Path
) -> None:
    large = Frame(size=(400, 300, 300))
    for _ in write_in_pieces(np.zeros(large.shape, np.int16), tmp_path / "large.npy"):
        pass
    a_worker.ask(Detect(1, a_model, "cpu", SharedVolume(tmp_path / "large.npy", large)))
    a_worker.ask(Detect(2, a_model, "cpu", a_shared_scan))
    a_worker.ask(Detect(3, a_model, "cpu", a_shared_scan))
    a_worker.ask(Cancel(2))
    while not (isinstance(event := a_worker.hear(), Progress) and event.fraction > 0):
        pass
    a_worker.ask(Cancel(1))
    for number in (1, 2):
        _, end = a_worker.end_of(number)
        assert isinstance(end, Failure) and end.kind == "cancelled"
    assert isinstance(a_worker.end_of(3)[1], Result)


def test_nonsense_is_reported_on_standard_error_and_passed_over(
    a_worker: Worker, a_model: Path, a_shared_scan: SharedVolume
) -> None:
    a_worker.write("nonsense\n")
    a_worker.ask(Detect(1, a_model, "cpu", a_shared_scan))
    assert isinstance(a_worker.end_of(1)[1], Result)
    assert a_worker.process.stdin is not None and a_worker.process.stderr is not None
    a_worker.process.stdin.close()
    assert a_worker.process.wait(20) == 0
    assert "not a message: 'nonsense" in a_worker.process.stderr.read().decode()


class Bait:
    """An object that writes a file when somebody unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.file), "w")


def most_memory(process: int) -> int:
    """Bytes that a process has had at most."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux tells it")
def test_a_worker_that_is_fed_rubbish_lives_on_keeps_little_of_it_and_runs_none(
    a_worker: Worker, a_model: Path, a_shared_scan: SharedVolume, tmp_path: Path
) -> None:
    chance = Random(0)
    np.save(tmp_path / "bait.npy", np.array([Bait(tmp_path / "bitten")], dtype=object), allow_pickle=True)
    bait = SharedVolume(tmp_path / "bait.npy", Frame(size=(1, 1, 1)))
    whole = [encode(Detect(1, a_model, "cpu", a_shared_scan)).encode(), encode(Cancel(1)).encode()]
    process = a_worker.process
    assert process.stdin is not None and process.stderr is not None and process.stdout is not None
    said: list[bytes] = []
    listeners = [
        threading.Thread(target=said.extend, args=(process.stdout,), daemon=True),
        threading.Thread(target=deque, args=(process.stderr, 0), daemon=True),
    ]
    for listener in listeners:
        listener.start()

    def wait_for(number: int) -> None:
        deadline = time.monotonic() + 60
        ends = [f'"{kind}", "number": {number},'.encode() for kind in ("Result", "Failure")]
        while not any(end in line for line in list(said) for end in ends):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)

    a_worker.ask(Detect(-1, a_model, "cpu", a_shared_scan))
    wait_for(-1)
    before = most_memory(process.pid)
    a_worker.ask(Detect(-2, a_model, "cpu", bait))
    for _ in range(RUBBISH):
        damage = chance.choice((mutate.of_json, mutate.text, mutate.binary))
        process.stdin.write(damage(chance.choice(whole), chance) + b"\n")
    for _ in range(64):
        process.stdin.write(b"[" * (1 << 20))
    process.stdin.write(b"\n")
    a_worker.ask(Detect(-3, a_model, "cpu", a_shared_scan))
    wait_for(-3)
    assert any(b'"Result", "number": -3' in line for line in said)
    assert any(b'"Failure", "number": -2' in line and b"cannot be read" in line for line in said)
    assert most_memory(process.pid) - before < 40 << 20
    assert not (tmp_path / "bitten").exists()
    process.stdin.close()
    assert process.wait(20) == 0
    for listener in listeners:
        listener.join()


def test_it_ends_when_its_input_ends_even_while_it_detects(
    a_worker: Worker, a_model: Path, tmp_path: Path
) -> None:
    large = Frame(size=(400, 300, 300))
    for _ in write_in_pieces(np.zeros(large.shape, np.int16), tmp_path / "large.npy"):
        pass
    a_worker.ask(Detect(1, a_model, "cpu", SharedVolume(tmp_path / "large.npy", large)))
    a_worker.hear()
    assert a_worker.process.stdin is not None
    a_worker.process.stdin.close()
    assert a_worker.process.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_panel_that_is_killed_leaves_no_worker() -> None:
    code = f"""
import subprocess, time
worker = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdout.readline()
print(worker.pid, flush=True)
time.sleep(600)
"""
    panel = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert panel.stdout is not None
    worker = int(panel.stdout.readline())
    panel.send_signal(signal.SIGKILL)
    panel.wait()
    deadline = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"


def test_a_scan_that_is_replaced_while_it_is_detected_is_told(
    a_model: Path, a_scan: Volume, a_scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect = DenseDetector.detect

    def meanwhile(self: DenseDetector, volume: Volume, **rest: Any) -> tuple[Detection, ...]:
        write_volume(Volume(a_scan.voxels + 1, a_scan.frame), a_scan_file)
        return detect(self, volume, **rest)

    monkeypatch.setattr(DenseDetector, "detect", meanwhile)
    said: list[Event] = []
    session.Session(said.append).detect(Detect(1, a_model, "cpu", a_scan_file))
    end = said[-1]
    assert isinstance(end, Failure) and end.kind == "volume" and "was changed or removed" in end.text


class Hungry(DenseDetector):
    """A detector on a machine that holds windows of 16 voxels only."""

    def detect(self, volume: Volume, **_: object) -> tuple[Detection, ...]:
        if max(self.settings.window) > 16:
            raise MemoryError
        return tuple(Detection.missing(name) for name in self.bundle.table.names)


@pytest.mark.parametrize(("edge", "smallest"), [(64, 8), (64, 32)])
def test_where_memory_runs_out_it_tries_smaller_pieces_and_says_so(
    a_model: Path, a_shared_scan: SharedVolume, monkeypatch: pytest.MonkeyPatch, edge: int, smallest: int
) -> None:
    hungry = load_detector(a_model, CPU)
    assert isinstance(hungry, DenseDetector)
    hungry.__class__ = Hungry
    hungry.settings = type(hungry.settings)((edge, edge, edge))
    monkeypatch.setattr(session, "load_detector", lambda *_: hungry)
    monkeypatch.setattr("LandmarkDetectionLib.detection.detector._SMALLEST_WINDOW", smallest)
    said: list[Event] = []
    session.Session(said.append).detect(Detect(1, a_model, "cpu", a_shared_scan))
    *notices, end = said
    assert all(isinstance(event, Notice) and "smaller pieces" in event.text for event in notices)
    if smallest == 8:
        assert isinstance(end, Result) and len(notices) == 2
    else:
        assert isinstance(end, Failure) and end.kind == "out of memory" and len(notices) == 1
        assert "close other programs" in end.text


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to limit the size of files")
def test_a_disk_that_is_full_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
import numpy as np
from LandmarkDetectionLib.worker.shared_volume import write_in_pieces
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    for _ in write_in_pieces(np.ones((64, 256, 256), np.int16), Path({str(tmp_path / "scan.npy")!r})):
        pass
except OSError as error:
    print("told:", error.strerror)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stdout.startswith("told: File too large"), finished.stderr

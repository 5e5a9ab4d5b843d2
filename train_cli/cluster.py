"""Detecting on a Ray cluster: workers that keep their model warm, one to a GPU or to some cores.

The workers read scans and detect; this process hands out the cases and is the only one that writes results.
So a case is written once, however often its detection was begun, and a machine that dies leaves nothing half
done. Scans and model must be where they are here on every machine, the output need not be.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LandmarkDetectionLib.data.errors import InputError
from train_cli.attempts import Attempts, Failed, Found, failure

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.detection.inputs import Input
    from LandmarkDetectionLib.detection.reading import ReadAhead, ScanInMemory
    from LandmarkDetectionLib.detection.results_folder import ResultsFolder
    from train_cli.console import Console

FOUND = "auto"
"""Stands for the address of a cluster that Ray finds, or else starts on this machine."""
_ADDRESS = r"[\w.\-\[\]:]*\w\]?:\d+"
_CORES = 4
"""Of a worker without a GPU, where the machines have as many."""
_TRIES = 3
"""So often a case is begun whose worker is lost."""
_STARTS = 5
"""So many workers in a row may die as they start."""
_ANSWERS_WITHIN = 10.0
"""Seconds that the head of a cluster has to answer."""
_TICK, _SAY_AFTER, _GIVE_UP_AFTER = 1.0, 30.0, 300.0
"""Seconds: between two looks at the cluster; without a worker until it is said; without a place for one."""


def name_address(arguments: Sequence[str]) -> list[str]:
    """The words of a command with an address behind each `--cluster` that has none."""
    words: list[str] = []
    for place, word in enumerate(arguments):
        words.append(word)
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        if word == "--cluster" and not _is_address(following):
            words.append(FOUND)
    return words


def check_cluster(address: str, device: str) -> None:
    """Refuse what cannot be detected on.

    Raises:
        InputError: if Ray is not installed, or the address or the device is none of a cluster.
    """
    if not _is_address(address):
        raise InputError(
            f"--cluster {address}: write HOST:PORT of the cluster's head, for example 10.0.0.1:6379, or no "
            "address for the cluster of this machine."
        )
    if ":" in device:
        raise InputError(f"--device {device}: on a cluster Ray chooses the GPU; write cuda.")
    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        raise InputError("RAY_ADDRESS: Ray's client is not supported; detect on a machine of the cluster.")
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise InputError(
            '--cluster: Ray is not installed here; install it with: pip install "ray>=2.9"'
        ) from error


@dataclass(frozen=True)
class Cluster:
    """Where to detect.

    Attributes:
        address: HOST:PORT of the head, or `FOUND`.
        device: auto, cpu or cuda.
        cores: of each worker; None for what suits the machines.
    """

    address: str
    device: str = "auto"
    cores: int | None = None


@dataclass(frozen=True)
class Share:
    """What a worker takes of a machine, and where it computes."""

    device: str
    cores: int
    gpus: int

    @classmethod
    def of(cls, machines: Sequence[dict[str, float]], cluster: Cluster) -> Share:
        """What suits the machines.

        Args:
            machines: the resources of each, as Ray names them.
            cluster: what was asked for.

        Raises:
            InputError: if none of them has as much.
        """
        has_gpus = any(machine.get("GPU", 0) >= 1 for machine in machines)
        if cluster.device == "cuda" and not has_gpus:
            raise InputError("--device cuda: no machine of the Ray cluster has a GPU; use cpu.")
        if has_gpus and cluster.device != "cpu":
            share = cls("cuda", cluster.cores or 1, 1)
        else:
            counts = [int(machine.get("CPU", 0)) for machine in machines]
            share = cls("cpu", cluster.cores or min([_CORES, *(count for count in counts if count)]), 0)
        if not share.places(machines):
            raise InputError(
                f"--cores {share.cores}: no machine of the Ray cluster has as many for a worker; give fewer."
            )
        return share

    def places(self, machines: Sequence[dict[str, float]]) -> int:
        """How many workers fit on the machines."""
        return sum(self._places_on(machine) for machine in machines)

    def _places_on(self, machine: dict[str, float]) -> int:
        by_cores = int(machine.get("CPU", 0) // self.cores)
        return min(by_cores, int(machine.get("GPU", 0) // self.gpus)) if self.gpus else by_cores


@dataclass(frozen=True)
class Job:
    """What is the same for all cases of a run."""

    model: Path
    model_digest: str
    share: Share
    pictures: bool
    anonymous: bool


class Worker:
    """A process of the cluster. It keeps its model warm and reads the next scan while it computes."""

    _attempts: Attempts
    _scans: ReadAhead[Path, ScanInMemory]

    def load(self, job: Job) -> str:
        """Load the model; gives the sentence that says why it cannot be used here, '' if it can."""
        import torch

        from LandmarkDetectionLib.detection.detector import load_detector
        from LandmarkDetectionLib.detection.reading import ReadAhead, read_scan
        from LandmarkDetectionLib.model.bundle import model_digest
        from train_cli.options import resolve_device

        torch.set_num_threads(job.share.cores)
        try:
            if model_digest(job.model) != job.model_digest:
                return f"{job.model}: it is another model there; share one folder, or copy it there again."
            detector = load_detector(job.model, resolve_device(job.share.device))
        except InputError as error:
            return str(error)
        self._attempts = Attempts(detector, job.model, job.pictures, job.anonymous)
        self._scans = ReadAhead(read_scan)
        return ""

    def detect(self, case: Case, following: Case | None) -> tuple[Found | Failed, list[str]]:
        """Detect in a case, and begin to read the following one; gives also what is to be said."""
        from LandmarkDetectionLib.detection.progress import no_progress

        notices: list[str] = []
        attempt = self._attempts.detect(
            case,
            lambda: self._scans.take(case.image_path, following.image_path if following else None),
            notice=notices.append,
            progress=no_progress,
        )
        return attempt, notices


def detect_on_cluster(
    attempts: Attempts, results: ResultsFolder, console: Console, cluster: Cluster, inputs: Sequence[Input]
) -> Generator[tuple[Input, Found | Failed]]:
    """Detect in the inputs on a cluster, and give each with what came of it, in the order in which they end.

    Raises:
        InputError: if there is no such cluster, or nothing in it can detect.
    """
    usable = []
    for given in inputs:
        refused = _refused(given, results)
        if refused is None:
            usable.append(given)
        else:
            yield given, refused
    if not usable:
        return
    with _connected(cluster.address), console.progress("Detecting") as advance:
        crew = _Crew(attempts, console, cluster, usable)
        try:
            advance(0, len(usable), "")
            for done, (given, attempt) in enumerate(crew.work(), start=1):
                advance(done, len(usable), given.case.name)
                yield given, attempt
        finally:
            crew.dismiss()


@dataclass(eq=False)
class _Member:
    """A worker: what it is doing, and which case it reads ahead; it loads the model while it has no case."""

    actor: Any
    doing: Any
    given: Input | None = None
    following: Input | None = None
    is_ready: bool = False


class _Crew:
    """The workers, and the cases that wait for them."""

    def __init__(
        self, attempts: Attempts, console: Console, cluster: Cluster, inputs: Sequence[Input]
    ) -> None:
        from LandmarkDetectionLib.model.bundle import model_digest

        share = Share.of(_machines(), cluster)
        model = attempts.model.absolute()
        self._job = Job(model, model_digest(model), share, attempts.pictures, attempts.anonymous)
        self._console = console
        self._waiting = deque(inputs)
        self._members: list[_Member] = []
        self._begun = Counter[str]()
        self._unfit = self._died = 0
        self._problems: set[str] = set()
        self._alone_since: float | None = time.monotonic()
        self._has_said = False
        self._look_again = 0.0

    def work(self) -> Iterator[tuple[Input, Found | Failed]]:
        """Detect in all cases, and give each with what came of it."""
        import ray

        while self._left():
            if time.monotonic() >= self._look_again:
                self._hire()
                self._look_again = time.monotonic() + _TICK
            self._hand_out()
            busy = {member.doing: member for member in self._members if member.doing is not None}
            if not busy:
                time.sleep(_TICK)
                continue
            done, _ = ray.wait(list(busy), num_returns=1, timeout=_TICK)
            for doing in done:
                yield from self._ended(busy[doing])

    def dismiss(self) -> None:
        """End all workers."""
        for member in list(self._members):
            self._part_with(member)

    def _left(self) -> int:
        """How many cases have no outcome."""
        with_members = (case for member in self._members for case in (member.given, member.following))
        return len(self._waiting) + sum(case is not None for case in with_members)

    def _hire(self) -> None:
        """Start as many workers as there are places for; those of a machine that died, elsewhere or later."""
        import ray

        machines = _machines()
        places = self._job.share.places(machines)
        wanted = min(places - self._unfit, self._left())
        if self._problems and wanted < 1 and not self._members:
            raise InputError("--cluster: no worker is left that can take part; the sentences above say why.")
        for _ in range(wanted - len(self._members)):
            share = self._job.share
            remote = ray.remote(num_cpus=share.cores, num_gpus=share.gpus, max_restarts=0, max_task_retries=0)
            actor = remote(Worker).remote()
            self._members.append(_Member(actor, actor.load.remote(self._job)))
        self._watch(places)

    def _watch(self, places: int) -> None:
        """Say that nobody works, and give up where nobody can."""
        if any(member.is_ready for member in self._members):
            self._alone_since, self._has_said = None, False
            return
        now = time.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        share = self._job.share
        what = f"{share.gpus} GPU and {share.cores} cores" if share.gpus else f"{share.cores} cores"
        if places < 1 and now - self._alone_since > _GIVE_UP_AFTER:
            raise InputError(f"--cluster: no machine with {what} is left in the Ray cluster; start one.")
        if now - self._alone_since > _SAY_AFTER and not self._has_said:
            self._console.warn(f"No worker has started yet; each waits for {what} of the Ray cluster.")
            self._has_said = True

    def _hand_out(self) -> None:
        for member in self._members:
            if not member.is_ready or member.given is not None:
                continue
            given = member.following or self._next()
            if given is None:
                continue
            member.given, member.following = given, self._waiting.popleft() if self._waiting else None
            following = _absolute(member.following.case) if member.following else None
            member.doing = member.actor.detect.remote(_absolute(given.case), following)

    def _next(self) -> Input | None:
        """A case that waits, or one that another worker has read ahead but not begun."""
        if self._waiting:
            return self._waiting.popleft()
        for member in self._members:
            if member.given is not None and member.following is not None:
                given, member.following = member.following, None
                return given
        return None

    def _ended(self, member: _Member) -> Iterator[tuple[Input, Found | Failed]]:
        """Take what a worker has done, or what was lost with it."""
        import ray

        given = member.given
        try:
            result = ray.get(member.doing)
        except ray.exceptions.RayError as error:
            yield from self._lost(member, error)
            return
        member.doing = member.given = None
        if given is None:
            self._loaded(member, result)
            return
        attempt, notices = result
        for notice in notices:
            self._console.warn(notice)
        yield given, _as_given(attempt, given.case)

    def _loaded(self, member: _Member, problem: str) -> None:
        if not problem:
            member.is_ready, self._died = True, 0
            return
        self._part_with(member)
        self._unfit += 1
        if problem not in self._problems:
            self._console.warn(f"A worker of the cluster cannot take part: {problem}")
        self._problems.add(problem)

    def _lost(self, member: _Member, error: Exception) -> Iterator[tuple[Input, Failed]]:
        """Put back what a lost worker was to do; a case that was begun too often has failed."""
        self._part_with(member)
        given = member.given
        if member.following is not None:
            self._waiting.appendleft(member.following)
        if given is None:
            self._died += 1
            if self._died >= _STARTS:
                raise InputError(
                    f"--cluster: {self._died} workers in a row were lost as they started "
                    f"({_gist(error)}); install train_cli on every machine as here."
                )
            return
        name = given.case.name
        self._begun[name] += 1
        if self._begun[name] >= _TRIES:
            yield (
                given,
                Failed(
                    f"{given.case.image_path}: its worker was lost {_TRIES} times, most likely because the "
                    "machine has too little memory for it; detect in it on a larger one."
                ),
            )
            return
        self._console.warn(
            f"{name}: its worker was lost; it is begun again ({self._begun[name] + 1} of {_TRIES} times)."
        )
        self._waiting.appendleft(given)

    def _part_with(self, member: _Member) -> None:
        """End a worker, though it be out of reach only."""
        import ray

        self._members.remove(member)
        with suppress(ray.exceptions.RayError):
            ray.kill(member.actor)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """A cluster to work on; one that was started here ends with the block. What Ray says is not shown."""
    import ray

    _refuse_silence(address)
    before = signal.getsignal(signal.SIGTERM)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(
                address=None if address == FOUND else address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _silent(address, _gist(error)) from error
        finally:
            signal.signal(signal.SIGTERM, before)  # Ray takes it, so that a stop would not be one
        try:
            yield
        finally:
            ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Refuse an address where nobody answers; Ray itself would try for a quarter of an hour."""
    known = os.environ.get("RAY_ADDRESS") or _last_cluster() if address == FOUND else address
    host, _, port = known.rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _silent(known, str(error)) from error


def _last_cluster() -> str:
    """The address of the cluster that was started last on this machine, if Ray remembers one; '' if not."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    try:
        return (folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _silent(address: str, reason: str) -> InputError:
    return InputError(
        f"--cluster: no Ray cluster answers at {address} ({reason}); check the address, start one with 'ray "
        "start --head', or let Ray forget one that has died with 'ray stop'."
    )


def _machines() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that is there."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _refused(given: Input, results: ResultsFolder) -> Failed | None:
    """Why an input is not detected in, as far as this machine can tell."""
    if given.problem:
        return Failed(given.problem)
    try:
        results.check(given.case)
    except Exception as error:  # the border of a case: whatever fails in it, the others go on
        return failure(error, given.case, anonymous=results.shown_path(given.case) is None)
    return None


def _absolute(case: Case) -> Case:
    """A case as a process in another folder finds it."""
    return replace(case, image_path=case.image_path.absolute())


def _as_given(attempt: Found | Failed, case: Case) -> Found | Failed:
    """What came of a case, with its path as the person wrote it."""
    if isinstance(attempt, Found):
        return attempt
    there, here = str(case.image_path.absolute()), str(case.image_path)
    return replace(attempt, reason=attempt.reason.replace(there, here))


def _is_address(word: str) -> bool:
    return word == FOUND or re.fullmatch(_ADDRESS, word) is not None


def _gist(error: Exception) -> str:
    """What an error of Ray comes to; what led to it stands before that."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".:")

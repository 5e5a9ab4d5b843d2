"""Training on 30 and on 1,000 phantom cases, whose preprocessed scans are larger than the memory allowed.

Says what the processes of a run hold, and how many samples a second they learn from. The networks are small
and the runs are short: what is measured is how samples come to them. Each run first prepares its scans; then
both train beside each other, so that what else the machine does slows both alike. From the repository's root,
on Linux:

OMP_NUM_THREADS=1 python -m Testing.benchmarks.many_cases [--cases 30 1000] [--limit MIB] [--folder FOLDER]

The limit is that of a control group of each run, which counts the pages of files too; when training begins,
none of the preprocessed scans is in memory. Control groups of version 1 are made here, by root. Where there
are others, start this within one for all: systemd-run --scope -p MemoryMax=2G python -m .. --limit 0
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from LandmarkDetectionLib.data.cases import write_split
from LandmarkDetectionLib.data.dataset import CASES_NAME, cases_of
from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
SPACING = 4.0
STEPS, EPOCHS, BATCH = 40, 16, 4
SETTINGS = (
    *("image.spacing=2", "refine.spacing=2", "locate.spacing=3", "training.workers=1"),
    *(f"training.epochs={EPOCHS}", "locate.share=0.5"),
    *("locate.field=16", "refine.field=16", "refine.window=9"),
    *(f"training.batch={BATCH}", f"locate.batch={BATCH}", "locate.channels=[8,8]", "refine.channels=[8,8]"),
)


@dataclass
class Watched:
    """What was seen of a run.

    Attributes:
        held: most memory that its processes held together, bytes: all but the pages of files.
        ends: of each network, when each epoch ended.
    """

    held: int = 0
    ends: dict[str, list[float]] = field(default_factory=lambda: {"locate": [], "refine": []})

    def look(self, session: int, run: Path) -> None:
        """Look at the processes of a session, each page shared out among those that have it."""
        held = 0
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if os.getsid(int(process.name)) == session:
                    rollup = (process / "smaps_rollup").read_text().splitlines()[1:]
                    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup}
                    held += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
        self.held = max(self.held, held)
        for network, ends in self.ends.items():
            table = run / network / "metrics.csv"
            done = len(table.read_text().splitlines()) - 1 if table.is_file() else 0
            ends += [time.monotonic()] * (done - len(ends))

    def rate(self, network: str) -> float:
        """Samples a second, the median of the epochs after the first."""
        ends = self.ends[network]
        seconds = [end - start for start, end in pairwise(ends)]
        return STEPS * BATCH / statistics.median(seconds)


@contextmanager
def control_group(name: str, limit: int) -> Iterator[list[str]]:
    """A control group that may hold so many bytes; gives how to start a program in it.

    It is below that of this process. A limit of 0 is none.
    """
    if not limit:
        yield []
        return
    groups = (line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for _, kinds, path in groups if kinds == "memory"), None)
    if own is None:
        sys.exit("There are no control groups of version 1 here: see the top of this file.")
    group = Path(f"/sys/fs/cgroup/memory{own}/{name}-{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        group.rmdir()


def train(folder: Path, count: int, limit: int, *, steps: int) -> Watched:
    """A training in a control group of its own, watched until it has ended."""
    run = folder / f"run-{count}-{steps}"
    if run.exists():
        sys.exit(f"{run}: this training has been measured already; remove it and {folder}/cache-{count}.")
    changes = [
        *SETTINGS,
        f"data.train={folder}/scans/cases-{count}.csv",
        f"data.cache={folder}/cache-{count}",
    ]
    command = ["train", f"{folder}/config.yaml", "--output", str(run), "--device", "cpu", "--quiet"]
    for change in (*changes, f"training.steps_per_epoch={steps}"):
        command += ["--set", change]
    watched = Watched()
    with control_group(run.name, limit) as start:
        program = [*start, sys.executable, "-m", "train_cli"]
        job = subprocess.Popen([*program, *command], cwd=ROOT, start_new_session=True)
        try:
            while job.poll() is None:
                watched.look(job.pid, run)
                time.sleep(0.1)
        finally:
            job.terminate()
            job.wait()
    if job.returncode:
        sys.exit(f"The training on {count} cases ended with exit code {job.returncode}.")
    return watched


def forget(cache: Path) -> int:
    """Let the system drop the pages of a cache, to be read and counted anew; gives its size, bytes."""
    size = 0
    for path in cache.glob("*.npy"):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size += path.stat().st_size
    return size


def main(counts: Sequence[int], limit: int, folder: Path) -> None:
    """Train on so many cases, and report."""
    written = cases_of(folder / "scans" / CASES_NAME)
    if len(written) < max(counts):
        settings = PhantomSettings(spacing=SPACING)
        written = write_dataset(folder / "scans", max(counts), seed=1, settings=settings)
    for count in counts:
        write_split(written[:count], folder / "scans" / f"cases-{count}.csv")
    plan = ["plan", f"{folder}/scans/cases-{counts[0]}.csv", "--output", f"{folder}/config.yaml", "--quiet"]
    subprocess.run([sys.executable, "-m", "train_cli", *plan], cwd=ROOT, check=True)
    prepared = [train(folder, count, limit, steps=1) for count in counts]
    sizes = [forget(folder / f"cache-{count}") for count in counts]
    with ThreadPoolExecutor() as beside:
        trained = list(beside.map(lambda count: train(folder, count, limit, steps=STEPS), counts))
    print("| cases | preprocessed scans | allowed | held, preparing | held, training | locate | refine |")
    print("|---" * 7 + "|")
    for count, size, first, then in zip(counts, sizes, prepared, trained, strict=True):
        memory = (f"{bytes_ / MIB:,.0f} MiB" for bytes_ in (size, limit, first.held, then.held))
        rates = (f"{then.rate(network):.1f} samples a second" for network in then.ends)
        print("| " + " | ".join([f"{count:,}", *memory, *rates]) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train on few and on many cases.")
    parser.add_argument("--cases", type=int, nargs="+", default=[30, 1000])
    parser.add_argument("--limit", type=int, default=1024, help="MiB that a training may hold; 0 sets none")
    parser.add_argument("--folder", type=Path, help="for scans, which may be there, and runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        main(arguments.cases, arguments.limit * MIB, (arguments.folder or Path(name)).resolve())

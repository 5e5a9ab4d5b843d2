"""Training on 30 and on 1,000 phantom cases, whose preprocessed scans are larger than the memory allowed.

Says what the processes of a run hold, and how many samples a second they learn from. The networks are small
and the run is short: what is measured is how samples come to them. From the repository's root, on Linux:

OMP_NUM_THREADS=1 python -m Testing.benchmarks.many_cases [--cases 30 1000] [--limit MIB] [--folder FOLDER]

The limit is that of a control group, which counts the pages of files too, and those of the preprocessed scans
are counted: they are prepared under it. Control groups of version 1 are made here, by root. Where there are
others, start this within one: systemd-run --scope -p MemoryMax=1G python -m .. --limit 0
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
STEPS, EPOCHS, BATCH = 50, 16, 4
SETTINGS = (
    *("image.spacing=2", "refine.spacing=2", "locate.spacing=3", "training.workers=1"),
    *(f"training.epochs={EPOCHS}", f"training.steps_per_epoch={STEPS}", "locate.share=0.5"),
    *("locate.field=16", "refine.field=16", "refine.window=9"),
    *(f"training.batch={BATCH}", f"locate.batch={BATCH}", "locate.channels=[8,8]", "refine.channels=[8,8]"),
)


@dataclass
class Watched:
    """What was seen of a run.

    Attributes:
        held: most memory that its processes held together, bytes: all but the pages of files.
        mapped: the same with the pages of files that they had mapped.
        ends: of each network, when each epoch ended.
    """

    held: int = 0
    mapped: int = 0
    ends: dict[str, list[float]] = field(default_factory=lambda: {"locate": [], "refine": []})

    def look(self, session: int, run: Path) -> None:
        """Look at the processes of a session, each page shared out among those that have it."""
        held = mapped = 0
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if os.getsid(int(process.name)) == session:
                    rollup = (process / "smaps_rollup").read_text().splitlines()[1:]
                    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup}
                    held += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
                    mapped += sizes["Pss"]
        self.held, self.mapped = max(self.held, held), max(self.mapped, mapped)
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
def control_group(limit: int) -> Iterator[Path | None]:
    """A control group below this process's own that may hold so many bytes; None where there is no limit."""
    if not limit:
        yield None
        return
    groups = (line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for _, kinds, path in groups if kinds == "memory"), None)
    if own is None:
        sys.exit("There are no control groups of version 1 here: see the top of this file.")
    group = Path(f"/sys/fs/cgroup/memory{own}/many-cases-{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
        yield group
    finally:
        group.rmdir()


def train(config: Path, cases: Path, run: Path, limit: int) -> Watched:
    """A training in a control group of its own, from the scans on, watched until it has ended."""
    changes = [*SETTINGS, f"data.train={cases}", f"data.cache={run}-cache"]
    command = [sys.executable, "-m", "train_cli", "train", str(config), "--output", str(run), "--quiet"]
    command += [word for change in changes for word in ("--set", change)]
    watched = Watched()
    with control_group(limit) as group:

        def join() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        job = subprocess.Popen(
            [*command, "--device", "cpu"], cwd=ROOT, start_new_session=True, preexec_fn=join
        )
        try:
            while job.poll() is None:
                watched.look(job.pid, run)
                time.sleep(0.1)
        finally:
            job.terminate()
            job.wait()
    if job.returncode:
        sys.exit(f"The training on {cases.stem} ended with exit code {job.returncode}.")
    return watched


def main(counts: Sequence[int], limit: int, folder: Path) -> None:
    """Train on so many cases, and report."""
    written = cases_of(folder / "scans" / CASES_NAME)
    if len(written) < max(counts):
        settings = PhantomSettings(spacing=SPACING)
        written = write_dataset(folder / "scans", max(counts), seed=1, settings=settings)
    config = folder / "config.yaml"
    for count in counts:
        write_split(written[:count], folder / "scans" / f"cases-{count}.csv")
    plan = ["plan", folder / "scans" / f"cases-{counts[0]}.csv", "--output", config, "--quiet"]
    subprocess.run([sys.executable, "-m", "train_cli", *map(str, plan)], cwd=ROOT, check=True)
    print("| cases | preprocessed scans | memory allowed | held | with mapped files | locate | refine |")
    print("|---" * 7 + "|")
    for count in counts:
        run = folder / f"run-{count}"
        watched = train(config, folder / "scans" / f"cases-{count}.csv", run, limit)
        size = sum(path.stat().st_size for path in Path(f"{run}-cache").iterdir())
        sizes = (f"{bytes_ / MIB:,.0f} MiB" for bytes_ in (size, limit, watched.held, watched.mapped))
        rates = (f"{watched.rate(network):.1f} samples a second" for network in watched.ends)
        print("| " + " | ".join([f"{count:,}", *sizes, *rates]) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train on few and on many cases.")
    parser.add_argument("--cases", type=int, nargs="+", default=[30, 1000])
    parser.add_argument("--limit", type=int, default=1024, help="MiB that a training may hold; 0 sets none")
    parser.add_argument("--folder", type=Path, help="for scans, which may be there, and runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        main(arguments.cases, arguments.limit * MIB, arguments.folder or Path(name))

"""A cohort on a Ray cluster of two nodes on this machine, one of which is killed half-way.

Says how many scans a minute were done, and that none was lost and none done twice. The network is small and
untrained: what is measured is the machinery around it. From the repository's root, with the extra 'cluster':

OMP_NUM_THREADS=1 python -m Testing.benchmarks.cohort [SCANS]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from LandmarkDetectionLib.detection.results_folder import ResultsFolder
from LandmarkDetectionLib.phantom.dataset import write_dataset
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from Testing.small_model import write_small_model
from train_cli.app import main as train_cli

SCANS = 2000
SPACING = 8.0
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


class Watch:
    """Counts the results as they are kept, and kills a node when half of them are there."""

    def __init__(self, scans: int, nodes: Any, node: Any) -> None:
        self.kept: Counter[str] = Counter()
        self.killed_at = 0.0
        self._half, self._nodes, self._node = scans // 2, nodes, node
        self._keep = ResultsFolder.keep

    def keep(self, results: ResultsFolder, case: Any, *rest: Any, **more: Any) -> Any:
        """Keep a result."""
        self.kept[case.name] += 1
        if self.kept.total() == self._half:
            self._nodes.remove_node(self._node, allow_graceful=False)
            self.killed_at = time.perf_counter()
        return self._keep(results, case, *rest, **more)


def detect(*arguments: object) -> dict[str, Any]:
    """What `detect --json` says."""
    said = StringIO()
    with redirect_stdout(said):
        train_cli(["detect", *map(str, arguments), "--device", "cpu", "--json"])
    values = json.loads(said.getvalue())
    assert isinstance(values, dict)
    return values


def main(scans: int, folder: Path) -> None:
    """Detect in so many phantoms, and report."""
    from ray.cluster_utils import Cluster

    write_dataset(folder / "scans", scans, seed=1, settings=PhantomSettings(spacing=SPACING))
    model, output = write_small_model(folder / "model", spacing=SPACING), folder / "out"
    print(f"{scans} phantoms of {SPACING:g} mm are written.", flush=True)

    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    watch = Watch(scans, nodes, nodes.add_node(**NODE))
    ResultsFolder.keep = lambda *rest, **more: watch.keep(*rest, **more)  # type: ignore[method-assign]
    start = time.perf_counter()
    said = detect(folder / "scans", "--model", model, "--output", output, "--cluster", nodes.address)
    end = time.perf_counter()
    nodes.shutdown()

    again = detect(folder / "scans", "--model", model, "--output", output)
    there = Counter(case["name"] for case in said["cases"])
    results = [path for path in output.glob("*.csv") if path.name != "summary.csv"]
    rows = len((output / "summary.csv").read_text(encoding="utf-8").splitlines()) - 1
    print(f"exit code {said['exit_code']}; failed: {sum(bool(case['error']) for case in said['cases'])}")
    print(f"cases {len(there)} of {scans}, results {len(results)}, lines of the summary {rows}")
    print(f"kept more than once: {sum(count > 1 for count in (watch.kept | there).values())}")
    print(f"done when asked again: {sum(case['done_before'] for case in again['cases'])}")
    for what, seconds, count in (
        ("two nodes, from the command's start", watch.killed_at - start, scans // 2),
        ("one node, from the other's death", end - watch.killed_at, scans - scans // 2),
        ("in all", end - start, scans),
    ):
        print(f"{what}: {seconds:.0f} s, {60 * count / seconds:.0f} scans a minute")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else SCANS, Path(name))

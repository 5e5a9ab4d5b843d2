"""The command `detect --cluster`: on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.detection.results_folder import ResultsFolder
from train_cli import cluster
from train_cli.cluster import Cluster, Share, name_address

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

ROOT = Path(__file__).parents[3]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with a core each."""
    pytest.importorskip("ray", reason="Ray, the extra 'cluster', is not installed")
    from ray.cluster_utils import Cluster as Nodes

    if sys.platform == "win32":
        pytest.skip("Ray has no clusters on Windows")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(ROOT))  # its workers run this copy, wherever another is installed
        nodes = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        nodes.add_node(**NODE)
        yield nodes
        nodes.shutdown()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As many threads here as the workers have: the last digits depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Eight small scans of noise, one of which is damaged."""
    for number in range(8):
        write_scan(tmp_path / "scans" / f"{number}.nii.gz", number)
    (tmp_path / "scans/3.nii.gz").write_bytes(b"nothing")
    return tmp_path / "scans"


def write_scan(path: Path, seed: int) -> None:
    voxels = np.random.default_rng(seed).normal(0, 100, (16, 16, 16)).astype(np.int16)
    write_volume(Volume(voxels, Frame(size=(16, 16, 16), spacing=(1.0, 1.0, 1.0))), path)


def flags(model: Path, output: Path) -> tuple[object, ...]:
    return ("--model", model, "--output", output, "--device", "cpu")


def without_times(said: dict[str, Any]) -> dict[str, Any]:
    """What `--json` printed, but for what two runs differ in."""
    cases = [
        {**case, "seconds": None, "files": [Path(file).name for file in case["files"]]}
        for case in said["cases"]
    ]
    return {**said, "output": None, "cases": cases}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_cluster_gives_what_one_machine_gives(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flag = ("--cluster", nodes.address)
    alone = run("detect", scans.name, *flags(a_model, tmp_path / "alone"), "--json", "--pictures")
    there = run("detect", scans.name, *flags(a_model, tmp_path / "there"), *flag, "--json", "--pictures")
    assert alone.code == there.code == 2 and without_times(alone.json) == without_times(there.json)
    slow = ("No worker has started yet", "Detecting")  # on a machine with much else to do
    said = [line for line in there.err.splitlines() if not line.startswith(slow)]
    assert said == alone.err.splitlines(), "one scan is damaged, and nothing else is said"
    assert files_in(tmp_path / "there") == files_in(tmp_path / "alone")
    again = run("detect", scans, *flags(a_model, tmp_path / "there"), *flag, "--pictures")
    assert "7 of 8 were done before" in again.out


def test_a_node_that_dies_half_way_loses_nothing_and_nothing_is_done_twice(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes.add_node(**NODE)
    for number in range(8, 60):
        write_scan(scans / f"{number}.nii.gz", number)
    kept: list[str] = []
    keep = ResultsFolder.keep

    def keeping(self: ResultsFolder, case: Any, *rest: Any, **more: Any) -> Any:
        kept.append(case.name)
        if len(kept) == 20:
            nodes.remove_node(node, allow_graceful=False)
        return keep(self, case, *rest, **more)

    monkeypatch.setattr(ResultsFolder, "keep", keeping)
    finished = run(
        "detect", scans, *flags(a_model, tmp_path / "out"), "--cluster", nodes.address, "--json", "--quiet"
    )
    names = [case["name"] for case in finished.json["cases"]]
    assert names == [f"{number}" for number in range(60)]
    assert [case["name"] for case in finished.json["cases"] if case["error"]] == ["3"]
    assert sorted(kept) == sorted(set(names) - {"3"}), "each once"
    assert finished.err.count("its worker was lost; it is begun again (2 of 3 times).") == 1
    monkeypatch.undo()
    run("detect", scans, *flags(a_model, tmp_path / "alone"))
    assert files_in(tmp_path / "out") == files_in(tmp_path / "alone")


def test_a_scan_that_costs_its_worker_each_time_fails_and_the_others_go_on(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(cluster.Worker):
        def detect(self, case: Any, following: Any) -> Any:
            if case.name == "5":
                os._exit(1)
            return super().detect(case, following)

    monkeypatch.setattr(cluster, "Worker", Dying)
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster", nodes.address, "--json")
    errors = {case["name"]: case["error"] for case in finished.json["cases"] if case["error"]}
    assert finished.code == 2 and set(errors) == {"3", "5"} and len(finished.json["cases"]) == 8
    assert "5.nii.gz: its worker was lost 3 times" in errors["5"]


def test_a_node_without_the_model_says_so(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(cluster.Worker):
        def load(self, job: Any) -> str:
            (job.model / "model.json").unlink(missing_ok=True)
            return super().load(job)

    monkeypatch.setattr(cluster, "Worker", Elsewhere)
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster", nodes.address)
    assert finished.code == 2 and finished.err.count("A worker of the cluster cannot take part") == 1
    assert "Stopped. The same command goes on with the 8 scans that are missing." in finished.err


def test_where_ray_is_not_installed_the_command_for_it_is_said(
    run: Run, scans: Path, a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster")
    assert finished.code == 2 and "pip install" in finished.err and "ray" in finished.err


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra 'cluster', is not installed")
def test_an_address_that_is_none_is_refused(run: Run, scans: Path, a_model: Path, tmp_path: Path) -> None:
    finished = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster=here")
    assert finished.code == 2 and "--cluster here: write HOST:PORT of the cluster's head" in finished.err
    silent = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster", "127.0.0.1:9", "--json")
    assert silent.code == 2 and "no Ray cluster answers at 127.0.0.1:9" in silent.err
    assert silent.json["warnings"][0] in silent.err and silent.json["cases"] == []
    both = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cluster", "--shard", "1/2")
    assert both.code == 2 and "give one of the two" in both.err
    none = run("detect", scans, *flags(a_model, tmp_path / "out"), "--cores", "2")
    assert none.code == 2 and "give --cluster too" in none.err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--cluster", "--cluster auto"),
        ("a --cluster --quiet", "a --cluster auto --quiet"),
        ("--cluster scans a:1.nii", "--cluster auto scans a:1.nii"),
        ("--cluster head-node.lan:6379 a", "--cluster head-node.lan:6379 a"),
        ("--cluster [::1]:6379 a", "--cluster [::1]:6379 a"),
        ("--cluster=10.0.0.1:6379 a", "--cluster=10.0.0.1:6379 a"),
    ],
)
def test_the_address_may_be_left_out(given: str, meant: str) -> None:
    assert name_address(given.split()) == meant.split()


GPU, LARGE, SMALL, HEAD = {"CPU": 16.0, "GPU": 2.0}, {"CPU": 9.0}, {"CPU": 2.0}, {"memory": 1.0}


@pytest.mark.parametrize(
    ("machines", "asked", "share", "places"),
    [
        ([LARGE, HEAD], Cluster("auto"), Share("cpu", 4, 0), 2),
        ([LARGE, SMALL], Cluster("auto"), Share("cpu", 2, 0), 5),
        ([LARGE, SMALL], Cluster("auto", cores=3), Share("cpu", 3, 0), 3),
        ([GPU, LARGE], Cluster("auto"), Share("cuda", 1, 1), 2),
        ([GPU, LARGE], Cluster("auto", device="cpu", cores=8), Share("cpu", 8, 0), 3),
        ([GPU, GPU], Cluster("auto", device="cuda", cores=16), Share("cuda", 16, 1), 2),
    ],
)
def test_there_is_a_worker_to_a_gpu_or_to_some_cores(
    machines: list[dict[str, float]], asked: Cluster, share: Share, places: int
) -> None:
    assert Share.of(machines, asked) == share
    assert share.places(machines) == places


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Cluster("auto", device="cuda"), "no machine of the Ray cluster has a GPU"),
        (Cluster("auto", cores=10), "--cores 10: no machine"),
    ],
)
def test_what_no_machine_has_is_refused(asked: Cluster, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Share.of([LARGE, SMALL], asked)

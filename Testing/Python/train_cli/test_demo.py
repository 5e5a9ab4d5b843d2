"""The demo, from start to end, where an earlier one lies already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run


def test_the_demo_detects_before_it_trains_and_takes_the_place_of_an_earlier_one(
    run: Run, tmp_path: Path
) -> None:
    for stale in ("run/config.yaml", "detections/phantom_999.mrk.json"):
        (tmp_path / stale).parent.mkdir(exist_ok=True)
        (tmp_path / stale).write_text("version: 1  # of an earlier demo\nname: demo  # of the model\n")
    finished = run("demo", "--output", tmp_path, "--cases", 8, "--epochs", 2, "--device", "cpu", "--json")
    assert finished.code == 0, finished.err
    markups = finished.json["markups"]
    assert len(markups) == len(finished.json["pictures"]) == 2
    assert all(Path(path).is_file() for path in (*markups, *finished.json["pictures"]))
    assert not any("phantom_999" in path for path in markups)
    metrics = json.loads(Path(finished.json["metrics"]).read_text())
    assert metrics["n_cases"] == 2 and metrics["n_landmarks"] == 16
    assert (tmp_path / "run/model/model.json").is_file()
    assert (tmp_path / "report/index.html").is_file()
    first = finished.json["first"]
    (markup,), (picture,) = first["markups"], first["pictures"]
    started = (tmp_path / "run/config.yaml").stat().st_mtime_ns
    assert max(Path(path).stat().st_mtime_ns for path in (markup, picture)) < started


def test_the_demo_leaves_a_run_alone_that_is_not_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("version: 1\nname: months of work  # of the model\n")
    finished = run("demo", "--output", tmp_path)
    assert finished.code == 2 and "not a demo's" in finished.err
    assert (tmp_path / "run/config.yaml").is_file()

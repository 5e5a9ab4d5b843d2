"""The code that the documents show runs as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from LandmarkDetectionLib.data.cases import read_split, write_split
from LandmarkDetectionLib.resources import synthetic_model

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "docs" / "python.ipynb"


@pytest.fixture
def folder(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page takes to be there: a scan, a model, and three splits."""
    cases = read_split(heads, supervised=True)
    for name, part in (("train", cases[:3]), ("val", cases[3:4]), ("test", cases[4:])):
        write_split(part, tmp_path / "splits" / f"{name}.csv")
    shutil.copy(cases[0].image_path, tmp_path / "head.nii.gz")
    shutil.copytree(synthetic_model(), tmp_path / "runs" / "first" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:The model heads found")  # it is a trial of seconds
def test_the_code_of_the_page_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "python.md", "exec"), names)
    said = capsys.readouterr().out
    assert "found" in said and "The scan is of the type ndarray" in said
    assert {"head.mrk.json", "head.csv", "detections"} <= {path.name for path in folder.iterdir()}


def test_the_notebook_runs_in_a_fresh_process(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )
    assert finished.returncode == 0, finished.stderr
    mean = re.search(r"([\d.]+) mm on average", finished.stdout)
    assert mean is not None and float(mean[1]) < 8, "a voxel"
    assert (tmp_path / "run" / "model" / "model.json").is_file()


def test_the_notebook_is_stored_without_outputs() -> None:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])

"""The benchmark of a GPU runs where there is none, and needs no more than it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys
for name in ("SimpleITK", "pydicom", "PySide6", "qt", "slicer", "vtk", "ray", "typer"):
    sys.modules[name] = None  # importing it raises ImportError
from Testing.benchmarks import gpu
gpu.main(sys.argv[1:])
"""


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_without_simpleitk(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    command = [sys.executable, "-c", WITHOUT, "--device", "cpu", "--small", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    assert figures["detection"]["found"] == figures["detection"]["landmarks"] == 5
    assert figures["parity"]["float32_voxels"] == 0, "the same processor"
    assert {stage: seen["steps_a_second"] > 0 for stage, seen in figures["training"].items()} == {
        "locate": True,
        "refine": True,
    }

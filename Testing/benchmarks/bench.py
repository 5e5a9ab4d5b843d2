"""The table of `docs/benchmarks.md`: every job beside its target, and beside a yardstick of the same machine.

    python -m Testing.benchmarks.bench --scan MOUSE_SKULL --head-model BUNDLE [--only JOB ..]

Where the processor has bfloat16, each job is measured with it and with it switched off.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
AS_THE_PROGRAM = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What train_cli and the panel's worker set before they start PyTorch."""
WITHOUT_BFLOAT16 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
TARGETS = {
    "machine": ("the machine itself", "-"),
    "detect": ("detect, raw mouse skull, 45 landmarks", "0.8 s with bfloat16, 2.5 s without; 50x, 20x"),
    "beside": ("the same beside a process that keeps one core busy", "2.5x its time alone"),
    "cold": ("the same from the shell, over the detection itself", "2.5 s"),
    "head": ("head of 512 x 512 x 400 at 0.4 mm, file to .mrk.json", "12 s with, 20 s without; 1.5 GiB"),
    "many": ("the same head, 10, 100, 500 landmarks", "locate and memory within 1.5x"),
    "training": ("training steps", "1.3x its convolutions alone"),
    "samples": ("training samples, a core", "20x the reference's loader"),
    "masks": ("masks, 512 x 512 x 400, 175 landmarks", "3 s a case and core"),
    "gpu_detection": (
        "on a GPU: head of 512 x 512 x 400 in memory, 175 landmarks",
        "1.0 s; 3 GB of its memory",
    ),
    "gpu_training": ("on a GPU: training with 2 loader workers", "busy 90 % of the time"),
}


def main() -> None:
    """Measure, print, and write the table into the document."""
    parser = argparse.ArgumentParser(description="Measure every job, and write the table.")
    parser.add_argument("--scan", type=Path, help="a raw mouse skull")
    parser.add_argument("--head-model", type=Path, help="a locate-refine bundle of synthetic heads")
    parser.add_argument(
        "--only", nargs="*", choices=TARGETS, default=list(TARGETS), help="print these, and write nothing"
    )
    arguments = parser.parse_args()
    columns = {"with bfloat16": {}, "without": WITHOUT_BFLOAT16} if has_bfloat16() else {"without": {}}
    lines = [
        "| job | target | " + " | ".join(columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for job in arguments.only:
        cells = [measured(job, arguments.scan, arguments.head_model, kind) for kind in columns.values()]
        lines.append("| " + " | ".join([*TARGETS[job], *cells]) + " |")
        print(lines[-1], flush=True)
    about = f"Measured {datetime.now(UTC):%Y-%m-%d} on {processor()}, {os.cpu_count()} cores; Python "
    about += f"{platform.python_version()}."
    if arguments.only == list(TARGETS):
        write([about, "", *lines])


def measured(job: str, scan: Path | None, model: Path | None, environment: dict[str, str]) -> str:
    """The cell of a job."""
    if (scan is None and job in ("detect", "beside", "cold")) or (model is None and job in ("head", "many")):
        return "not measured"
    if job.startswith("gpu") and not has_gpu():
        return "not measured"
    command = [sys.executable, "-m", "Testing.benchmarks.jobs", job, str(scan), str(model)]
    settings = {**os.environ, **AS_THE_PROGRAM, **environment}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1]}"
    report = json.loads(done.stdout.splitlines()[-1])
    words = [f"**{report['measured']}**", report.get("ratio", "")]
    words += [f"yardstick {report['yardstick']}"] if "yardstick" in report else []
    return "; ".join(word for word in [*words, report.get("rest", "")] if word)


def has_bfloat16() -> bool:
    """Whether this processor has it."""
    import torch

    from LandmarkDetectionLib.detection.devices import has_bf16

    return has_bf16(torch.device("cpu"))


def has_gpu() -> bool:
    """Whether this machine has one that PyTorch can use."""
    import torch

    return torch.cuda.is_available()


def processor() -> str:
    """Its name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())


def write(lines: list[str]) -> None:
    """Put the table in place of the last one."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What the documents and the metadata of the extension promise is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_points_to_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_heading_that_a_document_points_to_is_there(document: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        target = document.parent / file if file else document
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, (document.name, file, anchor)


@pytest.mark.skipif(sys.platform == "win32", reason="a script of a shell")
@pytest.mark.parametrize(("array", "fold"), [({}, []), ({"SLURM_ARRAY_TASK_ID": "3"}, ["--fold", "3"])])
def test_the_job_of_a_training_hands_on_what_it_is_given(
    tmp_path: Path, array: dict[str, str], fold: list[str]
) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "2", **array}
    command = ["bash", str(ROOT / "docs/train.sbatch"), "a b.yaml", "my run", "--folds", "5"]
    said = subprocess.run(command, env=settings, capture_output=True, check=True, encoding="utf-8").stdout
    words = ["--cpus-per-task=2", "python", "-m", "train_cli", "train", "a b.yaml", "--output", "my run"]
    assert said.splitlines() == [*words, "--folds", "5", *fold]


def test_the_entry_for_the_extensions_index_has_what_the_schema_asks_for() -> None:
    entry = json.loads((ROOT / "docs" / "LandmarkDetection.json").read_text(encoding="utf-8"))
    schema = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    assert entry["$schema"] == schema + "slicer-extension-catalog-entry-schema-v1.0.1.json#"
    assert {"category", "scm_url", "scm_revision", "build_dependencies", "tier"} <= entry.keys()
    listed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'EXTENSION_HOMEPAGE "{entry["scm_url"].removesuffix(".git")}"' in listed
    assert f'EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}"' in listed


def test_icon_and_screenshot_of_the_extension_are_files_of_the_repository() -> None:
    listed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    files = re.findall(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/main/([^\s\"]+)", listed)
    assert len(files) == 2 and all((ROOT / file).is_file() for file in files)


def test_every_odd_input_that_is_documented_has_its_test() -> None:
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| `([^`]+)::([^`]+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 60 and f"{len(rows)} kinds of input" in text
    tests = {file: (ROOT / "Testing/Python" / file).read_text(encoding="utf-8") for file, _ in rows}
    assert [name for file, name in rows if f"def {name}(" not in tests[file]] == []

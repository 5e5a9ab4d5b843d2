"""What the documents and the metadata of the extension promise is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def commands_of_documents() -> list[tuple[str, str]]:
    """Every command line of `train_cli` in the documents: file, and what stands behind `train_cli`."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(
            r"^```[a-z]*\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(r"-m train_cli (.*)", line)
                if match:
                    found.append((document.name, match[1]))
    return found


def test_every_command_in_the_documents_has_its_flags() -> None:
    from typer.main import get_command

    from train_cli.app import app

    commands = commands_of_documents()
    assert len(commands) > 40
    for document, line in commands:
        words = shlex.split(line, comments=True)
        command: Any = get_command(app)
        while hasattr(command, "commands"):
            assert words[0] in command.commands, f"{document}: train_cli {line}"
            command = command.commands[words.pop(0)]
        known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= known | {"--help"}, f"{document}: train_cli {line}"


def test_the_container_copies_what_is_there_and_does_not_run_as_root() -> None:
    lines = [
        line
        for line in (ROOT / "docs" / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    instructions = [line.split(maxsplit=1) for line in lines]
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT"}
    assert {name for name, _ in instructions} <= known
    assert re.fullmatch(r"python:3\.\d+-slim", dict(instructions)["FROM"]), "a version, not the latest"
    copied = [word for name, rest in instructions if name == "COPY" for word in rest.split()[:-1]]
    assert copied and [name for name in copied if not (ROOT / name).exists()] == []
    assert dict(instructions)["USER"] != "root"
    assert all("--no-cache-dir" in rest for name, rest in instructions if name == "RUN" and "pip" in rest)
    assert json.loads(dict(instructions)["ENTRYPOINT"]) == ["python", "-m", "train_cli"]


def test_the_citation_says_what_the_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"
    assert any(reference.get("doi") == "10.1111/joa.12645" for reference in citation["references"])

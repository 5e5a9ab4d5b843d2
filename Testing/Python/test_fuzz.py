"""Nothing that is in a file breaks its reader: damaged files, by the hundred, and hypothesis's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from LandmarkDetectionLib.data.errors import InputError
from Testing.fuzz.fuzz import damaged
from Testing.fuzz.readers import READERS, Reader

ROOT = Path(__file__).parents[2]
INPUTS = 60
BY_NAME = {reader.name: reader for reader in READERS}
OF_JSON = ("markups", "model.json", "record", "failure", "protocol")
OF_TEXT = ("fcsv", "landmark table", "list of cases", "landmarks.csv", "result", "config.yaml")
OF_IMAGES = ("NIfTI", "NRRD", "MetaImage", "DICOM slices")


@pytest.mark.skipif(sys.platform != "linux", reason="processes that fork, and limits of Linux")
def test_a_damaged_file_is_read_or_refused_in_a_sentence() -> None:
    command = [sys.executable, "-m", "Testing.fuzz.fuzz", "--inputs", str(INPUTS)]
    finished = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert [line.partition(":")[0] for line in finished.stdout.splitlines()] == list(BY_NAME)
    assert all(" 0 failures" in line for line in finished.stdout.splitlines())


def test_an_input_comes_back_by_its_number(tmp_path: Path) -> None:
    reader = BY_NAME["markups"]
    (path, content), seeds = whole(reader, tmp_path), []
    seeds.append((path, content))
    made = [[damaged(reader, seeds, 0, number) for number in range(20)] for _ in range(2)]
    assert made[0] == made[1]
    assert len({content for _, content in made[0]}) > 15


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=8,
)


def whole(reader: Reader, folder: Path) -> tuple[Path, bytes]:
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.seeds[0](path)
    return path, path.read_bytes()


def judge(reader: Reader, path: Path) -> None:
    try:
        reader.read(path)
    except reader.refusal as error:
        assert str(path.parent) in str(error) and str(error).endswith(".") and "\n" not in str(error)


def places(node: object) -> list[Callable[[object], None]]:
    """What puts another value into each place of a JSON document."""
    if not isinstance(node, dict | list):
        return []
    keys = list(node) if isinstance(node, dict) else range(len(node))
    here = [lambda value, key=key: node.__setitem__(key, value) for key in keys]
    return here + [place for key in keys for place in places(node[key])]


@pytest.mark.parametrize("name", OF_JSON)
@given(value=VALUES, chance=st.randoms(use_true_random=False))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_place_of_a_json_file(
    tmp_path: Path, name: str, value: object, chance: Random
) -> None:
    reader = BY_NAME[name]
    path, content = whole(reader, tmp_path)
    document = json.loads(content.splitlines()[0] if name == "protocol" else content)
    chance.choice(places(document))(value)
    path.write_text(json.dumps(document), encoding="utf-8")
    judge(reader, path)


@pytest.mark.parametrize("name", [*OF_TEXT, *OF_JSON, *OF_IMAGES])
@given(content=st.binary(max_size=60))
@example(content=b"[" * 100_000)
@example(content=b"9" * 5_000)
@example(content=b"\xff\xfe" + "a,b".encode("utf-16-le"))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_place_of_a_file(tmp_path: Path, name: str, content: bytes) -> None:
    reader = BY_NAME[name]
    path, _ = whole(reader, tmp_path)
    path.write_bytes(content)
    judge(reader, path)


def test_the_one_error_that_people_meet_stays_on_one_line_that_is_no_order_to_their_terminal() -> None:
    said = str(InputError(f"a.csv: the name 'x\n\x1b[2J\u2028\u202e{'A' * 70_000}' is wrong; correct it."))
    assert "\\n\\x1b[2J\\u2028\\u202eAAA" in said and said.endswith("A' is wrong; correct it.")
    assert len(said) < 1400

"""The names that programs may use, and what importing them loads."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import LandmarkDetectionLib as ld

ROOT = Path(__file__).parents[3]
NAMES = sorted(ld.__all__)


def loaded_after(*lines: str) -> set[str]:
    """The packages besides Python's own that a fresh process has loaded after some lines."""
    code = "\n".join([*lines, "import sys", "print(*{name.partition('.')[0] for name in sys.modules})"])
    command = [sys.executable, "-S", "-c", code]  # without the .pth files of other programs
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(finished.stdout.split()) - sys.stdlib_module_names - {"__main__"}


def test_importing_the_library_loads_nothing_else() -> None:
    asked = "ld.__version__, dir(ld), ld.__all__, ld.InputError"
    assert loaded_after("import LandmarkDetectionLib as ld", asked) == {"LandmarkDetectionLib"}


def test_importing_the_library_is_not_importing_its_rooms() -> None:
    code = "import LandmarkDetectionLib, sys; print(*(m for m in sys.modules if 'LandmarkDetectionLib' in m))"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert finished.stdout.split() == ["LandmarkDetectionLib"]


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    assert len(set(NAMES)) == len(ld.__all__) and set(NAMES) <= set(dir(ld))
    for name in NAMES:
        assert name == "__version__" or getattr(ld, name).__doc__, name


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'detcet'"):
        ld.detcet  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_find_the_names_where_programs_get_them() -> None:
    text = (ROOT / "LandmarkDetectionLib" / "__init__.py").read_text(encoding="utf-8")
    places = {
        alias.name: found.module
        for found in ast.walk(ast.parse(text))
        if isinstance(found, ast.ImportFrom) and (found.module or "").startswith("LandmarkDetectionLib")
        for alias in found.names
    }
    assert {*places, "__version__"} == set(NAMES)
    for name, module in places.items():
        assert module is not None
        assert getattr(importlib.import_module(module), name) is getattr(ld, name)


def test_the_page_names_every_public_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = page.partition("`ld.__all__`:")[2].partition(". They are typed")[0]
    assert sorted(listed.replace(" and ", ", ").replace("`", "").replace(" ", "").split(",")) == NAMES

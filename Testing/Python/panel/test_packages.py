"""Installing what is missing. Slicer's installers are not here: what they do is played by functions."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.resources import resource_path


@pytest.fixture
def packages(a_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module under test, with torch and safetensors missing until something installs them."""
    import slicer

    from LandmarkDetectionLib.panel import packages

    there: set[str] = set()
    asked: list[object] = []

    def install_torch(**options: object) -> object:
        asked.append(options)
        there.add("torch")
        return "torch"

    def pip_install(requirements: list[str]) -> None:
        asked.append(requirements)
        there.add("safetensors")

    def agree(text: str) -> bool:
        asked.append(text)
        return True

    utilities = SimpleNamespace(PyTorchUtilsLogic=lambda: SimpleNamespace(installTorch=install_torch))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", agree)
    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    needed = ["safetensors", "torch"]
    monkeypatch.setattr(packages, "missing_packages", lambda: [name for name in needed if name not in there])
    packages.asked = asked  # type: ignore[attr-defined]
    return packages


def test_torch_comes_from_its_extension_and_the_rest_after_a_question(packages: Any) -> None:
    packages.install_missing_packages()
    torch, question, requirements = packages.asked
    assert torch == {"askConfirmation": True}
    assert question == "Detection needs the Python package safetensors. Install it now?"
    assert requirements == ["-r", str(resource_path("requirements.txt"))]


def test_from_slicer_5_12_on_slicer_itself_asks_and_installs(
    packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensured: list[object] = []

    def pip_ensure(requirements: object, *, requester: str) -> None:
        ensured.append((requirements, requester))
        import slicer

        slicer.util.pip_install([])

    newer = SimpleNamespace(pip_ensure=pip_ensure, load_requirements=lambda path: path.name)
    monkeypatch.setitem(sys.modules, "slicer.packaging", newer)
    packages.install_missing_packages()
    assert ensured == [("requirements.txt", "LandmarkDetection")]


def test_a_person_who_declines_is_told_what_is_needed(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    with pytest.raises(InputError, match="Detection needs safetensors: click Detect again"):
        packages.install_missing_packages()


def test_without_the_extension_of_torch_the_cure_is_named(
    packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InputError, match="install the extension 'PyTorch'"):
        packages.install_missing_packages()


def test_a_failed_pip_is_told(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    def fail(requirements: list[str]) -> None:
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    with pytest.raises(InputError, match="The packages could not be installed"):
        packages.install_missing_packages()


def test_nothing_is_installed_where_nothing_is_missing(
    packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "missing_packages", list)
    packages.install_missing_packages()
    assert packages.asked == []

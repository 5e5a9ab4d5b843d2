"""The extension configures, builds and installs with CMake, and works from where it was installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = Path("lib") / "Slicer" / "qt-scripted-modules"
pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the modules in an installed extension."""
    folder = tmp_path_factory.mktemp("extension")
    stand_in = ROOT / "Testing" / "cmake"
    for command in (
        ["cmake", "-S", ROOT, "-B", folder / "build", f"-DSlicer_DIR={stand_in}", "-DBUILD_TESTING=ON"],
        ["cmake", "--build", folder / "build"],
        ["cmake", "--install", folder / "build", "--prefix", folder / "installed"],
    ):
        finished = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder / "installed" / MODULES


def test_all_that_belongs_to_the_extension_is_installed_and_nothing_else(installed: Path) -> None:
    wanted = {Path("LandmarkDetection.py")}
    library = (path for path in (ROOT / "LandmarkDetectionLib").rglob("*") if path.is_file())
    wanted |= {
        path.relative_to(ROOT) for path in library if path.name != "CMakeLists.txt" and path.suffix != ".pyc"
    }
    resources = (path for path in (ROOT / "Resources").rglob("*") if path.is_file())
    wanted |= {
        path.relative_to(ROOT) for path in resources if path.name not in ("CMakeLists.txt", "README.md")
    }
    assert {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()} == wanted


@pytest.mark.parametrize("layout", ["installed", "source"])
def test_the_module_opens_from_the_installed_extension_and_from_the_source_tree(
    installed: Path, layout: str, tmp_path: Path
) -> None:
    pytest.importorskip("slicer")
    pytest.importorskip("PySide6")
    module = installed / "LandmarkDetection.py"
    if layout == "source":
        module = ROOT / "LandmarkDetection" / "LandmarkDetection.py"
    library = installed if layout == "installed" else ROOT
    code = f"""
import os, sys
sys.path = [path for path in sys.path if path != {str(ROOT)!r}]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
sys.path.append({str(ROOT / "Testing")!r})
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from pathlib import Path
from host.application import Host
host = Host()
widget = host.open_widget(host.load_module(Path({str(module)!r})))
host.run_until(lambda: widget.panel.client._worker_id is not None)
import LandmarkDetectionLib
print(Path(LandmarkDetectionLib.__file__).parent.parent)
print(widget.ui.detectButton.text)
widget.cleanup()
"""
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert finished.stdout.splitlines()[-2:] == [str(library), "Detect"], finished.stderr


def test_a_listed_file_that_is_missing_stops_the_build(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    folders = ("LandmarkDetection", "LandmarkDetectionLib", "Resources")
    for name in folders:
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "CMakeLists.txt", copy)
    (copy / "LandmarkDetectionLib" / "scene" / "markups.py").unlink()
    command = ["cmake", "-S", copy, "-B", tmp_path / "build", f"-DSlicer_DIR={ROOT / 'Testing' / 'cmake'}"]
    finished = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert finished.returncode != 0 and "scene/markups.py" in finished.stderr

"""The house stands as DESIGN.md and CONTRIBUTING.md say: floors, dependencies, packaging."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "LandmarkDetectionLib"

# Every room of the library and the rooms it may import from.
ROOMS = {
    "": {"api", "data", "detection", "evaluation"},  # the library's own folder, which gives the public names
    "data": set[str](),
    "phantom": {"data"},
    "model": {"data"},
    "detection": {"data", "model"},
    "training": {"data", "model", "detection"},
    "evaluation": {"data", "model", "detection"},
    "exchange": {"data", "model", "detection"},
    "report": {"data", "model", "detection", "evaluation"},
    "api": {"data", "model", "detection", "training", "evaluation"},
    "worker": {"data", "model", "detection"},
    "scene": {"data", "model", "detection", "worker"},
    "panel": {"data", "model", "detection", "worker", "scene"},
}
LIGHT_ROOMS = ("data", "model", "detection", "worker")
LIGHT = {"numpy", "SimpleITK", "torch", "safetensors"}
DICOM_READERS = (LIBRARY / "data/dicom_series.py", LIBRARY / "data/geometry/dicom.py")
DICOM_WRITER = LIBRARY / "exchange/dicom_sr.py"
SLICER = {"slicer", "qt", "ctk", "vtk", "vtkmodules", "DICOMLib", "SampleData"}
SLICER_ROOMS = ("scene", "panel")


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    module: str
    at_import: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def importing_room(self) -> str:
        inside = self.file.relative_to(LIBRARY).parts
        return inside[0] if len(inside) > 1 else ""

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of a file; `at_import` says whether it runs when the file itself is imported."""
    yield from _imports_below(ast.parse(file.read_text(encoding="utf-8")), file, at_import=True)


def _imports_below(node: ast.AST, file: Path, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, at_import)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}:{child.lineno}: write imports in full, not relative"
            # `from LandmarkDetectionLib import data` names a room too.
            for alias in child.names:
                yield Import(file, child.lineno, f"{child.module}.{alias.name}", at_import)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _imports_below(child, file, at_import=False)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports_below(child, file, at_import=at_import and not is_function)


def is_dicom_reader(found: Import) -> bool:
    """Whether pydicom, which comes with Slicer, is imported by what reads the tags of DICOM files."""
    return found.package == "pydicom" and found.file in DICOM_READERS


def imported_room(module: str) -> str:
    """The room of the library that a module lies in, '' for the library's own folder."""
    inside = module.split(".")[1:]
    return inside[0] if inside and (LIBRARY / inside[0]).is_dir() else ""


LIBRARY_FILES = sorted(LIBRARY.rglob("*.py"))
LIBRARY_IMPORTS = [found for file in LIBRARY_FILES for found in imports_of(file)]


def test_every_room_is_known_and_says_what_it_is_for() -> None:
    rooms = {folder.name for folder in LIBRARY.iterdir() if any(folder.glob("*.py"))}
    assert rooms <= ROOMS.keys()
    for package in (LIBRARY, *(LIBRARY / room for room in rooms), ROOT / "train_cli"):
        assert ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))), package


def test_imports_only_go_down() -> None:
    upward = [
        str(found)
        for found in LIBRARY_IMPORTS
        if found.package == "LandmarkDetectionLib"
        and imported_room(found.module)
        and imported_room(found.module) not in ROOMS.get(found.importing_room, set()) | {found.importing_room}
    ]
    assert upward == []


def test_the_library_knows_neither_the_command_line_nor_the_tests() -> None:
    assert [str(found) for found in LIBRARY_IMPORTS if found.package in {"train_cli", "Testing"}] == []


def test_what_runs_in_slicer_needs_four_packages_at_most_and_one_that_comes_with_slicer_for_dicom() -> None:
    allowed = LIGHT | {"LandmarkDetectionLib"} | sys.stdlib_module_names
    heavy = [
        str(found)
        for found in LIBRARY_IMPORTS
        if found.importing_room in LIGHT_ROOMS and found.package not in allowed and not is_dicom_reader(found)
    ]
    assert heavy == []


def test_slicer_and_qt_stay_in_their_rooms() -> None:
    command_line = [found for file in (ROOT / "train_cli").rglob("*.py") for found in imports_of(file)]
    outside = [found for found in LIBRARY_IMPORTS if found.importing_room not in SLICER_ROOMS]
    assert [str(found) for found in (*command_line, *outside) if found.package in SLICER] == []


def test_simpleitk_pydicom_and_highdicom_are_imported_only_where_they_are_used() -> None:
    late = {"SimpleITK", "pydicom", "highdicom"}
    assert [str(found) for found in LIBRARY_IMPORTS if found.package in late and found.at_import] == []
    files = {
        package: {found.file for found in LIBRARY_IMPORTS if found.package == package}
        for package in ("pydicom", "highdicom")
    }
    assert files == {"pydicom": {*DICOM_READERS, DICOM_WRITER}, "highdicom": {DICOM_WRITER}}


def test_ray_is_imported_only_where_a_cluster_is_wanted() -> None:
    files = [*LIBRARY_FILES, *(ROOT / "train_cli").rglob("*.py")]
    found = [item for file in files for item in imports_of(file) if item.package == "ray"]
    assert {item.file.name for item in found} == {"cluster.py"}
    assert [str(item) for item in found if item.at_import] == []


def test_what_writes_and_runs_onnx_is_imported_only_where_it_is_wanted() -> None:
    files = [*LIBRARY_FILES, *(ROOT / "train_cli").rglob("*.py")]
    wanted = {"onnx", "onnxruntime", "onnxscript"}
    found = [item for file in files for item in imports_of(file) if item.package in wanted]
    assert {item.importing_room for item in found} == {"exchange"}
    assert [str(item) for item in found if item.at_import] == []


def test_training_and_detection_import_on_a_server_without_simpleitk() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("training", "model", "detection")
        for file in sorted((LIBRARY / room).rglob("*.py"))
    ]
    code = f"""
import importlib, sys
sys.modules["SimpleITK"] = None  # importing it raises ImportError
for module in {modules!r}:
    importlib.import_module(module)
"""
    assert run_python("-c", code) == ""


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = """
import sys
from train_cli.app import main
assert main(["--help"]) == 0
heavy = {"torch", "numpy", "SimpleITK", "pandas", "matplotlib", "lightning", "pydantic", "ray"}
print("loaded:", sorted(heavy & sys.modules.keys()))
"""
    assert run_python("-c", code).splitlines()[-1] == "loaded: []"


def test_the_panel_speaks_with_its_worker_without_loading_what_detects() -> None:
    code = """
import sys
import LandmarkDetectionLib.worker.protocol
print("loaded:", sorted({"torch", "SimpleITK", "safetensors"} & sys.modules.keys()))
"""
    assert run_python("-c", code).splitlines()[-1] == "loaded: []"


def test_slicer_packages_every_file_of_the_library() -> None:
    listed = re.findall(
        r"^\s+(\S+\.py)$", (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == sorted(file.relative_to(LIBRARY).as_posix() for file in LIBRARY_FILES)


def test_slicer_and_pip_package_all_that_the_library_has_besides_code() -> None:
    files = {path for path in LIBRARY.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    files.remove(LIBRARY / "CMakeLists.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["LandmarkDetectionLib"]
    assert {path for pattern in patterns for path in LIBRARY.glob(pattern)} == files
    text = (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"set\(LIBRARY_RESOURCES\n(.*?)\)", text, re.DOTALL)
    assert listed is not None
    assert listed[1].split() == sorted(path.relative_to(LIBRARY).as_posix() for path in files)


def test_slicer_packages_the_module_and_every_resource() -> None:
    module = ROOT / "LandmarkDetection"
    assert {path.name for path in module.glob("*.py")} == {"LandmarkDetection.py"}
    assert "SCRIPTS LandmarkDetection.py" in (module / "CMakeLists.txt").read_text(encoding="utf-8")
    folder = ROOT / "Resources"
    listed = re.search(r"set\(RESOURCES\n(.*?)\)", (folder / "CMakeLists.txt").read_text("utf-8"), re.DOTALL)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert listed is not None
    assert listed[1].split() == sorted(files - {"CMakeLists.txt", "README.md"})


def test_the_module_is_a_shell() -> None:
    module = ROOT / "LandmarkDetection" / "LandmarkDetection.py"
    packages = {found.package for found in imports_of(module)} - sys.stdlib_module_names
    assert packages <= {"LandmarkDetectionLib", "numpy", "slicer", "qt", "vtk"}
    names = [
        node.name for node in ast.parse(module.read_text("utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    assert names == [f"LandmarkDetection{part}" for part in ("", "Widget", "Logic", "Test")]


def test_nothing_of_the_extension_knows_the_host() -> None:
    files = [*LIBRARY_FILES, ROOT / "LandmarkDetection" / "LandmarkDetection.py"]
    assert [path for path in files if re.search(r"\bhost\b", path.read_text("utf-8"))] == []


def test_no_loose_python_file_lies_where_slicer_looks_for_modules() -> None:
    assert list(ROOT.glob("*.py")) == []


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    machine = re.compile(r"(?<![\w.:/])/(?:work|home|root|Users)/\w")
    ours = (path for path in tracked_files() if path.name != "niivue.umd.js")
    named = [path for path in ours if machine.search(text_of(path))]
    assert named == []


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy of the project is not a git checkout")
    return [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The file's text, '' for a binary file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def run_python(*arguments: str) -> str:
    """What a fresh Python prints when it runs in the project's folder; fails with its traceback."""
    finished = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert finished.returncode == 0, finished.stderr
    return finished.stdout

"""The folder of a report: written as a whole, or not at all."""

from __future__ import annotations

import datetime
import html
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import UNFINISHED, make_folder, unwritable

FRONT = "index.html"
STYLE = "report.css"
CONTENT = "report.json"
"""In the folder of every report: the list of its files. Anything else in there is somebody's."""
_HERE = Path(__file__).parent
_OF_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}


class ReportFolder:
    """Pages and pictures of a report that is being written.

    Args:
        path: of the folder, which is there and empty.
        hidden: folders whose names no page shows, for they say where the scans lie.
    """

    def __init__(self, path: Path, hidden: Iterable[Path] = ()) -> None:
        self._path = path
        absolute = {str(folder) for folder in hidden if folder.is_absolute()}
        self._hidden = [
            html.escape(f"{name.rstrip(os.sep)}{os.sep}") for name in sorted(absolute, reverse=True)
        ]
        self._files: list[str] = []
        self._pages = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.globals |= {"version": __version__, "today": datetime.date.today().isoformat()}
        self.add_static(STYLE)

    def add_page(self, name: str, template: str, /, **values: Any) -> None:
        """Write a page.

        Args:
            name: of the file, with its folder.
            template: one of `templates`.
            values: what it shows; texts are escaped.
        """
        text = self._pages.get_template(template).render(root="../" * name.count("/"), **values)
        for folder in self._hidden:
            text = text.replace(folder, "")
        self.add_file(name, text.encode())

    def add_file(self, name: str, content: bytes) -> None:
        """Write a file of any kind under its name.

        Raises:
            InputError: if it cannot be written.
        """
        path = self._path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise unwritable(self._path.parent.parent, error) from error
        self._files.append(name)

    def add_static(self, name: str) -> None:
        """Copy a file that comes with the program."""
        self.add_file(name, (_HERE / "static" / name).read_bytes())

    def add_content(self) -> None:
        """Write the list of all files, at the end."""
        self.add_file(
            CONTENT, json.dumps({"made_by": "LandmarkDetection", "files": sorted(self._files)}).encode()
        )


@contextmanager
def new_report(path: Path, hidden: Iterable[Path] = ()) -> Iterator[ReportFolder]:
    """A report that takes the place of an older one when the block succeeds.

    Args:
        path: of the folder.
        hidden: folders whose names no page shows.

    Raises:
        InputError: if something other than a report stands there, or nothing can be written.
    """
    refuse_other_folder(path)
    make_folder(path.parent)
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        finished = unfinished / "new"
        finished.mkdir()
        report = ReportFolder(finished, hidden)
        yield report
        report.add_content()
        refuse_other_folder(path)
        _exchange(path, finished, unfinished / "old")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _exchange(path: Path, new: Path, old: Path) -> None:
    """Put a folder in the place of another one, or leave that where it is."""
    try:
        if path.exists():
            path.replace(old)
        try:
            new.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def refuse_other_folder(path: Path) -> None:
    """Refuse to put a report where something else is.

    Raises:
        InputError: if there is a file, or a folder with anything in it that no report has written.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    written = _written(path)
    if written is None:
        raise InputError(
            f"{path}: something other than a report stands there; give a new folder for the report."
        )
    others = sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if not file.is_dir()
        and file.relative_to(path).as_posix() not in written
        and file.name not in _OF_FILE_MANAGERS
        and not file.name.startswith("._")
    )
    if others:
        raise InputError(
            f"{path}: {others[0]} stands there beside a report, which would be replaced as a whole; move it, "
            "or give a new folder for the report."
        )


def _written(path: Path) -> set[str] | None:
    """The files of the report in a folder; None where there is none."""
    try:
        content = json.loads((path / CONTENT).read_text(encoding="utf-8"))
        return {*content["files"], CONTENT}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_report_around(path: Path, others: Iterable[Path]) -> None:
    """Refuse a folder for a report that cannot be one, or in which something else is read or written.

    Args:
        path: of the report.
        others: files and folders that the same command reads or writes.

    Raises:
        InputError: then.
    """
    report = path.resolve()
    for other in others:
        if report in (other.resolve(), *other.resolve().parents):
            raise InputError(f"{path}: {other} lies in it; give a folder of its own for the report.")
    refuse_other_folder(path)


def lengths(value: float | None, digits: int = 2) -> str:
    """Millimetres with so many decimals, '-' where there is no number."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent, '-' where there is no number."""
    return "-" if share != share else f"{share:.{digits}%}"

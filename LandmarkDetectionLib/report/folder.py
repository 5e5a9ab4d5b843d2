"""The folder of a report: written as a whole, or not at all."""

from __future__ import annotations

import datetime
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
TABLES = ("points.csv", "measurements.csv")
_HERE = Path(__file__).parent
_NAMES = {
    *("cases", "charts", "crops", "landmarks", "samples", "viewer", FRONT, *TABLES),
    *(path.name for path in (_HERE / "static").iterdir()),
}
"""All that may lie in the folder of a report; anything else is somebody's."""
_MADE_BY = '<meta name="generator" content="LandmarkDetection'
"""Stands in the front page of every report, and of no other folder."""


class ReportFolder:
    """Pages and pictures of a report that is being written.

    Args:
        path: of the folder, which is there and empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        self.add_file(name, text.encode())

    def add_file(self, name: str, content: bytes) -> None:
        """Write a file of any kind under its name."""
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def add_static(self, name: str) -> None:
        """Copy a file that comes with the program."""
        self.add_file(name, (_HERE / "static" / name).read_bytes())


@contextmanager
def new_report(path: Path) -> Iterator[ReportFolder]:
    """A report that takes the place of an older one when the block succeeds.

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
        yield ReportFolder(finished)
        if path.exists():
            path.replace(unfinished / "old")
        finished.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_other_folder(path: Path) -> None:
    """Refuse to put a report where something else is.

    Raises:
        InputError: if there is a file, or a folder with something else in it.
    """
    front = path / FRONT
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not front.is_file() or _MADE_BY not in front.read_text(encoding="utf-8", errors="replace"):
        raise InputError(
            f"{path}: something other than a report stands there; give a new folder for the report."
        )
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in _NAMES)
    if others:
        raise InputError(
            f"{path}: {others[0]} stands there beside a report, which would be replaced as a whole; move it, "
            "or give a new folder for the report."
        )


def refuse_report_around(path: Path, others: Iterable[Path]) -> None:
    """Refuse a folder for a report that cannot be one, or in which something else is to be written.

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

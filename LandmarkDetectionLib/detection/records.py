"""What the program knows of the results in a folder: a file for each case.

Each process writes the files of its own cases, so that many can detect into one folder without a lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from LandmarkDetectionLib.data.digests import ScanIdentity, text_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import (
    UNFINISHED,
    exists,
    parse_json,
    read_text,
    unreadable,
    unwritable,
    write_text,
)

RECORDS_NAME = "detection-records"
_FORMAT, _VERSION = "LandmarkDetection result", 1


@dataclass(frozen=True)
class Entry:
    """The results of a case.

    Attributes:
        image: where its scan was; '' where nobody is to know it.
        scan: the identity of the scan; its content alone where nobody is to know the place.
        model: digest of the model.
        files: digests that each file may have; several while results take the place of earlier ones.
        row: its line of the summary.
        seconds: that the detection took.
        warnings: what was said of it.
    """

    image: str
    scan: ScanIdentity
    model: str
    files: dict[str, list[str]]
    row: dict[str, str]
    seconds: float
    warnings: tuple[str, ...]


class Records:
    """The records in a folder of results.

    Args:
        folder: of the records; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._cases = folder / "cases"
        self._failures = folder / "failed"

    def entry(self, case: str) -> Entry | None:
        """What is known of the results of a case; None if nothing.

        Raises:
            InputError: if the record cannot be read.
        """
        path = self._cases / f"{case}.json"
        return _entry_of(path) if exists(path) else None

    def entries(self) -> dict[str, Entry]:
        """All results by case.

        Raises:
            InputError: if a record cannot be read.
        """
        return {path.name.removesuffix(".json"): _entry_of(path) for path in _records_in(self._cases)}

    def put(self, case: str, entry: Entry) -> None:
        """Record the results of a case."""
        _write({"entry": asdict(entry)}, self._cases / f"{case}.json")

    def failures(self) -> list[dict[str, str]]:
        """The lines of failed cases in the summary.

        Raises:
            InputError: if a record cannot be read.
        """
        rows = []
        for path in _records_in(self._failures):
            try:
                rows.append(_read(path, "row"))
            except InputError:
                if path.is_file():  # otherwise another process has dropped it
                    raise
        return rows

    def put_failure(self, row: dict[str, str]) -> None:
        """Record the line of a failed case."""
        _write({"row": row}, self._failure(row))

    def drop_failure(self, row: dict[str, str]) -> None:
        """Forget the line of a case that has failed; another process may have done so."""
        try:
            self._failure(row).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self._failures, error) from error

    def _failure(self, row: dict[str, str]) -> Path:
        return self._failures / f"{text_digest(json.dumps(scan_of(row)))}.json"


def scan_of(row: dict[str, str]) -> tuple[str, str]:
    """Name and path of the scan that a line of the summary is of."""
    return row["case"], row["image_path"]


def _records_in(folder: Path) -> Iterator[Path]:
    """The records of a folder; what another process is still writing is none."""
    try:
        there = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise unreadable(folder, error) from error
    for path in there:
        if path.suffix == ".json" and not path.name.startswith(UNFINISHED):
            yield path


def _entry_of(path: Path) -> Entry:
    content = _read(path, "entry")
    try:
        entry = Entry(**content)
        return replace(entry, scan=ScanIdentity(*entry.scan), warnings=tuple(entry.warnings))
    except TypeError as error:
        raise _unreadable(path, error) from error


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        content = parse_json(read_text(path))
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError("of another version")
        return dict(content[what])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: the record of a result cannot be read ({error}); move it away or choose another output "
        "folder, for without it the result is not replaced."
    )


def _write(content: dict[str, Any], path: Path) -> None:
    about = {"format": _FORMAT, "version": _VERSION}
    write_text(path, json.dumps({**about, **content}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

"""Telling by their content whether files are still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.image_files import files_of

_CHUNK = 1 << 20


class ScanIdentity(NamedTuple):
    """What tells a scan from others.

    Attributes:
        state: digest of the paths, sizes and times of its files; while it is the same, so is the content.
        content: digest of what is in its files.
    """

    state: str
    content: str


NO_SCAN = ScanIdentity("", "")
"""What is no file."""


def identify(path: Path) -> ScanIdentity:
    """The identity of a scan: a file, a header and its voxels, or a DICOM folder.

    Raises:
        OSError: if a file is not there or cannot be read.
    """
    files = files_of(path)
    return ScanIdentity(_state_of(files), _content_of(files))


def is_same_scan(path: Path, known: ScanIdentity) -> bool:
    """Whether a scan is the known one; its files are read only where they have been touched or moved.

    Raises:
        OSError: if a file is not there or cannot be read.
    """
    files = files_of(path)
    return _state_of(files) == known.state or _content_of(files) == known.content


@contextmanager
def unchanged(path: Path) -> Iterator[ScanIdentity]:
    """The identity of a scan that is read in the block, and must be the same when the block ends.

    Raises:
        InputError: if the scan is not there, cannot be read, or was changed or removed meanwhile.
    """
    known = known_scan(path)
    yield known
    refuse_changed(path, known)


def known_scan(path: Path) -> ScanIdentity:
    """The identity of a scan.

    Raises:
        InputError: if the scan is not there or cannot be read.
    """
    try:
        return identify(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the path.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: cannot be read ({reason}); check the path and its permissions.") from error


def refuse_changed(path: Path, known: ScanIdentity) -> None:
    """Refuse a scan that is no longer the known one.

    Raises:
        InputError: if it was changed or removed.
    """
    try:
        same = is_same_scan(path, known)
    except (OSError, InputError):
        same = False
    if not same:
        raise InputError(f"{path}: the scan was changed or removed while it was in use; detect in it again.")


def content_digest(path: Path) -> str:
    """SHA-256 of all files of a scan: one, a header and its voxels, or a DICOM folder's in order of names."""
    return _content_of(files_of(path))


def _state_of(files: Sequence[Path]) -> str:
    """SHA-256 of where files are, how large they are, and when they were written."""
    states = []
    for item in files:
        stat = item.stat()
        states.append([str(item.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _content_of(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """The `file_digest` of the file that `write_text` makes of a text."""
    return hashlib.sha256(text.encode()).hexdigest()

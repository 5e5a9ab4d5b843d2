"""Writing files so that a killed process leaves the old one or the new one."""

import codecs
import errno
import json
import os
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from LandmarkDetectionLib.data.errors import InputError

UNFINISHED = ".writing-"
"""How the names of files begin that are being written."""
_ENDING = 50
"""Letters of a name that its temporary name has: some systems take 255 bytes, and names may have 250."""
_LEFT_BEHIND = 24 * 3600.0
"""Seconds after which nobody is still writing a file."""
_TIDIED: set[Path] = set()
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota of its own


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block succeeds.

    The temporary name ends like `path`, so that writers that look at the suffix (`.nii.gz`) work. What killed
    processes have left in the folder is removed a day later, by the next one that writes there.

    Raises:
        InputError: if the folder cannot be made or written, the file not replaced, or the disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    _tidy(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix="-" + path.name[-_ENDING:], dir=path.parent)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        with _full_disk_noticed(path.parent):
            yield temporary
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        cure = "make room on the disk, or write to another one"
        if error.errno not in _FULL:
            cure = "close it elsewhere, or choose another name"
        raise InputError(f"Cannot write {_wanted(path)} ({_reason(error)}): {cure}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents; an `InputError` says why it could not be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark; line ends as they are.

    Raises:
        InputError: if it cannot be read or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
        return content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: the file is not UTF-8 text; save it with the encoding UTF-8 (in Excel: 'CSV UTF-8')."
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: if it is no JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name too long to be one is none."""
    try:
        return path.exists()
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Whether a person's file or folder is there.

    Raises:
        InputError: if nobody can tell, for want of rights or because the name is too long.
    """
    try:
        return path.exists()
    except OSError as error:
        raise unreadable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def refuse_overwriting(targets: Iterable[Path], given: Iterable[Path]) -> None:
    """Refuse to write what the same command reads.

    Args:
        targets: files to be written.
        given: files that are read.

    Raises:
        InputError: if a file is both.
    """
    read = {path.resolve() for path in given}
    for target in targets:
        if target.resolve() in read:
            raise InputError(
                f"{target}: this file is read here and would be overwritten; choose another folder for the "
                "output."
            )


def folded_name(name: str) -> str:
    """The same for all file names that are one name on some disk: upper and lower case, composed or not."""
    return unicodedata.normalize("NFC", name).casefold()


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a file or folder that cannot be read."""
    return InputError(f"{path}: cannot be read ({_reason(error)}); check the path and its permissions.")


def unwritable(folder: Path, error: OSError) -> InputError:
    """The error for a folder that cannot be written."""
    file = next((part for part in (folder, *folder.parents) if part.is_file()), None)
    why, cure = f" ({_reason(error)})", "choose a folder that you can write in"
    if file is not None:
        why = ", which is a file" if file == folder else f", for {file} is a file"
    elif error.errno in _FULL:
        cure = "make room on the disk, or choose a folder on another one"
    return InputError(f"Cannot write in {_wanted(folder)}{why}: {cure}.")


def _tidy(folder: Path) -> None:
    """Remove what killed processes have left in a folder; once in the life of this one."""
    place = folder.absolute()
    if place in _TIDIED:
        return
    _TIDIED.add(place)
    with suppress(OSError):  # it can wait: what is wrong with the folder, its writer says
        for left in folder.glob(f"{UNFINISHED}*"):
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


@contextmanager
def _full_disk_noticed(folder: Path) -> Iterator[None]:
    """Raise the `OSError` of a full disk where a writer does not.

    SimpleITK cuts a NIfTI file short in silence and says of other formats that they cannot be written.
    """
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        yield
    except RuntimeError as error:
        if _is_full(folder):
            raise full from error
        raise
    if _is_full(folder):
        raise full


def _is_full(folder: Path) -> bool:
    usage = shutil.disk_usage(folder)
    return usage.free == 0 < usage.total


def _wanted(path: Path) -> Path:
    """A path without the folders that are there only while something is written."""
    return Path(*(part for part in path.parts if not part.startswith(UNFINISHED)))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


_UMASK = _read_umask()

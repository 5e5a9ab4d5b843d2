"""One training at a time in a run folder.

The system keeps the lock and lets go of it when the process ends, however it ends. A POSIX record lock is not
inherited by the processes that load samples, and NFS knows it.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder, unwritable

LOCK = ".lock"

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_held: set[Path] = set()
_log = logging.getLogger(__name__)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes out of a run folder; nothing happens where this process keeps them out already.

    Raises:
        InputError: if another process trains in the folder, or it cannot be written.
    """
    make_folder(run)
    path = run.resolve() / LOCK
    if path in _held:
        yield
        return
    try:
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(run, error) from error
    with stream:
        _take(stream, run)
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)


def _take(stream: IO[str], run: Path) -> None:
    try:
        _lock(stream)
    except OSError as error:
        if error.errno not in _TAKEN:
            _log.warning(
                "%s: this file system has no locks; do not start a second training in this folder.", run
            )
            return
        stream.seek(0)
        who = stream.read().strip() or "unknown"
        raise InputError(
            f"{run}: another training runs in this folder ({who}); wait for it, stop it, or give another "
            "--output."
        ) from error
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {platform.node()}")
    stream.flush()


if sys.platform == "win32":
    import msvcrt

    def _lock(stream: IO[str]) -> None:
        stream.seek(1 << 20)  # a byte beyond the text, which others may then read
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(stream: IO[str]) -> None:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

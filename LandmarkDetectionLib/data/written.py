"""Which files of a folder the program has written itself.

A digest of each is the name of an empty file among the records, in a folder for each name. To remember one
takes no lock, on a network drive neither, and a killed process loses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from LandmarkDetectionLib.data.digests import file_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import make_folder, replacing, unreadable, unwritable

_OVERLAP = 600_000_000_000
"""Nanoseconds; for so long another process may still be about to write what it has remembered."""


def not_own(path: Path, command: str, *, known: bool) -> InputError:
    """The error for a file that a command would replace and that is not as the program wrote it.

    Args:
        path: the file.
        command: that has a flag --overwrite.
        known: whether the program wrote one of this name.
    """
    how = "was changed since this program wrote it" if known else "was not written by this program"
    return InputError(
        f"{path}: it {how}, so it is kept; choose another output folder, move the file away, or replace "
        f"it with {command} --overwrite."
    )


class WrittenFiles:
    """Remembers files by their names and digests.

    Args:
        records: the folder of what is remembered; made with the first file.
    """

    def __init__(self, records: Path) -> None:
        self._records = records

    def knows_of(self, path: Path) -> bool:
        """Whether the program has ever written a file of this name."""
        return self._digests_of(path).is_dir()

    def may_replace(self, path: Path) -> bool:
        """Whether a file is as the program wrote it, or there is none."""
        return not path.is_file() or (self._digests_of(path) / file_digest(path)).is_file()

    def history(self, path: Path) -> dict[str, int]:
        """The digests that a file of this name was given, and when, in nanoseconds."""
        return {digest.name: time for digest, time in _times(self._digests_of(path)).items()}

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As `files.replacing`, and remember the file before it takes its name.

        Raises:
            InputError: if a folder cannot be made or written, or the file not replaced.
        """
        with replacing(path) as temporary:
            yield temporary
            newest = self._digests_of(path) / file_digest(temporary)
            self._remember(newest)
        self._forget_before(newest)

    def _digests_of(self, path: Path) -> Path:
        return self._records / f"{path.name}.written"

    def _remember(self, digest: Path) -> None:
        make_folder(digest.parent)
        try:
            digest.touch()
        except OSError as error:
            raise unwritable(digest.parent, error) from error

    def _forget_before(self, newest: Path) -> None:
        """Forget what the file was earlier, as far as no other process can be about to write it."""
        known = _times(newest.parent)
        for path, time in known.items():
            if time < known[newest] - _OVERLAP:
                with suppress(OSError):  # it may be another user's
                    path.unlink()


def _times(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written, in nanoseconds; another process may remove some meanwhile."""
    times = {}
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                times[path] = path.stat().st_mtime_ns
    except OSError as error:
        raise unreadable(folder, error) from error
    return times

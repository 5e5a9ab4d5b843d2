"""Which files of a folder the program has written itself.

A digest of each is the name of an empty file among the records, below the name of the file. To remember one
takes no lock, on a network drive neither, and a killed process loses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from LandmarkDetectionLib.data.digests import file_digest
from LandmarkDetectionLib.data.files import make_folder, replacing, unwritable

_OVERLAP = 600.0
"""Seconds; for so long another process may still be about to write what it has remembered."""


class WrittenFiles:
    """Remembers files by their names and digests.

    Args:
        records: the folder of what is remembered; made with the first file.
    """

    def __init__(self, records: Path) -> None:
        self._records = records

    def knows_of(self, path: Path) -> bool:
        """Whether the program has ever written a file of this name."""
        return (self._records / path.name).is_dir()

    def may_replace(self, path: Path) -> bool:
        """Whether a file is as the program wrote it, or there is none."""
        return not path.is_file() or (self._records / path.name / file_digest(path)).is_file()

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Path]:
        """As `files.replacing`, and remember the file before it takes its name.

        Raises:
            InputError: if a folder cannot be made or written, or the file not replaced.
        """
        with replacing(path) as temporary:
            yield temporary
            newest = self._remember(path.name, file_digest(temporary))
        self._forget_before(newest)

    def _remember(self, name: str, digest: str) -> Path:
        folder = self._records / name
        make_folder(folder)
        try:
            (folder / digest).touch()
        except OSError as error:
            raise unwritable(folder, error) from error
        return folder / digest

    def _forget_before(self, newest: Path) -> None:
        """Forget what the file was earlier, as far as no other process can be about to write it."""
        known = {path: path.stat().st_mtime for path in newest.parent.iterdir()}
        for path, time in known.items():
            if time < known[newest] - _OVERLAP:
                path.unlink(missing_ok=True)

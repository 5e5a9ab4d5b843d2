"""Reading scans: identified before and after, and the next one while one is in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from LandmarkDetectionLib.data.digests import ScanIdentity, known_scan
from LandmarkDetectionLib.data.volume import Volume, read_volume

Item = TypeVar("Item")
Read = TypeVar("Read")


class ScanInMemory(NamedTuple):
    """A scan that has been read.

    Attributes:
        path: where it is.
        identity: what it was when it was read; see `digests.refuse_changed`.
        volume: its voxels.
        seconds: that the reading took.
    """

    path: Path
    identity: ScanIdentity
    volume: Volume
    seconds: float


def read_scan(path: Path) -> ScanInMemory:
    """Identify a scan and read it.

    Raises:
        InputError, MemoryError: as `known_scan` and `read_volume`.
    """
    start = time.perf_counter()
    identity = known_scan(path)
    volume = read_volume(path)
    return ScanInMemory(path, identity, volume, time.perf_counter() - start)


class ReadAhead(Generic[Item, Read]):
    """Gives what is read of items, one after the other; the next one is read while one is in use.

    Never more than two are in memory, if each is let go before the next one is taken.

    Args:
        read: reads one; what it raises is raised when that one is taken.
    """

    def __init__(self, read: Callable[[Item], Read]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, "reading ahead")
        self._ahead: tuple[Item, Future[Read]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def take(self, item: Item, following: Item | None) -> Read:
        """What is read of an item; one for which memory was lacking is read again by itself.

        Args:
            item: which.
            following: what is most likely taken next, and so is read from now on; None if nothing.
        """
        ahead, self._ahead = self._ahead, None
        try:
            read = self._taken(item, ahead)
        except Exception:
            self._start(following)
            raise
        self._start(following)
        return read

    def _taken(self, item: Item, ahead: tuple[Item, Future[Read]] | None) -> Read:
        if ahead is not None and ahead[0] == item:
            with suppress(MemoryError):
                return ahead[1].result()
        return self._read(item)

    def _start(self, item: Item | None) -> None:
        if item is not None:
            self._ahead = item, self._thread.submit(self._read, item)

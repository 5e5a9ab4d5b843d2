"""Reading scans one after the other, the next one while one is in use."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.reading import ReadAhead, read_scan


def test_items_come_in_their_order_and_what_cannot_be_read_costs_only_itself() -> None:
    def read(item: int) -> int:
        if item == 2:
            raise InputError("It is damaged.")
        return 10 * item

    with ReadAhead([1, 2, 3], read) as items:
        assert items.take() == 10
        with pytest.raises(InputError, match="damaged"):
            items.take()
        assert items.take() == 30


def test_one_item_is_read_ahead_and_no_more() -> None:
    begun: list[int] = []
    with ReadAhead(range(5), lambda item: begun.append(item)) as items:
        items.take()
        end = time.monotonic() + 10
        while len(begun) < 2 and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        assert begun == [0, 1]


def test_an_item_for_which_memory_lacked_beside_another_is_read_again_by_itself() -> None:
    asked: list[int] = []

    def read(item: int) -> int:
        asked.append(item)
        if asked == [0, 1]:
            raise MemoryError
        return item

    with ReadAhead([0, 1, 2], read) as items:
        assert [items.take(), items.take(), items.take()] == [0, 1, 2]
    assert asked == [0, 1, 1, 2]


def test_a_stop_does_not_wait_for_what_is_read_ahead() -> None:
    stopped = threading.Event()
    with ReadAhead([0, 1], lambda item: item and stopped.wait(10)) as items:
        items.take()
        start = time.monotonic()
    assert time.monotonic() - start < 5
    stopped.set()


def test_a_scan_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.nii: there is no such file"):
        read_scan(tmp_path / "gone.nii")

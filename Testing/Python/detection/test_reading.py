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

    with ReadAhead(read) as items:
        assert items.take(1, 2) == 10
        with pytest.raises(InputError, match="damaged"):
            items.take(2, 3)
        assert items.take(3, None) == 30


def test_one_item_is_read_ahead_and_no_more() -> None:
    begun: list[int] = []
    with ReadAhead(begun.append) as items:
        items.take(0, 1)
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

    with ReadAhead(read) as items:
        assert [items.take(0, 1), items.take(1, 2), items.take(2, None)] == [0, 1, 2]
    assert asked == [0, 1, 1, 2]


def test_an_item_that_was_read_ahead_in_vain_is_let_go() -> None:
    with ReadAhead[int, int](lambda item: 10 * item) as items:
        assert [items.take(0, 1), items.take(2, 3), items.take(3, None)] == [0, 20, 30]


def test_a_stop_does_not_wait_for_what_is_read_ahead() -> None:
    stopped = threading.Event()
    with ReadAhead[float, bool](stopped.wait) as items:
        items.take(0, 10)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    stopped.set()


def test_a_scan_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.nii: there is no such file"):
        read_scan(tmp_path / "gone.nii")

"""Work side by side: the same results in the same order, a core for each, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from LandmarkDetectionLib.detection.parallel import each

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_each_from_a_thread_with_one_core() -> None:
    def work(number: int) -> tuple[int, int, str]:
        time.sleep(0.02 * (3 - number % 3))
        return number, torch.get_num_threads(), threading.current_thread().name

    done = list(each(work, range(9), CPU))
    assert [number for number, _, _ in done] == list(range(9))
    assert {count for _, count, _ in done} == {1}
    assert 1 < len({name for _, _, name in done}) <= 3
    assert torch.get_num_threads() == 3


def test_as_many_as_there_are_threads_are_worked_on_at_a_time() -> None:
    meeting = threading.Barrier(3, timeout=20)
    list(each(lambda _: meeting.wait(), range(6), CPU))


@pytest.mark.parametrize("items", [[], [7]])
def test_nothing_and_one_thing_need_no_thread(items: list[int]) -> None:
    names = list(each(lambda _: threading.current_thread().name, items, CPU))
    assert names == [threading.current_thread().name] * len(items)


def test_on_a_gpu_one_comes_after_the_other() -> None:
    names = list(each(lambda _: threading.current_thread().name, range(4), torch.device("cuda")))
    assert set(names) == {threading.current_thread().name}


def test_an_exception_of_the_work_and_of_who_takes_it_ends_it() -> None:
    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        time.sleep(0.01)
        return number

    begun: list[int] = []
    with pytest.raises(ValueError, match="two"):
        list(each(work, range(100), CPU))
    assert len(begun) < 100 and torch.get_num_threads() == 3
    begun.clear()
    results = each(work, range(3, 100), CPU)
    next(results)
    results.close()
    assert len(begun) < 97 and torch.get_num_threads() == 3

"""Work on small things side by side, each on a core of its own.

A field is too small to be shared out over cores: the threads of one convolution wait for each other, and
where another program takes one of the cores away, all wait for the slowest. Fields side by side wait for
nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> Generator[Result]:
    """The results of `work` in the order of the items.

    On a CPU as many items are worked on at a time as PyTorch may use threads, with one thread each; on a GPU
    one after the other. An exception, of the work or of who takes the results, ends it.

    Args:
        work: is called from other threads.
        items: each is given to `work` once.
        device: where PyTorch computes.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) < 2:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(min(threads, len(items)), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)

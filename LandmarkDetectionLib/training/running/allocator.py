"""The C library's memory allocator, set up for training."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones.

    glibc gives every large block back to the kernel, which clears it page by page when it is asked for
    again: a third of a training step on a CPU. Elsewhere this does nothing.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no mallopt
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)

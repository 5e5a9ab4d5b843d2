"""Packages that only some of the functions need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from LandmarkDetectionLib.data.errors import InputError

TRAINING = 'pip install -e ".[train]" in the folder of LandmarkDetection'


@contextmanager
def needing(function: str, cure: str) -> Iterator[None]:
    """Say what to install where an import within finds that a package is not there.

    Args:
        function: what needs it.
        cure: how to install it.

    Raises:
        InputError: then.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{function} needs {error.name}, which is not installed here; install it with: {cure}"
        ) from error

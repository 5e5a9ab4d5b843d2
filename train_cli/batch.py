"""Commands that go through the cases of a split: behind progress bars, and how they end if some failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from train_cli.console import Console

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.batch import Batch


def batch_of(split: Path, console: Console, *, images: bool = True) -> Batch:
    """The cases of a split, each that fails told; `images` says whether the work needs their images."""
    from LandmarkDetectionLib.data.batch import Batch

    return Batch(split, images=images, tell=console.warn, track=console.track)


@contextmanager
def ending_without_cases(batch: Batch, console: Console) -> Iterator[None]:
    """End the command when no case is left."""
    from LandmarkDetectionLib.data.batch import NothingLeftError

    try:
        yield
    except NothingLeftError:
        console.result({"failed": batch.failures})
        end(batch, console)


def end(batch: Batch, console: Console) -> None:
    """End the command with exit code 2 if a case failed."""
    if batch.failures:
        done = "The other cases are done." if batch.cases else "There is nothing left to do."
        console.warn(f"{len(batch.failures)} of the cases failed, see above. {done}")
        raise typer.Exit(2)

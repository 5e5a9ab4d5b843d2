"""How a long computation says how far it is, and is told to stop."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of it that is done, 0 to 1; raise in it to cancel."""


def no_progress(stage: str, fraction: float) -> None:
    """Says nothing."""


def part_of(progress: Progress, first: float, last: float) -> Progress:
    """Tells of the whole of something as the share of its stage from `first` to `last`."""
    return lambda stage, fraction: progress(stage, first + (last - first) * fraction)

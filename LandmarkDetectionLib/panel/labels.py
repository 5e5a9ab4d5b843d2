"""Labels and bars that are quiet while they have nothing to say."""

from __future__ import annotations

from typing import Any


def say(label: Any, text: str) -> None:
    """Show a text in a label; one without a text takes no room."""
    label.text = text
    label.visible = bool(text)


def show_progress(bar: Any, fraction: float, text: str) -> None:
    """Fill a bar up to a fraction, 0 to 1, and write a text into it."""
    bar.enabled = True
    bar.value = round(bar.maximum * fraction)
    bar.format = text


def rest(bar: Any) -> None:
    """Empty a bar. It stays in its place: CTK shows a hidden one again when its section is unfolded."""
    show_progress(bar, 0, "")
    bar.enabled = False

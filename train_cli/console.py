"""What the commands show to people and to scripts."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import TextIOWrapper
from typing import Any, Protocol, TypeVar

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")
_BETWEEN_LINES = 30.0
"""Seconds between two lines about progress where there is no terminal."""


class Advance(Protocol):
    """Moves a progress bar; what is done at the first call was done before, and says nothing of the speed."""

    def __call__(self, done: int, total: int, name: str = "", /) -> None:
        """Say how many items of how many are done, and the name of the last."""


class Console:
    """Results on standard output, progress and warnings on standard error.

    Attributes:
        quiet: show only errors, warnings and a `--json` result.
        json: the one thing on standard output is the JSON object given to `result`.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        self.quiet = quiet
        self.json = json
        self._results = RichConsole(quiet=quiet or json, highlight=False)
        self._errors = RichConsole(stderr=True, highlight=False)

    def say(self, sentence: str) -> None:
        """A line for people."""
        self._results.print(Text(sentence), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people; a column of numbers stands right-aligned."""
        cells = list(rows)
        table = Table()
        for index, column in enumerate(columns):
            numeric = all(isinstance(row[index], int | float) for row in cells)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(_shown(cell)) for cell in row))
        self._results.print(table)

    def warn(self, sentence: str) -> None:
        """A line about something wrong that does not stop the command; shown even when quiet."""
        self._errors.print(Text(sentence, style="yellow"), soft_wrap=True)

    def trace(self, text: str) -> None:
        """The traceback of an error."""
        self._errors.print(Text(text), soft_wrap=True)

    def track(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """Give `items` one by one and show how far along they are.

        Args:
            items: what to go through.
            what: what is going on, like "Drawing masks".
        """
        with self.progress(what) as advance:
            for done, item in enumerate(items):
                advance(done, len(items))
                yield item
            advance(len(items), len(items))

    @contextmanager
    def progress(self, what: str) -> Iterator[Advance]:
        """Show a bar that the function it gives moves; where there is no terminal, a line now and then."""
        if not (self.quiet or self._errors.is_terminal):
            yield _Lines(self._errors, what)
            return
        with self._bar() as bar:
            task = bar.add_task(what, start=False, total=None)

            def advance(done: int, total: int, name: str = "", /) -> None:
                if not bar.tasks[0].started:
                    bar.reset(task, completed=done)
                bar.update(task, completed=done, total=total, description=f"{what} {name}".strip())

            yield advance

    def result(self, values: Mapping[str, object]) -> None:
        """The command's result for scripts: a JSON object on standard output, with `--json` only."""
        if self.json:
            print(json.dumps(_plain(values), indent=2, allow_nan=False))

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._errors,
            disable=self.quiet,
        )


class _Lines:
    """Progress in a log file: a line every half minute, and one at the end of what took as long."""

    def __init__(self, console: RichConsole, what: str) -> None:
        self._console, self._what = console, what
        self._before: int | None = None
        self._start = self._said = 0.0

    def __call__(self, done: int, total: int, name: str = "", /) -> None:
        now = time.monotonic()
        if self._before is None:
            self._before, self._start, self._said = done, now, now
        ends = done >= total and now - self._start >= _BETWEEN_LINES
        if now - self._said < _BETWEEN_LINES and not ends:
            return
        self._said = now
        here = done - self._before
        left = timedelta(seconds=round((now - self._start) * (total - done) / here)) if here else "?"
        text = f"{self._what} {name}".strip()
        self._console.print(Text(f"{text}: {done} of {total}, left {left}"), soft_wrap=True)


def allow_any_text() -> None:
    """Let a terminal that lacks a character show its code instead, so that no path or name is an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_error(sentence: str) -> None:
    """A red line on standard error."""
    RichConsole(stderr=True).print(Text(sentence, style="bold red"), soft_wrap=True)


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.3f}"
    return str(cell)


def _plain(value: Any) -> Any:
    """The same in JSON's own types: null for what is not a finite number, text for a path."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)

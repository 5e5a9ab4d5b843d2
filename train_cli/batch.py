"""Going through the cases of a split so that a bad one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from LandmarkDetectionLib.data.errors import InputError
from train_cli.console import Console

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case

Result = TypeVar("Result")


class Batch:
    """The cases of a split, those that failed so far, and why.

    Attributes:
        cases: those that can be used still.
        failures: a sentence for each of the others.
    """

    def __init__(self, split: Path, console: Console, *, images: bool = True) -> None:
        """Read the split; `images` says whether the work needs the cases' images."""
        from LandmarkDetectionLib.data.cases import COLUMNS, find_problems, read_rows

        rows = read_rows(split, supervised=True)
        self._console = console
        self.failures: dict[str, str] = {}
        for problem in find_problems(rows, supervised=True, files=COLUMNS[1 if images else 2 :]):
            self._fail(problem.row.place, problem.message)
        self.cases = [row.case for row in rows if row.place not in self.failures]

    def each(self, what: str, work: Callable[[Case], Result]) -> dict[str, Result]:
        """Do `work` on every case, behind a progress bar; gives the results by case name.

        A case whose work raises an `InputError` is reported and is no longer one of `cases`; when none is
        left, the command ends.
        """
        results = {}
        for case in self._console.track(self.cases, what):
            try:
                results[case.name] = work(case)
            except InputError as error:
                self._fail(case.name, str(error))
        self.cases = [case for case in self.cases if case.name in results]
        if not self.cases:
            self._console.result({"failed": self.failures})
            self.end()
        return results

    def end(self) -> None:
        """End the command with exit code 2 if a case failed."""
        if self.failures:
            done = "The other cases are done." if self.cases else "There is nothing left to do."
            self._console.warn(f"{len(self.failures)} of the cases failed, see above. {done}")
            raise typer.Exit(2)

    def _fail(self, case: str, sentence: str) -> None:
        self.failures[case] = sentence
        self._console.warn(sentence)

"""Going through the cases of a split so that a bad one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from LandmarkDetectionLib.data.cases import COLUMNS, Case, find_problems, read_rows
from LandmarkDetectionLib.data.errors import InputError

Result = TypeVar("Result")


class NothingLeftError(InputError):
    """None of the cases of a split can be used."""


def untracked(cases: Sequence[Case], what: str, /) -> Iterable[Case]:
    """Shows nothing."""
    return cases


class Batch:
    """The cases of a split, those that failed so far, and why.

    Args:
        split: the CSV; every case needs landmarks.
        images: whether the work needs the cases' images.
        tell: takes the sentence of each case that fails, at once.
        track: gives cases one by one, and shows how far along they are with what.

    Attributes:
        split: the CSV.
        cases: those that can be used still.
        failures: a sentence for each of the others.

    Raises:
        InputError: if the split cannot be read.
    """

    def __init__(
        self,
        split: Path,
        *,
        images: bool = True,
        tell: Callable[[str], None],
        track: Callable[[Sequence[Case], str], Iterable[Case]] = untracked,
    ) -> None:
        rows = read_rows(split, supervised=True)
        self._tell, self._track = tell, track
        self.split = split
        self.failures: dict[str, str] = {}
        for problem in find_problems(rows, supervised=True, files=COLUMNS[1 if images else 2 :]):
            self._fail(problem.row.place, problem.message)
        self.cases = [row.case for row in rows if row.place not in self.failures]

    def each(self, what: str, work: Callable[[Case], Result]) -> dict[str, Result]:
        """Do `work` on every case; gives the results by case name.

        A case whose work raises an `InputError` is told and is no longer one of `cases`.

        Args:
            what: is being done, like "Reading landmarks".
            work: on one case.

        Raises:
            NothingLeftError: if no case is left.
        """
        results = {}
        for case in self._track(self.cases, what):
            try:
                results[case.name] = work(case)
            except InputError as error:
                self._fail(case.name, str(error))
        self.cases = [case for case in self.cases if case.name in results]
        if not self.cases:
            first = next(iter(self.failures.values()))
            raise NothingLeftError(f"{self.split}: none of the cases can be used, the first because: {first}")
        return results

    def _fail(self, case: str, sentence: str) -> None:
        self.failures[case] = sentence
        self._tell(sentence)

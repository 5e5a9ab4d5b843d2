"""Detections that are to be evaluated: whether they can be, and whether a person has changed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.digests import file_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.records import RECORDS_NAME, Records
from LandmarkDetectionLib.detection.results import CaseDetections, case_path, read_case

_SHOWN = 3
"""So many names are listed in a sentence."""
_SAME = 1e-3
"""Positions in two files that differ by less are one, mm."""


class DetectionsFolder:
    """The `CASE.csv` of a folder of results, and what was changed there since they were written.

    Args:
        folder: that `detect` wrote, or of another program.

    Raises:
        InputError: if there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; give the folder that detect wrote.")
        self._records = Records(self._folder / RECORDS_NAME)
        self._edited: list[str] = []
        self._corrected: list[str] = []

    def read(self, case: Case, truth: LandmarkSet) -> CaseDetections:
        """The detections of a case, which can be compared with its truth.

        Args:
            case: whose results are read.
            truth: its landmarks.

        Raises:
            InputError: if `CASE.csv` is missing or wrong, lacks landmarks of its `CASE.mrk.json`, or has no
                name in common with the truth.
        """
        result = read_case(self._folder, case.name)
        path = case_path(self._folder, case.name, ".csv")
        _refuse_other_names(path, result, truth, case.landmark_path or case.mask_path)
        known = self._digests(case.name, path.name)
        edited = bool(known) and file_digest(path) not in known
        markups = case_path(self._folder, case.name, ".mrk.json")
        differs = False
        if markups.is_file() and not _is_truth(markups, case):
            marked = _read_or_none(markups)
            differs = marked is None or _differ(result, marked)
            if marked is not None and (edited or not known):
                _refuse_cut(path, result, marked)
        if edited:
            self._edited.append(path.name)
        elif differs:
            self._corrected.append(markups.name)
        return result

    def changes(self) -> list[str]:
        """What a person has changed in the results that were read, a sentence for each kind of file."""
        sentences = []
        if self._edited:
            sentences.append(
                f"{self._folder}: {_listed(self._edited)} changed since detect wrote it, by hand most "
                "likely; what was evaluated is the .csv as it is now."
            )
        if self._corrected:
            sentences.append(
                f"{self._folder}: {_listed(self._corrected)} says otherwise than the .csv of the case, most "
                "likely because a person corrected it; what was evaluated is the .csv, without the "
                "corrections."
            )
        return sentences

    def _digests(self, case: str, file: str) -> Sequence[str]:
        """Those that a file may have as `detect` wrote it; none where no record can be read."""
        try:
            entry = self._records.entry(case)
        except InputError:
            return ()
        return entry.files.get(file, ()) if entry else ()


def _refuse_other_names(path: Path, result: CaseDetections, truth: LandmarkSet, where: Path | None) -> None:
    if not result.detections:
        raise InputError(f"{path}: not one landmark stands there; detect those of '{result.case}' again.")
    if truth.names and not set(truth.names) & result.by_name.keys():
        raise InputError(
            f"{path}: none of its landmarks ({_listed([*result.by_name])}) is in the truth, {where} "
            f"({_listed(truth.names)}); spell the names alike in both, capitals too, or give the detections "
            "of a model with these landmarks."
        )


def _refuse_cut(path: Path, result: CaseDetections, marked: LandmarkSet) -> None:
    lacking = [name for name in marked.names if name not in result.by_name]
    if lacking:
        raise InputError(
            f"{path}: it lacks {len(lacking)} of the {len(marked)} landmarks of {path.stem}.mrk.json beside "
            f"it ({_listed(lacking)}); detect the landmarks of '{result.case}' again."
        )


def _is_truth(path: Path, case: Case) -> bool:
    return case.landmark_path is not None and case.landmark_path.resolve() == path.resolve()


def _read_or_none(path: Path) -> LandmarkSet | None:
    try:
        return read_landmarks(path)
    except InputError:
        return None


def _differ(result: CaseDetections, marked: LandmarkSet) -> bool:
    names = [*result.by_name]
    if set(names) != set(marked.names):
        return True
    positions = np.array([item.position for item in result.detections])
    return not np.allclose(positions, marked.positions_of(names), rtol=0, atol=_SAME, equal_nan=True)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

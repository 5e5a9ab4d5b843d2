"""Detections that are to be evaluated: whether they can be, and whether a person has changed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import CaseDetections, case_path, read_case

_SHOWN = 3
"""So many names are listed in a sentence."""


def read_detections(folder: Path, case: Case, truth: LandmarkSet) -> CaseDetections:
    """The detections of a case, which can be compared with its truth.

    Args:
        folder: of the results.
        case: whose results are read.
        truth: its landmarks.

    Raises:
        InputError: if `CASE.csv` is missing or wrong, or has no name in common with the truth.
    """
    result = read_case(folder, case.name)
    path = case_path(folder, case.name, ".csv")
    if not result.detections:
        raise InputError(
            f"{path}: not one landmark stands there; detect the landmarks of '{case.name}' again."
        )
    if truth.names and not set(truth.names) & result.by_name.keys():
        raise InputError(
            f"{path}: none of its landmarks ({_listed([*result.by_name])}) is in the truth, "
            f"{case.landmark_path or case.mask_path} ({_listed(truth.names)}); spell the names alike in "
            "both, capitals too, or give the detections of a model with these landmarks."
        )
    return result


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

"""Finding the scans of a folder, and the landmark files and masks that belong to them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from LandmarkDetectionLib.data.cases import Case, natural_key
from LandmarkDetectionLib.data.dicom_series import Series, choose_series, series_below
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import LANDMARK_SUFFIXES
from LandmarkDetectionLib.data.volume import image_stem, is_image_path

MASK_ENDING = "_mask"
DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class Scan:
    """A scan of a folder.

    Attributes:
        name: the name of its case.
        path: an image, a folder with one DICOM series, or a file that stands for a series.
        patient: whose scan it is, as DICOM says it; '' if not known.
        problem: why it cannot be told which series of the patient to take; '' if it can.
    """

    name: str
    path: Path
    patient: str = ""
    problem: str = ""


def scans_in(folder: Path, *, series: str | None = None, each: bool = False) -> list[Scan]:
    """The scans of a folder: its images, or the DICOM series in it and in the folders below.

    `CASE_mask` beside `CASE` is not a scan, nor is a hidden file. A DICOM series is named after its folder,
    and its number where there are several in one.

    Args:
        folder: where to look.
        series: which DICOM series: a number, a UID or words of the description.
        each: take every DICOM series that is not a localiser.

    Raises:
        InputError: if two scans would have the same case name, no series is the one that is wanted, or there
            is one patient only and it takes a choice. Of several patients, one with a problem stands for it.
    """
    images: dict[str, Path] = {}
    for path in sorted(_images_in(folder)):
        if path.is_file():
            name = image_stem(path)
            if name in images:
                raise InputError(f"{path}: {images[name].name} has the same case name; rename one of them.")
            images[name] = path
    if not images:
        return _scans_of_series(folder, series_below(folder), series, each=each)
    return [
        Scan(name, images[name])
        for name in sorted(images, key=natural_key)
        if not (name.endswith(MASK_ENDING) and name.removesuffix(MASK_ENDING) in images)
    ]


def _scans_of_series(folder: Path, found: list[Series], wanted: str | None, *, each: bool) -> list[Scan]:
    """The chosen series; where nothing is wanted, of each patient by itself."""
    patients: dict[str, list[Series]] = {}
    for item in found:
        patients.setdefault(item.patient or str(item.folder), []).append(item)
    if each or wanted is not None or len(patients) < 2:
        return _named(folder, found, choose_series(found, wanted=wanted, each=each)) if found else []
    chosen, problems = [], []
    for patient, own in patients.items():
        try:
            chosen += choose_series(own)
        except InputError as error:
            place = Path(os.path.commonpath([item.folder for item in own]))
            name = "_".join(place.relative_to(folder).parts) or patient
            problems.append(Scan(name, place, own[0].patient, str(error)))
    return [*_named(folder, found, chosen), *problems]


def _named(folder: Path, found: Sequence[Series], chosen: Sequence[Series]) -> list[Scan]:
    """Chosen series under their folders' names, with a number where a folder has several."""
    inside = Counter(item.folder for item in found)
    scans: dict[str, Scan] = {}
    for item in chosen:
        alone = inside[item.folder] == 1
        name = "_".join(item.folder.relative_to(folder).parts) or folder.resolve().name
        name = name if alone else f"{name}_{item.number}"
        name = name if name not in scans else f"{name}_{item.uid}"
        scans[name] = Scan(name, item.folder if alone else item.first, item.patient)
    return list(scans.values())


def series_facts(folder: Path, *, anonymous: bool = False) -> list[dict[str, str]]:
    """What there is of DICOM in a folder without images, a row a series; nothing for any other folder.

    Args:
        folder: where to look.
        anonymous: leave out who it is and where it lies, for folders have names.
    """
    if not folder.is_dir() or _images_in(folder):
        return []
    rows = [series.facts() for series in series_below(folder)]
    hidden = {"patient", "folder", "problem", "uid"} if anonymous else set()
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows]


def anonymised(cases: Sequence[Case]) -> list[Case]:
    """The same cases with numbers in place of their names and groups; their paths stay as they are."""
    groups = {group: str(number) for number, group in enumerate(sorted({case.group for case in cases}), 1)}
    digits = len(str(len(cases)))
    return [
        replace(
            case, name=f"case-{number:0{digits}}", group=groups[case.group] if case.group else "", other={}
        )
        for number, case in enumerate(cases, 1)
    ]


def collect_cases(
    folder: Path,
    *,
    landmarks: Path | None = None,
    group: str | None = None,
    series: str | None = None,
    each: bool = False,
) -> list[Case]:
    """The scans of a folder that have landmarks, as cases.

    The landmarks of `CASE.nii.gz` are `CASE.mrk.json`, `CASE.fcsv` or `CASE.csv`, the first there is; its
    mask is `CASE_mask` with an image suffix.

    Args:
        folder: where the images and masks are.
        landmarks: where the landmark files are; `folder` if None.
        group: regular expression searched in the case name: what its first matching bracket holds, or the
            whole match where it has no brackets, is the group; None leaves every case on its own, but
            for the DICOM series of one patient.
        series: which DICOM series: a number, a UID or words of the description.
        each: take every DICOM series that is not a localiser.

    Raises:
        InputError: if there is no scan with landmarks or the expression is not one.
    """
    pattern = _compiled(group) if group is not None else None
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder that holds the scans.")
    scans = scans_in(folder, series=series, each=each)
    for scan in scans:
        if scan.problem:
            raise InputError(scan.problem)
    if landmarks is not None and not landmarks.is_dir():
        raise InputError(f"{landmarks}: there is no such folder; give the folder of the landmark files.")
    masks = {image_stem(path): path for path in _images_in(folder)}
    cases = []
    for scan in scans:
        points = _landmark_file(landmarks or folder, scan.name)
        mask = masks.get(scan.name + MASK_ENDING)
        if points is not None or mask is not None:
            relatives = _group_of(scan.name, pattern) if pattern else scan.patient
            cases.append(Case(scan.name, scan.path, points, mask, relatives))
    if not cases:
        first = scans[0].name if scans else "CASE"
        raise InputError(
            f"{folder}: {len(scans)} images, none with landmarks; put CASE.mrk.json for CASE.nii.gz "
            f"in {landmarks or folder} (for the first, {first}.mrk.json)."
        )
    return cases


def _images_in(folder: Path) -> list[Path]:
    """Files that are named like images; half-written ones, and macOS's shadows, have names with a dot."""
    return [path for path in folder.iterdir() if is_image_path(path) and not path.name.startswith(".")]


def _landmark_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for suffix in LANDMARK_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _compiled(group: str) -> re.Pattern[str]:
    try:
        return re.compile(group)
    except re.error as error:
        raise InputError(
            f"--group {group}: this is not a regular expression ({error}); correct it."
        ) from error


def _group_of(name: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(name)
    if match is None:
        return ""
    return next((part for part in match.groups() if part), match[0])

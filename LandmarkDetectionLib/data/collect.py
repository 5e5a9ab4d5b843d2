"""Finding the scans of a folder, and the landmark files and masks that belong to them."""

from __future__ import annotations

import re
from pathlib import Path

from LandmarkDetectionLib.data.cases import Case, natural_key
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import LANDMARK_SUFFIXES
from LandmarkDetectionLib.data.volume import image_stem, is_image_path

MASK_ENDING = "_mask"


def scans_in(folder: Path) -> dict[str, Path]:
    """The images of a folder by case name; `CASE_mask` beside `CASE` is not a scan, nor is a hidden file.

    Raises:
        InputError: if two images would have the same case name.
    """
    images: dict[str, Path] = {}
    for path in sorted(_images_in(folder)):
        if path.is_file():
            name = image_stem(path)
            if name in images:
                raise InputError(f"{path}: {images[name].name} has the same case name; rename one of them.")
            images[name] = path
    return {
        name: images[name]
        for name in sorted(images, key=natural_key)
        if not (name.endswith(MASK_ENDING) and name.removesuffix(MASK_ENDING) in images)
    }


def collect_cases(folder: Path, *, landmarks: Path | None = None, group: str | None = None) -> list[Case]:
    """The scans of a folder that have landmarks, as cases.

    The landmarks of `CASE.nii.gz` are `CASE.mrk.json`, `CASE.fcsv` or `CASE.csv`, the first there is; its
    mask is `CASE_mask` with an image suffix.

    Args:
        folder: where the images and masks are.
        landmarks: where the landmark files are; `folder` if None.
        group: regular expression searched in the case name: what its first matching bracket holds, or the
            whole match where it has no brackets, is the group; None leaves every case on its own.

    Raises:
        InputError: if there is no scan with landmarks or the expression is not one.
    """
    pattern = _compiled(group) if group is not None else None
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder that holds the scans.")
    scans = scans_in(folder)
    if landmarks is not None and not landmarks.is_dir():
        raise InputError(f"{landmarks}: there is no such folder; give the folder of the landmark files.")
    masks = {image_stem(path): path for path in _images_in(folder)}
    cases = []
    for name, image in scans.items():
        points = _landmark_file(landmarks or folder, name)
        mask = masks.get(name + MASK_ENDING)
        if points is not None or mask is not None:
            cases.append(Case(name, image, points, mask, _group_of(name, pattern)))
    if not cases:
        raise InputError(
            f"{folder}: {len(scans)} images, none with landmarks; put CASE.mrk.json for CASE.nii.gz "
            f"in {landmarks or folder}."
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


def _group_of(name: str, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(name) if pattern else None
    if match is None:
        return ""
    return next((part for part in match.groups() if part), match[0])

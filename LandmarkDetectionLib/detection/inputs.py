"""What there is to detect in: one scan, a folder of scans, or the cases of a split."""

from __future__ import annotations

from pathlib import Path

from LandmarkDetectionLib.data.cases import Case, read_rows
from LandmarkDetectionLib.data.collect import scans_in
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import image_stem


def find_inputs(path: Path) -> list[Case]:
    """The cases behind `path`: an image, a DICOM folder, a folder of images, or a split CSV.

    In a folder, `CASE_mask` beside `CASE` is not an input. Whether the scans can be read is not looked at.

    Raises:
        InputError: if there is nothing, or two scans of a folder would have the same case name.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the path.")
    if path.is_file() and path.suffix.lower() == ".csv":
        return [row.case for row in read_rows(path, supervised=False)]
    if path.is_file():
        return [Case(image_stem(path), path)]
    scans = [Case(name, image) for name, image in scans_in(path).items()]
    return scans or [Case(path.resolve().name, path)]

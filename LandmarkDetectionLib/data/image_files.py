"""The files that a scan consists of."""

from __future__ import annotations

import re
from pathlib import Path

from LandmarkDetectionLib.data.dicom_series import is_dicom, series_of

_TEXT_HEADER_BYTES = 1 << 16
_DATA_FILE_FLAGS = re.MULTILINE | re.IGNORECASE | re.DOTALL


def files_of(path: Path) -> list[Path]:
    """All files of a scan: itself, the voxels that its header names, those of a DICOM series or folder."""
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.is_file())
    if is_dicom(path):
        return sorted(series_of(path).headers)
    if not path.name.lower().endswith((".mhd", ".nhdr")):
        return [path]
    named = re.search(r"^(?:ElementDataFile\s*=|data ?file\s*:)(.*)\Z", text_header(path), _DATA_FILE_FLAGS)
    first, *rest = [line.strip() for line in named[1].splitlines()] if named else [""]
    names = rest if first.upper().startswith("LIST") else _numbered(first)
    return [path, *(path.parent / name for name in names if name and _is_file(path.parent / name))]


def text_header(path: Path) -> str:
    """What stands before the first empty line, in UTF-8 or Latin-1."""
    with path.open("rb") as stream:
        header = re.split(rb"\r?\n\r?\n", stream.read(_TEXT_HEADER_BYTES))[0]
    try:
        return header.decode("utf-8")
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _numbered(name: str) -> list[str]:
    """The files of a header's `slice%03d.raw 1 50 1`, or the one file that it names."""
    pattern = re.fullmatch(r"(.*%\d*d.*?)\s+(-?\d+)\s+(-?\d+)(?:\s+([1-9]\d*))?(?:\s+\d+)?", name)
    if pattern is None:
        return [name]
    first, last, step = int(pattern[2]), int(pattern[3]), int(pattern[4] or 1)
    return [pattern[1] % number for number in range(first, last + 1, step)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long to be one
        return False

"""Scans preprocessed once: on one grid and one intensity scale, compact and memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, case_landmarks, discover_table, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import replacing, write_text
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, read_table
from LandmarkDetectionLib.data.volume import Volume, read_volume

CACHE_VERSION = 1


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case ready for training.

    Attributes:
        name: of the case.
        group: cases that belong together (one patient, one family); '' if it stands alone.
        voxels_path: `.npy` file of normalised voxels, float16 [z, y, x].
        frame: of the voxels, in canonical orientation.
        positions: (K, 3) world LPS mm in the order of the landmark table; NaN where absent or not annotated.
    """

    name: str
    group: str
    voxels_path: Path
    frame: Frame
    positions: NDArray[np.float64]

    def volume(self) -> Volume:
        """The scan, memory-mapped: only what is touched is read."""
        return Volume(voxels=np.load(self.voxels_path, mmap_mode="r"), frame=self.frame)


@dataclass(frozen=True, eq=False)
class PreparedSplit:
    """All cases of one split CSV, and the digest of what they were made from."""

    cases: tuple[PreparedCase, ...]
    digest: str


def table_of(split: Path, landmarks: Path | None, cache: Path) -> LandmarkTable:
    """The landmark table of a training split, also where only the cache has travelled."""
    if landmarks is not None and landmarks.is_file():
        return read_table(landmarks)
    saved = cache / f"table-{_file_digest(split)[:24]}.json"
    if landmarks is not None and not saved.is_file():
        return read_table(landmarks)
    try:
        table = discover_table(read_split(split, supervised=True), split)
    except InputError:
        if not saved.is_file():
            raise
        return LandmarkTable(tuple(Landmark(**row) for row in json.loads(saved.read_text(encoding="utf-8"))))
    write_text(saved, json.dumps([asdict(landmark) for landmark in table.landmarks]))
    return table


def prepare_split(
    split: Path,
    table: LandmarkTable,
    preparation: Preparation,
    cache: Path,
    *,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> PreparedSplit:
    """Prepare every case of a split CSV, reusing what the cache already holds.

    Scans are keyed by the content of their files and by the preparation, and written in one step, so two
    processes can share a cache. An index remembers the sizes and times of the source files: while they are
    unchanged, or absent because only the cache has travelled to this machine, nothing is read again.

    Args:
        split: the CSV.
        table: the landmarks, in the order wanted.
        preparation: spacing and normaliser.
        cache: folder of the cache.
        progress: wraps the list of cases that have to be looked at, to show a bar.

    Raises:
        InputError: if a file is missing or wrong.
    """
    index = cache / f"{_key(preparation, _file_digest(split), *table.names)}.json"
    known = _read_index(index, cache)
    if known is not None:
        return known
    cases = read_split(split, supervised=True)
    rows = [_prepare_case(case, table, preparation, cache) for case in progress(cases)]
    write_text(index, json.dumps(rows))
    return _from_rows(rows, cache)


def _prepare_case(case: Case, table: LandmarkTable, preparation: Preparation, cache: Path) -> dict[str, Any]:
    landmarks = case_landmarks(case, table)
    key = _key(preparation, content_digest(case.image_path))
    voxels_path, frame_path = cache / f"{key}.npy", cache / f"{key}.frame.json"
    if not (voxels_path.is_file() and frame_path.is_file()):
        volume = preparation(read_volume(case.image_path))
        with replacing(voxels_path) as temporary, temporary.open("wb") as stream:
            np.save(stream, volume.voxels.astype(np.float16))
        write_text(frame_path, json.dumps(_frame_to_json(volume.frame)))
    sources = [path for path in (case.image_path, case.landmark_path, case.mask_path) if path is not None]
    return {
        "name": case.name,
        "group": case.group,
        "key": key,
        "positions": landmarks.positions_of(table.names).tolist(),
        "sources": {str(path): _state(path) for path in sources},
    }


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a DICOM folder in the order of their names."""
    files = sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]
    return hashlib.sha256("".join(_file_digest(item) for item in files).encode()).hexdigest()


def _key(preparation: Preparation, *content: str) -> str:
    recipe = json.dumps([CACHE_VERSION, asdict(preparation), *content])
    return hashlib.sha256(recipe.encode()).hexdigest()[:24]


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_index(index: Path, cache: Path) -> PreparedSplit | None:
    if not index.is_file():
        return None
    rows = json.loads(index.read_text(encoding="utf-8"))
    for row in rows:
        if not (cache / f"{row['key']}.npy").is_file() or not (cache / f"{row['key']}.frame.json").is_file():
            return None
        for path, state in row["sources"].items():
            if Path(path).exists() and _state(Path(path)) != state:
                return None
    return _from_rows(rows, cache)


def _from_rows(rows: list[dict[str, Any]], cache: Path) -> PreparedSplit:
    cases = tuple(
        PreparedCase(
            name=row["name"],
            group=row["group"],
            voxels_path=cache / f"{row['key']}.npy",
            frame=Frame(**json.loads((cache / f"{row['key']}.frame.json").read_text(encoding="utf-8"))),
            positions=np.array(row["positions"], dtype=np.float64),
        )
        for row in rows
    )
    content = json.dumps([[row["key"], row["positions"]] for row in rows])
    return PreparedSplit(cases=cases, digest=hashlib.sha256(content.encode()).hexdigest())


def _state(path: Path) -> list[int]:
    newest = max((item.stat() for item in path.iterdir()), key=lambda s: s.st_mtime_ns) if path.is_dir() else path.stat()
    return [newest.st_size, newest.st_mtime_ns]


def _frame_to_json(frame: Frame) -> dict[str, Any]:
    return {
        "size": list(frame.size),
        "origin": frame.origin.tolist(),
        "spacing": frame.spacing.tolist(),
        "direction": frame.direction.tolist(),
    }

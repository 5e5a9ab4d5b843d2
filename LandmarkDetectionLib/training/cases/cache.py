"""Scans preprocessed once: on one grid and one intensity scale, compact and memory-mapped."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, case_landmarks, discover_table, read_rows, read_split
from LandmarkDetectionLib.data.digests import content_digest, file_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import replacing, write_text
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.image_files import files_of
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, read_table
from LandmarkDetectionLib.data.volume import Volume, read_volume

CACHE_VERSION = 4


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case ready for training.

    Attributes:
        name: of the case.
        group: cases that belong together (one patient, one family); '' if it stands alone.
        voxels_path: `.npy` file of normalised voxels, float16 [z, y, x].
        frame: of the voxels, in canonical orientation.
        scanned: (3,) edges of the voxels that the scan came with, mm.
        positions: (K, 3) world LPS mm in the order of the landmark table; NaN where absent, outside the scan,
            or unknown.
        known: (K,) whether the annotation speaks of the landmark, be it present or absent.
        lowest: the smallest normalised value of the scan; kept, for to find it is to read the whole scan.
    """

    name: str
    group: str
    voxels_path: Path
    frame: Frame
    scanned: NDArray[np.float64]
    positions: NDArray[np.float64]
    known: NDArray[np.bool_]
    lowest: float

    @property
    def scan(self) -> str:
        """Digest of the scan's content and of how it is prepared."""
        return self.voxels_path.stem

    def volume(self) -> Volume:
        """The scan, memory-mapped: only what is touched is read."""
        return Volume(voxels=np.load(self.voxels_path, mmap_mode="r"), frame=self.frame)

    def whole_volume(self) -> Volume:
        """The scan in memory, float32."""
        return Volume(voxels=np.load(self.voxels_path).astype(np.float32), frame=self.frame)


def digest_of(cases: Sequence[PreparedCase]) -> str:
    """SHA-256 of what cases teach: their scans' content and preparation, and their landmarks."""
    content = [[case.scan, case.positions.tolist(), case.known.tolist()] for case in cases]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def table_of(split: Path, landmarks: Path | None, cache: Path) -> LandmarkTable:
    """The landmark table of a training split, also where only the cache has travelled.

    Args:
        split: the CSV.
        landmarks: the `landmarks.csv` to use; None takes the one beside the split, or the names in the cases.
        cache: folder of the cache.

    Raises:
        InputError: if `landmarks` or the split cannot be read, or names no landmark.
    """
    if landmarks is not None:
        return read_table(landmarks)
    saved = cache / f"table-{_split_digest(split)[:24]}.json"
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
) -> tuple[PreparedCase, ...]:
    """Prepare every case of a split CSV, reusing what the cache already holds.

    Scans are keyed by the content of their files and by the preparation, and written in one step, so two
    processes can share a cache. Each takes the cases in an order of its own: those that start together share
    the work. An index remembers the sizes and times of the files that the split names:
    while they are unchanged, or absent because only the split and the cache have travelled to this machine,
    nothing is read again.

    Args:
        split: the CSV.
        table: the landmarks, in the order wanted.
        preparation: spacing and normaliser.
        cache: folder of the cache.
        progress: wraps the list of cases that have to be looked at, to show a bar.

    Raises:
        InputError: if a file is missing or wrong.
    """
    landmarks = [f"{landmark.label} {landmark.name}" for landmark in table.landmarks]
    index = cache / f"{_key(preparation, _split_digest(split), *landmarks)}.json"
    known = _read_index(index, split, cache)
    if known is not None:
        return known
    cases = read_split(split, supervised=True)
    order = random.SystemRandom().sample(range(len(cases)), len(cases))
    looked_at = progress([cases[number] for number in order])
    made = [_prepare_case(case, table, preparation, cache) for case in looked_at]
    rows = [row for _, row in sorted(zip(order, made, strict=True), key=itemgetter(0))]
    write_text(index, json.dumps(rows))
    return _from_rows(rows, cache)


def _prepare_case(case: Case, table: LandmarkTable, preparation: Preparation, cache: Path) -> dict[str, Any]:
    sources = {str(path): _state(path) for path in _sources(case)}
    landmarks = case_landmarks(case, table)
    key = _key(preparation, content_digest(case.image_path))
    voxels_path, frame_path = _paths(cache, key)
    if not _is_whole(voxels_path, frame_path):
        scan = read_volume(case.image_path)
        volume = preparation(scan)
        if not _is_whole(voxels_path, frame_path):  # on NFS, whoever reads a file that is replaced loses it
            _keep(volume, scan.frame, voxels_path, frame_path)
    frame = _read_about(frame_path).frame
    positions = landmarks.positions_of(table.names)
    positions[~frame.contains(positions)] = np.nan
    return {
        "name": case.name,
        "group": case.group,
        "key": key,
        "positions": positions.tolist(),
        "known": [name in landmarks.names for name in table.names],
        "sources": sources,
    }


def _keep(volume: Volume, scanned: Frame, voxels_path: Path, frame_path: Path) -> None:
    voxels = volume.voxels.astype(np.float16)
    with replacing(voxels_path) as temporary, temporary.open("wb") as stream:
        np.save(stream, voxels)
    content = {
        "frame": volume.frame.as_numbers(),
        "scanned": scanned.spacing.tolist(),
        "lowest": float(voxels.min()),
    }
    write_text(frame_path, json.dumps(content))


def _key(preparation: Preparation, *content: str) -> str:
    recipe = json.dumps([CACHE_VERSION, asdict(preparation), *content])
    return hashlib.sha256(recipe.encode()).hexdigest()[:24]


def _split_digest(split: Path) -> str:
    if not split.is_file():
        raise InputError(f"{split}: there is no such list of cases; check the path.")
    return file_digest(split)


def _read_index(index: Path, split: Path, cache: Path) -> tuple[PreparedCase, ...] | None:
    """What the cache holds for a split; None if there is nothing, or something has changed since."""
    if not index.is_file():
        return None
    rows = json.loads(index.read_text(encoding="utf-8"))
    cases = [row.case for row in read_rows(split, supervised=True)]
    if all(_is_current(row, case, cache) for row, case in zip(rows, cases, strict=True)):
        return _from_rows(rows, cache)
    return None


def _is_current(row: dict[str, Any], case: Case, cache: Path) -> bool:
    """Whether the cache holds a case, and none of its files has changed.

    The files are those that the split names from where it lies now: another data set may have the same split.
    """
    states = zip(_sources(case), row["sources"].values(), strict=False)
    unchanged = all(_state(path) == state for path, state in states if path.exists())
    return unchanged and _is_whole(*_paths(cache, row["key"]))


def _paths(cache: Path, key: str) -> tuple[Path, Path]:
    """The files of a scan's voxels and frame."""
    return cache / f"{key}.npy", cache / f"{key}.frame.json"


def _is_whole(voxels_path: Path, frame_path: Path) -> bool:
    """Whether both files are there, and neither was cut short on its way to this machine."""
    try:
        np.load(voxels_path, mmap_mode="r")
        _read_about(frame_path)
    except (OSError, EOFError, ValueError, KeyError):
        return False
    return True


class _About(NamedTuple):
    """A prepared scan, but for its voxels: as `PreparedCase` has it."""

    frame: Frame
    scanned: NDArray[np.float64]
    lowest: float


def _read_about(path: Path) -> _About:
    content = json.loads(path.read_text(encoding="utf-8"))
    scanned = np.array(content["scanned"], dtype=np.float64)
    return _About(Frame(**content["frame"]), scanned, content["lowest"])


def _sources(case: Case) -> list[Path]:
    return [path for path in (case.image_path, case.landmark_path, case.mask_path) if path is not None]


def _from_rows(rows: list[dict[str, Any]], cache: Path) -> tuple[PreparedCase, ...]:
    return tuple(_from_row(row, cache) for row in rows)


def _from_row(row: dict[str, Any], cache: Path) -> PreparedCase:
    voxels_path, frame_path = _paths(cache, row["key"])
    about = _read_about(frame_path)
    return PreparedCase(
        name=row["name"],
        group=row["group"],
        voxels_path=voxels_path,
        frame=about.frame,
        scanned=about.scanned,
        lowest=about.lowest,
        positions=np.array(row["positions"], dtype=np.float64),
        known=np.array(row["known"], dtype=np.bool_),
    )


def _state(path: Path) -> list[int]:
    """Size and time of a file; of several that make a scan, the sum and the latest."""
    stats = [item.stat() for item in files_of(path)]
    return [sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]

"""The check of a data set: what would spoil a training or make its test meaningless."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.axes import HALF_TURN, lie_turned, look_turned
from LandmarkDetectionLib.data.canonical import to_canonical
from LandmarkDetectionLib.data.cases import (
    SplitRow,
    case_landmarks,
    check_names_are_shared,
    find_problems,
    find_table,
    mask_landmarks,
    natural_key,
    read_rows,
)
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import read_mask
from LandmarkDetectionLib.data.outliers import Oddity, flat_landmarks, shape_oddities
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.units import UNITS, factor_by_scan, factor_by_size
from LandmarkDetectionLib.data.volume import Volume, read_volume

Severity = Literal["error", "warning"]
Progress = Callable[[int, int, str], None]
T = TypeVar("T")

MAX_DISAGREEMENT = 1.5
"""Voxels of the mask between a landmark in the file and the centre of its ball."""
_SURROUNDINGS = 2
"""Voxels to each side of a landmark in which the image must not be flat."""
_SHOWN = 5
_CONFUSABLE = {"[oO]": "0", "[lI|]": "1"}


@dataclass(frozen=True)
class Finding:
    """Something wrong or doubtful in a data set.

    Attributes:
        severity: an 'error' spoils the training or the test; a 'warning' wants a look.
        kind: what sort of thing, one word.
        case: the case's name, '' if it is about several.
        where: the file, or the file and line.
        message: one sentence that says what, and what to do.
    """

    severity: Severity
    kind: str
    case: str
    where: str
    message: str


@dataclass(frozen=True, eq=False)
class _Scan:
    """What is kept of an image: its frame and two fingerprints of its voxels.

    Attributes:
        frame: the geometry of the upright array.
        stored: of the array as it lies in the file.
        upright: of the array turned so that its axes run as near as can be along those of the world: the same
            for one scan stored in any axis order.
    """

    frame: Frame
    stored: bytes
    upright: bytes

    def agrees_with(self, other: _Scan) -> bool:
        """Whether both show the same values in the same places of the world."""
        return self.upright == other.upright and self.frame.agrees_with(other.frame)


@dataclass(frozen=True, eq=False)
class _Examined:
    """A case after the look at its files.

    `contrasts` are those of the landmarks; `turned` says whether the scan has its structures where the
    landmarks would be with other signs of x and y; `factor` brings them into the scan if their unit is wrong.
    """

    row: SplitRow
    split: Path
    scan: _Scan | None
    landmarks: LandmarkSet | None
    contrasts: NDArray[np.float64] | None
    turned: bool
    factor: float | None
    findings: list[Finding]


def check_splits(paths: Sequence[Path], *, progress: Progress | None = None) -> list[Finding]:
    """Check one or more splits of one data set, each case by itself and all together.

    A case that cannot be read is a finding; the others are checked all the same. A mask may lie on a grid of
    its own: then what counts is that its box covers the image's, and that its landmarks agree with the
    landmark file. In a split where no case has landmarks they are not missed: it is for detection.

    Args:
        paths: split CSV files, such as train.csv, val.csv and test.csv.
        progress: called after each case with the number done, the number of all, and the case's name.

    Returns:
        the findings, errors first, in the order of the splits. Kinds: name, file, image, landmarks, mask,
        label, frame, position, outside, axes, flat, names, group, duplicate, scale, mirrored, swapped,
        outlier.

    Raises:
        InputError: if a CSV itself or a landmark table cannot be read.
    """
    splits = {Path(path): read_rows(Path(path), supervised=True) for path in paths}
    findings: list[Finding] = []
    examined: list[_Examined] = []
    total = sum(map(len, splits.values()))
    for split, rows in splits.items():
        table = find_table(split, [row.case for row in rows])
        supervised = any(row.case.landmark_path or row.case.mask_path for row in rows)
        findings += [
            Finding("error", problem.kind, problem.row.case.name, problem.row.place, problem.message)
            for problem in find_problems(rows, supervised=supervised)
        ]
        for row in rows:
            examined.append(_examine(row, split, table))
            if progress is not None:
                progress(len(examined), total, row.case.name)
    items = [item for item in examined if item.landmarks is not None]
    names = sorted({name for item in items for name in _names(item)}, key=natural_key)
    oddities = shape_oddities([_positions(item, names) for item in items]) if items else []
    factors = _factors(items, oddities)
    findings += [
        finding
        for item in examined
        for finding in item.findings
        if not _is_the_unit(finding, factors.get(item))
    ]
    findings += _across_splits(examined)
    findings += _duplicate_images(examined)
    findings += _differing_names(examined)
    findings += _wrong_units(items, factors)
    findings += _wrong_signs(examined)
    findings += _odd_landmarks(items, names, oddities, factors)
    return sorted(findings, key=lambda finding: finding.severity)


def _examine(row: SplitRow, split: Path, table: LandmarkTable | None) -> _Examined:
    """Look at one case's files; missing ones have been reported."""
    case = row.case
    findings: list[Finding] = []

    def attempt(kind: str, path: Path | None, read: Callable[[Path], T]) -> T | None:
        if path is None or not path.exists():
            return None
        try:
            return read(path)
        except (InputError, OSError) as error:
            findings.append(Finding("error", kind, case.name, row.place, str(error)))
            return None

    image = attempt("image", case.image_path if row.has_image else None, read_volume)
    mask = attempt("mask", case.mask_path, read_mask)
    drawn = None if mask is None else attempt("label", case.mask_path, partial(mask_landmarks, mask, table))
    written = attempt("landmarks", case.landmark_path, lambda path: case_landmarks(case, table))
    landmarks = written if written is not None else drawn
    if image is not None and mask is not None:
        findings += _compare_frames(row, mask.frame, image.frame)
    if mask is not None and drawn is not None and written is not None:
        findings += _compare_positions(row, mask.frame, drawn, written)
    if image is not None and landmarks is not None:
        findings += _outside(row, landmarks, image.frame)
    contrasts, turned = None, False
    if image is not None and landmarks is not None:
        contrasts = _contrasts(image, landmarks)
        turned = look_turned(contrasts, _contrasts(image, _turned(landmarks)))
    factor = None
    if image is not None and written is not None:
        factor = factor_by_scan(written.positions[written.present], image.frame)
    scan = None if image is None else _scan(image)
    return _Examined(row, split, scan, landmarks, contrasts, turned, factor, findings)


def _turned(landmarks: LandmarkSet) -> LandmarkSet:
    return LandmarkSet(landmarks.names, landmarks.positions @ HALF_TURN)


def _compare_frames(row: SplitRow, mask: Frame, image: Frame) -> Iterator[Finding]:
    if mask.agrees_with(image):
        return
    if mask.size == image.size:
        message = (
            f"{row.case.mask_path}: the mask has as many voxels as the image but another origin, spacing "
            "or direction; draw the mask again on the image."
        )
        yield Finding("error", "frame", row.case.name, row.place, message)
        return
    axes = [np.linspace(0, count - 1, min(count, 16)) for count in image.size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    covered = float(mask.contains(image.index_to_world(grid)).mean())
    if covered == 0:
        message = f"{row.case.mask_path}: the mask lies beside the image; draw the mask again on the image."
        yield Finding("error", "frame", row.case.name, row.place, message)
    elif covered < 1:
        message = (
            f"{row.case.mask_path}: the mask covers {covered:.0%} of the image, and the rest counts as "
            "background; draw the mask on the whole image."
        )
        yield Finding("warning", "frame", row.case.name, row.place, message)


def _compare_positions(
    row: SplitRow, grid: Frame, drawn: LandmarkSet, written: LandmarkSet
) -> Iterator[Finding]:
    names = sorted({*drawn.names, *written.names}, key=natural_key)
    in_mask, in_file = (grid.world_to_index(points.positions_of(names)) for points in (drawn, written))
    apart = np.linalg.norm(in_mask - in_file, axis=1)
    has_ball, is_placed = np.isfinite(in_mask[:, 0]), grid.contains(written.positions_of(names))
    wrong = (apart > MAX_DISAGREEMENT) | (has_ball & ~np.isfinite(in_file[:, 0])) | (is_placed & ~has_ball)
    if wrong.any():
        message = (
            f"{row.case.mask_path}: {_listed(np.array(names)[wrong])} stand elsewhere in the mask than in "
            f"{_name(row.case.landmark_path)}; draw the mask again."
        )
        yield Finding("error", "position", row.case.name, row.place, message)


def _outside(row: SplitRow, landmarks: LandmarkSet, frame: Frame) -> Iterator[Finding]:
    outside = landmarks.present & ~frame.contains(landmarks.positions)
    if not outside.any():
        return
    turned = frame.contains(landmarks.positions[landmarks.present] * (-1, -1, 1))
    hint = (
        "they lie inside if x and y change sign, so save them as LPS"
        if turned.all()
        else "correct or remove them"
    )
    names = np.array(landmarks.names)[outside]
    message = (
        f"{row.case.landmark_path or row.case.mask_path}: {_listed(names)} outside the image "
        f"{_name(row.case.image_path)}; {hint}."
    )
    yield Finding("error", "outside", row.case.name, row.place, message)


def _contrasts(image: Volume, landmarks: LandmarkSet) -> NDArray[np.float64]:
    """(N,) standard deviation of the voxels around each landmark, relative to that of the image."""
    overall = float(image.voxels.std(dtype=np.float64))
    contrasts = np.full(len(landmarks), np.nan)
    for row in np.flatnonzero(image.frame.contains(landmarks.positions)):
        centre = np.rint(image.frame.world_to_index(landmarks.positions[row])).astype(int)
        box = tuple(slice(max(index - _SURROUNDINGS, 0), index + _SURROUNDINGS + 1) for index in centre[::-1])
        contrasts[row] = image.voxels[box].std(dtype=np.float64) / overall if overall > 0 else np.nan
    return contrasts


def _scan(image: Volume) -> _Scan:
    upright = to_canonical(image)
    return _Scan(upright.frame, _fingerprint(image.voxels), _fingerprint(upright.voxels))


def _fingerprint(voxels: NDArray[np.generic]) -> bytes:
    """Of the values, whatever number type the file stores them in."""
    digest = hashlib.blake2b(repr(voxels.shape).encode(), digest_size=16)
    for plane in voxels:
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
    return digest.digest()


def _across_splits(examined: Iterable[_Examined]) -> Iterator[Finding]:
    """One case or one group in two splits."""
    for kind, what in (("name", "case"), ("group", "group")):
        first: dict[str, _Examined] = {}
        told = set()
        for item in examined:
            key = item.row.case.name if kind == "name" else item.row.case.group
            other = first.setdefault(key, item)
            if key and other.split != item.split and (key, item.split) not in told:
                told.add((key, item.split))
                message = (
                    f"{item.row.place}: the {what} '{key}' is also in {other.row.place}; "
                    "keep it in one split, or the test is not independent."
                )
                yield Finding("error", kind, item.row.case.name, item.row.place, message)


def _duplicate_images(examined: Iterable[_Examined]) -> Iterator[Finding]:
    seen: dict[bytes, _Examined] = {}
    for item in examined:
        if item.scan is None:
            continue
        twin = seen.get(item.scan.stored) or seen.get(item.scan.upright)
        if twin is not None and twin.scan is not None and twin.row.case.name != item.row.case.name:
            name, other = item.row.case.name, f"'{twin.row.case.name}' ({twin.row.place})"
            how = "is the image" if twin.scan.agrees_with(item.scan) else "has, in another frame, the voxels"
            message = f"{item.row.place}: '{name}' {how} of {other}; remove one of the two."
            yield Finding("error", "duplicate", item.row.case.name, item.row.place, message)
        seen.setdefault(item.scan.stored, item)
        seen.setdefault(item.scan.upright, item)


def _differing_names(examined: Sequence[_Examined]) -> Iterator[Finding]:
    """Names that some cases have and others lack, and names that seem to be spellings of one."""
    known = [item for item in examined if item.landmarks is not None]
    try:
        check_names_are_shared({item.row.case.name: _names(item) for item in known}, examined[0].split)
    except InputError as error:
        yield Finding("error", "names", "", "", str(error))
        return
    holders: defaultdict[str, list[_Examined]] = defaultdict(list)
    for item in known:
        for name in _names(item):
            holders[name].append(item)
    spellings = _spellings(holders)
    yield from _spelled_otherwise(spellings, holders)
    doubtful = {name for alike in spellings for name in alike}
    lacking: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted(holders, key=natural_key):
        if name not in doubtful and len(holders[name]) < len(known):
            lacking[tuple(item.row.case.name for item in known if name not in _names(item))].append(name)
    for cases, missing in lacking.items():
        message = (
            f"{_listed(missing)}: not in {_listed(cases)} ({len(cases)} of {len(known)} cases); "
            "place it there, or mark it absent."
        )
        yield Finding("warning", "names", cases[0] if len(cases) == 1 else "", "", message)


def _spelled_otherwise(
    spellings: Sequence[Sequence[str]], holders: Mapping[str, Sequence[_Examined]]
) -> Iterator[Finding]:
    """Said once of all landmarks that the same cases spell otherwise than the others."""
    told: defaultdict[tuple[_Examined, ...], list[Sequence[str]]] = defaultdict(list)
    for alike in spellings:
        rarest = min(alike, key=lambda name: len(holders[name]))
        told[tuple(holders[rarest])].append(alike)
    for (item, *others), groups in told.items():
        case = item.row.case
        if len(groups) == 1:
            what = f"{_listed(groups[0])} look like one landmark spelled differently; use one name"
        else:
            cases = f"'{case.name}' and {len(others)} more" if others else f"'{case.name}'"
            pairs = _listed(" and ".join(names) for names in groups)
            what = (
                f"{len(groups)} landmarks look as if {cases} spelled them differently from the other cases: "
                f"{pairs}; use one name for each"
            )
        yield Finding("error", "names", case.name, item.row.place, f"{item.row.place}: {what}.")


def _spellings(holders: Mapping[str, Sequence[_Examined]]) -> list[list[str]]:
    """Groups of names that look alike and never meet in one case.

    They differ only in case, spaces, punctuation, and in letters beside a digit that look like another.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(holders, key=natural_key):
        alike = unicodedata.normalize("NFKC", name)
        for letter, digit in _CONFUSABLE.items():
            alike = re.sub(rf"(?<=\d){letter}|(?<=\w){letter}(?=\d)", digit, alike)
        plain = re.sub(r"[\W_]+", "", alike.casefold())
        groups[plain or name].append(name)

    def meet(names: Sequence[str]) -> bool:
        places = [item.row.place for name in names for item in holders[name]]
        return len(set(places)) < len(places)

    return [names for names in groups.values() if len(names) > 1 and not meet(names)]


def _factors(items: Sequence[_Examined], oddities: Sequence[Oddity]) -> dict[_Examined, float]:
    """What brings the landmarks of a case into its scan, or to the size of the others', by case."""
    by_size = {items[odd.case]: factor_by_size(odd.amount) for odd in oddities if odd.kind == "scale"}
    known = {item: item.factor or by_size.get(item) for item in items}
    return {item: factor for item, factor in known.items() if factor}


def _is_the_unit(finding: Finding, factor: float | None) -> bool:
    """Whether a finding is nothing but a consequence of the unit of its case."""
    return factor is not None and finding.kind in ("outside", "position")


def _wrong_units(items: Sequence[_Examined], factors: Mapping[_Examined, float]) -> Iterator[Finding]:
    """Landmarks that are not in mm, said once for all cases of a unit."""
    told: defaultdict[tuple[Severity, float], list[str]] = defaultdict(list)
    for item, factor in factors.items():
        misfits = item.factor is not None or _lies_outside(item)
        told["error" if misfits else "warning", factor].append(item.row.case.name)
    for (severity, factor), cases in told.items():
        wrong = (
            f"fit the scan only if they are multiplied by {factor:g}"
            if severity == "error"
            else f"are {1 / factor:g} times as far apart as in the others"
        )
        message = (
            f"the landmarks of {_listed(cases)} ({len(cases)} of {len(items)} cases) {wrong}; they are in "
            f"{UNITS[factor]}, most likely: save them in mm, or correct the voxel size if it is that."
        )
        yield Finding(severity, "scale", cases[0] if len(cases) == 1 else "", "", message)


def _lies_outside(item: _Examined) -> bool:
    return any(finding.kind == "outside" for finding in item.findings)


def _wrong_signs(examined: Sequence[_Examined]) -> Iterator[Finding]:
    """RAS taken for LPS where all points stay inside the scan, said once for all cases."""
    items = [item for item in examined if item.landmarks is not None and not _lies_outside(item)]
    if not items:
        return
    names = sorted({name for item in items for name in _names(item)}, key=natural_key)
    shapes = [item.landmarks.positions_of(names) for item in items if item.landmarks is not None]
    rows = {*lie_turned(shapes), *(row for row, item in enumerate(items) if item.turned)}
    if rows:
        cases = [items[row].row.case.name for row in sorted(rows)]
        message = (
            f"the landmarks of {_listed(cases)} ({len(cases)} of {len(items)} cases) lie as they would with "
            "the signs of x and y changed; they are in RAS, most likely: save them as LPS, or let the file "
            "say RAS."
        )
        yield Finding("error", "axes", cases[0] if len(cases) == 1 else "", "", message)


def _odd_landmarks(
    items: Sequence[_Examined],
    names: Sequence[str],
    oddities: Sequence[Oddity],
    factors: Mapping[_Examined, float],
) -> Iterator[Finding]:
    """What only the comparison with the other cases shows."""
    column = {name: index for index, name in enumerate(names)}
    contrasts = np.full((len(items), len(names)), np.nan)
    for row, item in enumerate(items):
        columns = [column[name] for name in _names(item)]
        contrasts[row, columns] = np.nan if item.contrasts is None else item.contrasts
    told: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for oddity in oddities:
        if oddity.kind != "scale" or items[oddity.case] not in factors:
            told[oddity.case, oddity.kind].append(_describe(oddity, names))
    for row, landmark in flat_landmarks(contrasts):
        told[row, "flat"].append(names[landmark])
    for (row, kind), what in told.items():
        case, place = items[row].row.case, items[row].row.place
        message = f"{place}: in '{case.name}' {_ODD[kind].format(_listed(what))}."
        yield Finding("warning", kind, case.name, place, message)


_ODD = {
    "scale": "the landmarks are {} as far apart as in the others; check that they are in mm",
    "mirrored": "the landmarks fit {} better when mirrored; check the axes, and left and right",
    "swapped": "{} seem exchanged; look which is which",
    "outlier": "landmarks are not where the other cases have them: {}; look whether they are right",
    "flat": "the image is flat around {}, where other cases show a structure; look whether it lies on it",
}


def _describe(oddity: Oddity, names: Sequence[str]) -> str:
    if not oddity.landmarks:
        return f"{oddity.amount:.2g} times"
    concerned = " and ".join(names[landmark] for landmark in oddity.landmarks)
    return f"{concerned} ({oddity.amount:.2g} mm off)" if oddity.kind == "outlier" else concerned


def _positions(item: _Examined, names: Sequence[str]) -> NDArray[np.float64]:
    return np.full((len(names), 3), np.nan) if item.landmarks is None else item.landmarks.positions_of(names)


def _names(item: _Examined) -> tuple[str, ...]:
    return () if item.landmarks is None else item.landmarks.names


def _listed(names: Iterable[str]) -> str:
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _name(path: Path | None) -> str:
    return "" if path is None else path.name

"""Landmarks that do not fit what the other cases of a data set show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from LandmarkDetectionLib.data.shape import Similarity, fit_robustly, fit_similarity, mean_shape

Array = NDArray[np.float64]

MIN_CASES = 5
"""So many cases are needed to know what is usual."""
MIN_POINTS = 4
FAR = 8.0
"""A landmark is an outlier beyond so many robust standard deviations: of 45 landmarks on 38 mouse skulls,
wild strains among them, 7 are."""
FLAT = 5.0
"""A landmark is off its structure where the logarithm of the contrast is so many robust standard deviations
too low."""
UNIT_FACTOR = 3.0
"""No two heads of one data set differ so much in size; millimetres and centimetres do."""

_NORMAL_MAD = 1.4826
_NORMAL_MEDIAN_3D = 1.5382
"""Median length of a vector of three standard normal numbers."""
_LEAST_LOG_SPREAD = 0.3
_LEAST_SPREAD = 1e-3
"""Of the shape's size: what differs less is rounding."""


@dataclass(frozen=True)
class Oddity:
    """A case that does not look like the others.

    Attributes:
        kind: 'scale': the case is `amount` times as large as the others. 'mirrored': it fits `amount` times
            better when mirrored. 'swapped': two landmarks fit under each other's names and are `amount` mm
            off under their own. 'outlier': a landmark is `amount` mm from where the others have it.
        case: row of the case.
        landmarks: rows of the landmarks concerned; none where it is the whole case.
        amount: see kind.
    """

    kind: Literal["scale", "mirrored", "swapped", "outlier"]
    case: int
    landmarks: tuple[int, ...]
    amount: float


def shape_oddities(shapes: ArrayLike) -> list[Oddity]:
    """Compare every case with the mean shape of all.

    Each case is fitted to the mean by a robust similarity. The distance of a landmark from its median place
    is measured in robust standard deviations of that landmark over the cases, or of the median landmark if
    that one varies less.

    Args:
        shapes: (M, N, 3) mm, NaN where missing.

    Returns:
        what is odd, by case. Nothing with fewer than `MIN_CASES` cases of `MIN_POINTS` landmarks.
    """
    cases = np.asarray(shapes, dtype=np.float64)
    complete = np.flatnonzero(np.isfinite(cases).all(axis=2).sum(axis=1) >= MIN_POINTS).tolist()
    collapsed = [row for row in complete if (np.nanmax(cases[row], 0) == np.nanmin(cases[row], 0)).all()]
    usable = [row for row in complete if row not in collapsed]
    if len(usable) < MIN_CASES:
        return []
    mean = mean_shape(cases[usable])
    attempts = {row: _fit(cases[row], mean) for row in usable}
    fits = {row: fit for row, fit in attempts.items() if fit is not None}
    misfit = {row: _misfit(fit, cases[row], mean) for row, fit in fits.items()}
    usual = max(float(np.median(list(misfit.values()))), _LEAST_SPREAD * _size(mean))
    found = [Oddity("scale", row, (), 0.0) for row in collapsed] + list(_other_sizes(fits))
    mirrored = list(_mirrored(cases, mean, misfit, usual))
    found += mirrored
    upright = [row for row in fits if row not in {oddity.case for oddity in mirrored}]
    aligned = np.stack([fits[row].apply(cases[row]) for row in upright])
    for oddity in _displaced(aligned, mean):
        row = upright[oddity.case]
        found.append(Oddity(oddity.kind, row, oddity.landmarks, oddity.amount * _scale_to_case(fits[row])))
    return sorted(found, key=lambda oddity: (oddity.case, oddity.kind, oddity.landmarks))


@dataclass(frozen=True, eq=False)
class Usual:
    """Where the cases of a data set would have each landmark, if it were as in the others.

    Attributes:
        places: (M, N, 3) mm, in each case's own world; NaN where nobody knows.
        deviations: (M, N) how far off it is, in robust standard deviations of that landmark; NaN as above.
    """

    places: Array
    deviations: Array


def compare_with_usual(shapes: ArrayLike) -> Usual:
    """How far every landmark of every case lies from where the other cases have it.

    Args:
        shapes: (M, N, 3) mm, NaN where missing.

    Returns:
        all NaN with fewer than `MIN_CASES` cases of `MIN_POINTS` landmarks.
    """
    cases = np.asarray(shapes, dtype=np.float64)
    places, deviations = np.full_like(cases, np.nan), np.full(cases.shape[:2], np.nan)
    usable = np.flatnonzero(np.isfinite(cases).all(axis=2).sum(axis=1) >= MIN_POINTS).tolist()
    if len(usable) < MIN_CASES:
        return Usual(places, deviations)
    mean = mean_shape(cases[usable])
    fits = {row: fit for row in usable if (fit := _fit(cases[row], mean)) is not None}
    if len(fits) < MIN_CASES:
        return Usual(places, deviations)
    usual_place, apart, spread = _spread(np.stack([fit.apply(cases[row]) for row, fit in fits.items()]), mean)
    for number, (row, fit) in enumerate(fits.items()):
        places[row] = fit.inverse().apply(usual_place)
        deviations[row] = apart[number] / spread
    return Usual(places, deviations)


def flat_landmarks(contrasts: ArrayLike) -> list[tuple[int, int]]:
    """Landmarks around which the image is flat, though in the other cases it is not.

    Args:
        contrasts: (M, N) contrast around landmark n of case m, relative to that of the image; NaN if unknown.

    Returns:
        pairs (case, landmark).
    """
    values = np.asarray(contrasts, dtype=np.float64)
    common = np.isfinite(values).sum(axis=0) >= MIN_CASES
    if not common.any():
        return []
    logs = np.log(np.maximum(values[:, common], 0) + 0.01)
    below = np.nanmedian(logs, axis=0) - logs
    spread = _NORMAL_MAD * np.nanmedian(np.abs(below), axis=0)
    limit = FLAT * np.maximum(spread, max(float(np.median(spread)), _LEAST_LOG_SPREAD))
    columns = np.flatnonzero(common)
    return [(int(row), int(columns[column])) for row, column in np.argwhere(below > limit)]


def _fit(case: Array, mean: Array) -> Similarity | None:
    """None where the case has too few points in common with the others."""
    try:
        return fit_robustly(case, mean)
    except ValueError:
        return None


def _misfit(fit: Similarity, case: Array, mean: Array) -> float:
    return float(np.sqrt(np.nanmean(((fit.apply(case) - mean) ** 2).sum(axis=1))))


def _size(points: Array) -> float:
    """RMS distance of the points from their centre."""
    return float(np.sqrt(np.nanmean(((points - np.nanmean(points, axis=0)) ** 2).sum(axis=1))))


def _scale_to_case(fit: Similarity) -> float:
    """A length in the mean's millimetres, said in the case's, unless the case has other units."""
    return 1 / fit.scale if 1 / UNIT_FACTOR < fit.scale < UNIT_FACTOR else 1.0


def _other_sizes(fits: dict[int, Similarity]) -> Iterator[Oddity]:
    for row, fit in fits.items():
        if not 1 / UNIT_FACTOR < fit.scale < UNIT_FACTOR:
            yield Oddity("scale", row, (), 1 / fit.scale)


def _mirrored(cases: Array, mean: Array, misfit: dict[int, float], usual: float) -> Iterator[Oddity]:
    for row, apart in misfit.items():
        if apart > 3 * usual:
            flipped = _misfit(fit_similarity(cases[row], mean, allow_reflection=True), cases[row], mean)
            if flipped < apart / 3:
                yield Oddity("mirrored", row, (), apart / max(flipped, 1e-9))


def _displaced(aligned: Array, mean: Array) -> Iterator[Oddity]:
    """Swapped and outlying landmarks of cases (M, N, 3) aligned to the mean (N, 3)."""
    usual_place, apart, spread = _spread(aligned, mean)
    for row, points in enumerate(aligned):
        far = np.flatnonzero(apart[row] > FAR * spread).tolist()
        for first, second in _swaps(points, usual_place, far):
            yield Oddity("swapped", row, (first, second), float(apart[row, [first, second]].mean()))
            far = [landmark for landmark in far if landmark not in (first, second)]
        for landmark in far:
            yield Oddity("outlier", row, (landmark,), float(apart[row, landmark]))


def _spread(aligned: Array, mean: Array) -> tuple[Array, Array, Array]:
    """What is usual for landmarks of cases (M, N, 3) that are aligned to the mean (N, 3).

    Returns:
        the usual places (N, 3), the distances from these (M, N), and their robust standard deviations (N,),
        at least that of the usual landmark; NaN for a landmark that too few cases have.
    """
    common = np.isfinite(aligned).all(axis=2).sum(axis=0) >= MIN_CASES
    usual_place, spread = np.full_like(mean, np.nan), np.full(len(mean), np.nan)
    if common.any():
        usual_place[common] = np.nanmedian(aligned[:, common], axis=0)
    apart = np.linalg.norm(aligned - usual_place, axis=2)
    if common.any():
        own = np.nanmedian(apart[:, common], axis=0) / _NORMAL_MEDIAN_3D
        spread[common] = np.maximum(own, max(float(np.median(own)), _LEAST_SPREAD * _size(mean)))
    return usual_place, apart, spread


def _swaps(points: Array, usual_place: Array, far: list[int]) -> list[tuple[int, int]]:
    """Pairs of far landmarks that fit at least three times better under each other's names."""
    swaps = []
    for position, first in enumerate(far):
        for second in far[position + 1 :]:
            own = np.linalg.norm(points[[first, second]] - usual_place[[first, second]], axis=1).sum()
            crossed = np.linalg.norm(points[[first, second]] - usual_place[[second, first]], axis=1).sum()
            if crossed < own / 3:
                swaps.append((first, second))
    return swaps

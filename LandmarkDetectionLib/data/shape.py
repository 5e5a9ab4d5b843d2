"""Similarities, the mean shape of many landmark sets, and its left-right symmetry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_DIRECTIONS = 64
"""Planes of symmetry that are tried."""
_MATCHING = 0.15
"""A landmark has a counterpart within this share of the shape's size (RMS distance from its centre)."""
_MOST_UNMATCHED = 0.5
"""A shape of which a larger share matches nothing is not symmetric."""
_PAIR_WORTH = 0.25
"""What a pair is worth against a landmark's misfit, so that a flat shape is not mirrored in its own plane."""
_FEWEST_SYMMETRIC = 8
_LEAST_PAIRED = 0.4
_MOST_LATERAL = 0.25
_MOST_ASKEW = 0.08
"""Of the shape's size; anatomy leaves 0.01 to 0.07, chance 0.05 and more."""

_SIDE = re.compile(
    r"(?<![a-z])(?:left|right|l|r)(?![a-z])|(?<=[a-z])(?-i:[LR])$|^(?-i:[LR])(?=[A-Z])", re.IGNORECASE
)
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map `scale * rotation @ point + translation`.

    Attributes:
        rotation: 3 x 3 orthogonal; its determinant is -1 where the map mirrors.
        scale: positive.
        translation: shape (3,), mm.
    """

    rotation: Array
    scale: float
    translation: Array

    def apply(self, points: ArrayLike) -> Array:
        """Map points of shape (..., 3); NaN stays NaN."""
        moved: Array = self.scale * np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation
        return moved

    def with_scale(self, scale: float, about: Array) -> Similarity:
        """The same map with another scale; it takes the point `about` (3,) where this one takes it."""
        return Similarity(self.rotation, scale, self.apply(about) - scale * self.rotation @ about)

    def after(self, first: Similarity) -> Similarity:
        """This map after another one."""
        return Similarity(
            self.rotation @ first.rotation, self.scale * first.scale, self.apply(first.translation)
        )

    def inverse(self) -> Similarity:
        """The map back."""
        return Similarity(
            rotation=self.rotation.T,
            scale=1 / self.scale,
            translation=-(self.translation @ self.rotation) / self.scale,
        )


def fit_similarity(
    source: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    scale: bool = True,
    allow_reflection: bool = False,
    steadied: float = 0.0,
) -> Similarity:
    """The similarity that brings `source` nearest to `target` in weighted least squares.

    The closed form of S. Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", IEEE PAMI 13(4), 1991.

    Args:
        source: (N, 3) points; a row with NaN here or in `target` does not count.
        target: (N, 3), row by row the same landmarks.
        weights: (N,) not negative; all equal if None.
        scale: False fits a rigid motion.
        allow_reflection: True lets the map mirror where that fits better.
        steadied: mm2 that speak for no rotation and the same size, added to the covariance of the points; so
            what points in one line, or fewer than three, do not tell is not turned, and of one of which the
            others hardly count the size is kept. 0 for points that tell all.

    Raises:
        ValueError: if fewer points count than tell a rotation (three, or one where it is steadied), or all of
            three or more lie in one spot.
    """
    points, goals = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    share = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = _known(points) & _known(goals) & (share > 0)
    if counts.sum() < fewest_points(steadied):
        raise ValueError(f"a similarity needs three common points; there are {counts.sum()}")
    points, goals, share = points[counts], goals[counts], share[counts] / share[counts].sum()
    from_centre, to_centre = share @ points, share @ goals
    points, goals = points - from_centre, goals - to_centre
    spread = float(share @ (points**2).sum(axis=1))
    if spread <= 0:
        if not steadied:
            raise ValueError("all points lie in one spot")
        return Similarity(np.eye(3), 1.0, to_centre - from_centre)
    covariance = (goals * share[:, None]).T @ points
    left, strengths, right = np.linalg.svd(covariance + steadied * np.eye(3))
    signs = np.ones(3)
    if not allow_reflection and np.linalg.det(left) * np.linalg.det(right) < 0:
        signs[2] = -1
    rotation: Array = (left * signs) @ right
    agreeing = float(strengths @ signs) - steadied * float(np.trace(rotation))
    factor = (agreeing + steadied) / (spread + steadied) if scale else 1.0
    return Similarity(rotation, factor, to_centre - factor * rotation @ from_centre)


def fewest_points(steadied: float) -> int:
    """That tell a similarity, with so much that speaks for no rotation."""
    return 1 if steadied else 3


def mean_shape(shapes: ArrayLike, *, iterations: int = 100) -> Array:
    """The generalised Procrustes mean of many landmark sets, some of them incomplete.

    Every shape is fitted to the mean by a similarity over the points that both have, and the mean is taken
    again until it stands still (J. C. Gower, "Generalized Procrustes analysis", Psychometrika 40, 1975).
    A point far from the mean, for what is usual in these shapes, counts less in both steps, so that a few
    wrong points or cases do not bend it.

    Args:
        shapes: (M, N, 3) mm; a row of NaN is a missing point. A shape of fewer than three points, or with all
            in one spot, does not count.
        iterations: at most so many rounds.

    Returns:
        (N, 3) mm, of the median size of the shapes, in the pose of the first shape near which
        most others lie; NaN for a point that no
        shape has together with three points of the others, and for all where no shape counts. Where no shape
        has three points, the mean of the shapes as they are turned.
    """
    cases = np.array(shapes, dtype=np.float64)
    if _known(cases).sum(axis=1).max(initial=0) < 3:
        return _mean_as_turned(cases)
    cases[[not _has_shape(case) for case in cases]] = np.nan
    known = _known(cases)
    if not known.any():
        return np.full_like(cases[0], np.nan)
    mean = _centred(cases[int(known.sum(axis=1).argmax())])
    weights = known.astype(np.float64)
    for _ in range(iterations):
        fits = [_fit_or_none(case, mean, weight) for case, weight in zip(cases, weights, strict=True)]
        aligned = np.full_like(cases, np.nan)
        for row, fit in enumerate(fits):
            if fit is not None:
                aligned[row] = fit.apply(cases[row])
        average = _weighted_mean(aligned, weights)
        apart = np.linalg.norm(aligned - average, axis=2)
        weights = np.where(np.isfinite(apart), robust_weights(apart), known)
        enlarged = np.median([np.log(fit.scale) for fit in fits if fit is not None])
        previous, mean = mean, _centred(average) / np.exp(enlarged)
        if np.allclose(mean, previous, rtol=0, atol=1e-6 * float(np.nanmax(mean)), equal_nan=True):
            break
    usual = _usual_pose(fits)
    return fit_similarity(mean, cases[usual], weights[usual], scale=False).apply(mean)


def _mean_as_turned(cases: Array) -> Array:
    """The mean (N, 3) of shapes (M, N, 3) of one or two points, shifted onto each other."""
    known = _known(cases)
    counts = known.sum(axis=1)
    mean: Array = np.full_like(cases[0], np.nan)
    if not counts.any():
        return mean
    most = cases[counts == counts.max()]
    middles = np.nanmean(most, axis=1, keepdims=True)
    for row, points in enumerate(np.moveaxis(most - middles, 1, 0)):
        if _known(points).any():
            mean[row] = np.median(points[_known(points)], axis=0) + middles[0, 0]
    return mean


def _usual_pose(fits: Sequence[Similarity | None]) -> int:
    """The first row of those that lie within 45 degrees of most others."""
    rows = [row for row, fit in enumerate(fits) if fit is not None]
    turns = np.array([fit.rotation for fit in fits if fit is not None])
    near = np.einsum("mij,nij->mn", turns, turns) >= 1 + 2 * np.cos(np.deg2rad(45))
    return rows[int(near.sum(axis=1).argmax())]


def robust_weights(distances: ArrayLike) -> Array:
    """Weights in (0, 1] that fall off beyond three times the median distance (Cauchy); 0 where it is NaN."""
    apart = np.asarray(distances, dtype=np.float64)
    known = np.isfinite(apart)
    usual = float(np.median(apart[known])) if known.any() else 0.0
    weights = known.astype(np.float64)
    if usual > 0:
        weights[known] = 1 / (1 + (apart[known] / (3 * usual)) ** 2)
    return weights


def fit_robustly(
    source: ArrayLike, target: ArrayLike, *, iterations: int = 10, steadied: float = 0.0
) -> Similarity:
    """A similarity as in `fit_similarity` in which rows that fit badly count less.

    Raises:
        ValueError: as `fit_similarity`.
    """
    fit = fit_similarity(source, target, steadied=steadied)
    for _ in range(iterations):
        distances = np.linalg.norm(fit.apply(source) - np.asarray(target, dtype=np.float64), axis=1)
        fit = fit_similarity(source, target, robust_weights(distances), steadied=steadied)
    return fit


@dataclass(frozen=True, eq=False)
class SymmetryPlane:
    """The plane that parts left from right: a point of it, mm, and its unit normal."""

    point: Array
    normal: Array

    def distance(self, points: Array) -> Array:
        """Distances of points (N, 3) from the plane, mm."""
        aside: Array = np.abs((points - self.point) @ self.normal)
        return aside

    def one_sided(self, points: Array, mirrored_order: Sequence[int], within: float) -> NDArray[np.bool_]:
        """Which landmarks (K,) have no counterpart and lie farther than `within` mm from the plane.

        In a mirrored scan such a one lies where its unmarked twin was: nobody knows where that is. Where its
        position is not known, its side is not known either.
        """
        unpaired = np.array(mirrored_order) == np.arange(len(points))
        return np.asarray(unpaired & ~(self.distance(points) <= within))


def symmetry_plane(positions: Array, mirrored_order: Sequence[int]) -> SymmetryPlane | None:
    """The plane halfway between landmarks and their pairs.

    Args:
        positions: (K, 3) mm, NaN where unknown.
        mirrored_order: for each landmark the row of its pair, or its own row.

    Returns:
        None if no pair is known: such a constellation cannot be mirrored.
    """
    partners = positions[list(mirrored_order)]
    apart = partners - positions
    pairs = np.isfinite(apart).all(axis=1) & (np.linalg.norm(apart, axis=1) > 0)
    if not pairs.any():
        return None
    apart = apart[pairs]
    normal: Array = np.linalg.eigh(apart.T @ apart)[1][:, -1]
    middle: Array = ((positions + partners) / 2)[pairs].mean(axis=0)
    return SymmetryPlane(point=middle, normal=normal)


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The left-right symmetry of a shape of N landmarks.

    Attributes:
        normal: unit normal of the plane of symmetry, shape (3,).
        point: a point of the plane, mm.
        order: for each landmark its mirrored counterpart, itself where it lies in the plane or has none.
        residuals: (N,) mm from the mirrored landmark to its counterpart.
        lateral: (N,) True for a landmark to one side that has no counterpart: a mirrored image shows it where
            no landmark is defined.
    """

    normal: Array
    point: Array
    order: list[int]
    residuals: Array
    lateral: NDArray[np.bool_]


def clear_symmetry(names: Sequence[str], shape: ArrayLike) -> Symmetry | None:
    """The symmetry of a shape with pairs that can be trusted; None where there is none.

    Either names tell left from right, or most landmarks have a counterpart that is nearer than random points
    have by chance.

    Args:
        names: N names.
        shape: (N, 3) mm, NaN where unknown.
    """
    points = np.asarray(shape, dtype=np.float64)
    try:
        symmetry = find_symmetry(names, points)
    except ValueError:
        return None
    known = _known(points)
    if any(known[row] and known[partner] for row, partner in _pairs_by_name(names).items()):
        return symmetry
    paired = np.mean([row != partner for row, partner in enumerate(symmetry.order) if known[row]])
    size = float(np.sqrt(np.nanvar(points, axis=0).sum()))
    residual = float(np.median(symmetry.residuals[known]))
    clear = (
        known.sum() >= _FEWEST_SYMMETRIC
        and paired >= _LEAST_PAIRED
        and symmetry.lateral[known].mean() <= _MOST_LATERAL
        and residual <= _MOST_ASKEW * size
    )
    return symmetry if clear else None


def find_symmetry(names: Sequence[str], shape: ArrayLike) -> Symmetry:
    """Find the plane in which the shape mirrors onto itself, and the pairs that it makes.

    Names that differ in left and right only (`orbit_L`, `orbit_R`; `left eye`, `right eye`) make a pair, and
    give the plane. Otherwise planes in many directions are tried: the shape is mirrored and matched to
    itself, and the plane fitted anew to the matches, the far ones counting less; the plane that leaves the
    least wins. On real anatomy it leaves a few percent of the shape's size. Where most landmarks match
    nothing there is no symmetry, and no pair. With fewer than some eight landmarks and no side in their
    names, a chance symmetry can win: show the pairs to a person.

    Args:
        names: N names.
        shape: (N, 3) mm, NaN where unknown.

    Raises:
        ValueError: if fewer than four positions are known and no names make a known pair.
    """
    points = np.asarray(shape, dtype=np.float64)
    named = _pairs_by_name(names)
    known = _known(points)
    rows = np.flatnonzero([known[row] and known[named.get(row, row)] for row in range(len(points))])
    row_of = {int(row): index for index, row in enumerate(rows)}
    known_pairs = {row_of[row]: row_of[partner] for row, partner in named.items() if row in row_of}
    if len(rows) < 4 and not known_pairs:
        raise ValueError("a plane of symmetry needs four known positions, or a pair known by name")
    best = _best_match(points[rows], known_pairs)
    if not known_pairs and best.lateral.mean() > _MOST_UNMATCHED:
        best = replace(best, order=list(range(len(rows))), lateral=np.ones(len(rows), dtype=np.bool_))

    order = list(range(len(points)))
    residuals, lateral = np.full(len(points), np.nan), np.zeros(len(points), dtype=np.bool_)
    for row, index in row_of.items():
        order[row] = int(rows[best.order[index]])
    for row, partner in named.items():
        order[row] = partner
    residuals[rows], lateral[rows] = best.residuals, best.lateral
    return Symmetry(best.normal, best.point, order, residuals, lateral)


def _best_match(points: Array, pairs: dict[int, int]) -> Symmetry:
    size = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
    if pairs:
        starts = [_fit_plane(points[list(pairs)], points[list(pairs.values())], np.ones(len(pairs)))]
    else:
        starts = [(points.mean(axis=0), normal) for normal in _directions(_DIRECTIONS)]
    matches = [
        _match(points, *_settle(points, *start, pairs, size), pairs, _MATCHING * size) for start in starts
    ]
    return min(matches, key=lambda match: _misfit(match, _MATCHING * size))


def _settle(
    points: Array, point: Array, normal: Array, pairs: dict[int, int], size: float
) -> tuple[Array, Array]:
    """Fit the plane to the nearest matches again and again, trusting ever nearer ones."""
    for reach in size * np.geomspace(0.3, 0.1, 30):
        apart = _distances(points, point, normal)
        partners = apart.argmin(axis=1)
        partners[list(pairs)] = list(pairs.values())
        weights = 1 / (1 + (apart[np.arange(len(points)), partners] / reach) ** 2) ** 2
        point, normal = _fit_plane(points, points[partners], weights)
    return point, normal


def _fit_plane(points: Array, partners: Array, weights: Array) -> tuple[Array, Array]:
    """The plane (a point, the unit normal) that mirrors points onto partners in weighted least squares."""
    share = weights / weights.sum()
    point: Array = share @ (points + partners) / 2
    product = ((points - point) * share[:, None]).T @ (partners - point)
    normal: Array = np.linalg.eigh(product + product.T)[1][:, 0]
    return point, normal


def _distances(points: Array, point: Array, normal: Array) -> Array:
    """(N, N) from each mirrored point to each point; symmetric."""
    mirrored = points - 2 * ((points - point) @ normal)[:, None] * normal
    apart: Array = np.linalg.norm(mirrored[:, None] - points, axis=2)
    return apart


def _match(points: Array, point: Array, normal: Array, pairs: dict[int, int], reach: float) -> Symmetry:
    """Match mirrored to real landmarks, nearest first, each once, none farther than `reach`."""
    apart = _distances(points, point, normal)
    order = np.arange(len(points))
    left = apart.copy()
    for row, partner in pairs.items():
        order[row] = partner
        left[row], left[:, row] = np.inf, np.inf
    while left.min() <= reach:
        nearest = divmod(int(left.argmin()), len(points))
        order[list(nearest)] = nearest[::-1]
        left[list(nearest)], left[:, list(nearest)] = np.inf, np.inf
    residuals = apart[np.arange(len(points)), order]
    alone = order == np.arange(len(points))
    return Symmetry(normal, point, order.tolist(), residuals, alone & (residuals > reach))


def _misfit(match: Symmetry, reach: float) -> float:
    paired = np.mean([row != partner for row, partner in enumerate(match.order)])
    return float(np.minimum(match.residuals / reach, 1).mean() - _PAIR_WORTH * paired)


def _directions(count: int) -> Array:
    """Unit vectors spread evenly over a hemisphere (a Fibonacci lattice), (count, 3)."""
    step = np.arange(count) + 0.5
    height, turn = step / count, step * np.pi * (1 + np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def _pairs_by_name(names: Sequence[str]) -> dict[int, int]:
    """Rows whose names become each other's when left and right change places."""
    row_of = {name.casefold(): row for row, name in enumerate(names)}
    pairs = {}
    for row, name in enumerate(names):
        mirrored = _SIDE.sub(lambda side: _OTHER[side.group().casefold()], name).casefold()
        partner = row_of.get(mirrored, row)
        if partner != row:
            pairs[row] = partner
    return {row: partner for row, partner in pairs.items() if pairs.get(partner) == row}


def common_points(first: Array, second: Array) -> int:
    """How many landmarks have a position in both of two sets (K, 3)."""
    return int((_known(first) & _known(second)).sum())


def _known(points: Array) -> NDArray[np.bool_]:
    """Which points have a position, shape (...)."""
    return np.asarray(np.isfinite(points).all(axis=-1))


def _centred(points: Array) -> Array:
    centred: Array = points - points[_known(points)].mean(axis=0)
    return centred


def _has_shape(points: Array) -> bool:
    known = points[_known(points)]
    return len(known) >= 3 and bool((known != known[0]).any())


def _fit_or_none(shape: Array, mean: Array, weights: Array) -> Similarity | None:
    """None where shape and mean have too little in common."""
    return (
        fit_similarity(shape, mean, weights)
        if _has_shape(np.where(_known(mean)[:, None], shape, np.nan))
        else None
    )


def _weighted_mean(aligned: Array, weights: Array) -> Array:
    """(N, 3) over M shapes of (M, N, 3) with weights (M, N); NaN where no shape has the point."""
    known = _known(aligned)
    share = np.where(known, weights, 0.0)[..., None]
    total = share.sum(axis=0)
    mean: Array = np.where(total > 0, (share * np.where(known[..., None], aligned, 0.0)).sum(axis=0), np.nan)
    return mean / np.where(total > 0, total, 1.0)

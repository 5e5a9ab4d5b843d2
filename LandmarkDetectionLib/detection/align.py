"""Align: the pose of the anatomy in a scan, from uncertain candidates for its landmarks.

A network that sees a scan in an arbitrary pose confuses left with right, and some of its candidates are
plainly wrong. The constellation as a whole does not lie: only a proper rotation, never a reflection, brings
the mean shape onto the right candidates, so the mirrored choice does not fit. A single landmark, two, or a
line do not tell how they are turned: they are shifted only, and turned as little as they have to be. So is a
constellation of a few of which some may be missing, where the anatomy is likely to be about upright.

The search is a RANSAC (Fischler and Bolles, "Random sample consensus", Comm. ACM 24, 1981) over triples of
candidates, with a score that is smooth in the distances (Torr and Zisserman, "MLESAC", CVIU 78, 2000). It
ends with a weighted fit to all that agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.shape import Similarity, fewest_points, fit_similarity

Array = NDArray[np.float64]

_HYPOTHESES = 2000
_ROUNDS = 10
"""Of the fit to what agrees, after the best hypothesis."""
FEW = 6
"""Landmarks: where some of so few are not in the scan, the others hardly tell how the anatomy is turned."""
_FINALISTS = 5
"""Hypotheses that are fitted further: the best triple is not always the best start."""
_STILL = 1e-3
"""Tolerances by which a fit that has ended moves at most."""
_TOGETHER = 30_000
"""Candidates that are compared with poses at a time: so many stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places where each of K landmarks may be, at most C of each.

    Attributes:
        positions: (K, C, 3) world mm; where there are fewer than C, others of value 0, or the weakest again.
        values: (K, C) how much speaks for each, not negative.
    """

    positions: Array
    values: Array


@dataclass(frozen=True, eq=False)
class Alignment:
    """A pose of the mean shape in a scan, and what speaks for it.

    Attributes:
        pose: maps the mean shape into the scan; a proper rotation.
        support: what agrees with the pose, of all that the best candidates weigh, 0 to 1; the three that
            agree most are left out, or count as one where there are few, for any three fit some pose.
    """

    pose: Similarity
    support: float


def align(
    candidates: Candidates,
    constellation: Constellation,
    tolerance: float,
    *,
    scales: tuple[float, float],
    upright: Array | None = None,
    turned: float = 180.0,
    least: float = 0.0,
) -> Alignment | None:
    """The pose of the mean shape that most candidates agree with.

    Args:
        candidates: of K landmarks.
        constellation: the mean shape; where it does not tell how it is turned, it stands as it is.
        tolerance: how far a right candidate lies from the shape at the right pose, mm (standard deviation).
        scales: smallest and largest size of the anatomy, relative to the mean shape. Where a scan is cut,
            candidates for what is missing crowd at its border and would shrink the shape.
        upright: 3 x 3, in what rotation the anatomy is likeliest; None for any.
        turned: degrees that it is turned from there at most.
        least: value of its best candidate below which a landmark does not count, for it is not in the scan.

    Returns:
        None where too few landmarks have a candidate, or no triple fits the shape in any pose.
    """
    shape, steadied = constellation.shape, constellation.steadied
    known: NDArray[np.bool_] = np.asarray(np.isfinite(shape).all(axis=1))
    values = np.where(known[:, None] & np.isfinite(candidates.positions).all(axis=2), candidates.values, 0.0)
    usable = np.flatnonzero(values.max(axis=1, initial=0) > least)
    if len(usable) < fewest_points(steadied):
        return None
    standing, fitting = np.eye(3), fewest_points(steadied)
    if constellation.tells_rotation:
        poses = _hypotheses(candidates.positions, values, shape, usable, tolerance, scales)
    else:
        poses = _shifts(candidates.positions[usable], shape[usable], standing)
    rotations, sizes, shifts = _turned_by_no_more(poses, upright, turned)
    if constellation.tells_rotation and upright is not None and turned < 180 and len(usable) <= FEW:
        standing, steadied = upright, (2 * tolerance) ** 2
        stood = _shifts(candidates.positions[usable], shape[usable], standing)
        rotations, sizes, shifts = (
            np.concatenate(both) for both in zip((rotations, sizes, shifts), stood, strict=True)
        )
    if not len(sizes):
        return None
    places, weights = shape[usable], _logarithm(values[usable])
    points = np.nan_to_num(candidates.positions[usable])
    scores = _scores(rotations, sizes, shifts, places, points, weights, tolerance)
    fitted = []
    for row in np.argsort(-scores, kind="stable")[:_FINALISTS]:
        start = Similarity(rotations[row], float(sizes[row]), shifts[row])
        pose = _fit_to_what_agrees(start, places, points, weights, tolerance, scales, standing, steadied)
        nearest = _agreement(pose.apply(places), points, weights, tolerance).max(axis=1)
        fitted.append((np.exp(nearest), pose))
    agreeing, pose = max(fitted, key=lambda fit: float(fit[0].sum()))
    return Alignment(pose, _support(agreeing, np.exp(weights.max(axis=1)), fitting))


def _hypotheses(
    positions: Array,
    values: Array,
    shape: Array,
    usable: NDArray[np.int64],
    tolerance: float,
    scales: tuple[float, float],
) -> tuple[Array, Array, Array]:
    """Rotations (H, 3, 3), scales (H,) and shifts (H, 3) of poses that bring triples together."""
    rng = np.random.default_rng(0)
    weight = values[usable].max(axis=1)
    trios = _random_trios(rng, weight / weight.sum(), _HYPOTHESES)
    shares = np.cumsum(values[usable], axis=1) / values[usable].sum(axis=1, keepdims=True)
    picks = (rng.random((len(trios), 3, 1)) > shares[trios]).sum(axis=2)
    source = shape[usable][trios]
    target = positions[usable[trios], np.minimum(picks, values.shape[1] - 1)]
    rotations, sizes, shifts, misfits = _fit_trios(source, target, scales)
    fitting = misfits <= 3 * tolerance
    return rotations[fitting], sizes[fitting], shifts[fitting]


def _shifts(positions: Array, shape: Array, standing: Array) -> tuple[Array, Array, Array]:
    """Poses, as above, that bring a shape, standing in a rotation, onto each candidate of its landmarks."""
    shifts = (positions - (shape @ standing.T)[:, None]).reshape(-1, 3)
    shifts = shifts[np.isfinite(shifts).all(axis=1)]
    return np.tile(standing, (len(shifts), 1, 1)), np.ones(len(shifts)), shifts


def _turned_by_no_more(
    poses: tuple[Array, Array, Array], upright: Array | None, degrees: float
) -> tuple[Array, Array, Array]:
    """Those of the poses whose rotation is no farther from upright."""
    if upright is None or degrees >= 180:
        return poses
    near = np.einsum("hij,ij->h", poses[0], upright) >= 1 + 2 * np.cos(np.deg2rad(degrees))
    return poses[0][near], poses[1][near], poses[2][near]


def _random_trios(rng: np.random.Generator, share: Array, count: int) -> NDArray[np.int64]:
    """Rows of three different landmarks, drawn in proportion to their share (Gumbel's trick)."""
    keys = np.log(share) + rng.gumbel(size=(count, len(share)))
    trios: NDArray[np.int64] = np.argpartition(-keys, 2, axis=1)[:, :3]
    return trios


def _fit_trios(
    source: Array, target: Array, scales: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """Umeyama's closed form (see `fit_similarity`) for triples (H, 3, 3), of a size in range; misfits, mm."""
    from_centre, to_centre = source.mean(axis=1), target.mean(axis=1)
    points, goals = source - from_centre[:, None], target - to_centre[:, None]
    left, strengths, right = np.linalg.svd(np.einsum("hni,hnj->hij", goals, points))
    signs = np.ones((len(source), 3))
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotations = np.einsum("hij,hj,hjk->hik", left, signs, right)
    spread = np.maximum((points**2).sum(axis=(1, 2)), 1e-12)
    sizes = np.clip((strengths * signs).sum(axis=1) / spread, *scales)
    moved = sizes[:, None, None] * np.einsum("hij,hnj->hni", rotations, points)
    misfits = np.sqrt(((moved - goals) ** 2).sum(axis=2).mean(axis=1))
    shifts = to_centre - sizes[:, None] * np.einsum("hij,hj->hi", rotations, from_centre)
    return rotations, sizes, shifts, misfits


def _scores(
    rotations: Array,
    sizes: Array,
    shifts: Array,
    places: Array,
    points: Array,
    weights: Array,
    tolerance: float,
) -> Array:
    """How much agrees with each pose, (H,)."""
    scores, together = np.empty(len(sizes)), max(1, _TOGETHER // weights.size)
    for first in range(0, len(sizes), together):
        some = slice(first, first + together)
        moved = sizes[some, None, None] * (places @ rotations[some].transpose(0, 2, 1)) + shifts[some, None]
        scores[some] = np.exp(_agreement(moved, points, weights, tolerance).max(axis=2)).sum(axis=1)
    return scores


def _agreement(moved: Array, points: Array, weights: Array, tolerance: float) -> Array:
    """(.., N, C) what each candidate weighs at its distance from the shape (.., N, 3), moved to a pose.

    Logarithms, as the weights: of most candidates nothing else is needed.
    """
    along = (points[..., axis] - moved[..., None, axis] for axis in range(3))
    squared = sum((apart**2 for apart in along), np.zeros(()))
    agreement: Array = weights - squared / (2 * (2 * tolerance) ** 2)
    return agreement


def _fit_to_what_agrees(
    pose: Similarity,
    places: Array,
    points: Array,
    weights: Array,
    tolerance: float,
    scales: tuple[float, float],
    standing: Array,
    steadied: float,
) -> Similarity:
    """The pose fitted to its best candidates again and again, those that agree counting most.

    Where the fit is steadied, it is turned as little as it has to be from how the shape stands.
    """
    rows, stood = np.arange(len(places)), Similarity(standing, 1.0, np.zeros(3))
    moved = pose.apply(places)
    for _ in range(_ROUNDS):
        agreement = _agreement(moved, points, weights, tolerance)
        best = agreement.argmax(axis=1)
        shares = np.exp(agreement[rows, best])
        try:
            following = fit_similarity(stood.apply(places), points[rows, best], shares, steadied=steadied)
        except ValueError:
            break
        following, before = following.after(stood), moved
        middle = np.average(places, axis=0, weights=shares)
        pose = following.with_scale(float(np.clip(following.scale, *scales)), middle)
        moved = pose.apply(places)
        if np.abs(moved - before).max() <= _STILL * tolerance:
            break
    return pose


def _logarithm(values: Array) -> Array:
    with np.errstate(divide="ignore"):
        logarithms: Array = np.log(values)
    return logarithms


def _support(agreeing: Array, weights: Array, fitting: int) -> float:
    """The share of the weight that agrees, without the landmarks that agree most: so many fit some pose.

    All together weigh as much as one certain candidate at least, or what is all but absent would agree too.
    Of a few landmarks little would be left: there those that agree most count as one.
    """
    order = np.argsort(-agreeing, kind="stable")
    if len(order) > FEW:
        others = order[fitting:]
        return float(agreeing[others].sum() / max(weights[others].sum(), 1.0))
    shares = np.ones(len(order))
    shares[order[:fitting]] /= fitting
    return float(shares @ agreeing / (shares @ weights) * min(float(weights.sum()), 1.0))

"""Rows of teeth."""

from __future__ import annotations

from collections.abc import Sequence

from LandmarkDetectionLib.phantom.anatomy.individual import Mould
from LandmarkDetectionLib.phantom.shapes import Array, Ball, RoundCone

TEETH_PER_SIDE = 7

_FRONT_Y = -84.0
_UNEVENNESS = 0.3  # of the rest of the head's

# From the central incisor to the second molar, on the left of the upper jaw, mm: distance from the midline,
# distance behind the central incisor, radius of the crown.
_ROW = (
    (4.0, 0.0, 3.7),
    (11.0, 2.0, 3.2),
    (17.0, 6.0, 3.4),
    (21.5, 12.0, 3.2),
    (24.5, 19.0, 3.3),
    (27.0, 27.5, 4.3),
    (29.0, 37.0, 4.3),
)


def build_teeth(
    left: Mould, right: Mould, *, tip: float, root: float, width: float = 1.0, set_back: float = 0.0
) -> tuple[RoundCone, ...]:
    """One jaw's teeth, each with its crown as `end` and its root as `start`.

    Args:
        left: makes the left teeth.
        right: makes the right teeth.
        tip: template height of the crowns' tips, mm.
        root: template height of the roots' centres, mm.
        width: size of the row against the upper jaw's.
        set_back: how far behind the upper jaw's the row stands, mm.

    Returns:
        The left teeth from the midline back, then the right.
    """
    return tuple(
        _tooth(row, mould.steadied(_UNEVENNESS), tip=tip, root=root, width=width, set_back=set_back)
        for mould in (left, right)
        for row in _ROW
    )


def incisor_contact(teeth: Sequence[RoundCone], direction: Array) -> Array:
    """The point (3,) midway between the tips of a row's central incisors; `direction` is the tips' way."""
    left, right = teeth[0], teeth[TEETH_PER_SIDE]
    middle: Array = (left.extreme(direction) + right.extreme(direction)) / 2
    return middle


def _tooth(
    row: tuple[float, float, float], mould: Mould, *, tip: float, root: float, width: float, set_back: float
) -> RoundCone:
    aside, behind, radius = row
    x, y, r = aside * width, _FRONT_Y + set_back + behind * width, radius * width
    upward = 1.0 if root > tip else -1.0
    crown = mould.ball(x, y, tip + upward * r, r)
    top = mould.ball(x, y, root, 0.55 * r)
    return RoundCone(Ball(top.centre, top.radius), crown)

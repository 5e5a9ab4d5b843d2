"""Skin and what lies between it and the bone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from LandmarkDetectionLib.phantom.anatomy.individual import Mould, Person
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.shapes import Ball, Ellipsoid, RoundCone, Shape, Union


@dataclass(frozen=True)
class SoftTissue:
    """The head's outer shapes and the neck, which runs on below every field of view."""

    head: tuple[Shape, ...]
    neck: Shape

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of it, blended."""
        return (Layer(Union((*self.head, self.neck), blend=12), Tissue.SOFT),)


def build_soft_tissue(person: Person, vault: Ellipsoid, bars: Sequence[RoundCone]) -> SoftTissue:
    """The soft tissue of one person, around the vault and over the bars that lie just below the skin."""
    cranial, _, _ = person.moulds(part=4)
    midline, left, right = (mould.resized(person.face) for mould in person.moulds(part=5))
    scalp = cranial.ball(0, 0, 0, 7).radius
    return SoftTissue(
        head=(
            Ellipsoid(vault.centre, vault.radii + scalp),
            midline.ellipsoid((0, -66, 20), (60, 28, 30)),
            midline.ellipsoid((0, -38, -30), (80, 60, 66)),
            midline.ellipsoid((0, 0, -8), (81, 62, 52)),
            midline.ellipsoid((0, -72, -52), (36, 28, 22)),
            midline.ellipsoid((0, -72, -84), (40, 28, 30)),
            RoundCone(midline.ball(0, -86, 24, 9), midline.ball(0, -105, -18, 9)),
            *(_padded(bar, 5) for bar in bars),
            *(_jowl(side) for side in (left, right)),
            *(side.ellipsoid((80, 8, -4), (6, 15, 26)) for side in (left, right)),
        ),
        neck=RoundCone(cranial.ball(0, 25, -20, 58), cranial.ball(0, 45, -300, 56)),
    )


def _jowl(side: Mould) -> Shape:
    return RoundCone(side.ball(42, -12, -56, 21), side.ball(22, -62, -80, 22))


def _padded(bar: RoundCone, thickness: float) -> RoundCone:
    start, end = (Ball(ball.centre, ball.radius + thickness) for ball in (bar.start, bar.end))
    return RoundCone(start, end)

"""The lower jaw and its teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LandmarkDetectionLib.phantom.anatomy.individual import Mould, Person
from LandmarkDetectionLib.phantom.anatomy.teeth import build_teeth
from LandmarkDetectionLib.phantom.anatomy.tissue import INFERIOR, SUPERIOR, Layer, Tissue, pair
from LandmarkDetectionLib.phantom.shapes import (
    Array,
    Ball,
    Ellipsoid,
    RoundCone,
    Shape,
    Turn,
    Turned,
    Union,
    chain,
)

_FLESH = 8.0  # mm of soft tissue around an open jaw


@dataclass(frozen=True)
class Half:
    """One half of the jaw.

    Attributes:
        condyle: the joint's head.
        ramus: the rising branch, from the neck of the condyle down to the angle.
        body: the horizontal branch, from the angle to the chin.
        coronoid: the process in front of the condyle.
        ridge_end: the hindmost ball of the ridge that bears the teeth.
        ridge_middle: the ball before it.
        angle: Gonion, (3,): where the bisector of ramus and body leaves the angle's ball on the outside.
    """

    condyle: Ellipsoid
    ramus: RoundCone
    body: Shape
    coronoid: Shape
    ridge_end: Ball
    ridge_middle: Ball
    angle: Array


@dataclass(frozen=True)
class Mandible:
    """The lower jaw: two halves, the chin, the ridge with the teeth.

    Attributes:
        opening: degrees that it is turned about the axis through its condyles; all else is as if closed.
    """

    halves: tuple[Half, Half]
    chin: Ellipsoid
    ridge: Shape
    teeth: tuple[RoundCone, ...]
    bone_hu: float
    opening: float

    @property
    def turn(self) -> Turn:
        """The opening about the axis through both condyles, which is the head's x axis but for asymmetry."""
        left, right = (half.condyle.centre for half in self.halves)
        cos, sin = np.cos(np.deg2rad(self.opening)), np.sin(np.deg2rad(self.opening))
        return Turn(np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]), (left + right) / 2)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Bone, then teeth."""
        sides = [Union((half.condyle, half.ramus, half.body, half.coronoid)) for half in self.halves]
        bone: Shape = Union((*sides, self.chin, self.ridge), blend=4)
        if self.opening:
            bone = Turned(bone, self.turn)
        return Layer(bone, self.bone_hu), *(Layer(tooth, Tissue.TOOTH) for tooth in self.open_teeth)

    @property
    def open_teeth(self) -> tuple[RoundCone, ...]:
        """The teeth where they stand."""
        return tuple(self.turn.cone(tooth) for tooth in self.teeth) if self.opening else self.teeth

    @property
    def flesh(self) -> tuple[Shape, ...]:
        """Soft tissue that an open jaw takes along; a closed one lies within that of the head."""
        if not self.opening:
            return ()
        chin = Ball(self.chin.centre, self.chin.radii.max() + _FLESH)
        bars = [RoundCone(Ball(half.angle, _FLESH), chin) for half in self.halves]
        return tuple(self.turn.cone(bar) for bar in bars)

    @property
    def landmarks(self) -> dict[str, Array]:
        """Menton, Gonia and Condylia."""
        closed = {
            "Menton": self.chin.extreme(INFERIOR),
            **pair("Gonion", [half.angle for half in self.halves]),
            **pair("Condylion", [half.condyle.extreme(SUPERIOR) for half in self.halves]),
        }
        if not self.opening:
            return closed
        return {name: self.turn.point(point) for name, point in closed.items()}


def build_mandible(person: Person, opening: float = 0.0) -> Mandible:
    """The lower jaw of one person, opened by so many degrees."""
    midline, left, right = (mould.resized(person.face, person.jaw_shift) for mould in person.moulds(part=3))
    halves = _half(left), _half(right)
    front = midline.ball(0, -79, -74, 6)
    return Mandible(
        halves=halves,
        chin=midline.ellipsoid((0, -82, -90), (13, 9, 10)),
        ridge=Union(tuple(chain(front, half.ridge_middle, half.ridge_end) for half in halves)),
        teeth=build_teeth(left, right, tip=-56.5, root=-74, width=0.93, set_back=3),
        bone_hu=person.bone_hu,
        opening=opening,
    )


def _half(side: Mould) -> Half:
    condyle = side.ellipsoid((47, -21, -9), (8, 5, 6))
    neck = Ball(condyle.centre + 4 * INFERIOR, 4.5)
    branch, corner, turn = side.ball(46, -16, -30, 6), side.ball(46, -8, -60, 7), side.ball(36, -46, -76, 8)
    crest = side.ball(46, -36, -46, 7)
    return Half(
        condyle=condyle,
        ramus=RoundCone(branch, corner),
        body=chain(corner, turn, side.ball(12, -78, -86, 8)),
        coronoid=Union(
            (
                chain(side.ball(45, -43, -16, 3), crest, side.ball(43, -34, -64, 8)),
                chain(neck, branch, side.ball(46, -23, -44, 6.5), crest),
            )
        ),
        ridge_end=side.ball(27, -45, -70, 6),
        ridge_middle=side.ball(17, -70, -73, 6),
        angle=_outermost(corner, branch, turn),
    )


def _outermost(corner: Ball, first: Ball, second: Ball) -> Array:
    """The point of the corner's ball that lies opposite to the bisector of the two bars that meet there."""
    bars = [ball.centre - corner.centre for ball in (first, second)]
    inward = sum((bar / np.linalg.norm(bar) for bar in bars), np.zeros(3))
    outermost: Array = corner.centre - corner.radius * inward / np.linalg.norm(inward)
    return outermost

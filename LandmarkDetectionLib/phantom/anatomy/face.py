"""The upper face: brow, orbits, nose, cheekbones, upper jaw and upper teeth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LandmarkDetectionLib.phantom.anatomy.individual import Mould, Person
from LandmarkDetectionLib.phantom.anatomy.teeth import build_teeth, incisor_contact
from LandmarkDetectionLib.phantom.anatomy.tissue import (
    ANTERIOR,
    INFERIOR,
    LEFTWARD,
    POSTERIOR,
    Layer,
    Tissue,
    pair,
)
from LandmarkDetectionLib.phantom.shapes import Array, Ball, Ellipsoid, RoundCone, Shape, Union, chain


@dataclass(frozen=True)
class Orbit:
    """One eye socket: the aperture at its rim, the cone behind it, the bone around both, the eyeball."""

    aperture: Ellipsoid
    cone: Ellipsoid
    walls: tuple[Shape, ...]
    eyeball: Ellipsoid


@dataclass(frozen=True)
class Arch:
    """One zygomatic arch, from the cheekbone out to its apex and back in to the temporal bone."""

    front: RoundCone
    back: RoundCone


@dataclass(frozen=True)
class Face:
    """The upper face.

    Attributes:
        bone: brow, nasal bones, orbital walls, cheekbones and upper jaw.
        notch: the hollow between the brow and the nasal bones.
        orbits: left and right.
        arches: left and right.
        airways: nasal cavity and maxillary sinuses.
        nasal_spine: the anterior nasal spine.
        teeth: the upper teeth, left from the midline back, then right.
        bone_hu: radiodensity of bone, HU.
    """

    bone: Shape
    notch: Ellipsoid
    orbits: tuple[Orbit, Orbit]
    arches: tuple[Arch, Arch]
    airways: tuple[Ellipsoid, ...]
    nasal_spine: RoundCone
    teeth: tuple[RoundCone, ...]
    bone_hu: float

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Bone, its hollows, what stands in them, and the teeth."""
        hollows = [Layer(Union((orbit.aperture, orbit.cone)), Tissue.FAT) for orbit in self.orbits]
        eyes = [Layer(orbit.eyeball, Tissue.EYE) for orbit in self.orbits]
        bars = [Layer(Union((arch.front, arch.back)), self.bone_hu) for arch in self.arches]
        return (
            Layer(self.bone, self.bone_hu),
            *hollows,
            *eyes,
            *(Layer(airway, Tissue.AIR) for airway in self.airways),
            Layer(self.notch, Tissue.SOFT),
            Layer(self.nasal_spine, self.bone_hu),
            *bars,
            *(Layer(tooth, Tissue.TOOTH) for tooth in self.teeth),
        )

    @property
    def landmarks(self) -> dict[str, Array]:
        """Nasion, the anterior nasal spine, the upper incisors, Orbitalia and Zygia."""
        left, right = self.arches
        return {
            "Nasion": self.notch.extreme(POSTERIOR),
            "Anterior_Nasal_Spine": self.nasal_spine.extreme(ANTERIOR),
            "Upper_Incisor": incisor_contact(self.teeth, INFERIOR),
            **pair("Orbitale", [orbit.aperture.extreme(INFERIOR) for orbit in self.orbits]),
            **pair("Zygion", [left.front.extreme(LEFTWARD), right.front.extreme(-LEFTWARD)]),
        }


def build_face(person: Person) -> Face:
    """The upper face of one person."""
    midline, left, right = (mould.resized(person.face) for mould in person.moulds(part=2))
    orbits = _orbit(left), _orbit(right)
    return Face(
        bone=Union(
            (
                midline.ellipsoid((0, -74, 38), (32, 17, 9)),
                chain(midline.ball(0, -78, 24, 11), midline.ball(0, -95, 3, 4.5)),
                midline.ellipsoid((0, -60, -26), (30, 24, 15)),
                _dental_ridge(midline, left, right),
                *(_cheekbone(side) for side in (left, right)),
                *orbits[0].walls,
                *orbits[1].walls,
            ),
            blend=4,
        ),
        notch=midline.ellipsoid((0, -92, 24), (14, 9, 7)),
        orbits=orbits,
        arches=(_arch(left), _arch(right)),
        airways=(
            midline.ellipsoid((0, -65, -6), (10, 27, 19)),
            *(side.ellipsoid((26, -58, -19), (11, 13, 11)) for side in (left, right)),
        ),
        nasal_spine=RoundCone(midline.ball(0, -74, -28, 6), midline.ball(0, -89, -28, 3)),
        teeth=build_teeth(left, right, tip=-50, root=-32),
        bone_hu=person.bone_hu,
    )


def _orbit(side: Mould) -> Orbit:
    aperture = side.ellipsoid((32, -70, 17), (19, 16, 17))
    cone = side.ellipsoid((27, -50, 15), (13, 25, 12))
    wall = side.ball(0, 0, 0, 3.5).radius
    rim = Ellipsoid(aperture.centre, aperture.radii * (1.3, 0.62, 1.32))
    eye = side.ball(0, 0, 0, 11.5).radius
    return Orbit(
        aperture=aperture,
        cone=cone,
        walls=(rim, Ellipsoid(cone.centre, cone.radii + wall)),
        eyeball=Ellipsoid(aperture.centre + eye * 0.4 * ANTERIOR, np.full(3, eye)),
    )


def _cheekbone(side: Mould) -> Shape:
    return side.ellipsoid((46, -62, -6), (12, 10, 12))


def _arch(side: Mould) -> Arch:
    apex = side.ball(66, -34, -5, 4.5)
    return Arch(
        front=RoundCone(side.ball(48, -60, -7, 6), apex), back=RoundCone(apex, side.ball(60, -11, 2, 5))
    )


def _dental_ridge(midline: Mould, left: Mould, right: Mould) -> Shape:
    front = midline.ball(0, -78, -34, 6)
    return Union(tuple(_half_ridge(side, front) for side in (left, right)))


def _half_ridge(side: Mould, front: Ball) -> Shape:
    middle, back = side.ball(17, -73, -34, 6), side.ball(25, -56, -34, 6.5)
    return chain(front, middle, back, side.ball(28, -46, -34, 6.5))

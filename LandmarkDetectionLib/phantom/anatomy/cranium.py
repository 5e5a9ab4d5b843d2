"""The cranial vault, the skull base, the ear canals and the upper spine."""

from __future__ import annotations

from dataclasses import dataclass

from LandmarkDetectionLib.phantom.anatomy.individual import Mould, Person
from LandmarkDetectionLib.phantom.anatomy.tissue import ANTERIOR, SUPERIOR, Layer, Tissue, pair
from LandmarkDetectionLib.phantom.shapes import Array, Ellipsoid, Shape, Union, chain


@dataclass(frozen=True)
class Cranium:
    """A thin vault around the brain on a base of denser parts.

    Attributes:
        vault: outer surface of the vault.
        brain: inner surface of the vault.
        base: sphenoid, temporal bones, mastoids and the rim of the foramen magnum.
        spine: a column below the foramen magnum.
        fossa: the pituitary fossa in the sphenoid.
        sphenoid_sinus: the air below the fossa.
        foramen: the foramen magnum.
        ear_canals: left and right.
        bone_hu: radiodensity of bone, HU.
    """

    vault: Ellipsoid
    brain: Ellipsoid
    base: Shape
    spine: Shape
    fossa: Ellipsoid
    sphenoid_sinus: Ellipsoid
    foramen: Ellipsoid
    ear_canals: tuple[Ellipsoid, Ellipsoid]
    bone_hu: float

    @property
    def vault_layers(self) -> tuple[Layer, ...]:
        """The vault, filled with brain."""
        return Layer(self.vault, self.bone_hu), Layer(self.brain, Tissue.BRAIN)

    @property
    def base_layers(self) -> tuple[Layer, ...]:
        """The base and its hollows."""
        return (
            Layer(self.base, self.bone_hu),
            Layer(self.spine, 0.7 * self.bone_hu),
            Layer(self.fossa, Tissue.SOFT),
            Layer(self.sphenoid_sinus, Tissue.AIR),
            Layer(self.foramen, Tissue.SOFT),
            *(Layer(canal, Tissue.AIR) for canal in self.ear_canals),
        )

    @property
    def landmarks(self) -> dict[str, Array]:
        """Sella, Basion and both Poria."""
        return {
            "Sella": self.fossa.centre,
            "Basion": self.foramen.extreme(ANTERIOR),
            **pair("Porion", [canal.extreme(SUPERIOR) for canal in self.ear_canals]),
        }


def build_cranium(person: Person) -> Cranium:
    """The cranium of one person."""
    midline, left, right = person.moulds(part=1)
    steady = midline.steadied(0.5)
    vault = midline.ellipsoid((0, 12, 50), (72, 92, 64))
    wall = midline.ball(0, 0, 0, 6).radius
    return Cranium(
        vault=vault,
        brain=Ellipsoid(vault.centre, vault.radii - wall),
        base=Union(
            (
                steady.ellipsoid((0, -20, 6), (21, 23, 14)),
                steady.ellipsoid((0, 25, -16), (24, 27, 7)),
                *(_temporal_bone(side) for side in (left, right)),
            ),
            blend=3,
        ),
        spine=chain(midline.ball(0, 20, -42, 9), midline.ball(0, 28, -90, 9), midline.ball(0, 40, -260, 10)),
        fossa=steady.ellipsoid((0, -18, 14), (7, 7, 7)),
        sphenoid_sinus=steady.ellipsoid((0, -27, -4), (9, 9, 7)),
        foramen=steady.ellipsoid((0, 26, -16), (14, 17, 25)),
        ear_canals=(_ear_canal(left), _ear_canal(right)),
        bone_hu=person.bone_hu,
    )


def _temporal_bone(side: Mould) -> Shape:
    petrous = side.ellipsoid((52, 4, -2), (22, 14, 12))
    mastoid = chain(side.ball(60, 14, -8, 9), side.ball(55, 14, -32, 5))
    return Union((petrous, mastoid), blend=6)


def _ear_canal(side: Mould) -> Ellipsoid:
    return side.ellipsoid((62, 2, -5), (16, 5, 5))

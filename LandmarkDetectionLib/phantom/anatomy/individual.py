"""From the template's numbers to those of one person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from LandmarkDetectionLib.phantom.shapes import Array, Ball, Ellipsoid

LEFT, RIGHT = 1, -1


@dataclass(frozen=True, eq=False)
class Person:
    """Random sizes of one person.

    Attributes:
        scale: (3,) size of the head along x, y, z against the template.
        face: (3,) size of the face against the head.
        jaw_shift: (3,) where the lower jaw stands against the upper, mm: askew, forward, open.
        bone_hu: radiodensity of bone, HU.
        shape_mm: how far a part may lie from the template, alike on both sides, mm.
        asymmetry_mm: how far a part may lie from its mirror image, mm.
        seed: seeds the parts' own numbers.
    """

    scale: Array
    face: Array
    jaw_shift: Array
    bone_hu: float
    shape_mm: float
    asymmetry_mm: float
    seed: int

    @classmethod
    def draw(cls, rng: Generator, *, variation: float, asymmetry: float) -> Person:
        """A person; variation and asymmetry run from 0 (the template, mirror images) to 1."""
        size = rng.uniform(-0.08, 0.08)
        stretch, face = rng.uniform(-0.03, 0.03, 3), rng.uniform(-0.04, 0.04, 3)
        askew, forward, opening = rng.uniform((-2.0, -2.5, 0.0), (2.0, 2.5, 4.0))
        density = rng.uniform(-0.15, 0.15)
        return cls(
            scale=(1 + variation * size) * (1 + variation * stretch),
            face=1 + variation * face,
            jaw_shift=np.array([asymmetry * askew, -variation * forward, -variation * opening]),
            bone_hu=1000 * (1 + variation * density),
            shape_mm=1.5 * variation,
            asymmetry_mm=asymmetry,
            seed=int(rng.integers(2**63)),
        )

    def moulds(self, part: int) -> tuple[Mould, Mould, Mould]:
        """The midline, left and right moulds of a part of the head, which is told by a number."""
        scale = self.scale
        midline, left, right = (
            Mould(
                side=side,
                scale=scale,
                shift=np.zeros(3),
                shape_mm=self.shape_mm,
                asymmetry_mm=self.asymmetry_mm,
                shared=np.random.default_rng([self.seed, part, 1 if side else 0]),
                own=np.random.default_rng([self.seed, part, 3 + side]),
            )
            for side in (0, LEFT, RIGHT)
        )
        return midline, left, right


@dataclass(frozen=True, eq=False)
class Mould:
    """Makes the parts of one side from template numbers, which are those of the left side.

    The same calls in the same order on the left and the right make a pair of parts, alike but for asymmetry.

    Attributes:
        side: LEFT, RIGHT or 0 for the midline.
        scale: (3,) size against the template.
        shift: (3,) displacement, mm.
        shape_mm: largest random displacement that both sides share, mm.
        asymmetry_mm: largest random displacement of this side alone, mm.
        shared: gives both sides the same numbers.
        own: gives this side its own.
    """

    side: int
    scale: Array
    shift: Array
    shape_mm: float
    asymmetry_mm: float
    shared: Generator
    own: Generator

    @property
    def mirror(self) -> Array:
        """(3,) factors from the template's side to this one."""
        return np.array([float(self.side or 1), 1.0, 1.0])

    def resized(self, factors: Array, shift: Array | None = None) -> Mould:
        """The same mould with its scale multiplied by `factors`, and displaced."""
        return replace(self, scale=self.scale * factors, shift=self.shift if shift is None else shift)

    def steadied(self, factor: float) -> Mould:
        """The same mould with its random displacements multiplied by `factor`."""
        return replace(self, shape_mm=factor * self.shape_mm, asymmetry_mm=factor * self.asymmetry_mm)

    def point(self, x: float, y: float, z: float) -> Array:
        """A point (3,) near the template's (x, y, z)."""
        alike = self.shared.uniform(-self.shape_mm, self.shape_mm, 3)
        if self.side == 0:
            alike[0] = 0.0
        alone = self.own.uniform(-self.asymmetry_mm, self.asymmetry_mm, 3)
        placed: Array = self.mirror * (np.array([x, y, z]) * self.scale + alike) + alone + self.shift
        return placed

    def ball(self, x: float, y: float, z: float, radius: float) -> Ball:
        """A ball near the template's."""
        return Ball(self.point(x, y, z), radius * float(np.cbrt(self.scale.prod())))

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Ellipsoid:
        """An ellipsoid near the template's; its radii vary by up to 5 % per mm of `shape_mm`."""
        grown = 1 + self.shared.uniform(-0.05, 0.05, 3) * self.shape_mm
        return Ellipsoid(self.point(*centre), np.array(radii) * self.scale * grown)

"""A whole head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from LandmarkDetectionLib.phantom.anatomy.cranium import build_cranium
from LandmarkDetectionLib.phantom.anatomy.face import build_face
from LandmarkDetectionLib.phantom.anatomy.individual import Person
from LandmarkDetectionLib.phantom.anatomy.mandible import build_mandible
from LandmarkDetectionLib.phantom.anatomy.soft_tissue import build_soft_tissue
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.shapes import Array, RoundCone, Shape, Union


@dataclass(frozen=True)
class Head:
    """One person's head in head coordinates.

    Attributes:
        layers: what it is made of; each layer is painted over those before it.
        landmarks: name to true position (3,), mm.
        outline: the skin without the neck: what a field of view should hold.
        teeth: the upper and the lower teeth.
    """

    layers: tuple[Layer, ...]
    landmarks: dict[str, Array]
    outline: Shape
    teeth: tuple[RoundCone, ...]


def build_head(
    rng: Generator, *, variation: float = 1.0, asymmetry: float = 1.0, jaw_opening: float = 0.0
) -> Head:
    """A random head; variation and asymmetry run from 0 (the template, mirror images) to 1.

    The jaw is opened by so many degrees beyond what persons differ in.
    """
    person = Person.draw(rng, variation=variation, asymmetry=asymmetry)
    cranium, face, mandible = build_cranium(person), build_face(person), build_mandible(person, jaw_opening)
    skin = build_soft_tissue(person, cranium.vault, [face.nasal_spine, *(arch.front for arch in face.arches)])
    flesh = tuple(Layer(part, Tissue.SOFT) for part in mandible.flesh)
    return Head(
        layers=(
            *skin.layers,
            *flesh,
            *cranium.vault_layers,
            *cranium.base_layers,
            *face.layers,
            *mandible.layers,
        ),
        landmarks={
            name: np.asarray(point)
            for part in (cranium, face, mandible)
            for name, point in part.landmarks.items()
        },
        outline=Union((*skin.head, *mandible.flesh)),
        teeth=face.teeth + mandible.open_teeth,
    )

"""Tissues, layers and directions that the parts of the anatomy share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from LandmarkDetectionLib.phantom.shapes import Array, Shape

LEFTWARD = np.array([1.0, 0.0, 0.0])
ANTERIOR = np.array([0.0, -1.0, 0.0])
POSTERIOR = -ANTERIOR
SUPERIOR = np.array([0.0, 0.0, 1.0])
INFERIOR = -SUPERIOR


class Tissue:
    """Radiodensities, HU."""

    AIR = -1000.0
    FAT = -90.0
    EYE = 15.0
    BRAIN = 35.0
    SOFT = 45.0
    TOOTH = 2000.0
    METAL = 3071.0


@dataclass(frozen=True)
class Layer:
    """A shape filled with one material, painted over the layers before it."""

    shape: Shape
    hu: float


def pair(name: str, points: Sequence[Array]) -> dict[str, Array]:
    """The left and the right landmark of a name."""
    left, right = points
    return {f"{name}_L": left, f"{name}_R": right}

"""Synthetic skull CT scans with 16 landmarks whose positions are known to floating-point precision.

For tests and the demo only. The heads are smooth closed forms, far simpler and far more alike than
people's: no accuracy of a method may be claimed from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.phantom.anatomy.head import Head, build_head
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.scanner import (
    Pose,
    add_noise,
    add_streaks,
    draw_frame,
    draw_metal_teeth,
    draw_pose,
    paint,
    quantise,
)
from LandmarkDetectionLib.phantom.settings import PhantomSettings, check_seed

# Name without the side, whether it is a left-right pair, group, definition.
_DEFINITIONS = (
    ("Nasion", False, "Midface", "Deepest point of the hollow between the brow and the nasal bones"),
    ("Sella", False, "Cranial base", "Centre of the pituitary fossa"),
    ("Basion", False, "Cranial base", "Foremost point of the foramen magnum"),
    ("Anterior_Nasal_Spine", False, "Midface", "Tip of the anterior nasal spine"),
    ("Upper_Incisor", False, "Teeth", "Midway between the edges of the upper central incisors"),
    ("Menton", False, "Mandible", "Lowest point of the chin"),
    ("Orbitale", True, "Midface", "Lowest point of the orbit's aperture"),
    ("Porion", True, "Cranial base", "Uppermost point of the ear canal"),
    ("Zygion", True, "Midface", "Outermost point of the zygomatic arch"),
    ("Gonion", True, "Mandible", "Hindmost and lowest point of the angle of the mandible"),
    ("Condylion", True, "Mandible", "Uppermost point of the mandible's condyle"),
)


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A synthetic scan and the truth about it.

    Attributes:
        volume: int16 HU.
        landmarks: all 16 in the table's order, world LPS mm; NaN outside the field of view.
        head: the anatomy, in head coordinates.
        pose: the head's place in the world.
        metal_teeth: how many teeth are metal.
    """

    volume: Volume
    landmarks: LandmarkSet
    head: Head
    pose: Pose
    metal_teeth: int


def landmark_table() -> LandmarkTable:
    """The 16 landmarks: six in the midline, five left-right pairs."""
    rows = [
        (f"{name}{suffix}", f"{name}{other}" if paired else "", group, definition)
        for name, paired, group, definition in _DEFINITIONS
        for suffix, other in ([("_L", "_R"), ("_R", "_L")] if paired else [("", "")])
    ]
    return LandmarkTable(tuple(Landmark(row[0], label, *row[1:]) for label, row in enumerate(rows, start=1)))


def make_case(settings: PhantomSettings, seed: int) -> PhantomCase:
    """One synthetic case, the same for the same settings and seed.

    Shape, pose, grid, metal and noise have random numbers of their own: changing the settings of one leaves
    the random numbers of the others as they were.

    Raises:
        InputError: if the seed is negative.
    """
    check_seed(seed)
    shape, placing, grid, metal, noise, jaw = _streams(seed)
    head = build_head(
        shape,
        variation=settings.shape_variation,
        asymmetry=settings.asymmetry,
        jaw_opening=settings.max_jaw_opening_degrees * jaw.random(),
    )
    pose = draw_pose(placing, settings)
    frame = draw_frame(grid, settings, head, pose)
    teeth = draw_metal_teeth(metal, head) if metal.random() < settings.metal_fraction else ()
    layers = (*head.layers, *(Layer(tooth, Tissue.METAL) for tooth in teeth))
    image = paint(layers, pose, frame, partial_volume=settings.partial_volume)
    add_streaks(metal, image, frame, pose, teeth)
    add_noise(noise, image, settings.noise_hu)
    return PhantomCase(
        volume=Volume(quantise(image), frame),
        landmarks=_landmarks_in_view(head, pose, frame),
        head=head,
        pose=pose,
        metal_teeth=len(teeth),
    )


def _streams(seed: int) -> list[Generator]:
    """Independent generators for shape, pose, grid, metal, noise and the jaw's opening."""
    return [np.random.default_rng([seed, stream]) for stream in range(6)]


def _landmarks_in_view(head: Head, pose: Pose, frame: Frame) -> LandmarkSet:
    names = landmark_table().names
    world = pose.to_world([head.landmarks[name] for name in names])
    world[~frame.contains(world)] = np.nan
    return LandmarkSet(names, world)

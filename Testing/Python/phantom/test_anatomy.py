"""The true landmarks lie on the features that the image shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.phantom.anatomy.head import Head, build_head
from LandmarkDetectionLib.phantom.scanner import Pose, paint
from LandmarkDetectionLib.phantom.skull import landmark_table

HALF_WAY_HU = 500.0
STEP = 0.5
EDGE = 0.02
UPRIGHT = Pose(np.eye(3), np.zeros(3))
OUTWARD = {
    "Nasion": (0, 1, 0),
    "Basion": (0, -1, 0),
    "Anterior_Nasal_Spine": (0, -1, 0),
    "Menton": (0, 0, -1),
    "Orbitale_L": (0, 0, -1),
    "Orbitale_R": (0, 0, -1),
    "Porion_L": (0, 0, 1),
    "Porion_R": (0, 0, 1),
    "Zygion_L": (1, 0, 0),
    "Zygion_R": (-1, 0, 0),
    "Condylion_L": (0, 0, 1),
    "Condylion_R": (0, 0, 1),
}
HOLLOW = {"Nasion", "Basion", "Orbitale_L", "Orbitale_R", "Porion_L", "Porion_R"}
GONIA = ("Gonion_L", "Gonion_R")


class Close(NamedTuple):
    """A look at a landmark: voxels at `offsets` (..., 3; mm from it), and whether each is in the feature."""

    hu: NDArray[np.float32]
    offsets: NDArray[np.float64]
    inside: NDArray[np.bool_]


@pytest.fixture(
    params=[None, 0, 1, 2, 3, 4, 5], ids=lambda seed: "template" if seed is None else f"person {seed}"
)
def head(request: pytest.FixtureRequest) -> Head:
    if request.param is None:
        return build_head(np.random.default_rng(0), variation=0, asymmetry=0)
    return build_head(np.random.default_rng(request.param))


def look(head: Head, name: str, half: int = 7) -> Close:
    size = 2 * half + 1
    centre = head.landmarks[name]
    frame = Frame(size=[size] * 3, spacing=[STEP] * 3, origin=centre - half * STEP)
    hu = paint(head.layers, UPRIGHT, frame)
    k, j, i = np.indices(frame.shape)
    offsets = frame.index_to_world(np.stack([i, j, k], axis=-1)) - centre
    return Close(hu, offsets, hu < HALF_WAY_HU if name in HOLLOW else hu > HALF_WAY_HU)


def outward_normal(seen: Close, name: str) -> NDArray[np.float64]:
    """The unit normal of the surface at the landmark, out of the feature."""
    middle = seen.hu.shape[0] // 2
    slopes = [np.gradient(seen.hu, axis=axis)[middle, middle, middle] for axis in (2, 1, 0)]
    sign = 1 if name in HOLLOW else -1
    normal: NDArray[np.float64] = sign * np.array(slopes, dtype=np.float64) / np.linalg.norm(slopes)
    return normal


@pytest.mark.parametrize("name", [*OUTWARD, *GONIA])
def test_the_surface_of_the_feature_runs_through_the_landmark(head: Head, name: str) -> None:
    seen = look(head, name)
    normal = outward_normal(seen, name)
    along = np.linspace(-1.5, 1.5, 61)
    across = np.linalg.svd(normal[None])[2][1:]
    line = Frame(
        size=(1, 1, 61),
        spacing=(1, 1, 0.05),
        origin=head.landmarks[name] - 1.5 * normal,
        direction=np.column_stack([*across, normal]),
    )
    profile = paint(head.layers, UPRIGHT, line, partial_volume=False).ravel()
    beyond = (profile > HALF_WAY_HU) == (name in HOLLOW)
    assert not beyond[along < -EDGE].any()
    assert beyond[along > EDGE].all()


@pytest.mark.parametrize("name", OUTWARD)
def test_the_feature_ends_at_the_landmark(head: Head, name: str) -> None:
    seen = look(head, name)
    outward = np.array(OUTWARD[name])
    near = np.linalg.norm(seen.offsets, axis=-1) < 3.5
    farthest = (seen.offsets @ outward)[seen.inside & near].max()
    assert -STEP - 0.05 <= farthest <= 0.5 * STEP + 0.05
    assert outward_normal(seen, name) @ outward > 0.97


@pytest.mark.parametrize("name", GONIA)
def test_gonion_is_the_outermost_point_of_the_corner_of_the_jaw(head: Head, name: str) -> None:
    seen = look(head, name)
    normal = outward_normal(seen, name)
    near = np.linalg.norm(seen.offsets, axis=-1) < 3.5
    assert (seen.offsets @ normal)[seen.inside & near].max() <= 0.5 * STEP + 0.05
    assert normal[1] > 0.5
    assert normal[2] < -0.3


def test_sella_is_in_the_middle_of_the_pituitary_fossa(head: Head) -> None:
    seen = look(head, "Sella", half=20)
    middle = seen.inside.shape[0] // 2
    left_right, front_back = seen.inside[middle, middle], seen.inside[middle, :, middle]
    for line in (left_right, front_back):
        walls = np.flatnonzero(line)
        before, after = walls[walls < middle].max(), walls[walls > middle].min()
        assert before + after == pytest.approx(2 * middle, abs=1)
        assert 5 < (after - middle) * STEP < 9


def test_the_upper_incisors_end_on_both_sides_of_their_landmark(head: Head) -> None:
    seen = look(head, "Upper_Incisor", half=14)
    x, y, z = np.moveaxis(seen.offsets, -1, 0)
    tooth = (seen.hu > 1000) & (abs(x) < 6) & (abs(y) < 3) & (z > -3)
    lowest = [z[tooth & side].min() for side in (x > 0, x < 0)]
    assert np.mean(lowest) == pytest.approx(0, abs=STEP)
    assert np.ptp(lowest) < 2.5
    innermost = [abs(x[tooth & side & (z > 3) & (z < 5)]).min() for side in (x > 0, x < 0)]
    assert max(innermost) < 1.5


def test_no_bone_is_bare(head: Head) -> None:
    air = np.array([head.layers[0].shape.distance(point) for point in head.landmarks.values()])
    assert (air < -2).all()


def test_a_symmetric_head_has_mirrored_landmarks_and_a_mirrored_image() -> None:
    head = build_head(np.random.default_rng(3), asymmetry=0)
    table = landmark_table()
    points = np.array([head.landmarks[name] for name in table.names])
    np.testing.assert_allclose(points[table.mirrored_order] * (-1, 1, 1), points, atol=1e-12)
    frame = Frame(size=(43, 50, 58), spacing=[4] * 3, origin=(-84, -100, -115))
    image = paint(head.layers, UPRIGHT, frame)
    np.testing.assert_allclose(image[:, :, ::-1], image, atol=1)


def test_an_asymmetric_head_is_not_its_mirror_image() -> None:
    head = build_head(np.random.default_rng(3))
    table = landmark_table()
    points = np.array([head.landmarks[name] for name in table.names])
    apart = np.linalg.norm(points[table.mirrored_order] * (-1, 1, 1) - points, axis=1)
    assert 0.5 < np.median(apart) < 6


def test_people_differ_from_each_other() -> None:
    people = [build_head(np.random.default_rng(seed)) for seed in range(20)]
    spread = np.std([list(person.landmarks.values()) for person in people], axis=0)
    assert 1 < np.median(spread) < 8


def test_an_open_jaw_is_turned_as_a_whole_and_nothing_else_is() -> None:
    closed, opened = (build_head(np.random.default_rng(3), jaw_opening=degrees) for degrees in (0.0, 20.0))
    jaw = ("Menton", *GONIA)
    for name, point in closed.landmarks.items():
        moved = float(np.linalg.norm(opened.landmarks[name] - point))
        assert moved > 10 if name in jaw else moved < 5 if "Condylion" in name else moved == 0
    apart = [head.landmarks["Menton"] - head.landmarks["Gonion_L"] for head in (closed, opened)]
    assert np.linalg.norm(apart[0]) == pytest.approx(np.linalg.norm(apart[1]))
    assert opened.landmarks["Menton"][2] < closed.landmarks["Menton"][2] - 10, "it opens downwards"
    for name in ("Menton", *GONIA):
        assert look(opened, name).inside.any() and not look(opened, name).inside.all()
    outline = opened.outline.reach(np.array([0.0, 0.0, -1.0]))
    assert outline > -opened.landmarks["Menton"][2], "a field of view holds it"

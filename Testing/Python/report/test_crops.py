"""Close-ups show what lies where the marks are drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.report.crops import EDGE, GAP, WIDTH, Camera, Crop, Mark

Array = NDArray[np.float64]

EMPTY = Volume(
    np.zeros((9, 9, 9), np.float32),
    Frame(size=(9, 9, 9), origin=(0, 0, 0), spacing=(1, 1, 1), direction=np.eye(3)),
)


def random_rotation(seed: int) -> Array:
    orthogonal, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return orthogonal * np.sign(np.linalg.det(orthogonal))


def pixels(crop: Crop) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(crop.jpeg)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_bright_voxel_lies_under_its_mark_in_any_pose(scan: int, anatomy: int) -> None:
    generator = np.random.default_rng(scan)
    frame = Frame(
        size=(30, 28, 26),
        origin=generator.normal(0, 50, 3),
        spacing=(0.7, 1.0, 1.2),
        direction=random_rotation(scan),
    )
    index = np.array([generator.integers(8, edge - 8) for edge in frame.size])
    voxels = np.zeros(frame.shape, np.float32)
    voxels[tuple(index[::-1])] = 1.0
    place = frame.index_to_world(index)
    centre = place + random_rotation(anatomy)[0] * 0.2
    crop = Camera(Volume(voxels, frame), random_rotation(anatomy), (0.0, 1.0)).take(
        centre, 6.0, [Mark("truth", place)]
    )
    for one in crop.slices:
        part = pixels(crop)[:, one.x : one.x + EDGE].astype(float)
        part[part < 40] = 0  # the ringing of the JPEG
        rows, columns = np.indices(part.shape) + 0.5
        brightest = [(axis * part).sum() / part.sum() for axis in (columns + one.x, rows)]
        mark = one.marks[0]
        assert np.hypot(brightest[0] - mark.x, brightest[1] - mark.y) < 4
        assert not mark.beyond


@pytest.mark.parametrize(
    ("direction", "axial", "coronal", "sagittal"),
    [
        ((1, 0, 0), (1, 0), (1, 0), (0, 0)),
        ((0, 1, 0), (0, 1), (0, 0), (1, 0)),
        ((0, 0, 1), (0, 0), (0, -1), (0, -1)),
    ],
    ids=["left is on the right", "posterior is below, and on the right", "superior is above"],
)
def test_slices_are_turned_as_radiologists_look_at_them(
    direction: tuple[int, ...], axial: tuple[int, int], coronal: tuple[int, int], sagittal: tuple[int, int]
) -> None:
    centre = np.full(3, 4.0)
    mark = Mark("truth", centre + 2 * np.array(direction), 1.0)
    crop = Camera(EMPTY, np.eye(3), (0.0, 1.0)).take(centre, 4.0, [mark])
    quarter = EDGE / 4
    for one, moved in zip(crop.slices, (axial, coronal, sagittal), strict=True):
        drawn = one.marks[0]
        expected = (one.x + EDGE / 2 + moved[0] * quarter, EDGE / 2 + moved[1] * quarter)
        assert (drawn.x, drawn.y) == pytest.approx(expected)
        assert drawn.radius == pytest.approx(EDGE / 8)
    assert [(one.left, one.top) for one in crop.slices] == [("R", "A"), ("R", "S"), ("A", "S")]
    assert pixels(crop).shape == (EDGE, WIDTH) == (EDGE, 3 * EDGE + 2 * GAP)


def test_a_place_beyond_the_slice_is_drawn_at_its_edge_and_said_to_lie_beyond() -> None:
    crop = Camera(EMPTY, np.eye(3), (0.0, 1.0)).take(
        np.full(3, 4.0), 2.0, [Mark("detection", np.array([9.0, 4, 4]))]
    )
    assert [one.marks[0].beyond for one in crop.slices] == [True, True, False]
    assert crop.slices[0].marks[0].x == EDGE


def test_the_bar_is_as_long_as_it_says() -> None:
    crop = Camera(EMPTY, np.eye(3), (0.0, 1.0)).take(np.full(3, 4.0), 4.0, [])
    assert crop.bar_mm == 2.0
    assert crop.bar == pytest.approx(EDGE / 4)

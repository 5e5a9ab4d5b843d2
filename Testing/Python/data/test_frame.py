"""Frames: indices and world points, boxes, and grids that agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.frame import Frame

FRAMES = st.from_type(Frame)
INDICES = st.tuples(*[st.floats(-20, 20)] * 3)
SHEAR = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, -0.2], [0.0, 0.0, 1.0]])


@given(FRAMES, INDICES, st.booleans())
def test_an_index_comes_back_from_the_world(frame: Frame, index: tuple[float, ...], sheared: bool) -> None:
    if sheared:
        frame = Frame(
            size=frame.size,
            origin=frame.origin,
            spacing=frame.spacing,
            direction=frame.direction @ SHEAR,
        )
    np.testing.assert_allclose(frame.world_to_index(frame.index_to_world(index)), index, atol=1e-8)


@given(FRAMES)
def test_axes_step_by_the_spacing_along_the_columns_of_the_direction(frame: Frame) -> None:
    for axis in range(3):
        step = frame.index_to_world(np.eye(3)[axis]) - frame.index_to_world(np.zeros(3))
        np.testing.assert_allclose(step, frame.spacing[axis] * frame.direction[:, axis], atol=1e-9)


def test_index_is_x_y_z_and_an_array_is_z_y_x() -> None:
    frame = Frame(size=(4, 5, 6), origin=(10, 20, 30), spacing=(1, 2, 3))
    np.testing.assert_allclose(frame.index_to_world((1, 0, 0)), (11, 20, 30))
    np.testing.assert_allclose(frame.index_to_world((0, 1, 1)), (10, 22, 33))
    assert frame.shape == (6, 5, 4)
    np.testing.assert_allclose(frame.extent, (4, 10, 18))


@given(FRAMES)
def test_many_points_at_once_are_the_points_one_by_one(frame: Frame) -> None:
    indices = np.arange(24.0).reshape(2, 4, 3)
    world = frame.index_to_world(indices)
    assert world.shape == (2, 4, 3)
    np.testing.assert_allclose(world[1, 2], frame.index_to_world(indices[1, 2]))


@given(FRAMES, st.floats(0.5, 2.0))
def test_a_new_spacing_keeps_the_box(frame: Frame, factor: float) -> None:
    coarse = frame.with_spacing(frame.spacing * factor)
    np.testing.assert_allclose(coarse.centre, frame.centre, atol=1e-8)
    np.testing.assert_allclose(coarse.direction, frame.direction)
    missing, extra = frame.extent - coarse.extent, coarse.extent - frame.extent
    assert (missing <= 2e-3 * coarse.spacing).all(), "the new grid covers the box"
    assert (extra < coarse.spacing).all(), "by less than a voxel too much"


@given(FRAMES)
def test_the_same_spacing_gives_the_same_frame(frame: Frame) -> None:
    again = frame.with_spacing(frame.spacing)
    assert again.size == frame.size
    assert again.agrees_with(frame, tolerance=1e-6)


@given(FRAMES)
def test_the_box_reaches_half_a_voxel_beyond_the_outer_voxel_centres(frame: Frame) -> None:
    last = np.array(frame.size) - 1
    for edge in (np.full(3, -0.499), last + 0.499, last / 2):
        assert frame.contains(frame.index_to_world(edge))
    for beyond in (-0.501, last[1] + 0.501):
        assert not frame.contains(frame.index_to_world((0, beyond, 0)))
    assert not frame.contains((np.nan, 0, 0))


@given(FRAMES, st.floats(-0.5, 0.5), st.sampled_from([0, 1, 2]))
def test_frames_agree_up_to_a_tenth_of_a_voxel(frame: Frame, shift: float, axis: int) -> None:
    moved = Frame(
        size=frame.size,
        origin=frame.index_to_world(shift * np.eye(3)[axis]),
        spacing=frame.spacing,
        direction=frame.direction,
    )
    if abs(abs(shift) - 0.1) > 1e-6:
        assert frame.agrees_with(moved) == (abs(shift) < 0.1)


def test_frames_of_other_size_or_orientation_do_not_agree() -> None:
    frame = Frame(size=(10, 10, 10))
    assert not frame.agrees_with(Frame(size=(10, 10, 11)))
    assert not frame.agrees_with(Frame(size=(10, 10, 10), direction=np.diag([-1, -1, 1])))
    assert frame == Frame(size=(10, 10, 10))
    assert frame != Frame(size=(10, 10, 10), spacing=(1, 1, 2))


def test_right_angles_are_seen() -> None:
    assert Frame(size=(2, 2, 2), direction=np.diag([1, -1, 1])).has_right_angles
    assert not Frame(size=(2, 2, 2), direction=SHEAR).has_right_angles


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": (1, 0, 1)},
        {"spacing": (1, -1, 1)},
        {"spacing": (1, np.nan, 1)},
        {"size": (3, 0, 3)},
        {"origin": (0, np.inf, 0)},
        {"direction": np.zeros((3, 3))},
        {"spacing": (1, 1)},
    ],
)
def test_a_frame_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Frame(**({"size": (3, 3, 3)} | wrong))  # type: ignore[arg-type]


def test_a_frame_cannot_be_changed_from_outside() -> None:
    origin = np.zeros(3)
    frame = Frame(size=(3, 3, 3), origin=origin)
    origin[0] = 99
    assert frame.origin[0] == 0
    with pytest.raises(ValueError):
        frame.spacing[0] = 2

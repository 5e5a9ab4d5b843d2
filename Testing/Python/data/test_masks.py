"""Masks: drawn as defined, and back to the points they were drawn from."""

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.masks import check_labels, default_radii, draw_mask, mask_centres, read_mask
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, write_volume

Points = NDArray[np.float64]
FRAMES = st.from_type(Frame)
TWO_SLICES_OF_A_BALL = Frame(
    size=(7, 10, 7),
    origin=(0, 0, 0),
    spacing=(4.0625, 1.0234375, 1.0234375),
    direction=np.diag([1.0, 1.0, -1.0]),
)
SHEAR = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, -0.2], [0.0, 0.0, 1.0]])


def voxel_centres(frame: Frame) -> Points:
    """World positions of all voxels, in the order of a raveled array."""
    return frame.index_to_world(np.argwhere(np.ones(frame.shape))[:, ::-1])


def random_rotation(random: np.random.Generator) -> Points:
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return np.asarray(turn * np.linalg.det(turn))


def voxel_size(frame: Frame) -> float:
    return float(np.prod(frame.spacing) ** (1 / 3))


# drawing


@given(
    frame=FRAMES,
    sheared=st.booleans(),
    places=st.lists(st.tuples(*[st.floats(-3, 14)] * 3), min_size=1, max_size=5),
    positive=st.floats(0.3, 5),
    shell=st.floats(0, 4),
)
def test_a_mask_is_what_its_definition_says(
    frame: Frame, sheared: bool, places: list[tuple[float, ...]], positive: float, shell: float
) -> None:
    if sheared:
        frame = Frame(
            size=frame.size,
            origin=frame.origin,
            spacing=frame.spacing,
            direction=frame.direction @ SHEAR,
        )
    unit = voxel_size(frame)
    positive, negative = positive * unit, (positive + shell) * unit
    points, labels = frame.index_to_world(places), np.arange(len(places)) * 3 + 1
    mask = draw_mask(frame, points, labels.tolist(), positive=positive, negative=negative)

    distances = np.linalg.norm(voxel_centres(frame)[:, None] - points, axis=-1)
    nearest = distances.min(axis=1)
    expected = np.where(nearest <= negative, -1, 0)
    expected = np.where(nearest <= positive, labels[distances.argmin(axis=1)], expected)

    runner_up = np.sort(distances, axis=1)[:, 1] if len(points) > 1 else np.inf
    certain = runner_up - nearest > 1e-9 * unit
    for radius in (positive, negative):
        certain &= abs(nearest - radius) > 1e-5 * radius
    assert mask.dtype == np.int16 and mask.shape == frame.shape
    np.testing.assert_array_equal(mask.ravel()[certain], expected[certain])


def test_a_voxel_on_the_radius_belongs_to_the_ball() -> None:
    for spacing in (1.0, 0.141, 0.7):
        frame = Frame(size=(15, 15, 15), spacing=[spacing] * 3, origin=(0.1, 0.2, 0.3))
        mask = draw_mask(frame, [frame.centre], [1], positive=3 * spacing, negative=6 * spacing)
        assert (mask == 1).sum() == 123, "integer points within 3 of the origin"
        assert (mask == -1).sum() == 925 - 123, "and within 6"


def test_the_nearest_landmark_owns_the_voxel() -> None:
    frame = Frame(size=(20, 9, 9))
    mask = draw_mask(frame, [(7, 4, 4), (11, 4, 4)], [5, 3], positive=3, negative=6)
    assert mask[4, 4].tolist() == [0] + [-1] * 3 + [5] * 6 + [3] * 5 + [-1] * 3 + [0] * 2


def test_the_order_of_landmarks_does_not_matter() -> None:
    frame = Frame(size=(20, 20, 20), spacing=(0.7, 1, 1.3))
    points = np.random.default_rng(3).uniform(2, 12, (6, 3))
    forth = draw_mask(frame, points, range(1, 7), positive=3, negative=5)
    back = draw_mask(frame, points[::-1], range(6, 0, -1), positive=3, negative=5)
    np.testing.assert_array_equal(forth, back)


def test_an_absent_landmark_and_one_far_outside_are_not_drawn() -> None:
    frame = Frame(size=(9, 9, 9))
    points = np.array([[np.nan] * 3, [4, 4, 4], [400, 4, 4]])
    assert set(np.unique(draw_mask(frame, points, [1, 2, 3], positive=2, negative=3))) == {-1, 0, 2}
    assert not draw_mask(frame, points[[0, 2]], [1, 3], positive=2, negative=3).any()
    assert not draw_mask(frame, np.zeros((0, 3)), [], positive=2, negative=3).any()


def test_a_ball_outside_reaches_into_the_image() -> None:
    mask = draw_mask(Frame(size=(9, 9, 9)), [(-1, 4, 4)], [1], positive=2, negative=3)
    assert mask[4, 4, :4].tolist() == [1, 1, -1, 0]


def test_radii_that_make_no_sense() -> None:
    for positive, negative in ((0, 1), (2, 1), (np.nan, 1)):
        with pytest.raises(ValueError, match="radii"):
            draw_mask(Frame(size=(9, 9, 9)), [(4, 4, 4)], [1], positive=positive, negative=negative)


def test_default_radii() -> None:
    np.testing.assert_allclose(default_radii((0.5, 0.5, 0.5)), (1.5, 3))
    np.testing.assert_allclose(default_radii((0.5, 1, 2)), (3, 6))
    np.testing.assert_allclose(default_radii((0.3, 0.3, 5)), (5, 10))


@given(FRAMES, st.tuples(*[st.floats(0, 1)] * 3))
def test_no_ball_of_the_default_radius_falls_between_the_voxels(
    frame: Frame, place: tuple[float, ...]
) -> None:
    point = frame.index_to_world(np.array(place) * (np.array(frame.size) - 1))
    positive, negative = default_radii(frame.spacing)
    assert (draw_mask(frame, [point], [1], positive=positive, negative=negative) == 1).any()


# and back


def axis_orders(frame: Frame, mask: NDArray[np.int16]) -> Iterator[tuple[Frame, NDArray[np.int16]]]:
    """The same voxels in the same places of the world, stored in all 48 orders of their axes."""
    for order, flips in product(permutations(range(3)), product([1, -1], repeat=3)):
        stored = mask.transpose([2 - order[2 - axis] for axis in range(3)])[
            tuple(slice(None, None, step) for step in flips[::-1])
        ]
        first = [frame.size[axis] - 1 if step < 0 else 0 for axis, step in zip(order, flips, strict=True)]
        corner = np.zeros(3)
        corner[list(order)] = first
        yield (
            Frame(
                size=np.array(frame.size)[list(order)],
                origin=frame.index_to_world(corner),
                spacing=frame.spacing[list(order)],
                direction=frame.direction[:, order] * flips,
            ),
            stored,
        )


def crowded_scene() -> tuple[Frame, Points, NDArray[np.int16], float, float]:
    """An oblique anisotropic grid with balls that meet, and some that the border cuts."""
    random = np.random.default_rng(5)
    frame = Frame(
        size=(22, 18, 16), origin=(-30, 20, 5), spacing=(0.8, 1, 1.4), direction=random_rotation(random)
    )
    places = [(5, 5, 5), (8.3, 6.1, 5.4), (20.6, 9.2, 8.1), (12.7, 0.4, 7.7), (13.2, 10.9, 10.5)]
    points = frame.index_to_world(places)
    positive, negative = default_radii(frame.spacing)
    mask = draw_mask(frame, points, range(1, 6), positive=positive, negative=negative)
    return frame, points, mask, positive, negative


def test_all_48_axis_orders_give_the_same_mask_and_the_same_points() -> None:
    frame, points, mask, positive, negative = crowded_scene()
    expected = mask_centres(mask, frame)
    seen = 0
    for other, stored in axis_orders(frame, mask):
        drawn = draw_mask(other, points, range(1, 6), positive=positive, negative=negative)
        np.testing.assert_array_equal(drawn, stored)
        found = mask_centres(drawn, other)
        for label, centre in expected.items():
            assert np.linalg.norm(found[label] - centre) < 1e-3 * voxel_size(frame)
        seen += 1
    assert seen == 48 and len(expected) == 5


@given(FRAMES.filter(lambda frame: min(frame.size) > 6), st.integers(0, 99))
@example(TWO_SLICES_OF_A_BALL, 1)
def test_turning_the_scan_turns_the_points(frame: Frame, seed: int) -> None:
    random = np.random.default_rng(seed)
    turn, shift = random_rotation(random), random.uniform(-100, 100, 3)
    turned = Frame(
        size=frame.size,
        origin=turn @ frame.origin + shift,
        spacing=frame.spacing,
        direction=turn @ frame.direction,
    )
    points = frame.index_to_world(random.uniform(1, np.array(frame.size) - 2, (3, 3)))
    positive, negative = default_radii(frame.spacing)
    centres = []
    for grid, landmarks in ((frame, points), (turned, points @ turn.T + shift)):
        mask = draw_mask(grid, landmarks, [1, 2, 3], positive=positive, negative=negative)
        centres.append(mask_centres(mask, grid))
    assert centres[0].keys() == centres[1].keys()
    for label, centre in centres[0].items():
        apart = np.linalg.norm(turn @ centre + shift - centres[1][label])
        assert apart < 1e-3 * voxel_size(frame)


def centre_errors(
    kind: str, spacing: tuple[float, float, float], *, repeats: int = 40
) -> tuple[Points, Points]:
    """Errors in voxels of the found centres and of plain centroids, for whole or cut balls."""
    random = np.random.default_rng(7)
    positive, negative = default_radii(spacing)
    found, plain = [], []
    for _ in range(repeats):
        half = np.ceil(positive / np.array(spacing)).astype(int) + 3
        frame = Frame(size=2 * half + 1, spacing=spacing, direction=random_rotation(random))
        point = frame.index_to_world(half + random.uniform(-0.5, 0.5, 3))
        points = point[None]
        if kind == "half":
            start = np.array([half[0], 0, 0])
            frame = Frame(
                size=frame.size - start,
                origin=frame.index_to_world(start),
                spacing=spacing,
                direction=frame.direction,
            )
        if kind == "neighbour":
            away = random_rotation(random)[0] * positive * random.uniform(0.5, 1.5)
            points = np.stack([point, point + away])
        mask = draw_mask(frame, points, range(1, len(points) + 1), positive=positive, negative=negative)
        centroid = frame.index_to_world(np.argwhere(mask == 1)[:, ::-1]).mean(axis=0)
        found.append(np.linalg.norm(mask_centres(mask, frame)[1] - point) / voxel_size(frame))
        plain.append(np.linalg.norm(centroid - point) / voxel_size(frame))
    return np.array(found), np.array(plain)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 2.0)])
@pytest.mark.parametrize(
    ("kind", "mean", "worst", "better_than_centroid"),
    [("whole", 0.05, 0.2, 1.2), ("neighbour", 0.09, 0.35, 4), ("half", 0.12, 0.6, 5)],
)
def test_centres_are_right_to_hundredths_of_a_voxel_also_where_balls_are_cut(
    kind: str, mean: float, worst: float, better_than_centroid: float, spacing: tuple[float, float, float]
) -> None:
    found, plain = centre_errors(kind, spacing)
    assert found.mean() < mean and found.max() < worst
    assert found.mean() * better_than_centroid < plain.mean()


def blob(kind: str) -> NDArray[np.int16]:
    """A label volume that no ball was drawn into."""
    random = np.random.default_rng(2)
    mask = np.zeros((20, 20, 20), np.int16)
    z, y, x = np.ogrid[:20, :20, :20]
    if kind == "voxel in the corner":
        mask[0, 0, 0] = 1
    elif kind == "plate":
        mask[9, 3:11, 4:10] = 1
    elif kind == "bar in the corner":
        mask[:2, :2, :14] = 1
    elif kind == "noise":
        mask[5:13, 5:13, 5:13] = random.random((8, 8, 8)) > 0.6
    elif kind == "half a ball, cut by a tool":
        mask[((x - 9.2) ** 2 + (y - 9.4) ** 2 + (z - 9.1) ** 2 <= 9) & (x >= 9)] = 1
    else:
        mask[:] = 1
    return mask


@pytest.mark.parametrize(
    "kind",
    ["voxel in the corner", "plate", "bar in the corner", "noise", "half a ball, cut by a tool", "all"],
)
def test_a_label_that_is_no_ball_gives_its_centroid(kind: str) -> None:
    mask, frame = blob(kind), Frame(size=(20, 20, 20), spacing=(1, 2, 3), direction=-np.eye(3))
    centroid = frame.index_to_world(np.argwhere(mask == 1)[:, ::-1]).mean(axis=0)
    np.testing.assert_allclose(mask_centres(mask, frame)[1], centroid, atol=1e-9)


@pytest.mark.parametrize("edge", range(1, 7))
def test_a_cube_gives_its_middle(edge: int) -> None:
    mask = np.zeros((20, 20, 20), np.int16)
    mask[3 : 3 + edge, 5 : 5 + edge, 8 : 8 + edge] = 1
    middle = np.array([8, 5, 3]) + (edge - 1) / 2
    np.testing.assert_allclose(mask_centres(mask, Frame(size=(20, 20, 20)))[1], middle, atol=1e-6)


def test_only_the_labels_asked_for_are_looked_for() -> None:
    frame, _, mask, _, _ = crowded_scene()
    assert mask_centres(np.zeros_like(mask), frame) == {}


# files


@pytest.mark.parametrize("dtype", ["int16", "uint8", "int32", "float32"])
def test_a_mask_is_read_as_int16_on_a_grid_of_its_own(tmp_path: Path, dtype: str) -> None:
    frame = Frame(size=(5, 6, 7), spacing=(2, 2, 2), origin=(1, 2, 3))
    voxels = np.arange(210).reshape(frame.shape).astype(dtype)
    write_volume(Volume(voxels, frame), tmp_path / "mask.nii.gz")
    mask = read_mask(tmp_path / "mask.nii.gz")
    assert mask.voxels.dtype == np.int16
    np.testing.assert_array_equal(mask.voxels, voxels)
    assert mask.frame.agrees_with(frame)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, "not whole numbers"), (40000, "within -32768 to 32767")]
)
def test_a_mask_of_other_values_is_refused(tmp_path: Path, value: float, expected: str) -> None:
    frame = Frame(size=(5, 6, 7))
    write_volume(Volume(np.full(frame.shape, value, np.float32), frame), tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match=rf"mask\.nii\.gz: .*{expected}.*\.$"):
        read_mask(tmp_path / "mask.nii.gz")


def test_an_unknown_label_is_named() -> None:
    table = LandmarkTable.from_names(["A", "B"])
    mask = np.zeros((4, 4, 4), np.int16)
    mask[0, 0] = (-1, 0, 1, 2)
    check_labels(mask, table, where="case.nii.gz")
    mask[1, 1] = (7, -2, 1, 2)
    with pytest.raises(InputError, match=r"case\.nii\.gz: the mask holds -2, 7, which"):
        check_labels(mask, table, where=Path("case.nii.gz"))

"""A scan is turned until its pose is plain, and no further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.shape import Similarity
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Alignment
from LandmarkDetectionLib.detection.pose_search import ANY_POSE, degrees_between, search_pose

Array = NDArray[np.float64]


def a_rotation(seed: int) -> Array:
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    rotation[:, 0] *= np.linalg.det(rotation)
    return rotation


def a_scan(direction: Array | None = None, *, level: float = 0.0) -> Volume:
    frame = Frame(size=(9, 7, 5), origin=(3, -2, 8), spacing=(2.0,) * 3, direction=direction)
    return Volume(np.full(frame.shape, level, np.float32), frame)


class Knows:
    """A network that knows anatomy which stands by `rotation` in the world up to so many degrees."""

    def __init__(self, rotation: Array, taught: float, *, levels: tuple[float, ...] = (0.0,)) -> None:
        self.rotation, self.taught, self.levels = rotation, taught, levels
        self.seen: list[float] = []

    def __call__(self, scan: Volume) -> Alignment | None:
        off = degrees_between(scan.frame.direction, self.rotation)
        self.seen.append(off)
        if off > self.taught or float(scan.voxels.min()) not in self.levels:
            return None
        return Alignment(Similarity(self.rotation, 1.0, np.zeros(3)), 1 - off / 150)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_any_pose_is_found_by_a_network_that_knows_63_degrees(pose: int, stored: int) -> None:
    look = Knows(a_rotation(pose), 63)
    found = search_pose(look, [lambda: a_scan(a_rotation(stored))], taught=60)
    assert found is not None and found[0].support > 0.8, "looked at once more, upright"
    assert min(look.seen) < 25 and len(look.seen) <= 24 + 24


def test_a_scan_that_lies_as_those_of_training_is_looked_at_once() -> None:
    look = Knows(np.eye(3), 60)
    assert search_pose(look, [a_scan], taught=60) is not None
    assert look.seen == [0.0]


def test_a_pose_that_is_enough_ends_the_search() -> None:
    """Of a few landmarks, which fit in many a wrong pose too."""
    looks = []
    for enough in (0.3, 0.7):
        seen: list[Volume] = []

        def look(scan: Volume, seen: list[Volume] = seen) -> Alignment:
            seen.append(scan)
            return Alignment(Similarity(np.eye(3), 1.0, np.zeros(3)), 0.4)

        assert search_pose(look, [a_scan, a_scan], taught=60, enough=enough) is not None
        looks.append(len(seen))
    assert looks[0] == 2, "by both intensity scales"
    assert looks[1] >= 48


def test_the_scale_is_chosen_by_the_plainest_pose_in_an_order_of_the_axes() -> None:
    """Also where another scale shows some pose too, and none shows any in the scan as it lies."""
    pose = a_rotation(5)
    plain, weak = Knows(pose, 63, levels=(5.0,)), Knows(pose, 63, levels=(0.0,))

    def look(scan: Volume) -> Alignment | None:
        found = plain(scan)
        false = weak(scan)
        return found or (false and Alignment(false.pose, 0.35))

    scans = [lambda: a_scan(level=0.0), lambda: a_scan(level=5.0)]
    assert degrees_between(np.eye(3), pose) > 63
    found = search_pose(look, scans, taught=60)
    assert found is not None and found[1] == 1 and found[0].support > 0.8


@pytest.mark.parametrize(("turned", "looks"), [(20, 1), (40, 24)])
def test_a_pose_far_from_upright_is_compared_with_others_unless_it_is_certain(
    turned: int, looks: int
) -> None:
    angle = np.deg2rad(turned)
    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for support, enough in ((0.85, looks), (0.95, 1)):
        seen: set[bytes] = set()

        def look(scan: Volume, seen: set[bytes] = seen, support: float = support) -> Alignment:
            if degrees_between(scan.frame.direction, rotation) > 1:  # not the second look, upright
                seen.add(scan.frame.direction.round(6).tobytes())
            return Alignment(Similarity(rotation, 1.0, np.zeros(3)), support)

        assert search_pose(look, [a_scan], taught=60) is not None
        assert len(seen) == enough


@pytest.mark.parametrize("elsewhere", [None, 0.85])
def test_the_little_that_cut_anatomy_shows_counts_where_nothing_else_does(elsewhere: float | None) -> None:
    asked = []

    def look(scan: Volume) -> Alignment | None:
        if elsewhere is None or np.allclose(scan.frame.direction, np.eye(3)):
            return None
        return Alignment(Similarity(scan.frame.direction, 1.0, np.zeros(3)), elsewhere)

    def at_last(scan: Volume) -> Alignment | None:
        asked.append(scan.frame.direction)
        return Alignment(Similarity(np.eye(3), 1.0, np.zeros(3)), 0.4)

    found = search_pose(look, [a_scan], taught=60, at_last=at_last)
    assert found is not None and found[0].support == (elsewhere or 0.4)
    assert len(asked) == (elsewhere is None) and all(np.allclose(axes, np.eye(3)) for axes in asked)


def test_a_scan_too_large_to_be_turned_is_looked_at_as_it_lies() -> None:
    frame = Frame(size=(200, 200, 101), spacing=(2.0,) * 3)
    large = Volume(np.broadcast_to(np.float32(0), frame.shape), frame)
    look = Knows(np.eye(3), -1.0)
    assert search_pose(look, [lambda: large], taught=60) is None and len(look.seen) == 1


@pytest.mark.parametrize(("elsewhere", "believed"), [(0.79, False), (0.81, True)])
@pytest.mark.parametrize("as_it_lies", [None, 0.4])
def test_what_the_scan_says_of_itself_is_doubted_where_another_pose_is_very_plain(
    as_it_lies: float | None, elsewhere: float, believed: bool
) -> None:
    def look(scan: Volume) -> Alignment | None:
        support = as_it_lies if np.allclose(scan.frame.direction, np.eye(3)) else elsewhere
        pose = Similarity(scan.frame.direction, 1.0, np.zeros(3))
        return Alignment(pose, support) if support else None

    found = search_pose(look, [a_scan], taught=60)
    assert (found and found[0].support) == (elsewhere if believed else as_it_lies)


def test_the_plainest_of_all_orders_is_taken() -> None:
    """Anatomy may look much alike when it is turned over."""
    supports = iter([None, 0.82, 0.85, 0.88, 0.81, *[0.6] * 19])

    def look(scan: Volume) -> Alignment | None:
        support = next(supports)
        pose = Similarity(scan.frame.direction, 1.0, np.zeros(3))
        return Alignment(pose, support) if support else None

    found = search_pose(look, [a_scan], taught=60)
    assert found is not None and found[0].support == 0.88


@pytest.mark.parametrize("again", [None, 0.5])
def test_what_is_not_seen_again_from_upright_does_not_count(again: float | None) -> None:
    over = a_rotation(3)

    def look(scan: Volume) -> Alignment | None:
        support = again if degrees_between(scan.frame.direction, over) < 1 else 0.95
        return Alignment(Similarity(over, 1.0, np.zeros(3)), support) if support else None

    found = search_pose(look, [a_scan], taught=60)
    assert (found and found[0].support) == again


def test_a_network_that_knows_any_pose_looks_at_a_scan_as_it_lies() -> None:
    look = Knows(a_rotation(1), 180)
    assert search_pose(look, [a_scan], taught=ANY_POSE) is not None
    assert search_pose(Knows(np.eye(3), 0), [lambda: a_scan(a_rotation(2))], taught=ANY_POSE) is None
    assert len(look.seen) == 1


def test_what_shows_nothing_has_been_looked_at_from_all_sides() -> None:
    look = Knows(a_rotation(1), -1.0)
    assert search_pose(look, [a_scan], taught=60) is None
    assert len(look.seen) == 24 and len({round(off, 6) for off in look.seen}) == 24


@pytest.mark.parametrize("levels", [(0.0,), (5.0,)])
def test_the_intensity_scale_under_which_the_pose_is_plain_is_told(levels: tuple[float, ...]) -> None:
    made = []

    def scale(level: float) -> Volume:
        made.append(level)
        return a_scan(level=level)

    look = Knows(a_rotation(4), 63, levels=levels)
    found = search_pose(look, [lambda: scale(0.0), lambda: scale(5.0)], taught=60)
    assert found is not None and found[1] == (0.0, 5.0).index(levels[0])
    assert sorted(made) == sorted(set(made)), "each scale is made once"

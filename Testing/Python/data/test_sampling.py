"""A scan on a grid that is turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import reordered, turns
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.sampling import turned
from LandmarkDetectionLib.data.volume import Volume

Array = NDArray[np.float64]


def a_rotation(seed: int) -> Array:
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    rotation[:, 0] *= np.linalg.det(rotation)
    return rotation


def a_scan(direction: Array) -> Volume:
    """A ramp along each axis of the world, in cubic voxels."""
    frame = Frame(size=(24, 20, 16), origin=(5, -3, 40), spacing=(1.5,) * 3, direction=direction)
    k, j, i = np.indices(frame.shape)
    world = frame.index_to_world(np.stack([i, j, k], axis=-1))
    return Volume((world @ [1.0, 2.0, -1.0]).astype(np.float32), frame)


@pytest.mark.parametrize("seed", range(4))
def test_a_turned_scan_shows_the_same_at_the_same_place_and_all_of_it(seed: int) -> None:
    scan, rotation = a_scan(a_rotation(seed)), a_rotation(seed + 50)
    seen = turned(scan, rotation)
    np.testing.assert_allclose(seen.frame.direction, rotation)
    np.testing.assert_array_equal(seen.frame.spacing, scan.frame.spacing)
    rng = np.random.default_rng(seed)
    inner = scan.frame.index_to_world(rng.uniform(4, [19, 15, 11], (50, 3)))
    index = np.rint(seen.frame.world_to_index(inner)).astype(int)
    values = seen.voxels[index[:, 2], index[:, 1], index[:, 0]]
    np.testing.assert_allclose(values, seen.frame.index_to_world(index) @ [1.0, 2.0, -1.0], atol=1e-3)
    corners = np.array(np.meshgrid([0, 23], [0, 19], [0, 15])).reshape(3, -1).T
    assert seen.frame.contains(scan.frame.index_to_world(corners)).all()
    assert float(seen.voxels.min()) == pytest.approx(float(scan.voxels.min()), abs=1e-3)


def test_a_quarter_turn_is_an_order_of_the_axes() -> None:
    scan = a_scan(np.eye(3))
    for order, flips in turns():
        expected = reordered(scan, order, flips)
        seen = turned(scan, expected.frame.direction)
        np.testing.assert_allclose(seen.voxels, expected.voxels, atol=1e-3)
        np.testing.assert_allclose(seen.frame.origin, expected.frame.origin, atol=1e-9)

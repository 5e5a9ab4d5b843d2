"""Validation's cuts: both looks at a case end at one plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.validation import CUTS, _cuts

EXTENT = np.array([40.0, 44, 48])
POINTS = 10


def an_oblique_case(seed: int) -> tuple[PreparedCase, list[Volume]]:
    """A case with its volumes at 2 mm and at 0.5 mm, brighter towards one corner."""
    rng = np.random.default_rng(seed)
    direction = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    direction[:, 0] *= np.linalg.det(direction)
    corner = rng.uniform(-50, 50, 3)
    volumes = []
    for spacing in (2.0, 0.5):
        size = (EXTENT / spacing).astype(int)
        frame = Frame(
            size=size,
            spacing=[spacing] * 3,
            origin=corner + direction @ np.full(3, spacing / 2),
            direction=direction,
        )
        z, y, x = np.meshgrid(*[np.linspace(0, 1, count) for count in frame.shape], indexing="ij")
        volumes.append(Volume((2 * (x + y + z) / 3 - 1).astype(np.float32), frame))
    positions = corner + rng.uniform(4, EXTENT - 4, (POINTS, 3)) @ direction.T
    fine = volumes[1].frame
    case = PreparedCase("a", "", Path("a.npy"), fine, fine.spacing, positions, np.ones(POINTS, dtype=bool))
    return case, volumes


@pytest.mark.parametrize("seed", range(8))
def test_both_looks_end_at_the_same_plane_between_the_landmarks(seed: int) -> None:
    case, volumes = an_oblique_case(seed)
    cuts = dict(_cuts(np.random.default_rng(seed), case, volumes))
    assert sorted(cuts) == list(range(CUTS + 1))
    assert [shown is whole for shown, whole in zip(cuts[0], volumes, strict=True)] == [True, True]
    for cut in range(1, CUTS + 1):
        coarse, fine = cuts[cut]
        left = [volume.frame.size * volume.frame.spacing for volume in (coarse, fine)]
        np.testing.assert_allclose(left[0], left[1], atol=2.5)
        assert (EXTENT - left[1] > 0.1).sum() == 1, "along one axis"
        for volume, whole in zip((coarse, fine), volumes, strict=True):
            index = np.rint(whole.frame.world_to_index(volume.frame.origin)).astype(int)
            x, y, z = (
                slice(first, first + count) for first, count in zip(index, volume.frame.size, strict=True)
            )
            np.testing.assert_array_equal(volume.voxels, whole.voxels[z, y, x])
        there = [volume.frame.contains(case.positions) for volume in (coarse, fine)]
        assert 1 <= there[1].sum() < POINTS
        assert (there[0] != there[1]).sum() <= 1, "but for one within a coarse voxel of the plane"

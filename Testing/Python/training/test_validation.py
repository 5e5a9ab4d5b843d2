"""Validation: cuts that both looks at a case share, and what is said of what was found in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.shape import Similarity
from LandmarkDetectionLib.data.shape_model import learn_shape
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import Alignment
from LandmarkDetectionLib.detection.refine import Refined
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.validation import CUTS, _cuts, _found, _outcome

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
    case = PreparedCase(
        "a", "", Path("a.npy"), fine, fine.spacing, positions, np.ones(POINTS, dtype=bool), -1.0
    )
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


def test_an_outcome_tells_what_is_there_and_what_the_shape_does_not_believe() -> None:
    case, (_, fine) = an_oblique_case(1)
    model = learn_shape(case.positions + np.random.default_rng(0).normal(0, 0.3, (20, POINTS, 3)))
    positions, presences = case.positions.copy(), np.full(POINTS, 3.0)
    positions[2] += fine.frame.direction[:, 0] * 9
    presences[4] = -1
    seen = fine.part(0, 0, int(fine.frame.world_to_index(case.positions)[:, 0].max()))
    outcome = _outcome(
        case,
        Refined(positions, np.ones(POINTS), presences),
        seen.frame,
        model,
        resolution=0.5,
        cut=1,
        coarseness=1,
    )
    last = int(fine.frame.world_to_index(case.positions)[:, 0].argmax())
    assert np.flatnonzero(~outcome.present).tolist() == [last]
    assert np.nanargmax(outcome.misfits) == 2 and outcome.misfits[2] > 10
    assert {4, last} <= set(np.flatnonzero(np.isnan(outcome.misfits)).tolist())


def test_both_looks_are_normalised_as_the_plainest_pose_wants() -> None:
    _, volumes = an_oblique_case(2)
    adapted = Normaliser("adaptive", 0, 60)
    seen: list[Volume] = []

    class Plain:
        def find_pose_amid_air(
            self, network: object, prepared: Callable[[Normaliser], Volume], *_: object
        ) -> tuple[Alignment, Normaliser]:
            seen.append(prepared(adapted))
            return Alignment(Similarity(np.eye(3), 1.0, np.zeros(3)), 0.9), adapted

        def refine(self, network: object, volume: Volume, *_: object) -> Refined:
            seen.append(volume)
            return Refined.nothing(POINTS)

    chain: Any = Plain()
    network: Any = None
    _found(chain, network, network, volumes, Normaliser("adaptive", 0.5, 99.5), torch.device("cpu"))
    for look, volume in zip(seen, volumes, strict=True):
        np.testing.assert_array_equal(look.voxels, adapted(volume.voxels))

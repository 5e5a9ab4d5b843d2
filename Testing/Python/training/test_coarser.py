"""What a coarser scanner would have shown lies where it lay, and shows less."""

from __future__ import annotations

import numpy as np

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.training.cases.coarser import coarser_looks
from Testing.resampling import resample

FIXED = Normaliser("fixed", -1000, 2000)
TURNED = np.array([[0.0, -0.8, 0.6], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])


def a_scan(spacing: float, edge: int) -> Volume:
    """A Gaussian of 3 mm and a fine checkerboard, on grids with the same middle."""
    start = -TURNED @ np.full(3, (edge - 1) / 2 * spacing) + [5, 6, 7]
    frame = Frame(size=(edge, edge, edge), spacing=[spacing] * 3, origin=start, direction=TURNED)
    index = np.moveaxis(np.indices(frame.shape)[::-1], 0, -1)
    places = frame.index_to_world(index.reshape(-1, 3)).reshape(*frame.shape, 3)
    blob = np.exp(-((places - [5.5, 6, 6.5]) ** 2).sum(axis=-1) / 18)
    return Volume((blob + 0.1 * (index.sum(axis=-1) % 2)).astype(np.float32), frame)


def middle(volume: Volume) -> np.ndarray:
    """The centre of the Gaussian."""
    z, y, x = np.where(volume.voxels > 0.4)
    return np.asarray(volume.frame.index_to_world(np.column_stack([x, y, z])).mean(axis=0))


def test_a_coarser_scan_lies_in_the_same_place_without_its_detail() -> None:
    scan = a_scan(0.5, 48)
    for coarseness, (seen,) in coarser_looks([scan], scan, FIXED):
        assert seen.frame == scan.frame
        np.testing.assert_allclose(middle(seen), [5.5, 6, 6.5], atol=0.1)
        step = np.diff(seen.voxels[24, 24]), np.diff(scan.voxels[24, 24])
        assert np.abs(step[0]).max() < 0.1 < np.abs(step[1]).max(), f"the checkerboard, {coarseness}"


def test_a_grid_that_is_coarser_already_is_left_alone() -> None:
    fine, coarse = a_scan(0.5, 48), a_scan(1.5, 16)
    seen = dict(coarser_looks([coarse, fine], fine, FIXED))
    assert seen[2][0] is coarse, "1 mm are finer than 1.5"
    assert seen[4][0] is not coarse, "2 mm are not"


def test_a_scan_of_few_voxels_is_not_made_coarser() -> None:
    flat = a_scan(0.5, 3)
    assert [count for count, _ in coarser_looks([flat], flat, FIXED)] == [2]


def test_a_window_that_adapts_to_the_scan_adapts_to_the_coarser_one() -> None:
    scan = a_scan(0.5, 48)
    prepared = Normaliser("adaptive", 0.5, 99.5)
    for (_, (kept,)), (_, (adapted,)) in zip(
        coarser_looks([scan], scan, FIXED), coarser_looks([scan], scan, prepared), strict=True
    ):
        np.testing.assert_allclose(adapted.voxels, prepared(kept.voxels))
        assert np.abs(adapted.voxels - kept.voxels).max() > 0.5


def test_the_coarser_look_is_what_a_coarser_scan_becomes_on_the_grid() -> None:
    """As `resample` does it, which training must do without: there need be no SimpleITK."""
    rng = np.random.default_rng(0)
    frame = Frame(size=(14, 17, 12), spacing=[0.5] * 3, origin=(5, 6, 7), direction=TURNED)
    scan = Volume(rng.random(frame.shape, dtype=np.float32), frame)
    grid = Frame(size=(9, 11, 7), spacing=[0.7] * 3, origin=(5.1, 6.1, 7.1), direction=TURNED)
    seen = dict(coarser_looks([scan, Volume(np.zeros(grid.shape, np.float32), grid)], scan, FIXED))
    for count, looks in seen.items():
        coarse = scan.averaged((count,) * 3)
        for look in looks:
            expected = resample(coarse, look.frame).voxels
            shown = expected > 0
            np.testing.assert_allclose(look.voxels[shown], expected[shown], atol=1e-5)
            assert shown.mean() > 0.6 and look.voxels.min() > 0, "beyond the last voxel, it goes on"

"""Intensities on one scale."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser, cleaned, without_fill, without_metal
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.volume import Volume

KINDS = [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]
CT = Normaliser("fixed", -1000, 2000)
MR = Normaliser("adaptive", 0.5, 99.5)


@pytest.fixture(autouse=True)
def _no_warnings() -> None:
    warnings.simplefilter("error")


def test_a_fixed_window_goes_to_minus_one_and_one_and_clips() -> None:
    voxels = np.array([-3000, -1000, 500, 2000, 9000], dtype=np.int16)
    np.testing.assert_allclose(CT(voxels), [-1, -1, 0, 1, 1])
    assert CT(voxels).dtype == np.float32


@given(st.floats(1, 1000), st.floats(-1e4, 1e4))
def test_an_adaptive_window_does_not_see_the_units(gain: float, offset: float) -> None:
    voxels = np.random.default_rng(0).normal(size=(8, 8, 8))
    np.testing.assert_allclose(MR(gain * voxels + offset), MR(voxels), atol=0.01)


def test_an_adaptive_window_takes_the_percentiles() -> None:
    scaled = Normaliser("adaptive", 10, 90)(np.arange(101.0))
    np.testing.assert_allclose(scaled[[0, 10, 50, 90, 100]], [-1, -1, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 7, 250])
def test_a_flat_scan_is_dark_and_a_number(kind: type, value: int) -> None:
    assert (MR(np.full((3, 3, 3), value, dtype=kind)) == -1).all()


def test_a_scan_of_almost_one_value_keeps_what_differs() -> None:
    voxels = np.zeros(10_000)
    voxels[:10], voxels[-10:] = 1000.0, -5.0
    scaled = MR(voxels)
    assert np.isfinite(scaled).all()
    assert scaled[0] == 1
    assert (scaled[10:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_is_taken(kind: type) -> None:
    voxels: NDArray[Any] = np.linspace(0, 250, 27).reshape(3, 3, 3).astype(kind)
    scaled = Normaliser("fixed", 0, 250)(voxels)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, voxels / 125.0 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("fixed", 5, 5), ("fixed", 6, 5), ("fixed", np.nan, 5), ("adaptive", -1, 99), ("adaptive", 1, 101)],
)
def test_a_window_that_makes_no_sense_is_refused(kind: str, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="window"):
        Normaliser(kind, low, high)  # type: ignore[arg-type]


def test_a_prepared_scan_has_cubic_voxels_and_one_scale() -> None:
    frame = Frame(size=(10, 20, 15), spacing=(2, 1, 1), direction=np.diag([-1.0, 1.0, -1.0]))
    voxels = np.random.default_rng(0).integers(-2000, 3000, frame.shape).astype(np.int16)
    prepared = Preparation(1.5, CT)(Volume(voxels, frame))
    assert prepared.frame.spacing.tolist() == [1.5] * 3
    np.testing.assert_array_equal(prepared.frame.direction, np.eye(3))
    assert prepared.voxels.dtype == np.float32
    assert -1 <= prepared.voxels.min() < prepared.voxels.max() <= 1


def test_a_spacing_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="spacing"):
        Preparation(0.0, CT)


def test_air_around_a_scan_does_not_move_the_window() -> None:
    scan = np.random.default_rng(0).uniform(50, 1000, 20_000)
    normaliser = Normaliser("adaptive", 0.5, 99.5)
    in_air = np.concatenate([scan, np.zeros(3 * len(scan))])
    high = normaliser.window_of(scan)[1]
    assert normaliser.amid_air(4).window_of(in_air)[1] == pytest.approx(high, abs=1)
    assert normaliser.window_of(in_air)[1] < high - 5
    assert normaliser.amid_air(1) == normaliser
    fixed = Normaliser("fixed", -1000, 2000)
    assert fixed.amid_air(4) == fixed


def test_a_part_of_a_scan_is_normalised_anew_only_where_the_window_adapts() -> None:
    part = np.linspace(-0.5, 0.5, 1001, dtype=np.float32)
    assert np.abs(Normaliser("adaptive", 0, 100).anew(part)).max() == pytest.approx(1)
    np.testing.assert_array_equal(Normaliser("fixed", -1000, 2000).anew(part), part)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("value", [-3024, -2000, -32768, 32767])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5])
def test_what_lies_beyond_the_field_of_view_is_air(kind: type, value: int, share: float) -> None:
    random = np.random.default_rng(0)
    scan = random.normal(-900, 60, (24, 25, 26))
    scan[8:16, 8:16, 8:16] = random.normal(1000, 300, (8, 8, 8))
    scan = scan.clip(-1024, 2500).astype(kind)
    fill = random.random(scan.shape) < share
    filled = np.where(fill, np.array(value, kind), scan)
    cleaned = without_fill(filled)
    assert cleaned.dtype == kind
    np.testing.assert_array_equal(cleaned[~fill], scan[~fill])
    np.testing.assert_array_equal(cleaned[fill], scan[~fill].min())


def test_a_masked_background_saturated_bone_and_a_flat_scan_are_no_fill() -> None:
    random = np.random.default_rng(0)
    masked = np.where(random.random((20, 20, 20)) < 0.8, 0, random.integers(300, 2000, (20, 20, 20)))
    saturated = random.normal(200, 60, (20, 20, 20)).clip(0, 255).astype(np.uint8)
    flat = np.zeros((5, 5, 5), np.int16)
    labels = random.integers(0, 2, (9, 9, 9))
    for scan in (masked, saturated, flat, labels):
        assert without_fill(scan) is scan


def a_head(*, air: float, soft: float, bone: float, noise: float) -> NDArray[np.float64]:
    """Air around a block of soft tissue around a block of bone."""
    voxels = np.full((40, 40, 40), air)
    voxels[8:32, 8:32, 8:32] = soft
    voxels[14:24, 14:24, 14:24] = bone
    return voxels + np.random.default_rng(0).normal(0, noise, voxels.shape)


CBCT = a_head(air=0, soft=1000, bone=2000, noise=25).clip(0)
MICRO_CT = a_head(air=0, soft=11, bone=100, noise=3).clip(0)
T1 = np.hypot(a_head(air=0, soft=400, bone=900, noise=20), 20)


def with_bright(voxels: NDArray[np.float64], share: float, brightness: float) -> NDArray[np.float64]:
    """A slab at the edge of the scan of so many voxels, about so bright."""
    spoilt: NDArray[np.float64] = voxels.copy()
    count = int(share * voxels.size)
    spoilt.reshape(-1)[:count] = brightness * np.random.default_rng(1).uniform(0.7, 1.3, count)
    return spoilt


@pytest.mark.parametrize("scan", [CBCT, T1], ids=["cbct", "t1"])
@pytest.mark.parametrize("share", [0.0005, 0.006, 0.01])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_metal_takes_no_contrast_from_the_tissue(scan: NDArray[np.float64], share: float, kind: type) -> None:
    spoilt: NDArray[Any] = with_bright(scan, share, 30 * scan.max()).clip(0, 65535).astype(kind)
    prepared = cleaned(spoilt)
    assert prepared.dtype == kind
    metal = spoilt > 2 * scan.max()
    np.testing.assert_allclose(MR(prepared)[~metal], MR(scan)[~metal], atol=0.05)
    np.testing.assert_array_equal(prepared[~metal], spoilt[~metal])


def test_metal_does_not_shine_into_the_tissue_around_it_where_the_grid_is_coarse() -> None:
    scan: NDArray[np.float64] = CBCT.copy()
    scan[10, 10, ::4] = np.linspace(50_000, 70_000, 10)
    frame = Frame(size=(40, 40, 40), spacing=(1, 1, 1))
    fixed = Preparation(4.0, Normaliser("fixed", 0, 4000))
    plain, spoilt = fixed(Volume(CBCT, frame)).voxels, fixed(Volume(scan, frame)).voxels
    np.testing.assert_allclose(spoilt, plain, atol=0.1)


def test_metal_does_not_hide_what_lies_beyond_the_field_of_view() -> None:
    spoilt = with_bright(CBCT, 0.01, 60_000)
    beyond = np.random.default_rng(2).random(CBCT.shape) < 0.3
    prepared = cleaned(np.where(beyond, -2000, spoilt).astype(np.int32))
    assert prepared.min() >= 0
    both = ~beyond & (spoilt < 5000)
    np.testing.assert_allclose(MR(prepared)[both], MR(CBCT)[both], atol=0.06)


@pytest.mark.parametrize("share", [0.003, 0.015, 0.03])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_bone_that_is_few_voxels_is_no_metal(share: float, kind: type) -> None:
    soft = a_head(air=0, soft=11, bone=11, noise=3)
    noise = np.random.default_rng(0).normal(0, 1, soft.shape)
    for rest, bone in (
        (soft.clip(0), 100),
        (noise.clip(0), 100),
        (np.zeros(soft.shape), 100),
        (soft + 40, 140),
    ):
        scan: NDArray[Any] = with_bright(rest, share, bone).astype(kind)
        assert without_metal(scan) is scan


def test_scans_without_metal_stay_as_they_are() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (9, 9, 9))
    for scan in (CBCT, T1, MICRO_CT, CBCT - 1000, 1e4 * T1, np.zeros((5, 5, 5)), labels):
        assert cleaned(scan) is scan


@pytest.mark.parametrize("scan", [CBCT, T1, CBCT[14:24, 14:24, 14:24]], ids=["cbct", "t1", "no air"])
def test_one_voxel_of_more_than_a_million_changes_nothing_else(scan: NDArray[np.float64]) -> None:
    spoilt = scan.copy()
    spoilt[5, 5, 5] = 1.7e6
    others = spoilt < 1e6
    np.testing.assert_allclose(MR(cleaned(spoilt))[others], MR(scan)[others], atol=0.02)

"""Samples of locate and refine: what they say of a landmark's place is where the image shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.shape import fit_similarity
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.locate_refine.config import LocateSection, RefineSection
from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
from LandmarkDetectionLib.training.sections import AugmentationSection

Array = NDArray[np.float64]
FindBlob = Callable[[NDArray[np.float32]], Array]
TABLE = LandmarkTable(
    (
        Landmark("eye_L", 1, pair="eye_R"),
        Landmark("eye_R", 2, pair="eye_L"),
        Landmark("chin", 3),
        Landmark("crown", 4),
    )
)
SHAPE = np.array([[-9.0, 4, 2], [9, 4, 2], [0, -9, -5], [0, 1, 11]])
HEIGHTS = (1.0, 0.75, 0.5, 0.25)
QUIET = AugmentationSection(
    rotation=180,
    scale=0.15,
    shear=0.05,
    mirror=0.5,
    elastic=0.5,
    elastic_spacing=12,
    elastic_amplitude=1.0,
    noise=0,
    gamma=0,
    contrast=0,
    motion=0,
    motion_shift=0,
)
MEAN = Constellation(SHAPE, 0.0)


def a_case(folder: Path, seed: int, *, without: int | None = None) -> PreparedCase:
    """A head in some pose with a blob at each landmark, each of another height."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    positions = SHAPE @ turn.T + rng.uniform(-30, 30, 3)
    frame = Frame(size=(50, 48, 52), origin=positions.mean(axis=0) - [25, 24, 26])
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    voxels = np.full(frame.shape, -1.0)
    for point, height in zip(positions, HEIGHTS, strict=True):
        voxels += 1.5 * height * np.exp(-((places - point) ** 2).sum(axis=-1) / (2 * 2.5**2))
    if without is not None:
        positions[without] = np.nan
    path = folder / f"{seed}.npy"
    np.save(path, voxels.astype(np.float16))
    return PreparedCase(
        str(seed), "", path, frame, frame.spacing, positions, np.isfinite(positions).all(axis=1), -1.0
    )


def height_at(image: NDArray[np.float32], place: Array) -> float:
    """The largest value within two voxels."""
    z, y, x = (round(at) for at in place[::-1].tolist())
    near = tuple(slice(max(at - 2, 0), at + 3) for at in (z, y, x))
    return float((image[near].max() + 1) / 1.5)


def coarse(**changes: Any) -> LocateSection:
    values = {
        "spacing": 1.0,
        "field": 48,
        "channels": (8, 16),
        "heat_width": 2.0,
        "jitter": 4.0,
        "anywhere": 0.0,
        "cut": 0.0,
        "batch": 2,
        "share": 0.5,
        "augmentation": QUIET,
    }
    return LocateSection.model_validate(values | changes)


def fine(augmentation: AugmentationSection = QUIET, **changes: Any) -> RefineSection:
    values = {
        "spacing": 0.5,
        "field": 32,
        "channels": (8, 16),
        "window": 13,
        "heat_width": 0.5,
        "deviation": 0.5,
        "cut": 0.0,
        "augmentation": augmentation,
    }
    return RefineSection.model_validate(values | changes)


def coarse_fields(
    cases: Sequence[PreparedCase],
    settings: LocateSection,
    *,
    seed: int,
    midline: float = 5.0,
    planned: int = 1,
) -> LocateSamples:
    return LocateSamples(
        cases, TABLE, Constellation(cases[0].positions, 0.0), settings, seed, planned=planned, midline=midline
    )


def test_a_coarse_field_shows_each_landmark_where_it_says_under_its_own_name(tmp_path: Path) -> None:
    cases = [a_case(tmp_path, seed) for seed in range(3)]
    samples = coarse_fields(cases, coarse(), seed=5, midline=5.0)
    orders = set()
    for number in range(12):
        image, places, _ = samples[number]
        assert image.shape == (1, 48, 48, 48) and places.shape == (4, 3)
        voxels = places.double().numpy()
        visible = ((voxels > 3) & (voxels < 44)).all(axis=1)
        shown = [height_at(image[0].numpy(), place) for place in voxels[visible]]
        as_it_is, mirrored = np.array(HEIGHTS), np.array(HEIGHTS)[TABLE.mirrored_order]
        apart = [np.abs(shown - heights[visible]).max() for heights in (as_it_is, mirrored)]
        assert min(apart) < 0.1
        orders.add(int(np.argmin(apart)))
    assert orders == {0, 1}


def test_a_field_that_is_not_turned_shows_every_case_upright(tmp_path: Path) -> None:
    """As the first stands, however the others lie in their scans."""
    cases = [a_case(tmp_path, seed) for seed in range(3)]
    samples = coarse_fields(cases, coarse(augmentation=STILL), seed=2)
    expected = cases[0].positions - cases[0].positions.mean(axis=0)
    for number in range(6):
        places = samples[number][1].double().numpy()
        np.testing.assert_allclose(places - places.mean(axis=0), expected, atol=1e-3)


def test_fields_are_turned_further_as_training_goes_on(tmp_path: Path) -> None:
    turning = QUIET.model_copy(update={"rotation": 180.0, "mirror": 0.0})
    case = a_case(tmp_path, 1)
    samples = coarse_fields([case], coarse(field=16, augmentation=turning), seed=2, planned=300)

    def angles(numbers: range) -> list[float]:
        fits = [fit_similarity(case.positions, samples[number][1].double().numpy()) for number in numbers]
        return [float(np.degrees(np.arccos((np.trace(fit.rotation) - 1) / 2))) for fit in fits]

    first, last = angles(range(60)), angles(range(180, 240))
    assert 45 < max(first) < 61 and max(last) > 150
    assert np.mean(np.array(last) < 60) < 0.25, "any pose in the end"


def test_a_landmark_that_is_absent_has_no_place(tmp_path: Path) -> None:
    samples = coarse_fields([a_case(tmp_path, 1, without=3)], coarse(field=32), seed=1, midline=5.0)
    for number in range(4):
        assert np.isnan(samples[number][1].numpy()).all(axis=1).tolist() == [False, False, False, True]


def test_what_a_coarse_field_does_not_show_is_known_to_be_absent_from_it(tmp_path: Path) -> None:
    case = replace(a_case(tmp_path, 1, without=3), known=np.array([True, True, False, True]))
    as_it_is = QUIET.model_copy(update={"mirror": 0.0})
    samples = coarse_fields(
        [case], coarse(field=16, anywhere=0.5, augmentation=as_it_is), seed=1, midline=5.0
    )
    shown = set()
    for number in range(30):
        _, places, absent = samples[number]
        voxels = places.double().numpy()
        inside = np.asarray(((voxels > 0) & (voxels < 15)).all(axis=1))
        assert not absent.numpy()[inside].any() and not absent[2]
        assert bool(absent[3])
        shown |= set(absent[:2].tolist())
    assert shown == {True, False}


@pytest.mark.parametrize(
    ("mirror", "midline", "shown"), [(1.0, 1.0, False), (1.0, 4.0, True), (0.0, 1.0, True)]
)
def test_a_mirrored_coarse_field_does_not_say_where_a_one_sided_landmark_is(
    tmp_path: Path, mirror: float, midline: float, shown: bool
) -> None:
    case = a_case(tmp_path, 1)
    aside = (case.positions[0] - case.positions[1]) / 18
    one_sided = replace(case, positions=case.positions + [[0], [0], [0], [2]] * aside)
    settings = coarse(augmentation=QUIET.model_copy(update={"mirror": mirror}))
    samples = coarse_fields([one_sided], settings, seed=1, midline=midline)
    for number in range(6):
        _, places, absent = samples[number]
        assert torch.isfinite(places[:3]).all()
        assert bool(torch.isfinite(places[3]).all()) is shown and not absent[3]


def test_some_fields_lie_anywhere(tmp_path: Path) -> None:
    samples = coarse_fields([a_case(tmp_path, 1)], coarse(field=16, anywhere=1.0), seed=1, midline=5.0)
    middles = np.array([samples[number][1].numpy().mean(axis=0) for number in range(30)])
    assert middles.std(axis=0).min() > 3


def test_some_coarse_fields_end_as_a_scan_does(tmp_path: Path) -> None:
    case = a_case(tmp_path, 1)
    whole, cut = (coarse_fields([case], coarse(cut=share), seed=1, midline=5.0) for share in (0.0, 1.0))
    gone = 0
    for number in range(12):
        (image, places, _), (shortened, left, _) = whole[number], cut[number]
        there = torch.isfinite(left).all(dim=1)
        torch.testing.assert_close(left[there], places[there])
        gone += int((~there).sum())
        assert (shortened != image).any() and (shortened <= image + 1e-6).all()
    assert 6 < gone < 42


GENTLE = QUIET.model_copy(update={"rotation": 8.0, "scale": 0.07, "elastic_amplitude": 0.3})
STILL = QUIET.model_copy(update={"rotation": 0.0, "scale": 0.0, "shear": 0.0, "mirror": 0.0, "elastic": 0.0})


def test_a_fine_field_shows_its_landmarks_where_it_says(tmp_path: Path, find_blob: FindBlob) -> None:
    cases = [a_case(tmp_path, seed, without=2 if seed else None) for seed in range(3)]
    samples = RefineSamples(cases, TABLE, MEAN, fine(GENTLE), seed=3)
    shown = set()
    for number in range(60):
        image, starts, places = (tensor.double().numpy() for tensor in samples[number])
        assert image.shape == (1, 32, 32, 32) and starts.shape == places.shape == (4, 3)
        inside = np.asarray(((places > 6) & (places < 25)).all(axis=1))
        for row in np.flatnonzero(inside).tolist():
            shown.add(row)
            heights = {HEIGHTS[row], HEIGHTS[TABLE.mirrored_order[row]]}
            height = height_at(image[0].astype(np.float32), places[row])
            assert min(abs(height - expected) for expected in heights) < 0.1
        if inside[:2].any():
            brightest = find_blob(image[0].astype(np.float32) + np.float32(1.01))
            assert np.linalg.norm(brightest - places[:2], axis=1)[inside[:2]].min() < 0.4
    assert shown == {0, 1, 2, 3}


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_a_mirrored_fine_field_has_left_and_right_exchanged(tmp_path: Path, mirror: float) -> None:
    """Where a mirrored field has the left eye, it shows what was the right one."""
    samples = RefineSamples(
        [a_case(tmp_path, 1)],
        TABLE,
        MEAN,
        fine(STILL.model_copy(update={"mirror": mirror})),
        seed=3,
    )
    shown = set()
    for number in range(40):
        image, _, places = (tensor.double().numpy() for tensor in samples[number])
        inside = np.asarray(((places > 6) & (places < 25)).all(axis=1))
        for row in np.flatnonzero(inside).tolist():
            shown.add(row)
            seen = TABLE.mirrored_order[row] if mirror else row
            assert height_at(image[0].astype(np.float32), places[row]) == pytest.approx(
                HEIGHTS[seen], abs=0.1
            )
    assert shown == {0, 1, 2, 3}


def test_landmarks_are_expected_around_where_they_are(tmp_path: Path) -> None:
    samples = RefineSamples([a_case(tmp_path, 1)], TABLE, MEAN, fine(GENTLE, deviation=0.8), seed=3)
    drawn = [samples[number] for number in range(200)]
    apart = np.concatenate([(starts - places).numpy() for _, starts, places in drawn]) * 0.5
    apart = apart[np.isfinite(apart).all(axis=1)]
    assert apart.std() == pytest.approx(0.8, rel=0.1)
    assert np.abs(apart.mean(axis=0)).max() < 0.15


def test_what_nobody_knows_is_not_asked_and_what_is_absent_is(tmp_path: Path) -> None:
    case = a_case(tmp_path, 1, without=2)
    unknown = RefineSamples([case], TABLE, MEAN, fine(STILL, field=64), seed=3)
    absent = RefineSamples(
        [replace(case, known=np.ones(4, dtype=bool))],
        TABLE,
        MEAN,
        fine(STILL, field=64),
        seed=3,
    )
    asked = {"unknown": 0, "absent": 0}
    for number in range(30):
        for name, samples in (("unknown", unknown), ("absent", absent)):
            _, starts, places = samples[number]
            assert np.isnan(places[2].numpy()).all()
            asked[name] += bool(np.isfinite(starts[2].numpy()).all())
    assert asked["unknown"] == 0 and asked["absent"] > 5


def test_fine_fields_lie_as_the_mean_shape_does(tmp_path: Path) -> None:
    """With no variation at all, what is to the left of a landmark is to the left in every case."""
    cases = [a_case(tmp_path, seed) for seed in range(4)]
    samples = RefineSamples(cases, TABLE, MEAN, fine(STILL, field=48, spacing=1.0), seed=2)
    for number in range(8):
        _, _, places = samples[number]
        apart = places.numpy() - places.numpy()[0]
        np.testing.assert_allclose(apart, SHAPE - SHAPE[0], atol=1e-3)


def test_a_cut_ends_the_scan_and_takes_what_lies_behind(tmp_path: Path) -> None:
    case = a_case(tmp_path, 1)
    whole = RefineSamples([case], TABLE, MEAN, fine(STILL, field=48, spacing=1.0), seed=2)
    cut = RefineSamples([case], TABLE, MEAN, fine(STILL, field=48, spacing=1.0, cut=1.0), seed=2)
    taken, kept = list[bool](), list[bool]()
    for number in range(30):
        image, starts, places = whole[number]
        shortened, same, left = cut[number]
        np.testing.assert_array_equal(same.numpy(), starts.numpy())
        gone = torch.isnan(left).any(dim=1) & torch.isfinite(places).all(dim=1)
        inside = np.asarray(((places > 1) & (places < 46)).all(dim=1))
        for row in np.flatnonzero(inside).tolist():
            x, y, z = (round(at) for at in places[row].tolist())
            was, now = float(image[0, z, y, x]), float(shortened[0, z, y, x])
            if gone[row]:
                taken.append(now < was - 0.1)
            else:
                kept.append(now == was)
    assert len(taken) > 10 and np.mean(taken) > 0.8, "but for some within a voxel of the cut"
    assert len(kept) > 10 and np.mean(kept) > 0.8


def test_sample_n_is_the_same_whenever_it_is_drawn(tmp_path: Path) -> None:
    case = a_case(tmp_path, 1)

    def draw(seed: int, number: int) -> NDArray[np.float32]:
        return np.asarray(RefineSamples([case], TABLE, MEAN, fine(cut=0.5), seed=seed)[number][0])

    np.testing.assert_array_equal(draw(1, 4), draw(1, 4))
    assert not np.array_equal(draw(1, 4), draw(2, 4))


def test_a_fine_field_is_asked_for_no_more_landmarks_than_memory_holds_and_for_each_in_turn(
    tmp_path: Path,
) -> None:
    case = a_case(tmp_path, 1)
    crowd = np.random.default_rng(0).uniform(-6, 6, (200, 3)) + case.frame.index_to_world([25, 24, 26])
    crowded = replace(case, positions=crowd, known=np.ones(200, dtype=bool))
    table = LandmarkTable.from_names([f"L{number}" for number in range(200)])
    samples = RefineSamples([crowded], table, Constellation(crowd, 0.0), fine(STILL, field=48), seed=3)
    asked = [torch.isfinite(samples[number][1]).all(dim=1).numpy() for number in range(30)]
    assert max(row.sum() for row in asked) == 48 and np.any(asked, axis=0).all()

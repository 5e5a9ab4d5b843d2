"""From a data set to a configuration that needs no hand edit."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, read_split, write_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.dense.config import DenseConfig, NetworkSection
from LandmarkDetectionLib.training.dense.plan import (
    NETWORK,
    SMALL_NETWORK,
    choose_augmentation,
    choose_network,
    choose_sampling,
    count_crops,
    measure_dense_step,
)
from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.training.locate_refine.config import LocateRefineConfig
from LandmarkDetectionLib.training.locate_refine.plan import (
    choose_locate,
    choose_refine,
    measure_refine_step,
    reason_for_parts,
    refine_steps,
    share_out,
)
from LandmarkDetectionLib.training.planning.budget import choose_epochs
from LandmarkDetectionLib.training.planning.plan import Plan, data_set_name, make_plan
from LandmarkDetectionLib.training.planning.survey import (
    CaseMeasures,
    Survey,
    measure_case,
    survey_of,
)
from train_cli.plan import ENGINES as OFFERED

Array = NDArray[np.float64]

CPU = torch.device("cpu")
WHERE = Path("train.csv")
SIDED = ("eye left", "eye right", "ear left", "ear right", "nose", "chin", "crown", "nape")
HEAD = np.array(
    [
        [-0.15, -0.40, 0.00],
        [0.15, -0.40, 0.00],
        [-0.35, 0.00, -0.05],
        [0.35, 0.00, -0.05],
        [0.00, -0.50, -0.10],
        [0.00, -0.40, -0.40],
        [0.00, 0.05, 0.45],
        [0.00, 0.45, -0.20],
    ]
)
"""A symmetric head of about unit length, left to right along x."""
NUMBERED = tuple(f"L{number}" for number in range(1, 9))


def turn(axis: Sequence[float], degrees: float) -> Array:
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def heads(length: float, *, degrees: float = 8.0, count: int = 6, shape: Array = HEAD) -> list[Array]:
    """Heads of about `length` mm, each turned by up to `degrees` about an axis of its own."""
    rng = np.random.default_rng(0)
    return [
        rng.uniform(0.95, 1.05)
        * length
        * shape
        @ turn(rng.standard_normal(3).tolist(), degrees * row / (count - 1)).T
        + rng.uniform(-20, 20, 3)
        for row in range(count)
    ]


def measured(
    length: float, spacing: float | Sequence[float], *, extent: float | None = None, **changes: Any
) -> list[CaseMeasures]:
    """What a scan of such a head measures, with air around it."""
    measures = CaseMeasures(
        spacing=np.broadcast_to(np.array(spacing, dtype=float), (3,)),
        extent=np.full(3, extent or 1.3 * length),
        percentiles=(0.0, 220.0),
        lowest=0.0,
        positions=np.zeros((8, 3)),
    )
    return [replace(measures, **{"positions": points, **changes}) for points in heads(length)]


def survey(measures: Sequence[CaseMeasures], names: Sequence[str] = NUMBERED) -> Survey:
    return survey_of(measures, LandmarkTable.from_names(names), WHERE)


def all_in_proportion(made: Survey) -> None:
    """What holds at any size: crops, fields and warps in voxels of the grid."""
    spacing = made.image.spacing
    augmentation = choose_augmentation(made)
    assert augmentation.elastic_spacing == pytest.approx(16 * spacing, rel=0.01)
    assert augmentation.elastic_amplitude == pytest.approx(3 * spacing, rel=0.01)
    assert all(size % 16 == 0 and 16 <= size <= 64 for size in choose_sampling(made).crop)
    locate, refine = choose_locate(made), choose_refine(made)
    assert locate.spacing >= refine.spacing >= spacing
    assert locate.spacing * locate.field >= 1.2 * made.span
    assert refine.window * refine.spacing >= 6 * refine.deviation


def test_a_mouse_skull_keeps_its_voxels() -> None:
    made = survey(measured(22, 0.2))
    assert made.image.spacing == 0.2
    assert choose_sampling(made).crop == (64, 64, 64)
    all_in_proportion(made)


@pytest.mark.parametrize("spacing", [0.5, 1.0])
def test_a_human_head_gets_a_grid_of_a_millimetre_or_so(spacing: float) -> None:
    made = survey(measured(250, spacing))
    assert 1.0 <= made.image.spacing <= 1.8
    assert choose_sampling(made).crop == (64, 64, 64)
    all_in_proportion(made)


def test_the_grid_follows_the_head_and_not_the_field_of_view() -> None:
    close = survey(measured(22, 0.2))
    wide = survey(measured(22, 0.2, extent=400))
    assert wide.image == close.image


def test_a_very_fine_scan_gets_no_more_voxels_than_help() -> None:
    made = survey(measured(22, 0.02))
    assert 0.1 <= made.image.spacing <= 0.15
    assert "160 voxels" in made.reasons[1]
    all_in_proportion(made)


def test_a_coarse_scan_is_not_made_finer() -> None:
    made = survey(measured(250, 3.0))
    assert made.image.spacing == 3.0
    all_in_proportion(made)


def test_thick_slices_give_cubic_voxels_of_the_same_volume() -> None:
    assert survey(measured(100, (0.5, 0.5, 4.0))).image.spacing == pytest.approx(1.0)


def test_an_odd_spacing_is_kept_to_the_digit_so_that_no_scan_is_resampled() -> None:
    assert survey(measured(22, 0.140625)).image.spacing == 0.140625


@pytest.mark.parametrize(("voxels", "edge"), [(10, 16), (40, 48), (64, 64), (90, 64)])
def test_a_crop_is_no_larger_than_the_scans(voxels: int, edge: int) -> None:
    assert choose_sampling(survey(measured(5, 0.5, extent=0.5 * voxels))).crop == (edge, edge, edge)


@pytest.mark.parametrize("lowest", [-1024.0, -1000.0, -3024.0])
def test_hounsfield_units_give_a_fixed_window_around_the_landmarks(lowest: float) -> None:
    made = survey(measured(250, 1, lowest=lowest, percentiles=(-980.0, 1843.4)))
    assert (made.image.normaliser, made.image.low, made.image.high) == ("fixed", -980, 1843)


@pytest.mark.parametrize("lowest", [0.0, -40.0])
def test_other_units_give_percentiles_of_each_scan(lowest: float) -> None:
    made = survey(measured(250, 1, lowest=lowest))
    assert (made.image.normaliser, made.image.low, made.image.high) == ("adaptive", 0.5, 99.5)


def test_one_scan_in_other_units_is_enough_for_percentiles() -> None:
    measures = measured(250, 1, lowest=-1000.0, percentiles=(-900.0, 1500.0))
    assert survey([*measures, replace(measures[0], lowest=0.0)]).image.normaliser == "adaptive"


@pytest.mark.parametrize("lowest", [-120.0, -499.0])
def test_cts_of_which_some_are_cut_within_the_body_keep_their_units(lowest: float) -> None:
    measures = measured(250, 1, lowest=-1000.0, percentiles=(-900.0, 1500.0))
    cut = [replace(measure, lowest=lowest, percentiles=(-110.0, 1500.0)) for measure in measures[:3]]
    assert survey([*measures, *cut]).image.normaliser == "fixed"
    assert survey(cut).image.normaliser == "adaptive", "nothing tells their units"


def test_a_constant_scan_does_not_speak_against_hounsfield_units() -> None:
    measures = measured(250, 1, lowest=-1000.0, percentiles=(-900.0, 1500.0))
    constant = replace(measures[0], lowest=0.0, percentiles=(0.0, 0.0))
    assert survey([*measures, constant]).image.normaliser == "fixed"
    assert survey([constant] * 3).image.normaliser == "adaptive"


def test_scales_that_reach_far_below_air_are_not_hounsfields() -> None:
    assert survey(measured(250, 1, lowest=-1e7, percentiles=(-1e7, 1.5e7))).image.normaliser == "adaptive"


def test_a_window_of_hounsfield_units_ends_at_the_densest_tooth() -> None:
    made = survey(measured(250, 1, lowest=-1024.0, percentiles=(-900.0, 7500.0)))
    assert (made.image.normaliser, made.image.high) == ("fixed", 3000)


def test_hounsfield_units_without_contrast_do_not_make_an_empty_window() -> None:
    flat = survey(measured(250, 1, lowest=-1000.0, percentiles=(-1000.0, -999.8)))
    assert flat.image.low < flat.image.high


def test_brightness_varies_across_a_crop_where_it_has_no_scale_as_much_as_the_crop_shows() -> None:
    made = survey(measured(22, 0.2))
    assert choose_locate(made).augmentation.bias == 1.4
    assert choose_refine(made).augmentation.bias == pytest.approx(1.4 * 32 * 0.2 / made.span, rel=0.02)
    assert choose_augmentation(made).bias > 0
    ct = survey(measured(250, 1, lowest=-1000.0, percentiles=(-900.0, 1500.0)))
    assert choose_locate(ct).augmentation.bias == choose_augmentation(ct).bias == 0


def posed(degrees: float, **changes: Any) -> Survey:
    base = measured(22, 0.2)
    return survey(
        [replace(m, positions=p, **changes) for m, p in zip(base, heads(22, degrees=degrees), strict=True)]
    )


@pytest.mark.parametrize(("degrees", "rotation"), [(0, 15), (8, 15), (20, 20), (29.5, 30)])
def test_heads_in_one_pose_are_turned_a_little(degrees: float, rotation: float) -> None:
    assert posed(degrees).rotation == pytest.approx(rotation, abs=1)


@pytest.mark.parametrize("degrees", [40, 90, 175])
def test_heads_in_any_pose_are_turned_all_round(degrees: float) -> None:
    assert posed(degrees).rotation == 180


def test_one_wrong_landmark_does_not_look_like_a_pose() -> None:
    measures = measured(22, 0.2)
    wrong = measures[3].positions.copy()
    wrong[7] += 15
    one_wrong = [*measures[:3], replace(measures[3], positions=wrong), *measures[4:]]
    assert survey(one_wrong).rotation == survey(measures).rotation


def any_pose(count: int) -> list[CaseMeasures]:
    rng = np.random.default_rng(3)
    base = measured(22, 0.2)[0]
    turns = [turn(rng.standard_normal(3).tolist(), rng.uniform(60, 180)) for _ in range(count)]
    return [replace(base, positions=base.positions @ rotation) for rotation in turns]


@pytest.mark.parametrize(("alike", "anyhow", "expected"), [(20, 0, True), (20, 2, True), (15, 5, False)])
def test_scans_lie_alike_though_a_few_do_not_whichever_comes_first(
    alike: int, anyhow: int, expected: bool
) -> None:
    base = measured(22, 0.2)[0]
    usual = [replace(base, positions=points) for points in heads(22, count=alike)]
    odd = any_pose(30)[:anyhow]
    assert survey([*usual, *odd]).lie_alike is survey([*odd, *usual]).lie_alike is expected
    assert not survey(any_pose(12)).lie_alike


@pytest.mark.parametrize("names", [SIDED, NUMBERED])
def test_a_symmetric_head_is_mirrored_with_its_pairs(names: Sequence[str]) -> None:
    made = survey(measured(22, 0.2), names)
    assert made.mirrors
    assert made.table.mirrored_order == [1, 0, 3, 2, 4, 5, 6, 7]
    assert made.table.names == tuple(names)


def test_one_pair_with_sides_in_its_names_is_enough() -> None:
    names = ("eye_L", "eye_R", *NUMBERED[2:])
    rows = [0, 1, 4, 5, 6, 7]
    measures = [replace(m, positions=m.positions[rows]) for m in measured(22, 0.2)]
    made = survey(measures, [names[row] for row in rows])
    assert made.mirrors
    assert made.table.mirrored_order == [1, 0, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [5, 8, 12, 20])
def test_points_without_symmetry_are_hardly_ever_mirrored(count: int) -> None:
    mirrored = []
    for seed in range(10):
        lopsided = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))
        base = measured(22, 0.2)[0]
        measures = [replace(base, positions=points) for points in heads(22, shape=lopsided, count=3)]
        mirrored.append(survey(measures, [f"L{row}" for row in range(count)]).mirrors)
    assert sum(mirrored) <= 1


def test_pairs_that_a_person_gave_are_kept() -> None:
    given = LandmarkTable(
        tuple(
            Landmark(name, label, pair={"L1": "L8", "L8": "L1"}.get(name, ""))
            for label, name in enumerate(NUMBERED, start=1)
        )
    )
    made = survey_of(measured(22, 0.2), given, WHERE)
    assert made.table == given
    assert made.mirrors


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_landmarks_are_enough(count: int) -> None:
    measures = [replace(m, positions=m.positions[:count]) for m in measured(22, 0.2)]
    made = survey(measures, NUMBERED[:count])
    assert not made.mirrors
    assert 15 <= made.rotation <= 30
    all_in_proportion(made)


def test_landmarks_that_are_absent_here_and_there_change_nothing() -> None:
    measures = measured(22, 0.2)
    expected = survey(measures)
    for row, measure in enumerate(measures):
        points = measure.positions.copy()
        points[row] = np.nan
        measures[row] = replace(measure, positions=points)
    made = survey(measures)
    assert made.image.spacing == expected.image.spacing
    assert made.table == expected.table


def test_no_landmark_at_all_is_said() -> None:
    nothing = [replace(m, positions=np.full((8, 3), np.nan)) for m in measured(22, 0.2)]
    with pytest.raises(InputError, match=r"train.csv: no case has a landmark"):
        survey(nothing)


def test_every_choice_is_explained() -> None:
    reasons = "\n".join(survey(measured(250, 0.5, lowest=-1000.0, percentiles=(-900.0, 1500.0))).reasons)
    for key in ("image.spacing", "image.normaliser", "turned by up to", "augmentation.mirror"):
        assert key in reasons


def test_a_gpu_more_cases_and_any_pose_mean_more_crops() -> None:
    gpu = torch.device("cuda")
    assert count_crops(5, any_pose=False, device=CPU) == 2000, "2000 crops at least"
    assert count_crops(30, any_pose=False, device=CPU) == 6000
    assert count_crops(30, any_pose=True, device=CPU) == 12_000
    assert count_crops(30, any_pose=False, device=gpu) == 30_000
    assert count_crops(10_000, any_pose=False, device=CPU) == 20_000


def test_a_limit_of_hours_means_fewer_epochs() -> None:
    assert choose_epochs(2250, seconds=1.0, hours=None) == 45
    assert choose_epochs(2250, seconds=1.0, hours=0.5) == 36
    assert choose_epochs(2250, seconds=2.0, hours=0.5) == 18
    assert choose_epochs(2250, seconds=1.0, hours=9.0) == 45
    assert choose_epochs(2250, seconds=1.0, hours=0.0) == 1


@pytest.mark.parametrize("alike", [True, False])
def test_both_networks_get_what_they_need_or_less_but_a_pose_comes_first(alike: bool) -> None:
    """Steps of 0.1 and 0.5 s, 20 cases as large as a mouse skull."""
    made = replace(survey(measured(22, 0.149)), cases=20, lie_alike=alike, span=22.4)
    whole = share_out(made, 0.1, 0.5, hours=None)
    assert (whole.locate, whole.refine) == whole.needed == ((12 if alike else 48), 145)
    assert whole.shortage() == () and share_out(made, 0.1, 0.5, hours=99) == whole
    least = 12 if alike else 24
    half = share_out(made, 0.1, 0.5, hours=0.5)
    assert half.locate == least and half.locate * 5 + half.refine * 25 == pytest.approx(1800, abs=25)
    assert half.shortage() == () and half.expectation(8, CPU).endswith("and a better model.")
    tight = share_out(made, 0.1, 0.5, hours=0.03)
    assert tight.locate * 5 == pytest.approx(54, abs=5), "half of the time, where it is not enough"
    (sentence,) = tight.shortage()
    hours = (least * 5 + 6 * 25) / 3600
    assert sentence.startswith("--hours is too short:") and f"give it {hours:.2g} hours" in sentence
    assert share_out(made, 0.1, 0.5, hours=1.05 * hours).shortage() == ()


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("seconds", [(0.1, 0.1), (0.2, 0.1), (0.1, 0.5), (1.0, 0.2)])
def test_the_hours_that_a_plan_asks_for_are_enough(alike: bool, seconds: tuple[float, float]) -> None:
    made = replace(survey(measured(22, 0.149)), cases=40, lie_alike=alike, span=22.4)
    (sentence,) = share_out(made, *seconds, hours=0.01).shortage()
    hours = float(sentence.split("give it ")[1].split()[0])
    assert share_out(made, *seconds, hours=1.06 * hours).shortage() == ()
    assert share_out(made, *seconds, hours=0.85 * hours).shortage() != ()


def test_anatomy_that_is_seen_in_fewer_fields_needs_fewer_steps_of_refine() -> None:
    skull = replace(survey(measured(22, 0.149)), span=22.4)
    assert refine_steps(skull) == pytest.approx(363, rel=0.03)
    assert refine_steps(replace(skull, span=11.2)) == pytest.approx(363 / 4, rel=0.03)
    assert refine_steps(replace(skull, span=1.0)) == pytest.approx(0.15 * 363)
    large = replace(skull, span=220.0)
    assert refine_steps(large) == pytest.approx(363, rel=0.03), "on a coarser grid"


def test_little_time_gets_the_small_network() -> None:
    crop = (16, 16, 16)
    assert choose_network(3, crop, CPU, None)[0] == NETWORK
    assert choose_network(3, crop, CPU, 100.0)[0] == NETWORK
    network, batch, seconds, reason = choose_network(3, crop, CPU, 1e-6)
    assert network == SMALL_NETWORK
    assert batch == 2
    assert seconds > 0
    assert "too short" in reason


def test_a_step_is_measured() -> None:
    small = NetworkSection(channels=(2, 2, 2), blocks=(1, 1, 1, 1), groups=1)
    batch, seconds = measure_dense_step(small, 3, (16, 20, 24), CPU)
    assert batch == 2
    assert 0 < seconds < 10


def write_data(
    folder: Path, *, kind: type = np.uint8, air: float = 0.0, names: Sequence[str] = SIDED, cases: int = 4
) -> Path:
    """Small scans of heads of 20 mm, 16 voxels of 1.5 mm."""
    rng = np.random.default_rng(0)
    rows = []
    for number, points in enumerate(heads(20, count=cases)):
        frame = Frame(size=(16, 16, 16), spacing=[1.5] * 3, direction=turn([1, 2, 3], 20))
        frame = Frame(
            size=frame.size,
            spacing=frame.spacing,
            direction=frame.direction,
            origin=points.mean(axis=0) - frame.centre,
        )
        voxels = np.full(frame.shape, air)
        voxels[3:-3, 3:-3, 3:-3] = rng.uniform(20, 200, (10, 10, 10))
        image, landmarks = folder / f"case{number}.nii.gz", folder / f"case{number}.mrk.json"
        write_volume(Volume(voxels.astype(kind), frame), image)
        write_landmarks(LandmarkSet(names, points[: len(names)]), landmarks)
        rows.append(Case(f"case{number}", image, landmarks))
    write_split(rows, folder / "train.csv")
    return folder / "train.csv"


def planned(train: Path, output: Path, **changes: Any) -> Plan:
    options = {"engine": "dense", "name": "head", "device": CPU, "hours": None, "seed": 5, **changes}
    return make_plan(train, options.pop("val", None), output, **options)


def test_the_plan_of_a_data_set_is_a_whole_configuration(tmp_path: Path) -> None:
    train = write_data(tmp_path / "data")
    seen: list[str] = []

    def progress(cases: list[Case]) -> list[Case]:
        seen.extend(case.name for case in cases)
        return cases

    plan = planned(train, tmp_path / "config.yaml", val=train, progress=progress)
    assert seen == ["case0", "case1", "case2", "case3"]
    assert isinstance(plan.config, DenseConfig)
    assert plan.config.name == "head"
    assert plan.config.network == NETWORK
    assert plan.config.target.positive == 3.0
    assert plan.config.target.negative == 4.5
    assert plan.config.image.spacing == 1.5
    assert plan.config.sampling.crop == (16, 16, 16)
    assert plan.config.image.normaliser == "adaptive"
    assert plan.config.augmentation.mirror == 0.5
    assert plan.config.training.seed == 5
    turned = [reason for reason in plan.reasons if reason.startswith("augmentation.rotation")]
    assert turned == [
        f"augmentation.rotation {plan.config.augmentation.rotation:g}: as far as the scans' poses differ."
    ]
    assert plan.config.training.warmup <= plan.config.training.epochs * plan.config.training.steps_per_epoch
    assert (
        dict(zip(plan.table.names, (landmark.pair for landmark in plan.table.landmarks), strict=True))[
            "eye left"
        ]
        == "eye right"
    )
    write_config(plan.config, tmp_path / "config.yaml", header="\n".join(plan.reasons))
    read = read_config(tmp_path / "config.yaml")
    assert read.data.train == train.resolve()
    assert read.model_copy(update={"data": plan.config.data}) == plan.config


def test_the_plan_of_locate_and_refine_is_a_whole_configuration(tmp_path: Path) -> None:
    plan = planned(write_data(tmp_path / "data"), tmp_path / "config.yaml", engine="locate-refine")
    config = plan.config
    assert isinstance(config, LocateRefineConfig)
    assert config.locate.augmentation.rotation == 60, "and 24 orders of the axes make any pose of it"
    assert config.refine.augmentation.mirror == config.locate.augmentation.mirror == 0.5
    assert 1 <= config.locate_epochs < config.training.epochs
    for key in ("locate.spacing", "refine.spacing", "refine.deviation", "training:"):
        assert any(key in reason for reason in plan.reasons)
    write_config(config, tmp_path / "config.yaml", header="\n".join(plan.reasons))
    read = read_config(tmp_path / "config.yaml")
    assert read.model_copy(update={"data": config.data}) == config


def test_the_command_offers_the_engines_that_there_are() -> None:
    assert tuple(ENGINES) == OFFERED


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_default_engine_takes_any_number_of_landmarks(tmp_path: Path, count: int) -> None:
    plan = planned(write_data(tmp_path, names=SIDED[:count]), tmp_path / "config.yaml", engine=None)
    assert isinstance(plan.config, LocateRefineConfig) and "the default" in plan.reasons[0]
    told = [reason for reason in plan.reasons if "taken to lie as their headers say" in reason]
    assert bool(told) is (count < 3)


def test_landmarks_in_one_line_do_not_tell_how_scans_are_turned() -> None:
    line = np.outer(np.linspace(-0.5, 0.5, 8), [1, 0.2, 0])
    rng = np.random.default_rng(0)
    base = measured(22, 0.2)[0]
    measures = [
        replace(base, positions=points + rng.normal(0, 0.1, (8, 3)))
        for points in heads(22, degrees=8, shape=line)
    ]
    made = survey(measures)
    assert made.lie_alike and any("in one line" in reason for reason in made.reasons)
    assert made.deviation == pytest.approx(0.1, rel=0.4)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("locate.field=40", "field (40) must be a multiple of 16 with 4 channels"),
        ("refine.channels=[8,8,8,8,8,8,8]", "field (32) must be a multiple of 64 with 7 channels"),
        ("refine.window=16", "window (16) must be odd"),
        ("detection.uncertain=0.9", "uncertain (0.9) must not exceed found (0.8)"),
        ("training.epochs=1", "at least 2, one for each network"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(tmp_path: Path, override: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    write_config(planned(write_data(tmp_path / "data"), path, engine="locate-refine").config, path, header="")
    with pytest.raises(InputError, match=re.escape(said)):
        read_config(path, (override,))


def test_landmarks_that_vary_more_are_sought_in_wider_windows() -> None:
    rng = np.random.default_rng(1)
    steady = measured(22, 0.2)
    loose = [replace(measure, positions=measure.positions + rng.normal(0, 0.5, (8, 3))) for measure in steady]
    tight, wide = choose_refine(survey(steady)), choose_refine(survey(loose))
    assert tight.deviation == pytest.approx(tight.spacing)
    assert wide.deviation == pytest.approx(1.4 * 0.5, rel=0.3)
    assert wide.window > tight.window


def test_a_step_of_refine_is_measured() -> None:
    batch, seconds = measure_refine_step(choose_refine(survey(measured(22, 0.2))), 8, CPU)
    assert batch == 8
    assert 0 < seconds < 30


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_a_ct_is_known_by_its_air_however_it_is_stored(tmp_path: Path, kind: type) -> None:
    train = write_data(tmp_path, kind=kind, air=-1000)
    cases = read_split(train, supervised=True)
    table = LandmarkTable.from_names(SIDED)
    made = survey_of([measure_case(case, table) for case in cases], table, WHERE)
    assert made.image.normaliser == "fixed"
    assert -1000 <= made.image.low < made.image.high <= 200


def test_a_case_is_measured_on_its_own_grid(tmp_path: Path) -> None:
    frame = Frame(size=(30, 20, 10), spacing=(0.5, 1, 2), direction=turn([1, 1, 0], 35) * [1, -1, 1])
    voxels = np.zeros(frame.shape, dtype=np.int16)
    voxels[4:7, 5:15, 10:20] = 100
    voxels[0, 0, 0], voxels[9, 19, 29] = -7, 101
    write_volume(Volume(voxels, frame), tmp_path / "scan.nrrd")
    points = frame.index_to_world([[11, 6, 4.4], [18, 13, 5.6], [np.nan] * 3])
    write_landmarks(LandmarkSet(("a", "b", "c"), points), tmp_path / "scan.mrk.json")
    case = Case("scan", tmp_path / "scan.nrrd", tmp_path / "scan.mrk.json")
    measures = measure_case(case, LandmarkTable.from_names(["c", "a", "b"]))
    np.testing.assert_allclose(measures.spacing, (0.5, 1, 2))
    np.testing.assert_allclose(measures.extent, (15, 20, 20))
    assert measures.percentiles == (100, 100), "in the box around the landmarks"
    assert measures.lowest == -7
    np.testing.assert_allclose(measures.positions, points[[2, 0, 1]], atol=1e-6)


def scan_with(tmp_path: Path, voxels: NDArray[Any]) -> CaseMeasures:
    """What is measured on a scan whose landmarks lie in two of its corners."""
    depth, height, width = voxels.shape
    frame = Frame(size=(width, height, depth), spacing=(1, 1, 1))
    write_volume(Volume(voxels, frame), tmp_path / "scan.nrrd")
    points = frame.index_to_world([[0, 0, 0], [width - 1, height - 1, depth - 1]])
    write_landmarks(LandmarkSet(("a", "b"), points), tmp_path / "scan.mrk.json")
    case = Case("scan", tmp_path / "scan.nrrd", tmp_path / "scan.mrk.json")
    return measure_case(case, LandmarkTable.from_names(["a", "b"]))


def a_ct(air: float) -> NDArray[np.int32]:
    """A cube of tissue in air that is not quite the same everywhere."""
    voxels = np.random.default_rng(0).normal(air, 20, (30, 30, 30)).clip(air)
    voxels[8:22, 8:22, 8:22] += 1050
    return voxels.astype(np.int32)


@pytest.mark.parametrize("fill", [-1024, -2000, -3024])
def test_fill_beyond_the_field_of_view_is_no_air_of_hounsfields_scale(tmp_path: Path, fill: int) -> None:
    scan = a_ct(0)
    scan[:, :4] = fill
    measures = scan_with(tmp_path, scan)
    assert measures.lowest == 0
    assert measures.percentiles[0] >= 0


def test_fill_and_metal_do_not_move_the_window_around_the_landmarks(tmp_path: Path) -> None:
    plain = scan_with(tmp_path, a_ct(-1000))
    scan = a_ct(-1000)
    scan[0, 10:18] = np.random.default_rng(1).integers(30_000, 60_000, (8, 30))
    scan[:, :4] = -2000
    measures = scan_with(tmp_path, scan)
    assert measures.lowest == plain.lowest
    np.testing.assert_allclose(measures.percentiles, plain.percentiles, atol=20)


def test_the_landmark_table_beside_the_split_is_trained(tmp_path: Path) -> None:
    train = write_data(tmp_path)
    table = LandmarkTable(tuple(Landmark(name, 5 + row, group="g") for row, name in enumerate(SIDED)))
    write_table(table, tmp_path / "landmarks.csv")
    plan = planned(train, tmp_path / "config.yaml")
    assert plan.table.labels == table.labels
    assert {landmark.group for landmark in plan.table.landmarks} == {"g"}


def test_a_validation_split_with_a_missing_file_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    train = write_data(tmp_path / "train")
    val = write_data(tmp_path / "val")
    (tmp_path / "val" / "case1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"line 3"):
        planned(train, tmp_path / "config.yaml", val=val, progress=lambda cases: pytest.fail("measured"))


def test_a_misspelt_key_of_one_of_two_like_sections_is_named(tmp_path: Path) -> None:
    plan = planned(write_data(tmp_path / "data"), tmp_path / "config.yaml", engine="locate-refine")
    write_config(plan.config, tmp_path / "config.yaml", header="")
    for section in ("locate", "refine"):
        with pytest.raises(InputError, match=rf"perhaps {section}\.augmentation\.rotation"):
            read_config(tmp_path / "config.yaml", (f"{section}.augmentaton.rotation=3",))


@pytest.mark.parametrize("engine", ["locate-refine", "dense"])
def test_a_plan_says_where_the_hours_are_too_few(tmp_path: Path, engine: str) -> None:
    train = write_data(tmp_path / "data")
    short, whole = (
        planned(train, tmp_path / "config.yaml", engine=engine, hours=hours).reasons[-1]
        for hours in (1e-5, None)
    )
    assert re.search(r"; without --hours there would be \d+, and a better model\.$", short)
    assert "without --hours" not in whole


@pytest.mark.parametrize("known", [[0], [0, 1]])
def test_a_landmark_alone_is_told_by_what_lies_around_it(known: list[int]) -> None:
    """Its own span is nothing, and a field of that size would show nothing."""
    measures = measured(200, 0.5)
    few = [
        replace(measure, positions=np.where(np.isin(np.arange(8), known)[:, None], measure.positions, np.nan))
        for measure in measures
    ]
    if len(known) > 1:
        few = [replace(m, positions=m.positions[0] + (m.positions - m.positions[0]) / 100) for m in few]
    made = survey(few)
    locate, refine = choose_locate(made), choose_refine(made)
    assert locate.field * locate.spacing > 260 / 3
    assert 1 < locate.spacing < 4 and refine.spacing == 0.5
    assert refine.deviation >= refine.spacing and made.deviation < 1
    assert survey(measures).seen == survey(measures).span


def test_parts_of_an_anatomy_that_move_against_each_other_are_seen_where_the_table_has_groups() -> None:
    jaw = np.random.default_rng(3).uniform(-0.3, 0.3, (5, 3)) - [0, 0.5, 0.4]
    measures = measured(200, 1.0)
    opened = [
        replace(
            measure,
            positions=np.vstack([HEAD * 100, 100 * jaw @ turn([1, 0, 0], 6.0 * row).T])
            + np.random.default_rng(row).normal(0, 0.5, (13, 3)),
        )
        for row, measure in enumerate(measures)
    ]
    names = [*NUMBERED, *(f"J{row}" for row in range(5))]
    groups = ["skull"] * 8 + ["jaw"] * 5
    rows = [
        Landmark(name, label, group=group)
        for label, (name, group) in enumerate(zip(names, groups, strict=True), 1)
    ]
    parted = survey_of(opened, LandmarkTable(tuple(rows)), WHERE)
    whole = survey(opened, names)
    assert len(parted.parts) == 2 and not whole.parts
    (told,) = reason_for_parts(parted)
    assert told.startswith("2 poses in detection: jaw, and skull move against each other")
    assert not reason_for_parts(whole)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mouse/splits/train.csv", "mouse"),
        ("mouse/folds/fold_0/train.csv", "mouse"),
        ("hips/masks/cases.csv", "hips"),
        ("hips/train.csv", "hips"),
    ],
)
def test_a_model_is_named_after_the_folder_of_its_data_set(tmp_path: Path, path: str, name: str) -> None:
    assert data_set_name(tmp_path / path) == name

"""Locate, align and refine together: right in any pose, and honest where there is nothing."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.constellation import Constellation, Part
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape import Similarity, fit_similarity
from LandmarkDetectionLib.data.shape_model import ShapeModel, learn_shape
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection import locate_refine
from LandmarkDetectionLib.detection.align import Alignment
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.locate_refine import (
    Chain,
    LocateRefineDetector,
    LocateRefineSettings,
    judge,
    spread_out,
)
from LandmarkDetectionLib.detection.progress import no_progress
from LandmarkDetectionLib.detection.refine import FineScan, Refined, View
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.model.bundle import Bundle, Calibration, Level, load_bundle, save_bundle
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings

Array = NDArray[np.float64]
CPU = torch.device("cpu")
SHAPE = np.array([[0.0, 0, 0], [14, 2, 0], [3, 13, 2], [-9, 6, 9], [5, -8, 11], [-6, -9, -8]])
GREYS = torch.linspace(-0.6, 0.9, len(SHAPE))
RADIUS = 2.5
FIXED = Normaliser("fixed", -1, 1)


class Seen(nn.Module):
    """The features are the image."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, image: Tensor) -> Tensor:
        return image.float()[..., :: self.step, :: self.step, :: self.step]


def own_grey(seen: Tensor, landmarks: Tensor) -> Tensor:
    """Heat where the image has a landmark's own grey, as a trained network would know its landmark."""
    return -(((seen - GREYS[landmarks][:, None, None, None]) / 0.05) ** 2).clamp(max=20)


class LocateByGrey(LocateNetwork):
    def __init__(self) -> None:
        super().__init__(UNetSettings(channels=(8, 16), reduction=2), len(SHAPE))
        self.features = Seen(2)  # type: ignore[assignment]

    def heat(self, features: Tensor, landmarks: Tensor) -> Tensor:
        return own_grey(features, landmarks)


class RefineByGrey(RefineNetwork):
    def __init__(self) -> None:
        super().__init__(UNetSettings(channels=(8, 16)), len(SHAPE), deviation=1e3)
        self.features = Seen(1)  # type: ignore[assignment]

    def evidence(self, windows: Tensor, landmarks: Tensor) -> Tensor:
        return own_grey(windows[:, 0], landmarks)

    def presence_logits(self, windows: Tensor, heat: Tensor, landmarks: Tensor) -> Tensor:
        return self.evidence(windows, landmarks).flatten(1).amax(dim=1) + 5


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    """With networks that know nothing yet."""
    torch.manual_seed(0)
    table = LandmarkTable.from_names([f"L{number}" for number in range(len(SHAPE))])
    locate, fine = {"channels": [8, 16], "reduction": 2}, {"channels": [8, 16]}
    networks = {
        "locate.": LocateNetwork(UNetSettings(channels=(8, 16), reduction=2), len(table)),
        "refine.": RefineNetwork(UNetSettings(channels=(8, 16)), len(table)),
    }
    bundle = Bundle(
        name="balls",
        engine="locate-refine",
        table=table,
        preparation=Preparation(0.5, Normaliser("fixed", -1, 1)),
        network={"locate": locate, "refine": fine},
        detection={
            "locate": {"spacing": 1.0, "window": 128, "candidates": 3},
            "refine": {"spacing": 0.5, "window": 13},
            "smallest": 0.8,
            "largest": 1.25,
            "mirrored": True,
            "tolerance": 0.5,
            "support": 0.3,
            "found": 0.8,
            "uncertain": 0.5,
        },
        shape=ShapeModel.of_mean(SHAPE),
    )
    weights = {
        prefix + name: value
        for prefix, network in networks.items()
        for name, value in network.state_dict().items()
    }
    save_bundle(bundle, weights, tmp_path / "balls")
    return tmp_path / "balls"


@pytest.fixture
def a_detector(a_bundle: Path) -> LocateRefineDetector:
    """With networks that know their landmarks by their grey."""
    detector = load_detector(a_bundle, CPU)
    assert isinstance(detector, LocateRefineDetector)
    detector._locate, detector._refine = LocateByGrey(), RefineByGrey()
    return detector


def turned(seed: int) -> Array:
    turn: Array = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    return turn


def scan_of(points: Array, direction: Array) -> Volume:
    """Balls of the landmarks' greys in air, with soft borders."""
    size, spacing = (56, 60, 64), 0.8
    middle = points.mean(axis=0)
    origin = middle - direction @ (spacing * (np.array(size) - 1) / 2)
    frame = Frame(size=size, spacing=[spacing] * 3, origin=origin, direction=direction)
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij")
    places = frame.index_to_world(np.stack([i, j, k], axis=-1))
    voxels = np.full(frame.shape, -1.0)
    for point, grey in zip(points, GREYS.tolist(), strict=True):
        inside = np.clip((RADIUS - np.linalg.norm(places - point, axis=-1)) / spacing + 0.5, 0, 1)
        voxels = voxels * (1 - inside) + grey * inside
    return Volume(voxels.astype(np.float32), frame)


def positions_of(detector: LocateRefineDetector, volume: Volume) -> Array:
    return np.array([detection.position for detection in detector.detect(volume)])


@pytest.mark.parametrize("seed", range(3))
def test_landmarks_are_found_however_the_anatomy_and_the_scan_lie(
    a_detector: LocateRefineDetector, seed: int
) -> None:
    points = 1.1 * SHAPE @ turned(seed).T + [20, -35, 60]
    found = positions_of(a_detector, scan_of(points, turned(seed + 10)))
    assert np.linalg.norm(found - points, axis=1).max() < 0.15


def test_storage_orders_give_the_same_landmarks(a_detector: LocateRefineDetector) -> None:
    points = SHAPE @ turned(4).T
    whole = scan_of(points, turned(5))
    expected = positions_of(a_detector, whole)
    rng = np.random.default_rng(0)
    orders = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for row in rng.choice(len(orders), 6, replace=False):
        order, signs = orders[row]
        corner = [0 if sign == 1 else whole.frame.size[axis] - 1 for axis, sign in enumerate(signs)]
        step = tuple(slice(None, None, sign) for sign in reversed(signs))
        voxels = whole.voxels[step].transpose([2 - axis for axis in order][::-1])
        frame = Frame(
            size=[whole.frame.size[axis] for axis in order],
            spacing=whole.frame.spacing[list(order)],
            origin=whole.frame.index_to_world(corner),
            direction=(whole.frame.direction * signs)[:, order],
        )
        np.testing.assert_allclose(positions_of(a_detector, Volume(voxels, frame)), expected, atol=2e-3)


def test_a_scan_of_something_else_has_none_of_the_landmarks(a_detector: LocateRefineDetector) -> None:
    points = np.random.default_rng(1).uniform(-16, 16, SHAPE.shape)
    statuses = {detection.status for detection in a_detector.detect(scan_of(points, np.eye(3)))}
    assert statuses == {"absent"}


def test_a_scan_too_coarse_to_show_the_anatomy_has_none_of_the_landmarks_at_once(
    a_detector: LocateRefineDetector,
) -> None:
    asked: list[str] = []
    too_coarse, just_so = (
        Volume(np.zeros((60, 60, 60), np.int16), Frame(size=(60, 60, 60), spacing=[edge] * 3))
        for edge in (2.1, 1.9)
    )
    detections = a_detector.detect(too_coarse, progress=lambda stage, fraction: asked.append(stage))
    assert {detection.status for detection in detections} == {"absent"}
    assert asked == ["prepare"]
    a_detector.detect(just_so, progress=lambda stage, fraction: asked.append(stage))
    assert "locate" in asked


def test_a_landmark_outside_the_scan_is_absent_and_the_others_are_not(
    a_detector: LocateRefineDetector,
) -> None:
    whole = scan_of(SHAPE, np.eye(3))
    cut = int(whole.frame.world_to_index(SHAPE[1])[0]) - 4
    frame = Frame(size=(cut, *whole.frame.size[1:]), spacing=whole.frame.spacing, origin=whole.frame.origin)
    detections = a_detector.detect(Volume(whole.voxels[:, :, :cut], frame))
    assert [detection.status for detection in detections].count("absent") == 1
    assert detections[1].status == "absent"


def test_a_pose_that_is_off_is_settled_before_anything_is_read(a_detector: LocateRefineDetector) -> None:
    """Windows of 13 voxels of 0.5 mm reach 3 mm: from the pose as it was, some landmarks lie beyond."""
    points = SHAPE @ turned(1).T
    true = fit_similarity(SHAPE, points)
    off = Similarity(true.rotation @ rotation_about_z(12), 1.0, np.add(true.translation, [0.9, -0.9, 0.6]))
    assert np.linalg.norm(off.apply(SHAPE) - points, axis=1).max() > 3.5
    chain, volume = a_detector._chain, scan_of(points, np.eye(3))
    refined = chain.refine(a_detector._refine, volume, off, CPU)
    assert np.linalg.norm(refined.positions - points, axis=1).max() < 0.15


def rotation_about_z(degrees: float) -> Array:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_anatomy_that_is_larger_than_any_in_training_is_found(a_detector: LocateRefineDetector) -> None:
    """The coarse pose keeps to the sizes of training; the looks that settle it do not."""
    chain = replace(
        a_detector._chain, settings=replace(a_detector._chain.settings, smallest=0.98, largest=1.02)
    )
    a_detector._chain = chain
    points = 1.12 * SHAPE @ turned(2).T
    volume = scan_of(points, turned(3))
    found = chain.find_pose(a_detector._locate, [lambda: Preparation(1.0, FIXED)(volume)], CPU)
    assert found is not None
    coarse = found[0]
    assert coarse.pose.scale == pytest.approx(1.02)
    scan = FineScan(a_detector._refine, volume, CPU)
    settled, doubt = chain._settle(scan, coarse.pose, no_progress)
    assert settled.scale == pytest.approx(1.12, abs=0.01) and doubt < chain.settings.tolerance
    assert np.linalg.norm(positions_of(a_detector, volume) - points, axis=1).max() < 0.15


def test_landmarks_are_looked_at_again_where_they_show_another_pose(
    a_detector: LocateRefineDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no scouts to settle it, from a pose that leaves some landmarks beyond the windows."""
    monkeypatch.setattr(locate_refine, "_ROUNDS", 0)
    points = SHAPE @ turned(1).T
    true = fit_similarity(SHAPE, points)
    off = Similarity(true.rotation @ rotation_about_z(11), 1.0, np.add(true.translation, [1.0, -1.0, 0.5]))
    volume = scan_of(points, np.eye(3))
    right = a_detector._chain.refine(a_detector._refine, volume, off, CPU)
    assert np.linalg.norm(right.positions - points, axis=1).max() < 0.15
    monkeypatch.setattr(locate_refine, "_LOOKS", 1)
    monkeypatch.setattr(locate_refine, "_FIRST_DOUBT", 0.3)
    wrong = a_detector._chain.refine(a_detector._refine, volume, off, CPU)
    assert np.linalg.norm(wrong.positions - points, axis=1).max() > 0.5


def test_a_pose_that_nothing_confirms_stays_in_doubt(a_detector: LocateRefineDetector) -> None:
    """Where the scouts show nothing, all landmarks are looked for as far as the coarse pose may be off."""
    chain, size = a_detector._chain, (56, 60, 64)
    volume = Volume(np.full(size[::-1], -1, np.float32), Frame(size=size, origin=[-28, -30, -32]))
    scan = FineScan(a_detector._refine, volume, CPU)
    pose = Similarity(np.eye(3), 1.0, np.zeros(3))
    unsettled, doubt = chain._settle(scan, pose, no_progress)
    assert unsettled is pose and doubt > chain.settings.tolerance
    assert chain._window(doubt).window > chain.settings.refine.window


def test_all_landmarks_together_tell_the_pose_better_than_the_scouts(
    a_detector: LocateRefineDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last reading expects each landmark where the pose of all of them has it."""
    expected: list[Array] = []
    points = SHAPE @ turned(1).T
    true = fit_similarity(SHAPE, points)
    off = Similarity(true.rotation @ rotation_about_z(2), 1.0, np.add(true.translation, 0.1))

    def remembering(scan: FineScan, view: View, starts: Array, *, doubt: float = 0.0) -> Refined:
        expected.append(starts)
        return as_ever(scan, view, starts, doubt=doubt)

    as_ever = FineScan.read
    monkeypatch.setattr(FineScan, "read", remembering)
    monkeypatch.setattr(locate_refine, "_ROUNDS", 0)
    a_detector._chain.refine(a_detector._refine, scan_of(points, np.eye(3)), off, CPU)
    errors = [np.linalg.norm(starts - points, axis=1).mean() for starts in expected]
    assert errors[0] > 0.25 and errors[-1] < 0.05


def test_scouts_lie_far_from_each_other() -> None:
    line = np.column_stack([np.arange(11.0), np.zeros(11), np.zeros(11)])
    line[3] = np.nan
    rows = np.delete(np.arange(11), 3)
    assert spread_out(line, rows, 3).tolist() == [0, 10, 5]
    assert sorted(spread_out(line, rows, 20).tolist()) == rows.tolist()
    assert len(spread_out(line, rows[:0], 3)) == 0


def test_an_implausible_constellation_lowers_confidence(a_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    shape = learn_shape(SHAPE + rng.normal(0, 0.2, (20, *SHAPE.shape)))
    bundle = replace(load_bundle(a_bundle), shape=shape)
    settings = LocateRefineSettings.from_numbers(bundle.detection)
    frame = Frame(size=(100, 100, 100), origin=[-50, -50, -50])
    positions = SHAPE.copy()
    ordinary = judge(refined_at(positions), frame, bundle, settings)
    positions[3] += [0, 2, 0]
    odd = judge(refined_at(positions), frame, bundle, settings)
    positions[3] += [0, 8, 0]
    strange = judge(refined_at(positions), frame, bundle, settings)
    assert strange[3].confidence < odd[3].confidence < ordinary[3].confidence
    assert [detection.status for detection in ordinary] == ["found"] * len(SHAPE)
    assert strange[3].status == "absent" and strange[3].confidence < 0.1
    assert [strange[row].status for row in (0, 1, 2, 4, 5)] == ["found"] * 5


def test_a_coarser_scan_has_wider_radii_and_in_the_end_none(a_bundle: Path) -> None:
    """The mean square of a voxel's edges counts; the bundle's grid has 0.5 mm."""
    levels = (
        Level(0.5, 40, 0.5, {}, 0.5, presence=(1.0, 0.0)),
        Level(2, 40, 2.0, {}, 1.5, presence=(1.0, -3.0)),
    )
    calibration = Calibration(0.9, levels)
    bundle = replace(load_bundle(a_bundle), calibration=calibration)
    settings = LocateRefineSettings.from_numbers(bundle.detection)

    def seen(*spacing: float) -> Detection:
        frame = Frame(size=(400, 400, 400), origin=[-50, -50, -50], spacing=spacing)
        return judge(refined_at(SHAPE), frame, bundle, settings)[0]

    def radius(*spacing: float) -> float:
        return seen(*spacing).radius_mm

    assert radius(0.25, 0.25, 0.25) == radius(0.5, 0.5, 0.5) == 0.5
    assert radius(1, 1, 1) == pytest.approx(1.0)
    assert radius(0.25, 0.5, 2.5**0.5) == pytest.approx(1.0), "half a mm twice, and the same in the square"
    assert radius(2, 2, 2) == 1.5 and np.isnan(radius(0.5, 4, 0.5))
    assert seen(0.5, 0.5, 0.5).confidence == pytest.approx(1 / (1 + np.exp(-5)))
    assert seen(2, 2, 2).confidence == pytest.approx(1 / (1 + np.exp(-2))), "presence has levels too"


def refined_at(positions: Array) -> Refined:
    every = np.ones(len(positions))
    return Refined(positions, spreads=every, presences=5 * every)


def test_progress_names_the_stages_in_their_order(a_detector: LocateRefineDetector) -> None:
    told: list[tuple[str, float]] = []
    a_detector.detect(
        scan_of(SHAPE, np.eye(3)), progress=lambda stage, fraction: told.append((stage, fraction))
    )
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["prepare", "locate", "refine"]
    fractions = [fraction for stage, fraction in told if stage == "refine"]
    assert fractions == sorted(fractions) and fractions[0] < 0.4 and fractions[-1] == 1.0


def test_smaller_pieces_find_the_same_until_there_are_none(a_detector: LocateRefineDetector) -> None:
    volume = scan_of(SHAPE, turned(2))
    smaller = a_detector.in_smaller_pieces()
    assert smaller is not None and smaller.in_smaller_pieces() is None
    np.testing.assert_allclose(positions_of(smaller, volume), positions_of(a_detector, volume), atol=0.02)


def test_networks_that_know_nothing_find_nothing_or_something_but_do_not_fail(a_bundle: Path) -> None:
    detections = load_detector(a_bundle, CPU).detect(scan_of(SHAPE, np.eye(3)))
    assert [detection.name for detection in detections] == [f"L{number}" for number in range(len(SHAPE))]


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("network", {"locate": {"channels": [8, 16]}}, "'network' or 'detection' is wrong"),
        (
            "network",
            {"locate": {"channels": [8, 24], "reduction": 2}, "refine": {"channels": [8, 16]}},
            "do not fit",
        ),
        ("detection", {}, "'network' or 'detection' is wrong"),
    ],
)
def test_a_bundle_that_does_not_fit_together_is_refused(
    a_bundle: Path, part: str, value: dict[str, object], said: str
) -> None:
    description = a_bundle / "model.json"
    content = json.loads(description.read_text(encoding="utf-8")) | {part: value}
    description.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_detector(a_bundle, CPU)


FACE = np.array([[9.0, 2, 0], [-9, 2, 0], [6, -8, 5], [-6, -8, 5], [0, 10, -3], [4, 0, 11]])
FACE_TABLE = LandmarkTable(
    (
        Landmark("eye_L", 1, pair="eye_R"),
        Landmark("eye_R", 2, pair="eye_L"),
        Landmark("ear_L", 3, pair="ear_R"),
        Landmark("ear_R", 4, pair="ear_L"),
        Landmark("chin", 5),
        Landmark("heart", 6),
    )
)


def test_the_mirror_image_is_not_asked_for_what_it_does_not_show(
    a_detector: LocateRefineDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chin is on the midline and is its own; a heart is on the left, and nothing says where its twin is."""
    chain = Chain.of(a_detector._chain.settings, FACE_TABLE, Constellation(FACE, 0.0))
    views: list[View] = []

    def noted(*args: Any, **more: Any) -> View:
        views.append(as_ever(*args, **more))
        return views[-1]

    as_ever = FineScan.look
    monkeypatch.setattr(FineScan, "look", noted)
    points = FACE @ turned(1).T
    refined = chain.refine(a_detector._refine, scan_of(points, np.eye(3)), fit_similarity(FACE, points), CPU)
    assert sorted(views[-2].rows) == [0, 1, 2, 3, 4, 5] and np.linalg.det(views[-2].axes) > 0
    assert sorted(views[-1].rows) == [0, 1, 2, 3, 4] and np.linalg.det(views[-1].axes) < 0
    assert np.linalg.norm(refined.positions[4:] - points[4:], axis=1).max() < 0.15


def test_a_model_that_saw_no_mirror_images_is_shown_none(a_detector: LocateRefineDetector) -> None:
    settings = a_detector._chain.settings
    assert Chain.of(settings, FACE_TABLE, Constellation(FACE, 0.0)).mirror is not None
    assert Chain.of(replace(settings, mirrored=False), FACE_TABLE, Constellation(FACE, 0.0)).mirror is None


@pytest.mark.parametrize(
    ("supports", "looks", "times"),
    [((0.8,), 1, 1), ((0.4, 0.9), 2, 4), ((0.6, 0.5, 0.4), 3, 1), ((None, None, 0.4), 3, 16)],
)
def test_a_scan_is_taken_to_have_more_air_where_that_makes_the_pose_plainer(
    a_detector: LocateRefineDetector,
    monkeypatch: pytest.MonkeyPatch,
    supports: tuple[float | None, ...],
    looks: int,
    times: float,
) -> None:
    somewhere = Similarity(np.eye(3), 1.0, np.zeros(3))
    left = iter(supports)

    def found(*_: Any, **__: Any) -> Alignment | None:
        support = next(left)
        return None if support is None else Alignment(somewhere, support)

    monkeypatch.setattr(locate_refine, "align", found)
    shown: list[Normaliser] = []

    def prepared(normaliser: Normaliser) -> Volume:
        shown.append(normaliser)
        return scan_of(SHAPE, np.eye(3))

    normaliser = Normaliser("adaptive", 0.5, 99.5)
    best = a_detector._chain.find_pose_amid_air(a_detector._locate, prepared, normaliser, CPU)
    assert best is not None and best[0].support == max(support or 0 for support in supports)
    assert len(shown) == looks and best[1] == normaliser.amid_air(times)


def test_a_window_that_is_fixed_is_looked_at_once(
    a_detector: LocateRefineDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate_refine, "align", lambda *_, **__: None)
    shown: list[Normaliser] = []

    def prepared(normaliser: Normaliser) -> Volume:
        shown.append(normaliser)
        return scan_of(SHAPE, np.eye(3))

    assert a_detector._chain.find_pose_amid_air(a_detector._locate, prepared, FIXED, CPU) is None
    assert shown == [FIXED]


def knowing(detector: LocateRefineDetector, rows: list[int], **changes: Any) -> LocateRefineDetector:
    """A detector that knows some of the landmarks, and that scans lie about upright."""
    chain = detector._chain
    shape = np.full_like(SHAPE, np.nan)
    shape[rows] = SHAPE[rows]
    settings = replace(chain.settings, **changes)
    settings = replace(settings, locate=replace(settings.locate, taught=60.0))
    detector._chain = replace(chain, settings=settings, constellation=Constellation.of(shape, 0.5))
    return detector


@pytest.mark.parametrize("rows", [[0], [1, 4], [0, 1, 2], [0, 1, 2, 3]])
def test_a_few_landmarks_are_found_in_a_scan_that_lies_about_upright(
    a_detector: LocateRefineDetector, rows: list[int]
) -> None:
    points = 1.05 * SHAPE @ rotation_about_z(15).T + [20, -35, 60]
    found = positions_of(knowing(a_detector, rows), scan_of(points, np.eye(3)))
    assert np.linalg.norm(found - points, axis=1)[rows].max() < 0.15
    assert np.isnan(np.delete(found, rows, axis=0)).all()


@pytest.mark.parametrize("others", [[0, 1], [2, 4], [0, 1, 2], [1, 3, 4]])
def test_of_a_few_landmarks_those_are_found_that_are_there(
    a_detector: LocateRefineDetector, others: list[int]
) -> None:
    """The brightest is not there, and no border of another looks like it."""
    points = SHAPE @ rotation_about_z(10).T
    whole, brightest = scan_of(points, np.eye(3)), len(SHAPE) - 1
    voxels = np.where(whole.voxels > float(GREYS[-2]), -1, whole.voxels).astype(np.float32)
    detections = knowing(a_detector, [*others, brightest]).detect(Volume(voxels, whole.frame))
    found = np.array([detection.position for detection in detections])
    assert np.linalg.norm(found - points, axis=1)[others].max() < 0.2
    assert detections[brightest].status == "absent"


def test_a_part_that_has_moved_is_found_from_a_pose_of_its_own(a_detector: LocateRefineDetector) -> None:
    """Windows of 13 voxels of 0.5 mm reach 3 mm: from one pose for all, some landmarks lie beyond."""
    rows = np.array([0, 2, 4]), np.array([1, 3, 5])
    points = SHAPE.copy()
    points[rows[1]] += [0, 5.0, 5.0]
    volume = scan_of(points, np.eye(3))
    chain, network = a_detector._chain, a_detector._refine
    pose = chain.constellation.pose_in(points)
    assert np.linalg.norm(pose.apply(SHAPE) - points, axis=1).max() > 3
    one = chain.refine(network, volume, pose, CPU)
    parts = tuple(Part(tuple(part.tolist()), 4.0) for part in rows)
    told: list[float] = []
    several = replace(chain, settings=replace(chain.settings, parts=parts)).refine(
        network, volume, pose, CPU, progress=lambda _, fraction: told.append(fraction)
    )
    assert not np.nanmax(np.linalg.norm(one.positions - points, axis=1)) < 0.5
    assert np.linalg.norm(several.positions - points, axis=1).max() < 0.15
    assert told == sorted(told) and told[-1] == pytest.approx(1)


def test_a_bundle_of_one_part_is_as_it_ever_was_and_one_of_several_keeps_them(a_bundle: Path) -> None:
    numbers = load_bundle(a_bundle).detection
    settings = LocateRefineSettings.from_numbers(numbers)
    assert settings.parts == () and settings.as_numbers().keys() == numbers.keys()
    several = replace(settings, parts=(Part((0, 1, 2, 3), 2.5), Part((4, 5), 1.0)))
    kept = json.loads(json.dumps(several.as_numbers()))
    assert LocateRefineSettings.from_numbers(kept) == several


def test_few_that_are_seen_where_many_should_be_do_not_move_the_pose(
    a_detector: LocateRefineDetector,
) -> None:
    chain, pose = a_detector._chain, Similarity(np.eye(3), 1.0, np.zeros(3))
    frame = Frame(size=(60, 60, 60), origin=[-30, -30, -30])
    positions, spreads = SHAPE + np.array([1.0, 0, 0]), np.ones(len(SHAPE))

    def shown(rows: list[int]) -> Similarity | None:
        presences = np.where(np.isin(np.arange(len(SHAPE)), rows), 5.0, -5.0)
        return chain._pose_of(Refined(positions, spreads, presences), frame, pose)

    assert shown([0, 1]) is None
    half, all_of_them = shown([0, 1, 2]), shown(list(range(6)))
    assert half is not None and all_of_them is not None
    np.testing.assert_allclose(half.apply(SHAPE), positions, atol=0.05)
    np.testing.assert_allclose(all_of_them.apply(SHAPE), positions, atol=1e-6)

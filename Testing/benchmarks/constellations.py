"""What a model finds of few landmarks, of many, and of odd ones. Synthetic heads only.

    python -m Testing.benchmarks.constellations KIND FOLDER [--engine dense] [KEY=VALUE ..]
    python -m Testing.benchmarks.constellations again KIND FOLDER

KIND is one of those in `KINDS`. Heads are made in FOLDER, planned, briefly trained, and heads that no
training has seen are detected, whole and with a field of view that ends short of a landmark; `again` only
detects. A row tells how many landmarks were given a position, how far these are off, and how far the mean
shape is off in the pose that fits the truth best.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.devices import resolve_device
from LandmarkDetectionLib.model.bundle import load_bundle
from LandmarkDetectionLib.phantom.anatomy.head import Head
from LandmarkDetectionLib.phantom.anatomy.tissue import Layer, Tissue
from LandmarkDetectionLib.phantom.scanner import paint
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.shapes import Ellipsoid, RoundCone, Shape, Union
from LandmarkDetectionLib.phantom.skull import PhantomCase, landmark_table, make_case

Array = NDArray[np.float64]
Points = dict[str, Array]

TRAINING, TESTED = 24, 8
FIRST_TESTED = 1000
"""Seed of the first head that no training has seen."""
SPACING = 4.0
HEADS = PhantomSettings(spacing=SPACING, cut_fraction=0.0, metal_fraction=0.0)
OPEN = replace(HEADS, spacing=2.0, max_jaw_opening_degrees=25.0)
SHORT = {
    "locate-refine": (
        "training.epochs=12",
        "training.batch=4",
        "locate.share=0.6",
        "locate.cost=0.5",
        "locate.batch=2",
        "locate.channels=[8, 16, 32, 64]",
        "refine.channels=[8, 16, 32, 64]",
    ),
    "dense": ("training.epochs=10", "training.batch=2", "network.channels=[8, 16, 32]"),
}
"""Trainings of a few minutes."""
NEAR = 8.0
"""Error, mm, up to which a landmark is found: two voxels."""
BEAD_RADIUS = 6.0
JAW = "Menton", "Gonion", "Condylion", "Lower"


@dataclass(frozen=True)
class Kind:
    """A kind of constellation.

    Attributes:
        points: of a head, in its own coordinates.
        settings: of the heads.
        training: how many heads are trained on.
        annotated: how many of them say anything of the landmark `rare`, the last ones.
        bead: whether `rare` is a bead that only these heads have, and every other of the tested ones.
        groups: whether the table has groups.
    """

    points: Callable[[Head], Points]
    settings: PhantomSettings = HEADS
    training: int = TRAINING
    annotated: int = 0
    bead: bool = False
    rare: str = ""
    groups: bool = True


def named(*names: str) -> Callable[[Head], Points]:
    return lambda head: {name: head.landmarks[name] for name in names}


def in_a_line(head: Head) -> Points:
    """The ear canals, and two points between them."""
    left, right = head.landmarks["Porion_L"], head.landmarks["Porion_R"]
    return {f"P{number}": left + (right - left) * number / 3 for number in range(4)}


def in_pairs(head: Head) -> Points:
    """Four landmarks, each with another half a voxel to its left."""
    points = named("Nasion", "Basion", "Menton", "Orbitale_L")(head)
    beside = {f"{name} beside": point + np.array([SPACING / 2, 0, 0]) for name, point in points.items()}
    return {**points, **beside}


def on_surfaces(head: Head) -> Points:
    """200 points where soft tissue and bone, air or skin meet."""
    parts = _round_parts(head)
    return {f"S{number:03d}": parts[part].extreme(way) for number, (part, way) in enumerate(_places(200))}


def all_of_them(head: Head) -> Points:
    return dict(head.landmarks)


def with_a_bead(head: Head) -> Points:
    """All landmarks, and a bead beside the brain's middle."""
    return {**head.landmarks, "Bead": head.landmarks["Sella"] + [20, 30, 35]}


def jaw(head: Head) -> Points:
    """All landmarks, and the tips of some lower teeth."""
    teeth = {
        f"Lower_{row:02d}": tooth.end.centre for row, tooth in enumerate(head.teeth[14:]) if row % 3 == 0
    }
    return {**head.landmarks, **teeth}


KINDS = {
    "one": Kind(named("Sella")),
    "two": Kind(named("Nasion", "Basion")),
    "three": Kind(named("Nasion", "Porion_L", "Porion_R")),
    "plane": Kind(named("Nasion", "Basion", "Anterior_Nasal_Spine", "Menton")),
    "line": Kind(in_a_line),
    "surfaces": Kind(on_surfaces),
    "pairs": Kind(in_pairs),
    "unknown": Kind(all_of_them, training=60, annotated=3, rare="Sella"),
    "bead": Kind(with_a_bead, training=60, annotated=3, rare="Bead", bead=True),
    "closed": Kind(jaw, settings=replace(OPEN, max_jaw_opening_degrees=0.0)),
    "open": Kind(jaw, settings=OPEN),
    "open without groups": Kind(jaw, settings=OPEN, groups=False),
}


def _round_parts(head: Head) -> list[Ellipsoid | RoundCone]:
    """The ellipsoids and round cones that a head with a closed jaw is made of, always in one order."""

    def parts_of(shape: Shape) -> list[Ellipsoid | RoundCone]:
        if isinstance(shape, Union):
            return [part for inner in shape.parts for part in parts_of(inner)]
        return [shape] if isinstance(shape, (Ellipsoid, RoundCone)) else []

    return [part for layer in head.layers for part in parts_of(layer.shape)]


@cache
def _places(count: int) -> tuple[tuple[int, Array], ...]:
    """Parts, and directions in which their outermost point lies on a surface that a scan shows."""
    rng = np.random.default_rng(0)
    head = make_case(PhantomSettings.plain(spacing=20.0), 0).head
    parts = _round_parts(head)
    places: list[tuple[int, Array]] = []
    while len(places) < count:
        part, way = int(rng.integers(len(parts))), rng.standard_normal(3)
        way /= np.linalg.norm(way)
        point = parts[part].extreme(way)
        inside, outside = (_hounsfield(head, point + side * way) for side in (-2, 2))
        if abs(inside - outside) > 300 and point[2] > -100:
            places.append((part, way))
    return tuple(places)


def _hounsfield(head: Head, point: Array) -> float:
    """Of a head at a point (3,)."""
    seen = [layer.hu for layer in head.layers if layer.shape.distance(point) < 0]
    return seen[-1] if seen else Tissue.AIR


def make_scan(kind: Kind, seed: int, *, bead: bool) -> tuple[Volume, Points, PhantomCase]:
    """A scan, and where the landmarks of the kind are in the world; without its bead, the bead is absent."""
    case = make_case(kind.settings, seed)
    points = {name: case.pose.to_world(point) for name, point in kind.points(case.head).items()}
    voxels, frame = case.volume.voxels, case.volume.frame
    if kind.bead and bead:
        ball = Ellipsoid(kind.points(case.head)[kind.rare], np.full(3, BEAD_RADIUS))
        share = (paint([Layer(ball, 0.0)], case.pose, frame) - Tissue.AIR) / -Tissue.AIR
        voxels = np.asarray(voxels + share * (Tissue.TOOTH - voxels), dtype=np.int16)
    elif kind.bead:
        points[kind.rare] = np.full(3, np.nan)
    return Volume(voxels, frame), points, case


def table_of(kind: Kind) -> LandmarkTable:
    """The landmarks with the phantom's groups and pairs, where all of a pair is there."""
    names = list(kind.points(make_case(PhantomSettings.plain(spacing=20.0), 0).head))
    known = {landmark.name: landmark for landmark in landmark_table().landmarks}
    rows = []
    for label, name in enumerate(names, start=1):
        group = known[name].group if name in known else "Mandible" if name.startswith("Lower") else ""
        pair = known[name].pair if name in known else ""
        rows.append(Landmark(name, label, pair if pair in names else "", group if kind.groups else ""))
    return LandmarkTable(tuple(rows))


def write_cases(kind: Kind, folder: Path) -> None:
    """The training cases as `train.csv` names them, and the table."""
    cases = []
    for seed in range(kind.training):
        annotated = not kind.annotated or seed >= kind.training - kind.annotated
        volume, points, _ = make_scan(kind, seed, bead=annotated)
        if not annotated and not kind.bead:
            del points[kind.rare]
        name = f"head_{seed:03d}"
        image, landmarks = folder / "images" / f"{name}.nii.gz", folder / "landmarks" / f"{name}.mrk.json"
        write_volume(volume, image)
        write_landmarks(LandmarkSet(list(points), np.array(list(points.values()))), landmarks)
        cases.append(Case(name, image, landmarks, group=name))
    write_table(table_of(kind), folder / "landmarks.csv")
    write_split(cases, folder / "train.csv")


def train(folder: Path, engine: str, changes: tuple[str, ...]) -> None:
    """Plan and a short training."""
    program, config = [sys.executable, "-m", "train_cli"], str(folder / f"{engine}.yaml")
    plan = [*program, "plan", str(folder / "train.csv"), "--output", config, "--engine", engine]
    subprocess.run(plan, check=True)
    flags = [word for setting in (*SHORT[engine], *changes) for word in ("--set", setting)]
    subprocess.run(
        [*program, "train", config, "--output", str(folder / engine), "--quiet", *flags], check=True
    )


def show(kind: Kind, folder: Path, engine: str) -> None:
    """What is given a position in unseen heads, whole and cut, and how far off that is; of groups, each."""
    table, model = table_of(kind), folder / engine / "model"
    rows: dict[str, NDArray[np.bool_]] = {"all": np.ones(len(table), bool)}
    if kind.rare:
        rows[kind.rare] = np.array([name == kind.rare for name in table.names])
    if kind.points is jaw:
        rows["jaw"] = np.array([name.startswith(JAW) for name in table.names])
        rows["others"] = ~rows["jaw"]
    for cut in (False, True):
        seen = replace(kind, settings=replace(kind.settings, cut_fraction=float(cut)))
        truth, places, fitted = detected(seen, table.names, model)
        for name, row in rows.items():
            scans = "cut heads" if cut else "heads"
            print(
                f"{engine} {scans}, {name}: {told(truth[:, row], places[:, row], fitted[:, row])}", flush=True
            )


def detected(kind: Kind, names: tuple[str, ...], model: Path) -> tuple[Array, Array, Array]:
    """Of unseen heads (N, K, 3) the truth, what is detected, and the mean shape in the pose of the truth."""
    shape = load_bundle(model).shape.mean
    detector, constellation = load_detector(model, resolve_device("cpu")), Constellation.of(shape, SPACING)
    truths, found, fitted = [], [], []
    for number in range(TESTED):
        volume, points, _ = make_scan(kind, FIRST_TESTED + number, bead=number % 2 == 0)
        anywhere = np.array([points[name] for name in names])
        inside = volume.frame.contains(np.nan_to_num(anywhere))
        places = {item.name: item.position for item in detector.detect(volume)}
        truths.append(np.where(inside[:, None], anywhere, np.nan))
        found.append([places[name] for name in names])
        fitted.append(constellation.pose_in(anywhere).apply(shape))
    return np.array(truths), np.array(found), np.array(fitted)


def told(truth: Array, places: Array, fitted: Array) -> str:
    """A row of the table, of (N, K, 3) each."""
    there, given = np.isfinite(truth).all(axis=2), np.isfinite(places).all(axis=2)
    errors = np.linalg.norm(places - truth, axis=2)[there & given]
    shape = np.linalg.norm(fitted - truth, axis=2)[there]
    absent = f" (and {given[~there].mean():.0%} of {(~there).sum()} absent ones)" if (~there).any() else ""
    near = np.sum(errors < NEAR) / there.sum()
    off = f"{errors.mean():.2f} mm on average, {errors.max():.1f} at most" if errors.size else "none"
    return (
        f"{given[there].mean():.0%} of {there.sum()} given a position{absent}, {near:.0%} within "
        f"{NEAR:g} mm; {off}; mean shape at the true pose {np.nanmean(shape):.2f} mm"
    )


def main(*arguments: str) -> None:
    words = list(arguments)
    again = words[0] == "again"
    name, folder = words[again], Path(words[again + 1])
    rest = words[again + 2 :]
    engine = "locate-refine"
    if rest[:1] == ["--engine"]:
        engine, rest = rest[1], rest[2:]
    if not again:
        if not (folder / "train.csv").is_file():
            write_cases(KINDS[name], folder)
        train(folder, engine, tuple(rest))
    show(KINDS[name], folder, engine)


if __name__ == "__main__":
    main(*sys.argv[1:])

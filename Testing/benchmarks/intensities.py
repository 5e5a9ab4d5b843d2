"""What scans as they come do to a plan, to the intensities that a network sees, and to what it finds.

    python -m Testing.benchmarks.intensities plans FOLDER
    python -m Testing.benchmarks.intensities contrast
    python -m Testing.benchmarks.intensities train FOLDER ct|cbct|mr [KEY=VALUE ..]
    python -m Testing.benchmarks.intensities detect FOLDER ct|cbct|mr
    python -m Testing.benchmarks.intensities real SCAN ..

All but the last are of synthetic heads: FOLDER takes their scans, and a short training on plain ones. `real`
tells how much is changed in scans on the disk, as they are, amid air, and with metal put in.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.intensity import Normaliser, cleaned
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.table import write_table
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.devices import resolve_device
from LandmarkDetectionLib.phantom.scanner import add_streaks
from LandmarkDetectionLib.phantom.settings import PhantomSettings
from LandmarkDetectionLib.phantom.skull import PhantomCase, landmark_table, make_case
from LandmarkDetectionLib.training.planning.survey import measure_case, survey_of

Image = NDArray[np.float32]

TRAINING, TESTED, PLANNED, CONTRASTED = 24, 6, 6, 4
"""Cases for each."""
FIRST_TESTED = 1000
"""Seed of the first case that no training has seen."""
HEADS = PhantomSettings(cut_fraction=0.0, metal_fraction=0.0)
SHORT = (
    "training.epochs=18",
    "training.batch=4",
    "locate.share=0.6",
    "locate.batch=2",
    "locate.channels=[16, 32, 64, 96]",
    "refine.channels=[8, 16, 32, 64]",
)
"""A training of a few minutes."""
METAL, BONE = 30.0, 1500.0
"""How many times as bright as bone metal is, and how much brighter than air bone is."""
MR_OF_HU = (-1000, 0), (-300, 20), (-90, 900), (15, 300), (45, 420), (200, 150), (700, 60), (2000, 20)
"""Hounsfield units and the signal of a T1-weighted scan: fat is bright, bone and air are dark."""
MR_NOISE = 20.0
NEAR = 6.0
"""Error, mm, up to which a landmark is found: two voxels."""
TISSUES = {"air": (-1100, -900), "soft": (-50, 120), "bone": (500, 3000)}
"""Hounsfield units between which a voxel shows no other tissue."""
NORMALISERS = {
    "ct": Normaliser("fixed", -1000, 1500),
    "cbct": Normaliser("adaptive", 0.5, 99.5),
    "mr": Normaliser("adaptive", 0.5, 99.5),
}

Spoil = Callable[[Image, PhantomCase], Image]


def plain(image: Image, case: PhantomCase) -> Image:
    return image


def scaled(factor: float) -> Spoil:
    return lambda image, case: image * np.float32(factor)


def with_metal(share: float, times: float = METAL) -> Spoil:
    """Metal at the side of the head in a share of the voxels."""

    def spoil(image: Image, case: PhantomCase) -> Image:
        z, y, x = np.indices(image.shape, dtype=np.float32)
        depth, height, _ = image.shape
        far = (z - depth / 2) ** 2 + (y - height / 2) ** 2 + x**2
        count = int(share * image.size)
        spoilt, nearest = image.copy(), np.unravel_index(np.argsort(far, axis=None)[:count], image.shape)
        brightness = np.random.default_rng(0).uniform(0.7, 1.3, count)
        spoilt[nearest] = image.min() + times * BONE * brightness
        return spoilt

    return spoil


def with_streaks(image: Image, case: PhantomCase) -> Image:
    """The streaks of a metal tooth."""
    spoilt = image.copy()
    add_streaks(np.random.default_rng(0), spoilt, case.volume.frame, case.pose, [case.head.teeth[3]])
    return np.asarray(spoilt.clip(image.min()))


def with_fill(value: float, beyond: float = 1.0) -> Spoil:
    """One value outside the scanner's circle."""

    def spoil(image: Image, case: PhantomCase) -> Image:
        _, y, x = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in image.shape), indexing="ij")
        return np.where(x**2 + y**2 > beyond, np.float32(value), image).astype(np.float32)

    return spoil


def with_bias(image: Image, case: PhantomCase) -> Image:
    """A smooth field from 0.5 to 2 over the scan."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in image.shape), indexing="ij")
    field = 0.6 * x - 0.5 * z + 0.4 * y * x + 0.3 * np.cos(2 * y)
    field = 2 * (field - field.min()) / np.ptp(field) - 1
    low = float(image.min())
    return ((image - low) * np.exp2(field) + low).astype(np.float32)


def with_outlier(image: Image, case: PhantomCase) -> Image:
    spoilt = image.copy()
    spoilt[tuple(edge // 2 for edge in image.shape)] = 1.7e6
    return spoilt


def both(first: Spoil, second: Spoil) -> Spoil:
    return lambda image, case: second(first(image, case), case)


SPOILT: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "plain": (plain, ("ct", "cbct", "mr")),
    "x 0.01": (scaled(0.01), ("cbct", "mr")),
    "x 10,000": (scaled(1e4), ("cbct", "mr")),
    "metal 0.01 %": (with_metal(1e-4), ("ct", "cbct", "mr")),
    "metal 0.1 %": (with_metal(1e-3), ("ct", "cbct", "mr")),
    "metal 1 %": (with_metal(1e-2), ("ct", "cbct", "mr")),
    "metal 1 %, only 5 times bone": (with_metal(1e-2, 5), ("ct", "cbct", "mr")),
    "metal 1 %, streaks": (both(with_metal(1e-2), with_streaks), ("ct", "cbct")),
    "-1024 outside": (with_fill(-1024), ("ct", "cbct")),
    "-2000 outside": (with_fill(-2000), ("ct", "cbct")),
    "-3024 outside": (with_fill(-3024), ("ct", "cbct")),
    "-2000 outside, metal 1 %": (both(with_metal(1e-2), with_fill(-2000)), ("ct", "cbct")),
    "one voxel of 1.7e6": (with_outlier, ("ct", "cbct", "mr")),
    "bias 0.5 to 2": (with_bias, ("cbct", "mr")),
}
"""How a scan is spoilt, and in which kinds of it."""


def main(command: str, *arguments: str) -> None:
    if command == "plans":
        show_plans(Path(arguments[0]))
    elif command == "contrast":
        show_contrasts()
    elif command == "train":
        train(Path(arguments[0]), *arguments[1:])
    elif command == "detect":
        show_detections(Path(arguments[0]), arguments[1])
    else:
        show_real([Path(path) for path in arguments])


def scan_of(case: PhantomCase, kind: str) -> Image:
    """The scan of a head as a kind of scanner shows it."""
    hounsfield = case.volume.voxels.astype(np.float32)
    if kind == "ct":
        return hounsfield
    if kind == "cbct":
        return (hounsfield + 1000).clip(0)
    units, signal = zip(*MR_OF_HU, strict=True)
    rng = np.random.default_rng(int(hounsfield.size))
    noise = rng.normal(0, MR_NOISE, (2, *hounsfield.shape))
    return np.hypot(np.interp(hounsfield, units, signal) + noise[0], noise[1]).astype(np.float32)


def saved(image: Image, kind: str) -> NDArray[Any]:
    """Whole numbers of 16 bits where a scanner gives them and they fit."""
    whole = kind != "mr" and image.min() >= -32768 and image.max() <= 32767
    return np.rint(image).astype(np.int16) if whole and np.ptp(image) > 1000 else image


def write_cases(folder: Path, cases: list[tuple[PhantomCase, NDArray[Any]]]) -> list[Case]:
    """Scans and landmarks as `train.csv` names them."""
    written = []
    for number, (case, voxels) in enumerate(cases):
        name = f"head_{number:03d}"
        image, landmarks = folder / "images" / f"{name}.nii.gz", folder / "landmarks" / f"{name}.mrk.json"
        write_volume(Volume(voxels, case.volume.frame), image)
        write_landmarks(case.landmarks, landmarks)
        written.append(Case(name, image, landmarks, group=name))
    write_table(landmark_table(), folder / "landmarks.csv")
    write_split(written, folder / "train.csv")
    return written


def train(folder: Path, kind: str, *changes: str) -> None:
    """A short training on plain scans."""
    heads = [make_case(PhantomSettings(metal_fraction=0.0), seed) for seed in range(TRAINING)]
    write_cases(folder, [(head, saved(scan_of(head, kind), kind)) for head in heads])
    program, config = [sys.executable, "-m", "train_cli"], str(folder / "config.yaml")
    subprocess.run([*program, "plan", str(folder / "train.csv"), "--output", config], check=True)
    flags = [word for setting in (*SHORT, *changes) for word in ("--set", setting)]
    subprocess.run([*program, "train", config, "--output", str(folder / "run"), *flags], check=True)


def show_plans(folder: Path) -> None:
    """What the plan of each data set says of its intensities."""
    heads = [make_case(HEADS, seed) for seed in range(PLANNED)]
    for name, cases in data_sets(heads):
        where = folder / "plans" / name.replace(" ", "-")
        written = write_cases(where, [(head, saved(image, kind)) for head, image, kind in cases])
        measures = [measure_case(case, landmark_table()) for case in written]
        image = survey_of(measures, landmark_table(), where / "train.csv").image
        print(f"{name}: {image.normaliser} {image.low:g} .. {image.high:g}", flush=True)


def data_sets(heads: list[PhantomCase]) -> Iterator[tuple[str, list[tuple[PhantomCase, Image, str]]]]:
    """Training sets: heads, their scans and the kind of these, spoilt alike and mixed."""
    for name, (spoil, kinds) in SPOILT.items():
        for kind in kinds:
            yield f"{kind} {name}", [(head, spoil(scan_of(head, kind), head), kind) for head in heads]
    half = len(heads) // 2
    mixed: dict[str, tuple[str, Callable[[int], Spoil]]] = {
        "ct half of them -2000 outside": ("ct", lambda row: with_fill(-2000) if row < half else plain),
        "ct two without air": ("ct", lambda row: without_air if row < 2 else plain),
        "ct one constant": ("ct", lambda row: constant if row == 0 else plain),
        "cbct one of them -2000 outside": ("cbct", lambda row: with_fill(-2000) if row == 0 else plain),
        "mr scales from 0.01 to 10,000": ("mr", lambda row: scaled(10.0 ** (row - 1))),
        "ct scales from 0.01 to 1000": ("ct", lambda row: scaled(10.0 ** (row - 2))),
        "ct one with air at 0": ("ct", lambda row: offset if row == 0 else plain),
    }
    for name, (kind, spoil_of) in mixed.items():
        yield name, [(head, spoil_of(row)(scan_of(head, kind), head), kind) for row, head in enumerate(heads)]


def without_air(image: Image, case: PhantomCase) -> Image:
    """As if the scan ended within the head."""
    return image.clip(-120)


def constant(image: Image, case: PhantomCase) -> Image:
    return np.zeros_like(image)


def offset(image: Image, case: PhantomCase) -> Image:
    return image + 1000


def show_contrasts() -> None:
    """Mean and spread of the tissues on the scale from -1 to 1."""
    heads = [make_case(HEADS, FIRST_TESTED + row) for row in range(CONTRASTED)]
    masks = [tissues_of(head) for head in heads]
    for kind, normaliser in NORMALISERS.items():
        preparation = Preparation(HEADS.spacing, normaliser)
        for name, (spoil, kinds) in SPOILT.items():
            if kind not in kinds:
                continue
            seen = [
                preparation(Volume(saved(spoil(scan_of(head, kind), head), kind), head.volume.frame)).voxels
                for head in heads
            ]
            told = []
            for tissue in TISSUES:
                shown = [scan[mask[tissue]] for scan, mask in zip(seen, masks, strict=True)]
                mean, spread = np.mean([(values.mean(), values.std()) for values in shown], axis=0)
                told.append(f"{tissue} {mean:+.2f} ± {spread:.2f}")
            print(f"{kind} {name}: {', '.join(told)}", flush=True)


def tissues_of(case: PhantomCase) -> dict[str, NDArray[np.bool_]]:
    """Where the prepared scan of a head shows nothing but a tissue, within the scanner's circle."""
    hounsfield = to_grid(case.volume, HEADS.spacing).voxels
    within = to_grid(
        Volume(with_fill(1)(np.zeros(case.volume.voxels.shape, np.float32), case), case.volume.frame),
        HEADS.spacing,
    )
    inside = within.voxels < 0.01
    return {name: inside & (hounsfield > low) & (hounsfield < high) for name, (low, high) in TISSUES.items()}


def show_detections(folder: Path, kind: str) -> None:
    """Error and missed landmarks of a short training on scans spoilt in each way."""
    heads = [make_case(HEADS, FIRST_TESTED + row) for row in range(TESTED)]
    detector = load_detector(folder / "run" / "model", resolve_device("cpu"))
    for name, (spoil, kinds) in SPOILT.items():
        if kind not in kinds:
            continue
        found: list[float] = []
        for head in heads:
            image = saved(spoil(scan_of(head, kind), head), kind)
            places = np.array([item.position for item in detector.detect(Volume(image, head.volume.frame))])
            found += np.linalg.norm(places - head.landmarks.positions, axis=1).tolist()
        errors = np.array(found)
        near = errors[np.isfinite(errors)]
        print(
            f"{kind} {name}: {near.mean() if near.size else np.nan:.2f} mm on average, "
            f"{np.mean(errors < NEAR):.0%} of {errors.size} within {NEAR:g} mm, "
            f"{errors.size - near.size} without a position",
            flush=True,
        )


def show_real(paths: list[Path]) -> None:
    """What is changed in real scans, as they are, amid air, with metal put in."""
    rng = np.random.default_rng(0)
    for path in paths:
        voxels = read_volume(path).voxels.astype(np.float32)
        low, high = np.percentile(voxels, [0.5, 99.5])
        amid = np.pad(voxels, [(edge // 2, edge // 2) for edge in voxels.shape], constant_values=voxels.min())
        metal = voxels.copy()
        count = voxels.size // 100
        metal.reshape(-1)[:count] = low + METAL * (high - low) * rng.uniform(0.7, 1.3, count)
        told = [
            f"{name} {np.mean(cleaned(scan) != scan):.2%}, up to {np.percentile(cleaned(scan), 99.5):.4g}"
            for name, scan in (("as it is", voxels), ("amid air", amid), ("with 1 % of metal", metal))
        ]
        print(f"{path.name}: {low:.4g} .. {high:.4g}; changed {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""From a data set to a complete configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, case_landmarks, discover_table, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.shape import clear_symmetry, fit_robustly, mean_shape
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.devices import has_bf16
from LandmarkDetectionLib.model.losses import focal_loss
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.training.allocator import keep_freed_memory
from LandmarkDetectionLib.training.config import (
    AugmentationSection,
    DataSection,
    DetectionSection,
    ImageSection,
    LossSection,
    NetworkSection,
    SamplingSection,
    TargetSection,
    TrainingConfig,
    TrainingSection,
)

Array = NDArray[np.float64]

ACROSS = 160
"""Voxels across the landmarks, at most: finer detail than this does not help a voxel classifier."""
LARGEST_CROP = 64
STEPS_PER_EPOCH = 50
BALL_VOXELS, SHELL_VOXELS = 2.0, 3.0
"""Radii. Smaller ones than the reference's 3 and 6 gave smaller errors: docs/results.md compares them."""
CROPS_PER_CASE = 200
FEWEST_CROPS, MOST_CROPS = 2_000, 20_000
MORE_ON_GPU = 5
MORE_FOR_ANY_POSE = 2
LARGEST_BATCH = 8
STANDARD_POSE_DEGREES = 30.0
ANY_POSE = 180.0
HOUNSFIELD_BELOW = -500.0
"""Only a scale on which air is about -1000 reaches this far down."""
NETWORK = NetworkSection(channels=(16, 32, 64), blocks=(2, 3, 2, 1), groups=8)
SMALL_NETWORK = NetworkSection(channels=(8, 16, 32), blocks=(2, 3, 2, 1), groups=8)
FEWEST_STEPS = 500
"""The network of full size learns too little in fewer steps than these."""


@dataclass(frozen=True)
class CaseMeasures:
    """What is measured on one case.

    Attributes:
        spacing: (3,) of the voxels, mm.
        extent: (3,) edge lengths of the scan, mm.
        percentiles: of the intensities in the box around the landmarks: 0.5, 99.5.
        lowest: intensity of the scan.
        positions: (K, 3) world mm, NaN where absent.
    """

    spacing: Array
    extent: Array
    percentiles: tuple[float, float]
    lowest: float
    positions: Array


@dataclass(frozen=True)
class Design:
    """What follows from the cases alone, whatever machine trains on them.

    Attributes:
        table: the landmarks, with their left-right pairs.
        image: grid and intensity scale.
        target: radii.
        sampling: crops.
        augmentation: their variations.
        reasons: why, a sentence each.
    """

    table: LandmarkTable
    image: ImageSection
    target: TargetSection
    sampling: SamplingSection
    augmentation: AugmentationSection
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A configuration, the landmark table it trains, and why it is as it is."""

    config: TrainingConfig
    table: LandmarkTable
    reasons: tuple[str, ...]


def make_plan(
    train: Path,
    val: Path | None,
    output: Path,
    *,
    name: str,
    device: torch.device,
    hours: float | None,
    seed: int,
    progress: Callable[[list[Case]], Iterable[Case]] = iter,
) -> Plan:
    """Measure a data set and this machine, and choose every value of the configuration.

    Args:
        train: CSV of the training cases.
        val: CSV of the validation cases, or None.
        output: where the configuration will be written; the cache and the table lie beside it.
        name: of the model.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
        progress: wraps the list of cases, for a progress bar.

    Raises:
        InputError: if a case cannot be read or there are no landmarks to learn.
    """
    cases = read_split(train, supervised=True)
    if val is not None:
        read_split(val, supervised=True)
    table = discover_table(cases, train)
    design = design_for([measure_case(case, table) for case in progress(cases)], table, train)
    network, batch, seconds, network_reason = choose_network(len(table), design.sampling.crop, device, hours)
    crops = _count_crops(len(cases), any_pose=design.augmentation.rotation == ANY_POSE, device=device)
    epochs = _choose_epochs(crops / batch, seconds, hours)
    config = TrainingConfig(
        version=1,
        name=name,
        engine="dense",
        data=DataSection(
            train=train,
            val=val,
            landmarks=output.parent / f"{output.stem}-landmarks.csv",
            cache=output.parent / "cache",
        ),
        image=design.image,
        target=design.target,
        sampling=design.sampling,
        augmentation=design.augmentation,
        network=network,
        loss=LossSection(gamma=2.0, background_weight=1.0),
        training=_training_section(epochs, batch, device, seed),
        detection=DetectionSection(threshold=0.5, uncertain=0.2, overlap=0.25),
    )
    expected = epochs * STEPS_PER_EPOCH * seconds / 3600
    reasons = (
        f"{len(cases)} training cases, {len(table)} landmarks.",
        *design.reasons,
        network_reason,
        f"training: a step of {batch} crops takes {seconds:.2g} s here ({device}); "
        f"{epochs} epochs of {STEPS_PER_EPOCH} steps are about {expected:.2g} hours.",
    )
    return Plan(config=config, table=design.table, reasons=reasons)


def design_for(measures: Sequence[CaseMeasures], table: LandmarkTable, where: Path) -> Design:
    """Choose all that follows from the cases.

    Args:
        measures: of the training cases.
        table: the landmarks, in the order of the measures' positions.
        where: the training CSV, for the error.

    Raises:
        InputError: if no case has a landmark.
    """
    shapes = np.stack([measure.positions for measure in measures])
    if not np.isfinite(shapes).all(axis=2).any():
        raise InputError(f"{where}: no case has a landmark; annotate at least one landmark.")
    shape = mean_shape(shapes)
    table, mirror, mirror_reason = _with_pairs(table, shape)
    spacing, spacing_reason = choose_spacing(measures)
    image, image_reason = _choose_image(measures, spacing)
    rotation, rotation_reason = _choose_rotation(shapes, shape)
    return Design(
        table=table,
        image=image,
        target=TargetSection(
            positive=_rounded(BALL_VOXELS * spacing), negative=_rounded(SHELL_VOXELS * spacing)
        ),
        sampling=SamplingSection(
            crop=_choose_crop(measures, spacing), landmark_fraction=0.7, padding="minimum"
        ),
        augmentation=AugmentationSection(
            rotation=rotation,
            scale=0.15,
            shear=0.05,
            mirror=0.5 if mirror else 0.0,
            elastic=0.3,
            elastic_spacing=_rounded(16 * spacing),
            elastic_amplitude=_rounded(3 * spacing),
            noise=0.1,
            gamma=0.3,
            contrast=0.1,
            motion=0.1,
            motion_shift=2.0,
        ),
        reasons=(spacing_reason, image_reason, rotation_reason, mirror_reason),
    )


def _training_section(epochs: int, batch: int, device: torch.device, seed: int) -> TrainingSection:
    threads = torch.get_num_threads() if device.type == "cpu" else _cores()
    return TrainingSection(
        epochs=epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        batch=batch,
        accumulate=1,
        learning_rate=2e-3,
        weight_decay=1e-4,
        warmup=min(100, max(epochs * STEPS_PER_EPOCH // 10, 1)),
        gradient_clip=5.0,
        precision="auto",
        ema=0.995,
        validate_every=max(epochs // 10, 1),
        patience=0,
        workers=max(min(threads // 2, 8), 1),
        seed=seed,
    )


def measure_case(case: Case, table: LandmarkTable) -> CaseMeasures:
    """Read a case and measure it."""
    volume = read_volume(case.image_path)
    positions = case_landmarks(case, table).positions_of(table.names)
    frame = volume.frame
    low, high = np.percentile(_around(volume, positions), [0.5, 99.5])
    return CaseMeasures(
        spacing=frame.spacing,
        extent=frame.extent,
        percentiles=(float(low), float(high)),
        lowest=float(volume.voxels.min()),
        positions=positions,
    )


def choose_spacing(measures: Sequence[CaseMeasures]) -> tuple[float, str]:
    """The grid's spacing: the scans' own, or coarser where the landmarks would span over `ACROSS` voxels."""
    own = float(np.median([np.prod(measure.spacing) ** (1 / 3) for measure in measures]))
    span = float(np.median([_span(measure.positions) for measure in measures]))
    if span / ACROSS > 1.1 * own:
        spacing, because = _rounded(span / ACROSS), f"{ACROSS} voxels across the landmarks"
    else:
        spacing, because = float(f"{own:.6g}"), "the scans' own"
    reason = f"image.spacing {spacing:g} mm: {because} (landmarks span {span:.3g} mm, voxels {own:.3g} mm)."
    return spacing, reason


def _count_crops(cases: int, *, any_pose: bool, device: torch.device) -> float:
    """Enough crops for the number of cases, more for any pose, and more where a GPU makes them cheap."""
    crops = float(np.clip(CROPS_PER_CASE * cases, FEWEST_CROPS, MOST_CROPS))
    return crops * (MORE_FOR_ANY_POSE if any_pose else 1) * (MORE_ON_GPU if device.type == "cuda" else 1)


def _choose_epochs(steps: float, seconds: float, hours: float | None) -> int:
    """Epochs of so many steps of so many seconds, within the hours allowed."""
    allowed = steps if hours is None else min(steps, hours * 3600 / seconds)
    return max(round(allowed / STEPS_PER_EPOCH), 1)


def choose_network(
    landmarks: int, crop: tuple[int, int, int], device: torch.device, hours: float | None
) -> tuple[NetworkSection, int, float, str]:
    """The network, its batch, the seconds of a step, and why: half the channels where time is short."""
    batch, seconds = measure_step(NETWORK, landmarks, crop, device)
    if hours is None or hours * 3600 / seconds >= FEWEST_STEPS:
        return NETWORK, batch, seconds, "network: the reference's 16, 32 and 64 channels."
    batch, seconds = measure_step(SMALL_NETWORK, landmarks, crop, device)
    reason = f"network: 8, 16 and 32 channels; {hours:.2g} hours are too short to train twice as many."
    return SMALL_NETWORK, batch, seconds, reason


def measure_step(
    network: NetworkSection, landmarks: int, crop: tuple[int, int, int], device: torch.device
) -> tuple[int, float]:
    """The batch size that fits the device, and the seconds that one optimiser step with it takes.

    On a CPU these are processor seconds shared out over the threads: a step when nothing else runs.
    """
    keep_freed_memory()
    settings = VNetSettings(
        classes=landmarks + 1, channels=network.channels, blocks=network.blocks, groups=network.groups
    )
    model: Any = VNet(settings).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if device.type != "cuda":
        return 2, _time_step(model, landmarks, crop, 2, device)
    torch.cuda.reset_peak_memory_stats(device)
    _time_step(model, landmarks, crop, 1, device)
    free = torch.cuda.mem_get_info(device)[0]
    batch = int(np.clip(0.6 * free / torch.cuda.max_memory_allocated(device), 1, LARGEST_BATCH))
    return batch, _time_step(model, landmarks, crop, batch, device)


def _time_step(
    model: VNet, landmarks: int, crop: tuple[int, int, int], batch: int, device: torch.device
) -> float:
    image = torch.rand(batch, 1, *crop[::-1], device=device)
    classes = torch.randint(0, landmarks + 1, (batch, *crop[::-1]), device=device)
    on_gpu = device.type == "cuda"
    clock, workers = (time.perf_counter, 1) if on_gpu else (time.process_time, torch.get_num_threads())
    seconds = []
    for _ in range(3):
        start = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            logits = model(image.contiguous(memory_format=torch.channels_last_3d))
        focal_loss(logits, classes).backward()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append((clock() - start) / workers)
    return min(seconds[1:])


def _choose_image(measures: Sequence[CaseMeasures], spacing: float) -> tuple[ImageSection, str]:
    """A fixed window for Hounsfield units, otherwise percentiles of each scan."""
    low = float(np.median([measure.percentiles[0] for measure in measures]))
    high = float(np.median([measure.percentiles[1] for measure in measures]))
    if all(measure.lowest <= HOUNSFIELD_BELOW for measure in measures) and round(high) > round(low):
        chosen: tuple[Literal["fixed", "adaptive"], float, float] = ("fixed", round(low), round(high))
        reason = (
            "image.normaliser fixed: Hounsfield units; 99 % around the landmarks lie in "
            f"{low:.0f} .. {high:.0f}."
        )
    else:
        chosen = ("adaptive", 0.5, 99.5)
        reason = (
            "image.normaliser adaptive: the intensities are not Hounsfield units; percentiles of each scan."
        )
    return ImageSection(spacing=spacing, normaliser=chosen[0], low=chosen[1], high=chosen[2]), reason


def _choose_rotation(shapes: Array, shape: Array) -> tuple[float, str]:
    """How far heads are turned from the first one, at least 15 degrees; any pose beyond 30."""
    angles = []
    for points in shapes:
        if (np.isfinite(points) & np.isfinite(shape)).all(axis=1).sum() >= 3:
            rotation = fit_robustly(shape, points).rotation
            angles.append(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    if not angles:
        return STANDARD_POSE_DEGREES, (
            f"augmentation.rotation {STANDARD_POSE_DEGREES:g}: too few landmarks to see how the scans' poses "
            "differ; set 180 if they lie anyhow."
        )
    largest = float(max(angles))
    chosen = ANY_POSE if largest > STANDARD_POSE_DEGREES else max(15.0, float(np.ceil(largest)))
    return chosen, (
        f"augmentation.rotation {chosen:g}: the scans' poses differ by up to {largest:.0f} degrees."
    )


def _choose_crop(measures: Sequence[CaseMeasures], spacing: float) -> tuple[int, int, int]:
    """As large as a network step affords, and no larger than the scans."""
    across = float(np.median([measure.extent.max() for measure in measures])) / spacing
    edge = int(np.clip(16 * np.ceil(across / 16), 16, LARGEST_CROP))
    return edge, edge, edge


def _with_pairs(table: LandmarkTable, shape: Array) -> tuple[LandmarkTable, bool, str]:
    """The table with left-right pairs, whether cases may be mirrored, and why."""
    if any(landmark.pair for landmark in table.landmarks):
        return table, True, "augmentation.mirror on: the landmark table names left-right pairs."
    symmetry = clear_symmetry(table.names, shape)
    if symmetry is None:
        return table, False, "augmentation.mirror off: the landmarks are not clearly symmetric."
    pairs = sum(row < partner for row, partner in enumerate(symmetry.order))
    residual = float(np.median(symmetry.residuals))
    return (
        table.with_pairs(symmetry.order),
        True,
        f"augmentation.mirror on: {pairs} left-right pairs inferred by reflecting the mean shape "
        f"(median {residual:.2g} mm apart); look at the landmark table.",
    )


def _around(volume: Volume, positions: Array) -> NDArray[Any]:
    """Voxels in the box that the landmarks span, the whole scan where there is none."""
    index = volume.frame.world_to_index(positions[np.isfinite(positions).all(axis=1)])
    if len(index) < 2:
        return volume.voxels
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, np.array(volume.frame.size) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, low + 1, volume.frame.size)
    return volume.voxels[low[2] : high[2], low[1] : high[1], low[0] : high[0]]


def _span(positions: Array) -> float:
    """Largest distance between two landmarks, mm; 0 with fewer than two."""
    points = positions[np.isfinite(positions).all(axis=1)]
    if len(points) < 2:
        return 0.0
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _cores() -> int:
    """CPU cores that this process may use: on a cluster, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""What a GPU makes of detection and training, in one run of under six minutes.

    python -m Testing.benchmarks.gpu [--output FILE.json] [--device cpu --small]
                                     [--scan SCAN.npy --spacing MM]

It needs no scan and no SimpleITK: numpy, torch and safetensors for detection, lightning, pandas, pydantic and
PyYAML for training. The head is an ellipsoid of bone in air as an int16 array, with 175 landmarks on it. The
networks have the sizes of the model in the box and random weights, so locate finds nothing: its work is done
in full, and then candidates about the true places are put in place of its own. All that follows runs as it
is. With --scan, an array [z, y, x] of a mouse skull as it comes and the edge of its voxels, CPU and GPU are
compared on this scan with the model in the box instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection import locate, refine
from LandmarkDetectionLib.detection.align import Alignment, Candidates, align
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.devices import has_bf16, resolve_device
from LandmarkDetectionLib.detection.locate_refine import Chain, LocateRefineDetector, LocateRefineSettings
from LandmarkDetectionLib.detection.results import Detection
from LandmarkDetectionLib.model.bundle import Bundle, load_bundle, save_bundle
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.resources import bundled_model

Array = NDArray[np.float64]
Figures = dict[str, Any]

SMALLER_THAN_A_HEAD = 8.0
"""Times: a mouse's skull, whose model the spacings come from."""
OFF = 0.3
"""Coarse voxels by which the candidates miss the true places (standard deviation)."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        voxels: of the head along x, y, z.
        spacing: of its voxels, mm.
        landmarks: on it; odd, so that one lies on the midline.
        repeats: detections that count.
        batches: of locate and of refine.
        steps: of training that count.
    """

    voxels: tuple[int, int, int]
    spacing: float
    landmarks: int
    repeats: int
    batches: tuple[int, int]
    steps: int


HEAD = Size((512, 512, 400), 0.4, 175, 5, (8, 32), 40)
SMALL = Size((64, 64, 50), 3.2, 5, 1, (1, 1), 1)


def main(arguments: list[str]) -> None:
    """Measure all, print it as JSON, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description="Measure detection and training on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a small head and few steps: does it run?")
    parser.add_argument("--output", type=Path, help="a file for the figures")
    parser.add_argument("--scan", type=Path, help="a mouse skull, .npy [z, y, x]")
    parser.add_argument("--spacing", type=float, help="edge of its voxels, mm")
    given = parser.parse_args(arguments)
    device, size = resolve_device(given.device), SMALL if given.small else HEAD
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    figures: Figures = {"device": name, "torch": torch.__version__}
    for title, measure in (
        ("detection", partial(detection, device, size)),
        ("parity", partial(parity, device, size, given.scan, given.spacing)),
        ("training", partial(training, device, size)),
    ):
        figures[title] = measure()
        print(f"{title}: {figures[title]}", file=sys.stderr, flush=True)
    text = json.dumps(figures, indent=2)
    print(text)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")


# Detection


def detection(device: torch.device, size: Size) -> Figures:
    """Seconds of a detection with image and model in memory, and the memory of the GPU.

    'on_the_cpu' is the part of it that brings the scan onto its two grids.
    """
    volume, points = head(size)
    detector = detector_of(size, points, device)
    detector.detect(volume)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    found = sum(item.status == "found" for item in detector.detect(volume))
    figures = {
        "seconds": _median_seconds(lambda: detector.detect(volume), size.repeats),
        "on_the_cpu": _median_seconds(lambda: _prepare(detector, volume), size.repeats),
        "landmarks": len(points),
        "found": found,
    }
    if device.type == "cuda":
        figures["allocated_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        figures["reserved_gb"] = torch.cuda.max_memory_reserved(device) / 1e9
    return figures


def _prepare(detector: LocateRefineDetector, volume: Volume) -> None:
    fine = detector.bundle.preparation
    coarse = replace(fine, spacing=detector.bundle.detection["locate"]["spacing"])
    coarse(volume), fine(volume)


def _median_seconds(work: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def head(size: Size) -> tuple[Volume, Array]:
    """An ellipsoid of bone in air, and points (K, 3) on it: pairs, left and right, and one on the midline."""
    frame = Frame(size=size.voxels, spacing=(size.spacing,) * 3)
    middle, half = (np.array(size.voxels) - 1) / 2, 0.38 * np.array(size.voxels)
    x, y, z = (
        (((np.arange(count) - at) / reach) ** 2).astype(np.float32)
        for count, at, reach in zip(size.voxels, middle, half, strict=True)
    )
    radius = z[:, None, None] + y[:, None] + x
    voxels = np.where(radius > 1, -1000, np.where(radius > 0.85, 900, 40)).astype(np.int16)
    rng = np.random.default_rng(0)
    voxels += rng.integers(-20, 20, voxels.shape, np.int16)
    sides = rng.standard_normal((size.landmarks // 2, 3))
    sides = np.vstack([sides, sides * [-1, 1, 1], [[0, 1, 0.2]]])
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    return Volume(voxels, frame), frame.index_to_world(middle + 0.95 * half * sides)


class TrueCandidates(Chain):
    """Looks for candidates, and goes on with others, about the true places: the mean shape as it lies."""

    def find_pose(
        self,
        network: LocateNetwork,
        scans: Sequence[Callable[[], Volume]],
        device: torch.device,
        **more: Any,
    ) -> tuple[Alignment, int] | None:
        settings, coarse = self.settings, scans[0]()
        found = locate.find_candidates(network, coarse, settings.locate, device=device, **more)
        noise = np.random.default_rng(0).normal(0, OFF * settings.locate.spacing, found.positions.shape)
        near = coarse.frame.centre + self.shape[:, None] + noise
        values = np.broadcast_to([0.8, 0.1, 0.05], found.values.shape)
        sizes = settings.smallest, settings.largest
        pose = align(Candidates(near, values), self.constellation, settings.tolerance, scales=sizes)
        return None if pose is None else (pose, 0)


def detector_of(size: Size, points: Array, device: torch.device) -> LocateRefineDetector:
    """With networks of the sizes of the model in the box, and random weights."""
    bundle = bundle_of(points)
    torch.manual_seed(0)
    coarse = LocateNetwork(UNetSettings(**bundle.network["locate"]), len(points))
    fine = RefineNetwork(UNetSettings(**bundle.network["refine"]), len(points))
    with torch.no_grad():
        fine.presence.weight[:, -1] += 5  # all are there
    weights = {f"locate.{name}": value for name, value in coarse.state_dict().items()}
    weights |= {f"refine.{name}": value for name, value in fine.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(bundle, weights, Path(folder))
        detector = LocateRefineDetector(bundle, Path(folder), device)
    chain = detector._chain
    detector._chain = TrueCandidates(chain.settings, chain.constellation, chain.mirror)
    return detector


def bundle_of(points: Array) -> Bundle:
    """The model in the box for anatomy as large as a head, with such points for its mean shape."""
    model = bundled_model()
    assert model is not None
    bundle, half = load_bundle(model), len(points) // 2
    pairs = [f"P{(row + half) % (2 * half)}" for row in range(2 * half)] + [""]
    landmarks = tuple(Landmark(f"P{row}", row + 1, pair) for row, pair in enumerate(pairs))
    numbers = dict(bundle.detection)
    for stage in ("locate", "refine"):
        numbers[stage] = {**numbers[stage], "spacing": numbers[stage]["spacing"] * SMALLER_THAN_A_HEAD}
    return replace(
        bundle,
        table=LandmarkTable(landmarks),
        preparation=Preparation(numbers["refine"]["spacing"], Normaliser("fixed", -1000, 2000)),
        detection={**numbers, "tolerance": numbers["tolerance"] * SMALLER_THAN_A_HEAD, "mirrored": True},
        shape=ShapeModel.of_mean(points - points.mean(axis=0)),
        calibration=None,
    )


# CPU and GPU beside each other


def parity(device: torch.device, size: Size, scan: Path | None, spacing: float | None) -> Figures:
    """How far detections on the device lie from those on the CPU in float32, fine voxels at most."""
    cpu = torch.device("cpu")
    if scan is None:
        volume, points = head(size)
        detectors = [detector_of(size, points, place) for place in (cpu, device)]
    else:
        model, voxels = bundled_model(), np.load(scan)
        assert model is not None and spacing is not None
        volume = Volume(voxels, Frame(size=voxels.shape[::-1], spacing=(spacing,) * 3))
        detectors = [load_detector(model, place) for place in (cpu, device)]  # type: ignore[misc]
    cell = detectors[0].bundle.detection["refine"]["spacing"]
    with in_float32():
        exact, there = (detector.detect(volume) for detector in detectors)
    as_it_is = detectors[1].detect(volume)
    return {
        "float32_voxels": _apart(exact, there) / cell,
        "as_it_is_voxels": _apart(exact, as_it_is) / cell,
        "float32_other_status": _differing(exact, there),
        "as_it_is_other_status": _differing(exact, as_it_is),
    }


def _differing(some: tuple[Detection, ...], others: tuple[Detection, ...]) -> int:
    """Landmarks of which something else is said."""
    return sum(one.status != other.status for one, other in zip(some, others, strict=True))


@contextmanager
def in_float32() -> Iterator[None]:
    """Detect without bfloat16, and without the shorter products that cuDNN takes for float32."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as patches:
        for stage in (locate, refine):
            patches.enter_context(patch.object(stage, "has_bf16", lambda device: False))
        patches.callback(setattr, torch.backends.cudnn, "allow_tf32", tf32)
        yield


def _apart(some: tuple[Detection, ...], others: tuple[Detection, ...]) -> float:
    distances = [np.linalg.norm(a.position - b.position) for a, b in zip(some, others, strict=True)]
    return float(np.nanmax(distances))


# Training


def training(device: torch.device, size: Size) -> Figures | str:
    """Steps a second of both stages with two loader workers and with a batch at hand; is the GPU busy?"""
    if find_spec("lightning") is None:
        return "not measured: lightning is not installed"
    with tempfile.TemporaryDirectory() as name:
        return {
            stage: measured_stage(module, samples, batch, device, size.steps)
            for (stage, module, samples), batch in zip(stages(Path(name), device), size.batches, strict=True)
        }


def stages(folder: Path, device: torch.device) -> Iterator[tuple[str, Any, Any]]:
    """Each network in training, and its samples: of noise, but planned as a mouse skull's."""
    from LandmarkDetectionLib.training.locate_refine import plan
    from LandmarkDetectionLib.training.locate_refine.config import DetectionSection, LocateRefineConfig
    from LandmarkDetectionLib.training.locate_refine.modules import LocateTraining, RefineTraining
    from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
    from LandmarkDetectionLib.training.planning.budget import training_section
    from LandmarkDetectionLib.training.sections import DataSection
    from Testing.benchmarks.jobs import training_case

    fine, survey = training_case(folder, 0.15)
    locating, refining = plan.choose_locate(survey), plan.choose_refine(survey)
    coarse, _ = training_case(folder, locating.spacing)
    table = survey.table
    config = LocateRefineConfig(
        version=1,
        name="benchmark",
        engine="locate-refine",
        data=DataSection(train=folder / "train.csv", val=None, landmarks=None, cache=folder),
        image=survey.image,
        training=training_section(2, 1, device, 0, learning_rate=plan.LEARNING_RATE),
        locate=locating,
        refine=refining,
        detection=DetectionSection(tolerance=1.0, support=0.3, found=0.8, uncertain=0.5),
    )
    model = bundled_model()
    assert model is not None
    settings = LocateRefineSettings.from_numbers(load_bundle(model).detection)
    window = replace(settings.refine, window=refining.window)
    constellation = Constellation(survey.shape, 0.0)
    chain = Chain(replace(settings, refine=window), constellation, None)
    network = LocateNetwork(locating.network, len(table))
    yield (
        "locate",
        LocateTraining(network, config, (), chain),
        LocateSamples([coarse], table, constellation, locating, 0, planned=1, midline=1.0),
    )
    asked = RefineNetwork(refining.network, len(table))
    yield (
        "refine",
        RefineTraining(asked, config, 1, (), chain),
        RefineSamples([fine], table, constellation, refining, 0),
    )


def measured_stage(module: Any, samples: Any, batch: int, device: torch.device, steps: int) -> Figures:
    """Of one network, in the loader and the steps that the loop has."""
    from torch.utils.data import DataLoader

    on_gpu, warm = device.type == "cuda", steps // 4 + 1
    torch.backends.cudnn.benchmark = on_gpu
    loader: DataLoader[Any] = DataLoader(
        samples,
        sampler=range((1 + warm + steps) * batch),
        batch_size=batch,
        num_workers=2,
        persistent_workers=True,
        pin_memory=on_gpu,
    )
    module.to(device).train()
    module.log = lambda *said, **more: None
    step = partial(one_step, module, module.configure_optimizers()["optimizer"], device)
    fed = iter(loader)
    at_hand = [part.to(device) for part in next(fed)]
    for _ in range(warm):  # what the workers have made in advance is used up
        step(next(fed))
    loaded = seconds_a_step(step, fed, steps, device)
    alone = seconds_a_step(step, cycle([at_hand]), steps, device)
    figures = {"batch": batch, "steps_a_second": 1 / loaded, "with_a_batch_at_hand": 1 / alone}
    if on_gpu:
        kernels = kernel_seconds(step, at_hand)
        figures |= {"busy": kernels / loaded, "busy_with_a_batch_at_hand": kernels / alone}
    return figures


def one_step(module: Any, optimizer: torch.optim.Optimizer, device: torch.device, batch: Any) -> None:
    """As Lightning takes it: a pinned batch goes to the GPU while the last step still runs."""
    there = tuple(part.to(device, non_blocking=True) for part in batch)
    optimizer.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        loss = module.training_step(there, 0)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.network.parameters(), module.settings.gradient_clip)
    optimizer.step()
    module.on_train_batch_end(None, None, 0)


def seconds_a_step(
    step: Callable[[Any], None], batches: Iterator[Any], steps: int, device: torch.device
) -> float:
    """The mean over so many."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step(next(batches))
    _wait(device)
    return (time.perf_counter() - start) / steps


def kernel_seconds(step: Callable[[Any], None], batch: Any, times: int = 5) -> float:
    """Seconds of a step in which the GPU computes or copies."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(times):
            step(batch)
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main(sys.argv[1:])

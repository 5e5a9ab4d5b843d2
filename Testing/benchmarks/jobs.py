"""The jobs of the benchmark, each measured in a process of its own: `python -m Testing.benchmarks.jobs NAME`.

A job prints one JSON object: `measured` in words with its unit, `yardstick` the same for what it is compared
with, `ratio` of the two, and `rest`, what the time is made of.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

ROOT = Path(__file__).parents[2]
Report = dict[str, str]
GIB = 1 << 30


def main(name: str, scan: str, head_model: str) -> None:
    """Measure one job and print its report."""
    report = JOBS[name](Path(scan), Path(head_model))
    print(json.dumps(report))


# The machine


def machine(scan: Path, head_model: Path) -> Report:
    """Matrix products and copies: what the processor can do at all."""
    rate = product_rate()
    block = torch.zeros(1 << 26)
    copied = 2 * block.nbytes / fastest(block.clone, 5) / 1e9
    return {
        "measured": f"{rate:.0f} GFLOP/s in matrix products, {copied:.1f} GB/s in copies",
        "rest": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
    }


# Detection


def detect(scan: Path, head_model: Path) -> Report:
    """A mouse skull with the model in the box, warm, beside the reference's way."""
    run, volume, landmarks = skull(scan)
    seconds = median(run, 5)
    flops, naive = work_of(run)
    reference = reference_seconds(volume, landmarks, 0.2)
    rate = product_rate()
    return {
        "measured": f"{seconds:.2f} s",
        "yardstick": f"{reference:.1f} s",
        "ratio": f"{reference / seconds:.0f}x faster",
        "rest": f"{flops / 1e9:.0f} GFLOP of convolutions: {flops / 1e9 / rate:.2f} s at the rate of matrix "
        f"products; {naive} naive convolutions",
    }


def beside(scan: Path, head_model: Path) -> Report:
    """The same beside a process that keeps one core busy."""
    run, _, _ = skull(scan)
    alone = median(run, 5)
    with busy_core():
        slowed = median(run, 5)
    return {
        "measured": f"{slowed:.2f} s",
        "yardstick": f"{alone:.2f} s alone",
        "ratio": f"{slowed / alone:.1f}x its time alone",
    }


def cold(scan: Path, head_model: Path) -> Report:
    """From the shell, over the detection itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "train_cli", "detect", str(scan), "--output", str(folder), "--json"]
        totals, inside = [], []
        for _ in range(3):
            start = time.perf_counter()
            said = subprocess.run([*command, "--again"], cwd=ROOT, capture_output=True, check=True, text=True)
            totals.append(time.perf_counter() - start)
            inside.append(float(json.loads(said.stdout)["cases"][0]["seconds"]))
    over = statistics.median(total - own for total, own in zip(totals, inside, strict=True))
    return {
        "measured": f"{over:.2f} s",
        "yardstick": f"{statistics.median(inside):.2f} s, reading, detection",
        "ratio": f"{statistics.median(totals):.2f} s in all",
    }


def head(scan: Path, head_model: Path) -> Report:
    """512 x 512 x 400 at 0.4 mm, from the file to the `.mrk.json`."""
    with tempfile.TemporaryDirectory() as name:
        path = phantom_head(Path(name))
        bytes_of_image = 512 * 512 * 400 * 2
        own = in_own_process(_detect_file, path, head_model, Path(name) / "out")
        floor = in_own_process(_read_file, path)
    return {
        "measured": f"{own['seconds']:.1f} s, {(own['peak'] - bytes_of_image) / GIB:.2f} GiB above the "
        f"image, {own['found']:.0f} found",
        "yardstick": f"{floor['seconds']:.1f} s to read the file",
        "ratio": f"{own['seconds'] / floor['seconds']:.1f}x",
    }


def many(scan: Path, head_model: Path) -> Report:
    """10, 100 and 500 landmarks in the same head: those of the model, again and again."""
    counts = (10, 100, 500)
    with tempfile.TemporaryDirectory() as name:
        path = phantom_head(Path(name))
        runs = []
        for count in counts:
            model = Path(name) / f"model-{count}"
            repeat_landmarks(head_model, model, count)
            runs.append(in_own_process(_detect_stages, path, model))
    stages = "; ".join(
        f"{count}: locate {run['locate']:.2f} s, refine {run['refine']:.2f} s, "
        f"peak {run['peak'] / GIB:.2f} GiB"
        for count, run in zip(counts, runs, strict=True)
    )
    locate, peak = ([run[key] for run in runs] for key in ("locate", "peak"))
    return {
        "measured": stages,
        "ratio": f"locate {max(locate) / min(locate):.2f}x, memory {max(peak) / min(peak):.2f}x",
    }


# Training and masks


def training(scan: Path, head_model: Path) -> Report:
    """Steps of both stages beside their convolutions alone."""
    from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
    from LandmarkDetectionLib.model.unet import UNetSettings
    from LandmarkDetectionLib.training.locate_refine.plan import (
        LOCATE_CHANNELS,
        LOCATE_FIELD,
        REFINE_CHANNELS,
        REFINE_FIELD,
    )
    from LandmarkDetectionLib.training.running.allocator import keep_freed_memory

    keep_freed_memory()
    words, ratios = [], []
    for title, network, edge, batch in (
        ("locate", LocateNetwork(UNetSettings(LOCATE_CHANNELS, reduction=2), 45), LOCATE_FIELD, 1),
        ("refine", RefineNetwork(UNetSettings(REFINE_CHANNELS), 45), REFINE_FIELD, 2),
    ):
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        image = torch.rand(batch, 1, *[edge] * 3).contiguous(memory_format=torch.channels_last_3d)
        step = median(partial(_step, network.features, image), 5)
        alone = convolutions_alone(network.features, image)
        words.append(f"{title} {1 / step:.2f} a second")
        ratios.append(f"{title} {step / alone:.2f}x")
    return {
        "measured": ", ".join(words),
        "yardstick": "its convolutions alone, forward and backward",
        "ratio": ", ".join(ratios),
    }


def samples(scan: Path, head_model: Path) -> Report:
    """Training samples of a scan of 150^3 voxels with 45 landmarks, on one core."""
    from LandmarkDetectionLib.data.constellation import Constellation
    from LandmarkDetectionLib.training.locate_refine.plan import choose_locate, choose_refine
    from LandmarkDetectionLib.training.locate_refine.samples import LocateSamples, RefineSamples
    from Testing.benchmarks import reference

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        fine, survey = training_case(Path(name), 0.15)
        locate, refine = choose_locate(survey), choose_refine(survey)
        coarse, _ = training_case(Path(name), locate.spacing)
        constellation, rates = Constellation(survey.shape, 0.0), {}
        for title, dataset in (
            (
                "locate",
                LocateSamples([coarse], survey.table, constellation, locate, 0, planned=1, midline=1.0),
            ),
            ("refine", RefineSamples([fine], survey.table, constellation, refine, 0)),
        ):
            seconds = timed(partial(_take, dataset, 40))
            rates[title] = 40 / seconds
        files = reference_case(Path(name))
        random = np.random.default_rng(0)
        crop = median(lambda: reference.crop(*files, random), 5)
    return {
        "measured": ", ".join(f"{title} {rate:.0f} a second" for title, rate in rates.items()),
        "yardstick": f"{1 / crop:.1f} a second by the reference's way",
        "ratio": ", ".join(f"{title} {rate * crop:.0f}x" for title, rate in rates.items()),
    }


def masks(scan: Path, head_model: Path) -> Report:
    """175 landmarks on a grid of 512 x 512 x 400."""
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.masks import default_radii, draw_mask

    frame = Frame(size=(512, 512, 400), spacing=(0.45, 0.45, 0.6))
    points = frame.index_to_world(np.random.default_rng(0).uniform(0, np.array(frame.size) - 1, (175, 3)))
    positive, negative = default_radii(frame.spacing)
    seconds = median(lambda: draw_mask(frame, points, range(1, 176), positive=positive, negative=negative), 3)
    copy = fastest(np.zeros(frame.shape, np.int16).copy, 3)
    return {
        "measured": f"{seconds:.2f} s a case and core, not written",
        "yardstick": f"{copy:.2f} s to copy the mask",
        "ratio": f"{seconds / copy:.1f}x",
    }


# A GPU


def gpu_detection(scan: Path, head_model: Path) -> Report:
    """175 landmarks in a head that is in memory."""
    from Testing.benchmarks import gpu

    device = torch.device("cuda")
    figures = gpu.detection(device, gpu.HEAD)
    apart = gpu.parity(device, gpu.HEAD, None, None)
    return {
        "measured": f"{figures['seconds']:.2f} s, {figures['reserved_gb']:.1f} GB of its memory",
        "rest": f"{figures['on_the_cpu']:.2f} s of it bring the scan onto its grids, on the CPU; in float32 "
        f"{apart['float32_voxels']:.1e} voxels from a detection there; {torch.cuda.get_device_name()}",
    }


def gpu_training(scan: Path, head_model: Path) -> Report:
    """Both stages with two loader workers."""
    from Testing.benchmarks import gpu

    figures = gpu.training(torch.device("cuda"), gpu.HEAD)
    if isinstance(figures, str):
        return {"measured": figures}
    steps = (
        f"{stage} {own['steps_a_second']:.1f} a second, GPU busy {own['busy']:.0%}"
        for stage, own in figures.items()
    )
    alone = (f"{stage} {own['with_a_batch_at_hand']:.1f} a second" for stage, own in figures.items())
    return {"measured": ", ".join(steps), "yardstick": f"with a batch at hand {', '.join(alone)}"}


JOBS: dict[str, Callable[[Path, Path], Report]] = {
    job.__name__: job
    for job in (
        machine,
        detect,
        beside,
        cold,
        head,
        many,
        training,
        samples,
        masks,
        gpu_detection,
        gpu_training,
    )
}


# What they are made of


def median(work: Callable[[], object], times: int) -> float:
    """Seconds that some work takes, after once that does not count."""
    work()
    return statistics.median(timed(work) for _ in range(times))


def fastest(work: Callable[[], object], times: int) -> float:
    """The same, undisturbed."""
    work()
    return min(timed(work) for _ in range(times))


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def product_rate() -> float:
    """Of matrix products as the networks compute them, GFLOP/s."""
    from LandmarkDetectionLib.detection.devices import has_bf16

    kind = torch.bfloat16 if has_bf16(torch.device("cpu")) else torch.float32
    one, other = torch.rand(2, 1536, 1536).to(kind)
    return 2 * 1536**3 / fastest(lambda: torch.mm(one, other), 5) / 1e9


def skull(scan: Path) -> tuple[Callable[[], object], Any, int]:
    """The detection of a skull with the model in the box, the scan, and how many landmarks."""
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.detection.detector import load_detector
    from LandmarkDetectionLib.resources import bundled_model

    model = bundled_model()
    assert model is not None
    detector, volume = load_detector(model, torch.device("cpu")), read_volume(scan)
    return lambda: detector.detect(volume), volume, len(detector.bundle.table)


def reference_seconds(volume: Any, landmarks: int, spacing: float) -> float:
    """Of the reference's way, once."""
    from Testing.benchmarks import reference

    network = reference.network_for(landmarks)
    return timed(lambda: reference.detect(volume, network, spacing))


def work_of(run: Callable[[], object]) -> tuple[float, int]:
    """Operations of all convolutions, and how many of these took the naive way.

    In one thread, for the profiler sees no other.
    """
    from torch.profiler import ProfilerActivity, profile

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as seen:
        run()
    torch.set_num_threads(threads)
    events = seen.key_averages(group_by_input_shape=True)
    flops = sum(_operations(event) for event in events if event.key == "aten::mkldnn_convolution")
    return flops, sum(event.count for event in events if "slow_conv" in event.key)


def _operations(event: Any) -> float:
    (batch, _, *sizes), (outputs, inputs, *kernel) = event.input_shapes[:2]
    stride = 2 if kernel[0] == 2 else 1
    return float(2 * event.count * batch * outputs * inputs * np.prod(kernel) * np.prod(sizes) / stride**3)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests, on one of this process's cores."""
    other = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    other.start()
    time.sleep(1)
    try:
        yield
    finally:
        other.kill()
        other.join()


def _spin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    while True:
        pass


def phantom_head(folder: Path) -> Path:
    """A synthetic head of 512 x 512 x 400 voxels of 0.4 mm, int16, packed, on the disk."""
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.volume import Volume, write_volume
    from LandmarkDetectionLib.phantom.settings import PhantomSettings
    from LandmarkDetectionLib.phantom.skull import make_case
    from Testing.resampling import resample

    coarse = make_case(PhantomSettings.plain(spacing=1.3), seed=0).volume
    centre = coarse.frame.index_to_world((np.array(coarse.frame.size) - 1) / 2)
    size, spacing = np.array((512, 512, 400)), 0.4
    frame = Frame(size=size, spacing=(spacing,) * 3, origin=centre - (size - 1) / 2 * spacing)
    head = resample(coarse, frame, fill=-1000)
    write_volume(Volume(head.voxels.astype(np.int16), frame), folder / "head.nii.gz")
    return folder / "head.nii.gz"


def training_case(folder: Path, spacing: float) -> tuple[Any, Any]:
    """A case of noise for training, 22.5 mm along each edge, and a survey of its like."""
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.table import LandmarkTable
    from LandmarkDetectionLib.training.cases.cache import PreparedCase
    from LandmarkDetectionLib.training.planning.survey import Survey
    from LandmarkDetectionLib.training.sections import ImageSection

    random = np.random.default_rng(0)
    edge = round(22.5 / spacing)
    frame = Frame(size=(edge,) * 3, spacing=(spacing,) * 3)
    path = folder / f"{edge}.npy"
    np.save(path, random.uniform(-1, 1, frame.shape).astype(np.float16))
    positions = frame.index_to_world(random.uniform(0.2 * edge, 0.8 * edge, (45, 3)))
    case = PreparedCase("case", "", path, frame, frame.spacing, positions, np.ones(45, bool), -1.0)
    survey = Survey(
        cases=30,
        table=LandmarkTable.from_names([f"L{number}" for number in range(45)]),
        shape=positions - positions.mean(axis=0),
        span=20.0,
        extent=22.5,
        seen=20.0,
        deviation=0.17,
        parts=(),
        image=ImageSection(spacing=0.15, normaliser="adaptive", low=0.5, high=99.5),
        rotation=180.0,
        lie_alike=False,
        mirrors=False,
        reasons=(),
    )
    return case, survey


def reference_case(folder: Path) -> tuple[Path, Path]:
    """A scan of 150^3 voxels and its mask as files."""
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.volume import Volume, write_volume

    random = np.random.default_rng(0)
    frame = Frame(size=(150, 150, 150), spacing=(0.15, 0.15, 0.15))
    scan, mask = random.integers(0, 255, frame.shape, np.uint8), np.zeros(frame.shape, np.int16)
    mask[tuple(random.integers(0, 150, (3, 45)))] = np.arange(1, 46)
    paths = folder / "scan.nii.gz", folder / "mask.nii.gz"
    for voxels, path in zip((scan, mask), paths, strict=True):
        write_volume(Volume(voxels, frame), path)
    return paths


def repeat_landmarks(model: Path, folder: Path, count: int) -> None:
    """A model that knows `count` landmarks: those of another one, under several names each."""
    from LandmarkDetectionLib.data.shape_model import ShapeModel
    from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
    from LandmarkDetectionLib.model.bundle import load_bundle, load_weights, save_bundle

    bundle, weights = load_bundle(model), load_weights(model)
    known = bundle.table.names
    names = [f"{known[row % len(known)]}.{row // len(known)}" for row in range(count)]
    order = bundle.table.mirrored_order
    landmarks = []
    for row, name in enumerate(names):
        partner = row - row % len(known) + order[row % len(known)]
        pair = names[partner] if partner < count and partner != row else ""
        landmarks.append(Landmark(name, row + 1, pair))
    rows = torch.arange(count) % len(known)
    own = ("locate.codes", "refine.codes", "refine.log_deviations", "refine.presence.weight")
    shape = ShapeModel(bundle.shape.mean[rows], bundle.shape.modes[:, rows], bundle.shape.deviations[rows])
    repeated = replace(bundle, table=LandmarkTable(tuple(landmarks)), shape=shape)
    save_bundle(repeated, weights | {key: weights[key][rows] for key in own}, folder)


def in_own_process(work: Callable[..., dict[str, float]], *arguments: Path) -> dict[str, float]:
    """What some work reports, and the peak of its memory, bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (work, arguments))


def _with_peak(work: Callable[..., dict[str, float]], arguments: tuple[Path, ...]) -> dict[str, float]:
    base = _resident()
    report = work(*arguments)
    return {**report, "peak": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base)}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _note_end(ends: dict[str, float], stage: str, fraction: float) -> None:
    ends[stage] = time.perf_counter()


def _take(dataset: Dataset[Any], count: int) -> None:
    for number in range(count):
        dataset[number]


def _step(features: torch.nn.Module, image: torch.Tensor) -> None:
    features(image).square().mean().backward()


def convolutions_alone(features: torch.nn.Module, image: torch.Tensor) -> float:
    """Seconds that all convolutions of a network take on such an image, forward and backward."""
    from LandmarkDetectionLib.model.convolution import Conv3d, Doubling

    inputs: list[tuple[torch.nn.Module, torch.Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda layer, given, _: inputs.append((layer, given[0].detach())))
        for module in features.modules()
        if isinstance(module, Conv3d | Doubling)
    ]
    features(image)
    for hook in hooks:
        hook.remove()

    def run() -> None:
        for layer, given in inputs:
            layer(given.requires_grad_(layer is not inputs[0][0])).sum().backward()

    return median(run, 5)


def _read_file(path: Path) -> dict[str, float]:
    from LandmarkDetectionLib.data.volume import read_volume

    return {"seconds": timed(lambda: read_volume(path))}


def _detect_file(path: Path, model: Path, folder: Path) -> dict[str, float]:
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.detection.detector import load_detector
    from LandmarkDetectionLib.detection.results import CaseDetections, write_case

    detector = load_detector(model, torch.device("cpu"))
    start = time.perf_counter()
    detections = detector.detect(read_volume(path))
    write_case(CaseDetections("head", detections), folder)
    found = sum(item.status == "found" for item in detections)
    return {"seconds": time.perf_counter() - start, "found": float(found)}


def _detect_stages(path: Path, model: Path) -> dict[str, float]:
    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.detection.detector import load_detector

    detector, volume = load_detector(model, torch.device("cpu")), read_volume(path)
    runs = []
    for _ in range(4):
        ends: dict[str, float] = {}
        detector.detect(volume, progress=partial(_note_end, ends))
        runs.append((ends["locate"] - ends["prepare"], ends["refine"] - ends["locate"]))
    locate, refine = np.median(runs[1:], axis=0)
    return {"locate": float(locate), "refine": float(refine)}


if __name__ == "__main__":
    main(*sys.argv[1:4])

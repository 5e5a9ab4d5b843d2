"""Cases, detections and reports for tests: all that a report has to show, on a few small scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from LandmarkDetectionLib.data.checks import Finding
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import CaseDetections, CaseOutcome, Detection
from LandmarkDetectionLib.evaluation.comparison import compare
from LandmarkDetectionLib.evaluation.measurements import Measurement
from LandmarkDetectionLib.evaluation.metrics import evaluate
from LandmarkDetectionLib.model.bundle import Bundle, save_bundle
from LandmarkDetectionLib.report import annotations, cohort, evaluation

Array = NDArray[np.float64]

EVIL = "<img src=x onerror=alert(1)>"
TABLE = LandmarkTable(
    (
        Landmark("left eye", 1, pair="right eye", definition="The middle of the left orbit."),
        Landmark("right eye", 2, pair="left eye"),
        Landmark("nasion", 3),
        Landmark("bregma", 4),
        Landmark(EVIL, 5),
        Landmark("chin", 6),
    )
)
NAMES = TABLE.names
SHAPE = np.array([[9, -5, 0], [-9, -5, 0], [0, -9, 2], [0, 0, 10], [0, 9, 5], [0, -8, -10]], dtype=float)
MISSED, EXCHANGED, UNREADABLE = "case 1", "case 2", "case 3"


@dataclass(frozen=True)
class Scans:
    """Cases with landmarks in any pose, and what a detector says of them."""

    volumes: Mapping[str, Volume]
    truths: Mapping[str, LandmarkSet]
    detections: Mapping[str, CaseDetections]

    def read(self, case: str) -> Volume:
        if case == UNREADABLE:
            raise InputError("the scan is damaged.")
        return self.volumes[case]


def turn(generator: np.random.Generator, degrees: float) -> Array:
    axis = generator.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def make_scans() -> Scans:
    """Six cases, each turned by 30 degrees more than the one before."""
    generator = np.random.default_rng(5)
    frame = Frame(size=(40, 36, 38), origin=(-20, -18, -19), spacing=(1.0, 1.0, 1.0), direction=np.eye(3))
    volumes, truths, detections = {}, {}, {}
    for number in range(6):
        name = f"case {number}"
        points = SHAPE @ turn(generator, 30 * number).T * 0.9 + generator.normal(0, 0.3, SHAPE.shape)
        voxels = generator.normal(0, 0.2, frame.shape).astype(np.float32)
        for point in points:
            k, j, i = np.rint(frame.world_to_index(point)[::-1]).astype(int)
            voxels[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] += 5
        volumes[name] = Volume(voxels, frame)
        truths[name] = LandmarkSet(NAMES, points)
        found = points + generator.normal(0, 0.4, points.shape)
        if name == EXCHANGED:
            found[[0, 1]] = found[[1, 0]]
        detections[name] = CaseDetections(
            name,
            tuple(said(row, found[row], missing=name == MISSED and row == 3) for row in range(len(NAMES))),
        )
    return Scans(volumes, truths, detections)


def said(row: int, position: Array, *, missing: bool) -> Detection:
    if missing:
        return Detection.missing(NAMES[row], 0.2)
    return Detection(NAMES[row], position, "found", 0.9 - 0.02 * row, 1.0)


def write_evaluation(scans: Scans, path: Path) -> dict[str, str]:
    ours = evaluate(scans.truths, scans.detections)
    nearer = {
        case: CaseDetections(
            case, tuple(said(row, place, missing=False) for row, place in enumerate(truth.positions))
        )
        for case, truth in scans.truths.items()
    }
    theirs = evaluate(scans.truths, nearer, radii=ours.radii)
    compared = evaluation.Compared(
        title="Evaluation",
        truths=scans.truths,
        detections=scans.detections,
        evaluation=ours,
        table=TABLE,
        failures={"case 9": "its landmarks cannot be read."},
        comparisons=[compare(ours, theirs, "nearer")],
    )
    return evaluation.write_report(compared, scans.read, path)


def write_annotations(scans: Scans, path: Path) -> dict[str, str]:
    findings = [Finding("warning", "swapped", EXCHANGED, "line 4", "two landmarks seem exchanged.")]
    checked = annotations.Checked("Annotations", scans.truths, findings)
    return annotations.write_report(checked, scans.read, path)


def write_run(folder: Path) -> Path:
    """The folder of a training that has ended: two networks, one of them validated."""
    save_bundle(a_bundle(), {"weight": torch.zeros(2)}, folder / "model")
    epochs = pd.DataFrame(
        {"epoch": [1.0, 2.0, 3.0], "step": [5.0, 10.0, 15.0], "train_loss": [9.0, 5.0, 4.0]}
    )
    (folder / "locate").mkdir()
    epochs.to_csv(folder / "locate" / "metrics.csv", index=False)
    (folder / "refine").mkdir()
    validated = {"val_mre_mm": [np.nan, 1.5, 2.5], "val_median_mm": [np.nan, 1.0, 2.0]}
    validated |= {"val_found": [np.nan, 0.5, 1.0], "val_score": [np.nan, 1.5, 2.5]}
    epochs.assign(**validated).to_csv(folder / "refine" / "metrics.csv", index=False)
    Image.new("RGB", (60, 40)).save(folder / "locate" / "samples.png")
    return folder


def a_bundle() -> Bundle:
    return Bundle(
        name="model",
        engine="dense",
        table=TABLE,
        preparation=Preparation(1.0, Normaliser("adaptive", 0.5, 99.5)),
        network={},
        detection={},
        shape=ShapeModel.of_mean(SHAPE),
    )


def write_cohort(scans: Scans, path: Path) -> dict[str, str]:
    outcomes = [CaseOutcome(case, None, result) for case, result in scans.detections.items()]
    outcomes.append(CaseOutcome("case 9", None, None, error="the file is damaged."))
    width = Measurement("width", "distance", ("left eye", "right eye"))
    return cohort.write_report(cohort.Cohort("Cohort", outcomes, a_bundle(), [width]), scans.read, path)

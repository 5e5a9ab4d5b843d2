"""The report of a training: how its networks learnt, and what they were shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.model.bundle import load_bundle
from LandmarkDetectionLib.model.doubt import doubt_of
from LandmarkDetectionLib.report import charts
from LandmarkDetectionLib.report.folder import FRONT, lengths, new_report, percent

METRICS, SAMPLES = "metrics.csv", "samples.png"
"""In the folder of a network, as a training leaves them."""
_STAGES = {"locate": "Locate: the coarse network", "refine": "Refine: the fine network", "": "The network"}


@dataclass(frozen=True, eq=False)
class _Trained:
    """A network of a run: its folder below the run's, its title, and its metrics, a row an epoch."""

    folder: str
    title: str
    metrics: pd.DataFrame


def write_report(run: Path, path: Path) -> None:
    """Write the report of a run that has ended.

    Args:
        run: the run folder, with its model.
        path: of the report's folder.

    Raises:
        InputError: if the run has no model or no metrics, something other than a report stands at `path`, or
            nothing can be written.
    """
    bundle = load_bundle(run / "model")
    stages = list(_stages(run))
    if not stages:
        raise InputError(f"{run}: there is no {METRICS} of a network; give the folder of a training.")
    with new_report(path) as folder:
        shown = []
        for stage in stages:
            name = stage.folder or "network"
            chart = f"charts/{name}.svg"
            folder.add_file(chart, charts.as_svg(charts.learning_curves(stage.metrics)))
            sheet = run / stage.folder / SAMPLES
            picture = f"samples/{name}.png" if sheet.is_file() else ""
            if picture:
                folder.add_file(picture, sheet.read_bytes())
            words = {"id": name, "title": stage.title, "said": _said(stage.metrics)}
            shown.append({**words, "chart": chart, "samples": picture})
        folder.add_page(
            FRONT,
            "training.html",
            title=f"Training of {bundle.name}",
            landmarks=len(bundle.table),
            facts=dict(_facts(bundle.training_data, bundle.metrics.get("validation", {}))),
            doubt=doubt_of(bundle),
            stages=shown,
        )


def _stages(run: Path) -> Iterator[_Trained]:
    for folder, title in _STAGES.items():
        path = run / folder / METRICS
        if path.is_file() and len(metrics := pd.read_csv(path)):
            yield _Trained(folder, title, metrics)


def _said(metrics: pd.DataFrame) -> str:
    """How long a network was trained, and its best validation."""
    last = metrics.iloc[-1]
    said = (
        f"{int(last['epoch'])} epochs, {int(last['step'])} steps; loss {last['train_loss']:.3g} in the end."
    )
    validated = metrics.dropna(subset=["val_mre_mm"]) if "val_mre_mm" in metrics else metrics[:0]
    if len(validated):
        best = validated.sort_values("val_score").to_dict("records")[0]
        said += (
            f" Best in its validation cases after epoch {best['epoch']:.0f}: "
            f"{lengths(best['val_mre_mm'])} mm on average, {percent(best['val_found'])} found."
        )
    return said


def _facts(training: Mapping[str, Any], validation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of the model: words and values."""
    for key, value in training.items():
        yield key.replace("_", " "), str(value)
    for key, value in validation.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        yield key.replace("val_", "validation: ").replace("_", " "), shown

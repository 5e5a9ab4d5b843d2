"""A whole configuration of each engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.training.sections import AugmentationSection, TrainingConfig

_LOOP = {
    **{"epochs": 3, "steps_per_epoch": 4, "batch": 2, "accumulate": 1, "warmup": 2, "validate_every": 1},
    **{"learning_rate": 0.005, "weight_decay": 1e-4, "gradient_clip": 5, "precision": "auto", "ema": 0.9},
    **{"patience": 0, "workers": 0, "seed": 0},
}
_VARIED = dict.fromkeys(AugmentationSection.model_fields, 0) | {"elastic_spacing": 8, "rotation": 15}
_LOOK = {"spacing": 1.0, "channels": [8, 16], "augmentation": _VARIED, "cut": 0.3, "heat_width": 2.0}
_COARSE = {"field": 48, "jitter": 4.0, "anywhere": 0.0, "batch": 2, "share": 0.5}
_OF_ENGINES: dict[str, dict[str, Any]] = {
    "dense": {
        "target": {"positive": 2.0, "negative": 4.0},
        "sampling": {"crop": [16, 16, 16], "landmark_fraction": 0.8, "padding": "minimum"},
        "augmentation": _VARIED,
        "network": {"channels": [8, 8, 8], "blocks": [1, 1, 1, 1], "groups": 4},
        "loss": {"gamma": 2, "background_weight": 1},
        "detection": {"threshold": 0.5, "uncertain": 0.2, "overlap": 0.25},
    },
    "locate-refine": {
        "locate": _LOOK | _COARSE,
        "refine": _LOOK | {"field": 32, "window": 13, "deviation": 1.5},
        "detection": {"tolerance": 2.0, "support": 0.3, "found": 0.8, "uncertain": 0.5},
    },
}


def config_of(engine: str, folder: Path) -> TrainingConfig:
    """The configuration of a small training with the cases of a folder."""
    shared = {
        **{"version": 1, "name": "Schädel", "engine": engine, "training": _LOOP},
        "data": {"train": folder / "train.csv", "val": None, "landmarks": None, "cache": folder / "cache"},
        "image": {"spacing": 1.0, "normaliser": "adaptive", "low": 0.5, "high": 99.5},
    }
    return ENGINES[engine].config.model_validate(shared | _OF_ENGINES[engine])

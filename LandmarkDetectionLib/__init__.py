"""Find named anatomical landmarks in 3D scans.

`__all__` lists the names for Python programs; docs/python.md describes them. Each is imported when it is
first used, so that importing this package loads neither PyTorch nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from LandmarkDetectionLib.api.commands import evaluate, plan, train
    from LandmarkDetectionLib.api.detector import LandmarkDetector, load_detector
    from LandmarkDetectionLib.api.landmarks import Landmarks
    from LandmarkDetectionLib.data.errors import InputError
    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.volume import Volume
    from LandmarkDetectionLib.detection.results import Detection
    from LandmarkDetectionLib.evaluation.metrics import Evaluation

__version__ = "0.1.0"
__all__ = [
    "Detection",
    "Evaluation",
    "Frame",
    "InputError",
    "LandmarkDetector",
    "Landmarks",
    "Volume",
    "__version__",
    "evaluate",
    "load_detector",
    "plan",
    "train",
]
_MODULES = {
    "Detection": "detection.results",
    "Evaluation": "evaluation.metrics",
    "Frame": "data.frame",
    "InputError": "data.errors",
    "LandmarkDetector": "api.detector",
    "Landmarks": "api.landmarks",
    "Volume": "data.volume",
    "evaluate": "api.commands",
    "load_detector": "api.detector",
    "plan": "api.commands",
    "train": "api.commands",
}

if not TYPE_CHECKING:  # type checkers shall find names that are not there

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _MODULES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

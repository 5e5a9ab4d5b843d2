"""A model put to work, as Python programs use it."""

from __future__ import annotations

import threading
import warnings
from os import PathLike
from pathlib import Path

import torch

from LandmarkDetectionLib.api.images import Image, volume_of
from LandmarkDetectionLib.api.landmarks import Landmarks
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection import detector as engines
from LandmarkDetectionLib.detection.devices import resolve_device
from LandmarkDetectionLib.detection.doubts import doubts
from LandmarkDetectionLib.detection.memory import detect_within_memory
from LandmarkDetectionLib.detection.progress import Progress, no_progress
from LandmarkDetectionLib.model.doubt import doubt_of
from LandmarkDetectionLib.resources import bundled_model


class LandmarkDetector:
    """A model that is loaded, ready for any number of scans; made by `load_detector`.

    Threads may share one: their detections take turns. A process needs one of its own.
    """

    def __init__(self, engine: engines.Detector, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._turn = threading.Lock()

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return self._engine.bundle.name

    @property
    def landmark_names(self) -> tuple[str, ...]:
        """The landmarks that the model knows, in the order of its results."""
        return self._engine.bundle.table.names

    @property
    def device(self) -> str:
        """Where it computes: `cpu`, `cuda` or `cuda:i`."""
        return str(self._engine.device)

    def __repr__(self) -> str:
        return (
            f"<LandmarkDetector '{self.model_name}': {len(self.landmark_names)} landmarks, on {self.device}>"
        )

    def detect(self, image: Image, *, progress: Progress | None = None) -> Landmarks:
        """Find the landmarks of the model in a scan.

        Where memory runs out, it goes on in smaller pieces, and then on the CPU; `warnings` says so.

        Args:
            image: a path (a file, or a folder with one DICOM series), a SimpleITK image, a `Volume`, or
                (array [z, y, x], spacing, origin, direction): spacing in mm and direction columns along x, y,
                z, origin and positions in world LPS mm.
            progress: called with the name of the stage and the fraction of it that is done, 0 to 1; what it
                raises ends the detection.

        Returns:
            All landmarks of the model in its order, in world LPS mm.

        Raises:
            InputError: if the image is none of these, not a 3D scan, or does not say where its voxels lie.
            MemoryError: if this machine has too little memory for it.
        """
        volume = volume_of(image)
        said: list[str] = []
        with self._turn:
            detections, _ = detect_within_memory(
                self._engine,
                volume,
                on_cpu=lambda: engines.load_detector(self._folder, torch.device("cpu")),
                notice=said.append,
                progress=progress or no_progress,
            )
        return Landmarks(detections, [*said, *doubts(detections, self._engine.bundle, volume)])


def load_detector(model: str | PathLike[str] | None = None, *, device: str = "auto") -> LandmarkDetector:
    """Load a model.

    A model that found little in its own validation gives a Python warning.

    Args:
        model: the folder of a bundle, such as `RUN/model` of a training; None takes the model in the box.
        device: `auto` (the first GPU, or else the CPU), `cpu`, `cuda` or `cuda:i`.

    Raises:
        InputError: if the bundle is missing, damaged or of another version, or there is no such device.
    """
    folder = bundled_model() if model is None else Path(model)
    if folder is None:
        raise InputError(
            'There is no model in the box here; give a model\'s folder: load_detector("run/model").'
        )
    engine = engines.load_detector(folder, resolve_device(device))
    if doubt := doubt_of(engine.bundle):
        warnings.warn(doubt, stacklevel=2)
    return LandmarkDetector(engine, folder)

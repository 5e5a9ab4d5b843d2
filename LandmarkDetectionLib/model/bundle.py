"""A trained model with all that is needed to use it: `model.json` and `weights.safetensors`."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import (
    UNFINISHED,
    make_folder,
    parse_json,
    read_text,
    replacing,
    unwritable,
    write_text,
)
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "LandmarkDetection bundle"
VERSION = 4
_READ = 3, VERSION
"""Models of version 3 know any pose, and their anatomy is one."""
DESCRIPTION_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
AS_COARSE = 1.1
"""Scans that are so many times as coarse count as no coarser."""
_MOST_SHRUNK = 100
"""Times as large as in its archive may a file of a model be: weights hardly shrink, text to a tenth."""
_ONLY_SAID = {"name", "software", "licence", "intended_use", "training_data", "metrics"}
"""Fields that change nothing of what a model detects."""


@dataclass(frozen=True)
class Level:
    """What validation has shown of scans of one resolution.

    Its radii held the truth in a share of the validation points (split conformal prediction). An engine that
    tells how spread the evidence for a landmark is has radii in proportion to that.

    Attributes:
        resolution: of the scans, mm: the root mean square of their voxels' edges.
        points: the number of validation points behind the radii.
        pooled_mm: the radius of all landmarks together.
        landmarks_mm: the radius of each landmark that has enough validation points of its own.
        pooled_per_spread: the radius of all landmarks together, in spreads; None where none are told.
        landmarks_per_spread: the same of each landmark that has enough validation points.
        presence: slope and intercept of the logit of the probability that a landmark is there, over the
            engine's own logit (Platt, 1999); None where it has none.
    """

    resolution: float
    points: int
    pooled_mm: float
    landmarks_mm: dict[str, float]
    pooled_per_spread: float | None = None
    landmarks_per_spread: dict[str, float] = field(default_factory=dict)
    presence: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        pooled = [] if self.pooled_per_spread is None else [self.pooled_per_spread]
        lengths = [self.pooled_mm, *self.landmarks_mm.values(), *pooled, *self.landmarks_per_spread.values()]
        if not all(0 <= length < math.inf for length in lengths):
            raise ValueError("a radius of the calibration is not a length")
        if not 0 < self.resolution < math.inf:
            raise ValueError(f"the resolution {self.resolution} of the calibration is not a length")

    def radius_of(self, name: str, spread: float) -> float:
        """The radius of a landmark, mm."""
        if self.pooled_per_spread is None:
            return self.landmarks_mm.get(name, self.pooled_mm)
        return self.landmarks_per_spread.get(name, self.pooled_per_spread) * spread


@dataclass(frozen=True)
class Calibration:
    """What validation has shown of an engine's own estimates.

    Attributes:
        coverage: the share of truths that a radius holds, e.g. 0.9.
        levels: scans like those of the validation first, then coarser ones.
    """

    coverage: float
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        resolutions = [level.resolution for level in self.levels]
        if not resolutions or sorted(set(resolutions)) != resolutions:
            raise ValueError("the calibration needs one resolution or several, the finest first")

    def radius_of(self, name: str, resolution: float, spread: float = math.nan) -> float:
        """The radius of a landmark, mm; NaN in a scan that is coarser than those of the validation.

        Args:
            name: of the landmark.
            resolution: of the scan, mm. Between those of the validation the radius is interpolated; a coarser
                scan never has the smaller one.
            spread: of the evidence for the landmark, mm, where the engine tells it.
        """
        known = np.array([level.resolution for level in self.levels])
        if resolution > known[-1] * AS_COARSE:
            return math.nan
        told = np.maximum.accumulate([level.radius_of(name, spread) for level in self.levels])
        return float(np.interp(np.log(resolution), np.log(known), told))

    def presence_at(self, resolution: float) -> tuple[float, float] | None:
        """Slope and intercept of presence in a scan of a resolution, mm; beyond all levels the nearest's.

        None where the finest level has none: a coarser one says nothing of finer scans.
        """
        if self.levels[0].presence is None:
            return None
        known = [(np.log(level.resolution), *level.presence) for level in self.levels if level.presence]
        resolutions, slopes, intercepts = zip(*known, strict=True)
        at = np.log(resolution)
        return float(np.interp(at, resolutions, slopes)), float(np.interp(at, resolutions, intercepts))


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a model is, without its weights.

    Attributes:
        name: of the model.
        engine: the method that uses it, `dense` or `locate-refine`.
        table: its landmarks.
        preparation: how a scan is brought into the form that the network was trained on.
        network: sizes of the network.
        detection: settings of the engine.
        shape: the mean constellation in the order of the table, and how it varies.
        calibration: error radii and presence, or None if there was no validation data.
        training_data: what it was trained on: fingerprint, number of cases.
        metrics: what validation measured.
        licence: under which the bundle may be used.
        intended_use: what it is for, and what it is not for.
        software: the version that wrote it.
    """

    name: str
    engine: str
    table: LandmarkTable
    preparation: Preparation
    network: dict[str, Any]
    detection: dict[str, Any]
    shape: ShapeModel
    calibration: Calibration | None = None
    training_data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    intended_use: str = ""
    software: str = ""


def save_bundle(bundle: Bundle, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a bundle; weights first, so that a `model.json` never stands beside weights that are not its own.

    Args:
        bundle: the description.
        weights: tensors by name, on any device.
        folder: the bundle's folder, made if need be.
    """
    from safetensors.torch import save

    make_folder(folder)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    description = folder / DESCRIPTION_FILE
    try:
        description.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    with replacing(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(content)
    _write_description(bundle, hashlib.sha256(content).hexdigest(), description)


def describe_bundle(folder: Path, *, licence: str | None = None, intended_use: str | None = None) -> Bundle:
    """Change what a bundle says of itself; what is None stays, and so do the weights. Gives the bundle.

    Raises:
        InputError: if it is no whole bundle.
    """
    bundle, content = load_bundle(folder), check_weights(folder)
    bundle = replace(
        bundle,
        licence=bundle.licence if licence is None else licence,
        intended_use=bundle.intended_use if intended_use is None else intended_use,
    )
    _write_description(bundle, hashlib.sha256(content).hexdigest(), folder / DESCRIPTION_FILE)
    return bundle


def load_bundle(folder: Path) -> Bundle:
    """Read and validate `model.json`.

    Raises:
        InputError: if the folder is not a bundle, is of another version, or a field is missing or wrong.
    """
    content = _read_description(Path(folder))
    path = Path(folder) / DESCRIPTION_FILE
    try:
        return _from_json(content)
    except KeyError as error:
        raise InputError(
            f"{path}: the field {error.args[0]!r} is missing; export the model again from its training run."
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: a field is wrong ({error}); export the model again.") from error


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a bundle, on the CPU.

    Raises:
        InputError: if the file is missing, damaged or not the one that `model.json` was written with.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path, content = Path(folder) / WEIGHTS_FILE, check_weights(folder)
    try:
        return load(content)
    except SafetensorError as error:
        raise InputError(
            f"{path}: the weights cannot be read ({error}); copy the model's folder again."
        ) from error


def model_digest(folder: Path) -> str:
    """SHA-256 of all of a bundle that decides what it detects: not of its name, licence, use or history.

    Raises:
        InputError: if it is no bundle.
    """
    content = _read_description(Path(folder))
    decisive = {key: value for key, value in content.items() if key not in _ONLY_SAID}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def check_weights(folder: Path) -> bytes:
    """The content of the weights file, which is the one that `model.json` was written with.

    Raises:
        InputError: if it is missing, damaged or another one.
    """
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"{path}: the weights are missing; copy the whole folder of the model again.")
    content = path.read_bytes()
    digest = _read_description(Path(folder)).get("weights_sha256")
    if digest != hashlib.sha256(content).hexdigest():
        raise InputError(
            f"{path}: the weights are damaged or of another model; copy the whole folder of the model again."
        )
    return content


def pack_bundle(folder: Path, archive: Path) -> None:
    """Pack a bundle's files into a .zip that unpacks to a folder of the bundle's name."""
    name = load_bundle(folder).name
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in (DESCRIPTION_FILE, WEIGHTS_FILE):
            packed.write(folder / file, f"{name}/{file}")


def unpack_bundle(archive: Path, folder: Path) -> Path:
    """Unpack what `pack_bundle` packed into a new folder below `folder`, named as the bundle; gives its path.

    Raises:
        InputError: if it is no packed bundle, a file in it is damaged, or there is a bundle of that name.
    """
    folder = Path(folder)
    make_folder(folder)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as temporary:
        unpacked = Path(temporary)
        _extract(Path(archive), unpacked)
        name = load_bundle(unpacked).name
        check_weights(unpacked)
        target = folder / name
        if not name or name != target.name:
            raise InputError(
                f"{archive}: the model's name '{name}' cannot name a folder; rename it and export it again."
            )
        if target.exists():
            raise InputError(
                f"{archive}: there is a model '{name}' in {folder} already; remove or rename that one."
            )
        target.mkdir()
        for file in (WEIGHTS_FILE, DESCRIPTION_FILE):
            (unpacked / file).replace(target / file)
    return target


def _extract(archive: Path, folder: Path) -> None:
    """The two files of a packed bundle, whatever folder they are packed in; nothing else of the archive."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for file in (DESCRIPTION_FILE, WEIGHTS_FILE):
                members = [name for name in packed.namelist() if PurePosixPath(name).name == file]
                if len(members) != 1:
                    raise InputError(
                        f"{archive}: not one {file} in it; give the .zip that `bundle export` wrote."
                    )
                _extract_file(packed, packed.getinfo(members[0]), folder / file)
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # encrypted: RuntimeError
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); give the .zip that `bundle export` wrote."
        ) from error


def _extract_file(packed: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> None:
    """One file of an archive, as large as it says; what claims to shrink as no model does is no model."""
    if member.file_size > _MOST_SHRUNK * max(member.compress_size, 1):
        raise zipfile.BadZipFile(f"{member.filename} would become too large")
    with packed.open(member) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_FILE
    if folder.is_file():
        raise InputError(f"{folder}: {_what_to_give(folder)}.")
    if not path.is_file():
        raise InputError(
            f"{folder}: this is not a model, {DESCRIPTION_FILE} is missing; give the folder of a model, "
            "which `train` writes at its end."
        )
    try:
        content = parse_json(read_text(path))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: this is not valid JSON; copy the model's folder again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: the field 'format' is not '{FORMAT}'; give the folder of a model.")
    if content.get("version") not in _READ:
        raise InputError(
            f"{path}: the model has version {content.get('version')}, this program reads version {VERSION}; "
            "update the program or export the model again."
        )
    return content


def _what_to_give(file: Path) -> str:
    """Why a file is not the folder of a model, and what to give in its place."""
    if file.name in (DESCRIPTION_FILE, WEIGHTS_FILE):
        return f"this is one file of a model; give its folder, {file.parent}"
    if zipfile.is_zipfile(file):
        return (
            "this is packed; unpack it and give the folder of the model in it, or import it in Slicer with "
            "'Import a model'"
        )
    return "this is a file; give the folder of a model, which `train` writes at its end"


def _write_description(bundle: Bundle, weights_sha256: str, path: Path) -> None:
    text = json.dumps(_to_json(bundle, weights_sha256), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _to_json(bundle: Bundle, weights_sha256: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": bundle.name,
        "engine": bundle.engine,
        "software": bundle.software,
        "licence": bundle.licence,
        "intended_use": bundle.intended_use,
        "landmarks": [asdict(landmark) for landmark in bundle.table.landmarks],
        "preparation": asdict(bundle.preparation),
        "network": bundle.network,
        "detection": bundle.detection,
        "mean_shape": [_or_none(point) for point in bundle.shape.mean],
        "shape_modes": np.round(bundle.shape.modes, 5).tolist(),
        "shape_deviations": [_or_none(value) for value in bundle.shape.deviations],
        "calibration": asdict(bundle.calibration) if bundle.calibration else None,
        "training_data": bundle.training_data,
        "metrics": bundle.metrics,
        "weights_sha256": weights_sha256,
    }


def _or_none(value: NDArray[np.float64]) -> Any:
    """Numbers as JSON has them: null where unknown."""
    return None if np.isnan(value).any() else value.tolist()


def _shape_from(content: dict[str, Any], landmarks: int) -> ShapeModel:
    mean = [[np.nan] * 3 if point is None else point for point in content["mean_shape"]]
    deviations = [np.nan if value is None else value for value in content["shape_deviations"]]
    shape = ShapeModel(
        mean=np.array(mean, dtype=float),
        modes=np.array(content["shape_modes"], dtype=float).reshape(-1, landmarks, 3),
        deviations=np.array(deviations, dtype=float),
    )
    if shape.mean.shape != (landmarks, 3) or len(deviations) != landmarks:
        raise ValueError(
            f"mean_shape has {len(mean)} points and shape_deviations {len(deviations)}; "
            f"there are {landmarks} landmarks"
        )
    return shape


def _calibration_from(content: dict[str, Any]) -> Calibration:
    return Calibration(float(content["coverage"]), tuple(_level_from(row) for row in content["levels"]))


def _level_from(row: dict[str, Any]) -> Level:
    per_spread, presence = row["pooled_per_spread"], None
    if row["presence"] is not None:
        slope, intercept = row["presence"]
        presence = float(slope), float(intercept)
    return Level(
        resolution=float(row["resolution"]),
        points=int(row["points"]),
        pooled_mm=float(row["pooled_mm"]),
        landmarks_mm={name: float(radius) for name, radius in row["landmarks_mm"].items()},
        pooled_per_spread=None if per_spread is None else float(per_spread),
        landmarks_per_spread={name: float(radius) for name, radius in row["landmarks_per_spread"].items()},
        presence=presence,
    )


def _from_json(content: dict[str, Any]) -> Bundle:
    table = LandmarkTable(tuple(Landmark(**row) for row in content["landmarks"]))
    preparation = content["preparation"]
    calibration = content["calibration"]
    return Bundle(
        name=str(content["name"]),
        engine=str(content["engine"]),
        table=table,
        preparation=Preparation(
            spacing=float(preparation["spacing"]), normaliser=Normaliser(**preparation["normaliser"])
        ),
        network=dict(content["network"]),
        detection=dict(content["detection"]),
        shape=_shape_from(content, len(table)),
        calibration=None if calibration is None else _calibration_from(calibration),
        training_data=dict(content["training_data"]),
        metrics=dict(content["metrics"]),
        licence=str(content["licence"]),
        intended_use=str(content["intended_use"]),
        software=str(content["software"]),
    )

"""The model that a training goes on from: its plan, its weights by landmark, its shapes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.shape import fit_robustly
from LandmarkDetectionLib.data.shape_model import ShapeModel, learn_shape
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.model.bundle import Bundle, load_weights, model_digest
from LandmarkDetectionLib.training.cases.cache import CACHE_VERSION, PreparedCase
from LandmarkDetectionLib.training.sections import ImageSection, TrainingConfig

Array = NDArray[np.float64]

PART = 10
"""A training that goes on from a model takes one step for so many of a training that begins anew."""
GENTLER = 3
"""And its learning rate is one part in so many: it shall refine what is known, not forget it."""
_ENOUGH_SHAPES = 13
"""One for the mean, and one for each of the modes that a shape model has at most."""
_MISFIT, _MOST_MISFITS = 3.0, 0.05
"""Deviations beyond which landmarks of new cases do not fit into a shape model, and the share that may
lie there where it is theirs too."""

_log = logging.getLogger(__name__)


class Network(Protocol):
    """A network that knows landmarks by rows of some of its tensors.

    Attributes:
        landmark_rows: by the name of such a tensor, the row of the first landmark.
    """

    landmark_rows: ClassVar[dict[str, int]]

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name, in the memory of the network's own."""


@dataclass(frozen=True, eq=False)
class Base:
    """A model that a training goes on from.

    Attributes:
        folder: of its bundle.
        bundle: what it is.
        weights: by name.
        digest: of all that decides what it detects.
    """

    folder: Path
    bundle: Bundle
    weights: Mapping[str, Tensor]
    digest: str

    @classmethod
    def read(cls, folder: Path, engine: str | None = None) -> Base:
        """The model in a folder.

        Args:
            folder: of the bundle.
            engine: that the training is of; None takes any.

        Raises:
            InputError: if it is no bundle, is damaged, or is of another engine.
        """
        bundle = load_detector(folder, torch.device("cpu")).bundle
        if engine not in (None, bundle.engine):
            raise InputError(
                f"{folder}: this model is of the engine {bundle.engine}, the training of {engine}; go on "
                f"from a model of {engine}, or plan with `train_cli plan --from` and without --engine."
            )
        return cls(folder, bundle, load_weights(folder), model_digest(folder))

    @property
    def image(self) -> ImageSection:
        """Its grid and its intensity scale."""
        normaliser = self.bundle.preparation.normaliser
        return ImageSection(
            spacing=self.bundle.preparation.spacing,
            normaliser=normaliser.kind,
            low=normaliser.low,
            high=normaliser.high,
        )

    def reason_for(self, names: Sequence[str]) -> str:
        """What a plan says of the landmarks that it knows."""
        new, old = self._rows(names)
        return (
            f"engine {self.bundle.engine}, and one part in {PART} of the steps: the training goes on from "
            f"{self.bundle.name}, which knows {len(new)} of the {len(names)} landmarks and "
            f"{len(self.bundle.table) - len(old)} others."
        )

    def carry_into(self, network: Network, names: Sequence[str], prefix: str = "") -> None:
        """Give a network the model's weights, those of landmarks by name.

        Those of new landmarks are drawn about the mean of the model's landmarks, by their standard deviation:
        much of a code is what all landmarks have in common.

        Args:
            network: of the sizes of the model's.
            names: its landmarks.
            prefix: of the network's tensors in the bundle.
        """
        new, old = self._rows(names)
        for name, tensor in network.state_dict().items():
            value = self.weights[prefix + name].to(tensor.dtype)
            first = network.landmark_rows.get(name)
            if first is None:
                tensor.copy_(value)
            else:
                tensor[:first] = value[:first]
                spread, middle = torch.std_mean(value[first:], dim=0, correction=0)
                tensor[first:] = middle + spread * torch.randn_like(tensor[first:])
                tensor[new + first] = value[old + first]

    def carried(self, table: LandmarkTable) -> LandmarkTable:
        """A table with pairs, groups and definitions of the model's, where it says nothing itself."""
        known = {landmark.name: landmark for landmark in self.bundle.table.landmarks}
        free = {landmark.name for landmark in table.landmarks if not landmark.pair}
        rows = []
        for landmark in table.landmarks:
            before = known.get(landmark.name)
            if before is not None:
                paired = {landmark.name, before.pair} <= free
                landmark = replace(
                    landmark,
                    pair=before.pair if paired else landmark.pair,
                    group=landmark.group or before.group,
                    definition=landmark.definition or before.definition,
                )
            rows.append(landmark)
        return LandmarkTable(tuple(rows))

    def shape_for(self, shapes: Array, names: Sequence[str]) -> tuple[ShapeModel, bool]:
        """The shape model of new cases, in the pose of the model's own, and whether it is the model's own.

        That stays, for the landmarks that it knows, where the cases are few and fit into it.

        Args:
            shapes: (N, K, 3) world mm of the cases; NaN where unknown.
            names: of the K landmarks.
        """
        kept = self._shape_of(names)
        standing = Constellation.of(kept.mean, noise=1.0)
        shown = [shape for shape in shapes if standing.is_shown_by(shape)]
        if shown and standing.tells_rotation and len(shapes) < _ENOUGH_SHAPES and _fit_into(kept, shown):
            aligned = np.array([fit_robustly(shape, kept.mean).apply(shape) for shape in shown])
            mean = np.where(np.isnan(kept.mean), _mean(aligned), kept.mean)
            return replace(kept, mean=mean), True
        learnt = learn_shape(shapes)
        if not (standing.tells_rotation and standing.is_shown_by(learnt.mean)):
            return learnt, False
        pose = fit_robustly(learnt.mean, kept.mean)
        turned = replace(learnt, mean=learnt.mean @ pose.rotation.T, modes=learnt.modes @ pose.rotation.T)
        return turned, False

    def described(self) -> dict[str, Any]:
        """What a bundle tells of the model that it goes on from."""
        return {
            "from": {
                "name": self.bundle.name,
                "fingerprint": self.digest,
                "training_data": self.bundle.training_data,
            }
        }

    def caution_about(self, held_out: Sequence[PreparedCase]) -> str:
        """What speaks against judging the training by cases, in a sentence; '' where nothing does."""
        if not held_out:
            return ""
        seen = _scans_of(self.bundle.training_data)
        if seen is None:
            told = f"may have been trained on some of the {len(held_out)} validation cases (it does not say)"
        else:
            count = sum(case.scan in seen for case in held_out)
            if not count:
                return ""
            told = f"was trained on {count} of the {len(held_out)} validation cases"
        return (
            f"The model {self.bundle.name}, from which the training goes on, {told}: errors, "
            "radii and confidences of the new model will look better than they are; judge it by cases that "
            "neither has seen."
        )

    def _rows(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that known landmarks have in a list of names, and those that they have in the model."""
        known = {name: row for row, name in enumerate(self.bundle.table.names)}
        rows = [(row, known[name]) for row, name in enumerate(names) if name in known]
        new, old = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        return new, old

    def _shape_of(self, names: Sequence[str]) -> ShapeModel:
        """The model's shapes for a list of landmarks; NaN, and no part of a mode, for those that are new."""
        new, old = self._rows(names)
        shape, count = self.bundle.shape, len(names)
        mean, deviations = np.full((count, 3), np.nan), np.full(count, np.nan)
        modes = np.zeros((len(shape.modes), count, 3))
        mean[new], deviations[new], modes[:, new] = (
            shape.mean[old],
            shape.deviations[old],
            shape.modes[:, old],
        )
        return ShapeModel(mean, modes, deviations)


def base_of(config: TrainingConfig, keys: Callable[[Bundle], Mapping[str, Any]]) -> Base | None:
    """The model that a configuration goes on from; None where it begins anew.

    Args:
        config: the configuration.
        keys: what the networks of a model are made for, by key of a configuration of their engine.

    Raises:
        InputError: as `Base.read`, or naming all keys in which the configuration differs from the model.
    """
    if config.training.base is None:
        return None
    base = Base.read(config.training.base, config.engine)
    content = config.model_dump(mode="json")
    said_of_image = {f"image.{key}": value for key, value in base.image}
    differing = []
    for key, said in {**said_of_image, **keys(base.bundle)}.items():
        section, _, name = key.partition(".")
        given = content[section][name]
        if given != said:
            differing.append(f"{key} is {said} in the model and {given} in the configuration")
    if differing:
        raise InputError(
            f"{base.folder}: {'; '.join(differing)}; give the configuration what the model has, or write one "
            "with `train_cli plan --from`."
        )
    return base


def warn_of_lost_calibration(base: Base, bundle: Bundle) -> None:
    """Say so where the model was calibrated and the one that came of it is not."""
    if base.bundle.calibration is not None and bundle.calibration is None:
        _log.warning(
            "The model %s is calibrated, %s is not: the old error radii do not hold for it, and there were "
            "too few validation cases for new ones; give some, or --folds.",
            base.bundle.name,
            bundle.name,
        )


def _fit_into(model: ShapeModel, shapes: Sequence[Array]) -> bool:
    """Whether shapes are such as a model knows."""
    misfits = np.concatenate([model.misfits(shape) for shape in shapes])
    misfits = misfits[np.isfinite(misfits)]
    return bool(len(misfits)) and float((misfits > _MISFIT).mean()) <= _MOST_MISFITS


def _mean(shapes: Array) -> Array:
    """(K, 3) of (N, K, 3) in one pose; NaN for what none of them has."""
    known = np.isfinite(shapes)
    total: Array = np.where(known, shapes, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return total / known.sum(axis=0)


def _scans_of(training_data: Mapping[str, Any]) -> set[str] | None:
    """The scans that a model and those before it were trained on; None where one of them does not say."""
    scans: set[str] = set()
    for data in _history(training_data):
        known = data.get("scans", {})
        if known.get("recipe") != CACHE_VERSION:
            return None
        scans |= set(known["digests"])
    return scans


def _history(training_data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of a model, and of those that it goes on from."""
    yield training_data
    if "from" in training_data:
        yield from _history(training_data["from"]["training_data"])

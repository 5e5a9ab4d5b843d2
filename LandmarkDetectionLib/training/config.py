"""The training configuration: what `plan` writes, people read and edit, and `train` obeys."""

from __future__ import annotations

import io
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import write_text
from LandmarkDetectionLib.data.intensity import Normaliser

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Multiple = Annotated[int, Field(ge=16, multiple_of=4)]


class Section(BaseModel):
    """A part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSection(Section):
    """Where the cases are."""

    train: Path = Field(description="CSV of the training cases; paths are relative to this file")
    val: Path | None = Field(description="CSV of the validation cases; null trains without validation")
    fold: Annotated[str, Field(pattern=r"^\d+/\d+$")] | None = Field(
        default=None,
        description="k/n: validate on the k-th of n parts of all these cases, train on the others",
    )
    landmarks: Path | None = Field(
        description="landmarks.csv with labels, pairs, groups, definitions; null takes the names in the cases"
    )
    cache: Path = Field(
        description="folder for the preprocessed scans; safe to delete, made again when needed"
    )


class ImageSection(Section):
    """How scans are brought onto one grid and one intensity scale."""

    spacing: Positive = Field(description="edge of the cubic voxels that the network sees, mm")
    normaliser: Literal["fixed", "adaptive"] = Field(
        description="fixed: window in the scan's own units (CT); adaptive: window in percentiles of each scan"
    )
    low: float = Field(description="lower end of the window (units or percentile); becomes -1")
    high: float = Field(description="upper end of the window (units or percentile); becomes 1")

    @model_validator(mode="after")
    def _window_makes_sense(self) -> ImageSection:
        self.as_normaliser()
        return self

    def as_normaliser(self) -> Normaliser:
        """The normaliser of these settings."""
        return Normaliser(kind=self.normaliser, low=self.low, high=self.high)


class TargetSection(Section):
    """What the network learns to paint."""

    positive: Positive = Field(
        description="radius of the ball around each landmark that carries its label, mm"
    )
    negative: Positive = Field(description="outer radius of the shell that the loss ignores, mm")

    @model_validator(mode="after")
    def _shell_lies_outside_ball(self) -> TargetSection:
        if self.negative < self.positive:
            raise ValueError(
                f"negative ({self.negative}) must not be smaller than positive ({self.positive})"
            )
        return self


class SamplingSection(Section):
    """How crops are drawn."""

    crop: tuple[Multiple, Multiple, Multiple] = Field(
        description="voxels of a crop along x, y, z; multiples of 4"
    )
    landmark_fraction: Fraction = Field(
        description="share of crops that show a landmark of their scan, each as often; the rest lie anywhere"
    )
    padding: Literal["minimum", "zero"] = Field(
        description="what lies outside the scan: its minimum (air), or the middle of the window"
    )


class AugmentationSection(Section):
    """Each can be switched off by a zero (or false)."""

    rotation: NotNegative = Field(
        le=180, description="largest rotation about any axis, degrees; 180 is any pose"
    )
    scale: BelowOne = Field(description="largest relative change of size")
    shear: NotNegative = Field(lt=0.5, description="largest shear of one axis along another")
    mirror: Fraction = Field(description="share of crops that are mirrored, with the labels of pairs swapped")
    elastic: Fraction = Field(description="share of crops that are warped")
    elastic_spacing: Positive = Field(description="distance between the control points of the warp, mm")
    elastic_amplitude: NotNegative = Field(description="largest displacement of a control point, mm")
    noise: NotNegative = Field(description="largest standard deviation of added noise (the window is 2 wide)")
    gamma: NotNegative = Field(description="largest change of the logarithm of gamma")
    contrast: Fraction = Field(description="largest relative change of contrast, and of brightness")
    motion: Fraction = Field(description="share of crops that show the patient moving during the scan")
    motion_shift: NotNegative = Field(description="largest movement during the scan, voxels")

    @model_validator(mode="after")
    def _warp_does_not_fold(self) -> AugmentationSection:
        if self.elastic and self.elastic_amplitude > 0.4 * self.elastic_spacing:
            raise ValueError(
                f"elastic_amplitude ({self.elastic_amplitude}) must be at most 0.4 of elastic_spacing "
                f"({self.elastic_spacing}), or the warp folds"
            )
        return self


class NetworkSection(Section):
    """The V-Net."""

    channels: tuple[Count, Count, Count] = Field(
        description="feature channels at full, half and quarter resolution"
    )
    blocks: tuple[Count, Count, Count, Count] = Field(
        description="convolutions per residual block: half down, quarter, half up, full up"
    )
    groups: Count = Field(description="groups of the group normalisation; divides every channel count")

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> NetworkSection:
        if any(width % self.groups for width in self.channels):
            raise ValueError(f"channels {list(self.channels)} must be multiples of groups ({self.groups})")
        return self


class LossSection(Section):
    """The focal loss."""

    gamma: NotNegative = Field(description="focusing exponent of the focal loss; 0 is the cross-entropy")
    background_weight: Positive = Field(
        description="weight of a background voxel relative to a landmark voxel"
    )


class TrainingSection(Section):
    """The loop."""

    epochs: Count = Field(description="passes of steps_per_epoch steps")
    steps_per_epoch: Count = Field(description="optimiser steps between two checkpoints")
    batch: Count = Field(description="crops per forward pass")
    accumulate: Count = Field(description="forward passes per optimiser step")
    learning_rate: Positive = Field(description="peak of the cosine schedule (AdamW)")
    weight_decay: NotNegative = Field(description="of AdamW")
    warmup: Count = Field(description="steps of linear warm-up")
    gradient_clip: NotNegative = Field(description="largest norm of the gradient; 0 does not clip")
    precision: Literal["auto", "bf16", "fp16", "off"] = Field(
        description="mixed precision; auto is bf16 where the hardware has it, otherwise off"
    )
    ema: BelowOne = Field(description="decay of the averaged weights; 0 does not average")
    validate_every: Count = Field(description="epochs between two validations by landmark error")
    patience: Annotated[int, Field(ge=0)] = Field(
        description="validations without a better error before training stops early; 0 never stops early"
    )
    workers: Annotated[int, Field(ge=0)] = Field(description="processes that prepare crops")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(description="of everything random")


class DetectionSection(Section):
    """How landmarks are read off the network's output."""

    threshold: Fraction = Field(description="probability from which a landmark counts as found")
    uncertain: Fraction = Field(
        gt=0.01, description="peak probability from which it is reported as uncertain"
    )
    overlap: BelowOne = Field(description="overlap of neighbouring windows")

    @model_validator(mode="after")
    def _uncertain_lies_below(self) -> DetectionSection:
        if self.uncertain > self.threshold:
            raise ValueError(f"uncertain ({self.uncertain}) must not exceed threshold ({self.threshold})")
        return self


class TrainingConfig(Section):
    """All that decides a training run."""

    version: Literal[1] = Field(description="of this file's format")
    name: str = Field(min_length=1, description="of the model")
    engine: Literal["dense"] = Field(description="the method")
    data: DataSection = Field(description="the cases")
    image: ImageSection = Field(description="how scans are brought onto one grid and one intensity scale")
    target: TargetSection = Field(description="what the network learns to paint")
    sampling: SamplingSection = Field(description="how crops are drawn")
    augmentation: AugmentationSection = Field(description="how crops are varied; a zero switches one off")
    network: NetworkSection = Field(description="the V-Net")
    loss: LossSection = Field(description="the focal loss")
    training: TrainingSection = Field(description="the loop")
    detection: DetectionSection = Field(description="how landmarks are read off the network's output")

    @model_validator(mode="after")
    def _warp_is_coarse(self) -> TrainingConfig:
        if self.augmentation.elastic and self.augmentation.elastic_spacing < self.image.spacing:
            raise ValueError(
                f"augmentation.elastic_spacing ({self.augmentation.elastic_spacing}) must not be smaller "
                f"than image.spacing ({self.image.spacing})"
            )
        return self


def read_config(path: Path, overrides: tuple[str, ...] = ()) -> TrainingConfig:
    """Read and validate `config.yaml`; `overrides` are `section.key=value` texts, values in YAML.

    Paths in the file are taken relative to it and returned absolute.

    Raises:
        InputError: naming the file, the field and what it may be.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such configuration; make one with `train_cli plan`.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise InputError(
            f"{path}{line}: this is not valid YAML; correct it or run `train_cli plan` again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: this is no configuration; give the config.yaml that `train_cli plan` wrote."
        )
    for override in overrides:
        _apply_override(content, override)
    try:
        config = TrainingConfig.model_validate(content)
    except ValidationError as error:
        changes = "".join(f" --set {override}" for override in overrides)
        place = f"{path} with{changes}" if changes else str(path)
        raise InputError(f"{place}: {_first_problem(error)}") from error
    return _with_absolute_paths(config, path.parent)


def write_config(config: TrainingConfig, path: Path, *, header: str) -> None:
    """Write `config.yaml` with the meaning of every value beside it; paths inside become relative to it.

    Args:
        config: the configuration.
        path: the file.
        header: lines that explain how the values were chosen, put on top as comments.
    """
    text = io.StringIO()
    for line in header.splitlines():
        text.write(f"# {line}".rstrip() + "\n")
    _write_section(text, config, depth=0, folder=Path(path).parent.resolve())
    write_text(Path(path), text.getvalue())


def _write_section(text: io.StringIO, section: BaseModel, *, depth: int, folder: Path) -> None:
    indent = "  " * depth
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            text.write(f"\n{indent}{key}:  # {field.description}\n")
            _write_section(text, value, depth=depth + 1, folder=folder)
        else:
            text.write(f"{indent}{key}: {_scalar(value, folder)}  # {field.description}\n")


def _scalar(value: Any, folder: Path) -> str:
    if isinstance(value, Path):
        value = _relative(value, folder)
    if isinstance(value, tuple):
        value = list(value)
    dumped: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()


def _with_absolute_paths(config: TrainingConfig, folder: Path) -> TrainingConfig:
    data = config.data
    absolute = {key: (folder / value).resolve() for key, value in data if isinstance(value, Path)}
    return config.model_copy(update={"data": data.model_copy(update=absolute)})


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, last = key.split(".")
    target: Any = content
    for section in sections:
        target = target.get(section) if isinstance(target, dict) else None
    if not equals or not isinstance(target, dict):
        raise InputError(
            f"--set {override}: the configuration has no such key; write section.key=value"
            f"{_suggestion(key, content)}."
        )
    try:
        target[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not valid YAML; quote it.") from error


def _suggestion(key: str, content: dict[str, Any]) -> str:
    """The key that was perhaps meant, as the end of a sentence."""
    keys = [
        f"{section}.{name}" for section, part in content.items() if isinstance(part, dict) for name in part
    ]
    last = key.rpartition(".")[2]
    meant = [known for known in keys if known.endswith(f".{last}")] or get_close_matches(key, keys, n=1)
    return f", perhaps {meant[0]}" if meant else ""


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    names = [part for part in problem["loc"] if isinstance(part, str)]
    where, found = ".".join(names), problem["input"]
    if problem["type"] == "value_error":  # between several keys: one of our own sentences, which names them
        return f"{': '.join([*names, str(problem['ctx']['error'])])}; correct it."
    if problem["type"] == "extra_forbidden":
        return f"the key '{where}' is not known; correct its name or remove it."
    if problem["type"] == "missing" and isinstance(found, dict):
        return f"the key '{where}' is missing; add it or run `train_cli plan` again."
    if problem["type"] == "missing":
        return f"'{where}' is {found!r}, which is too short; correct it."
    what = problem["msg"]
    return f"'{where}' is {found!r}, but {what[:1].lower() + what[1:]}; correct it."

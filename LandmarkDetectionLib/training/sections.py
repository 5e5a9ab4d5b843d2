"""The parts of a training configuration that every engine has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from LandmarkDetectionLib.data.intensity import Normaliser

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


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


class AugmentationSection(Section):
    """Each can be switched off by a zero (or false)."""

    rotation: NotNegative = Field(
        le=180, description="largest rotation about any axis, degrees; 180 is any pose"
    )
    scale: BelowOne = Field(description="largest relative change of size")
    shear: NotNegative = Field(lt=0.5, description="largest shear of one axis along another")
    mirror: Fraction = Field(
        description="share of samples that are mirrored, with the labels of pairs swapped"
    )
    elastic: Fraction = Field(description="share of samples that are warped")
    elastic_spacing: Positive = Field(description="distance between the control points of the warp, mm")
    elastic_amplitude: NotNegative = Field(description="largest displacement of a control point, mm")
    noise: NotNegative = Field(description="largest standard deviation of added noise (the window is 2 wide)")
    gamma: NotNegative = Field(description="largest change of the logarithm of gamma")
    contrast: Fraction = Field(description="largest relative change of contrast, and of brightness")
    bias: NotNegative = Field(
        default=0.0,
        description="largest change of the logarithm of brightness across a crop, as of the coils in MR",
    )
    motion: Fraction = Field(description="share of samples that show the patient moving during the scan")
    motion_shift: NotNegative = Field(description="largest movement during the scan, voxels")

    @model_validator(mode="after")
    def _warp_does_not_fold(self) -> AugmentationSection:
        if self.elastic and self.elastic_amplitude > 0.4 * self.elastic_spacing:
            raise ValueError(
                f"elastic_amplitude ({self.elastic_amplitude}) must be at most 0.4 of elastic_spacing "
                f"({self.elastic_spacing}), or the warp folds"
            )
        return self


class TrainingSection(Section):
    """The loop."""

    base: Path | None = Field(
        default=None, description="folder of a model whose weights it goes on from; null begins anew"
    )
    epochs: Count = Field(description="passes of steps_per_epoch steps")
    steps_per_epoch: Count = Field(description="optimiser steps between two checkpoints")
    batch: Count = Field(description="samples per forward pass")
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


class TrainingConfig(Section):
    """What the configuration of a run holds, whatever the engine."""

    version: Literal[1] = Field(description="of this file's format")
    name: str = Field(min_length=1, description="of the model")
    engine: str = Field(description="the method")
    data: DataSection = Field(description="the cases")
    image: ImageSection = Field(description="how scans are brought onto one grid and one intensity scale")
    training: TrainingSection = Field(description="the loop")

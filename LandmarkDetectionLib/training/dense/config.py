"""The configuration of the dense engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from LandmarkDetectionLib.training.sections import (
    AugmentationSection,
    BelowOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Section,
    TrainingConfig,
)

Multiple = Annotated[int, Field(ge=16, multiple_of=4)]


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


class DenseConfig(TrainingConfig):
    """All that decides a training run of the dense engine."""

    engine: Literal["dense"] = Field(description="the method")
    target: TargetSection = Field(description="what the network learns to paint")
    sampling: SamplingSection = Field(description="how crops are drawn")
    augmentation: AugmentationSection = Field(description="how crops are varied; a zero switches one off")
    network: NetworkSection = Field(description="the V-Net")
    loss: LossSection = Field(description="the focal loss")
    detection: DetectionSection = Field(description="how landmarks are read off the network's output")

    @model_validator(mode="after")
    def _warp_is_coarse(self) -> DenseConfig:
        if self.augmentation.elastic and self.augmentation.elastic_spacing < self.image.spacing:
            raise ValueError(
                f"augmentation.elastic_spacing ({self.augmentation.elastic_spacing}) must not be smaller "
                f"than image.spacing ({self.image.spacing})"
            )
        return self

"""The configuration of the locate-refine engine."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from LandmarkDetectionLib.model.unet import UNetSettings
from LandmarkDetectionLib.training.sections import (
    AugmentationSection,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Section,
    TrainingConfig,
)

Edge = Annotated[int, Field(ge=16, multiple_of=8)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]


SomeSection = TypeVar("SomeSection", "LocateSection", "RefineSection")


def _checked(section: SomeSection) -> SomeSection:
    """The section, if its network can halve its field as often as it has channels."""
    stride = section.network.stride
    if section.field % stride:
        raise ValueError(
            f"field ({section.field}) must be a multiple of {stride} with {len(section.channels)} channels"
        )
    return section


class LocateSection(Section):
    """The coarse look at the whole scan."""

    spacing: Positive = Field(description="edge of the cubic voxels that the network sees, mm")
    field: Edge = Field(description="voxels along each edge of what it sees in training")
    channels: tuple[Width, ...] = Field(
        min_length=2, description="feature channels at half, quarter, .. of that resolution"
    )
    heat_width: Positive = Field(description="standard deviation of the heat around a landmark, mm")
    jitter: NotNegative = Field(
        description="how far from the middle of the landmarks a field lies at most, along each axis, mm"
    )
    anywhere: Fraction = Field(description="share of the fields that lie anywhere in the scan")
    cut: Fraction = Field(
        description="share of fields in which the scan ends, so that a part of the anatomy is absent"
    )
    batch: Count = Field(description="fields per forward pass; training.batch is that of refine")
    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="of the epochs that this network is trained for; the others are refine's. Where there "
        "are validation cases, it ends earlier or later: when it finds their poses"
    )
    cost: Positive = Field(
        default=0.4, description="time of a step, in those of refine: what one does not need, the other gets"
    )
    augmentation: AugmentationSection = Field(description="how fields are varied; a zero switches one off")

    @property
    def network(self) -> UNetSettings:
        """The coarse U-Net."""
        return UNetSettings(channels=self.channels, reduction=2)

    @model_validator(mode="after")
    def _field_fits(self) -> LocateSection:
        return _checked(self)


class RefineSection(Section):
    """The fine look, in the anatomy's own orientation."""

    spacing: Positive = Field(description="edge of the cubic voxels that the network sees, mm")
    field: Edge = Field(description="voxels along each edge of what it sees in training")
    channels: tuple[Width, ...] = Field(
        min_length=2, description="feature channels at full, half, quarter, .. resolution"
    )
    window: Count = Field(
        description="voxels along each edge of the window in which a landmark is sought; odd"
    )
    heat_width: Positive = Field(description="standard deviation of the heat around a landmark, mm")
    deviation: Positive = Field(
        description="how far a landmark lies from where the mean shape expects it, along each axis, mm "
        "(standard deviation)"
    )
    cut: Fraction = Field(
        description="share of fields in which the scan ends, so that some landmarks are absent"
    )
    augmentation: AugmentationSection = Field(description="how fields are varied; a zero switches one off")

    @property
    def network(self) -> UNetSettings:
        """The fine U-Net."""
        return UNetSettings(channels=self.channels)

    @model_validator(mode="after")
    def _field_fits(self) -> RefineSection:
        return _checked(self)

    @model_validator(mode="after")
    def _window_fits(self) -> RefineSection:
        if self.window % 2 == 0 or self.window > self.field:
            raise ValueError(f"window ({self.window}) must be odd and not larger than field ({self.field})")
        return self


class DetectionSection(Section):
    """How landmarks are told from what the networks see."""

    tolerance: Positive = Field(
        description="how far a right candidate of locate lies from the mean shape in the right pose, mm"
    )
    support: Fraction = Field(
        description="share of the candidates that must agree on a pose, or none of the landmarks is there"
    )
    found: Fraction = Field(description="probability of being there from which a landmark counts as found")
    uncertain: Fraction = Field(description="probability from which it is reported as uncertain")

    @model_validator(mode="after")
    def _uncertain_lies_below(self) -> DetectionSection:
        if self.uncertain > self.found:
            raise ValueError(f"uncertain ({self.uncertain}) must not exceed found ({self.found})")
        return self


class LocateRefineConfig(TrainingConfig):
    """All that decides a training run of the locate-refine engine."""

    engine: Literal["locate-refine"] = Field(description="the method")
    locate: LocateSection = Field(description="the coarse look at the whole scan")
    refine: RefineSection = Field(description="the fine look, in the anatomy's own orientation")
    detection: DetectionSection = Field(description="how landmarks are told from what the networks see")

    @model_validator(mode="after")
    def _both_networks_are_trained(self) -> LocateRefineConfig:
        if self.training.epochs < 2:
            raise ValueError("training.epochs must be at least 2, one for each network")
        return self

    @property
    def locate_epochs(self) -> int:
        """Epochs of the coarse network, as planned; at least one, and at least one is the fine one's."""
        return min(max(round(self.locate.share * self.training.epochs), 1), self.training.epochs - 1)

    @property
    def most_locate_epochs(self) -> int:
        """Epochs of the coarse network where it does not find the poses: half of the time at least."""
        planned, cost = self.locate_epochs, self.locate.cost
        in_all = planned * cost + self.training.epochs - planned
        return max(planned, int(in_all / 2 / cost))

    def refine_epochs(self, after: int) -> int:
        """Epochs of the fine network after so many of the coarse one."""
        planned = self.locate_epochs
        return max(round(self.training.epochs - planned + (planned - after) * self.locate.cost), 1)

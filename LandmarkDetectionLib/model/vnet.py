"""The V-Net of the dense engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from LandmarkDetectionLib.model.convolution import Conv3d, Doubling
from LandmarkDetectionLib.model.normalisation import GroupNorm

STRIDE = 4
_BACKGROUND_PRIOR = 0.99


@dataclass(frozen=True)
class VNetSettings:
    """Sizes of a V-Net.

    Attributes:
        classes: output channels: one per landmark, and the background first.
        channels: feature channels at full, half and quarter resolution.
        blocks: convolutions in the residual block of the half, quarter, half and full resolution stages.
        groups: groups of each group normalisation.
    """

    classes: int
    channels: tuple[int, int, int] = (16, 32, 64)
    blocks: tuple[int, int, int, int] = (2, 3, 2, 1)
    groups: int = 8

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError("a V-Net needs the background and at least one landmark")
        if any(width % self.groups for width in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of {self.groups} groups")


class VNet(nn.Module):
    """Voxel classifier with residual stages at strides 1, 2 and 4 and group normalisation.

    After Milletari et al., V-Net, 3DV 2016, in the three-level form that SkullEngine uses for landmarks
    (Liu et al., arXiv 2110.03828).

    Attributes:
        landmark_rows: tensors that have a row for each landmark, behind that of the background.
    """

    landmark_rows: ClassVar[dict[str, int]] = {"head.weight": 1, "head.bias": 1}

    def __init__(self, settings: VNetSettings) -> None:
        super().__init__()
        full, half, quarter = settings.channels
        down_half, down_quarter, up_half, up_full = settings.blocks
        groups = settings.groups
        self.settings = settings
        self.stem = _convolution(1, full, groups)
        self.down_half = _Down(full, half, down_half, groups)
        self.down_quarter = _Down(half, quarter, down_quarter, groups)
        self.up_half = _Up(quarter, half, up_half, groups)
        self.up_full = _Up(2 * half, full, up_full, groups)
        self.head = Conv3d(2 * full, settings.classes, kernel_size=1)
        self._expect_background()

    def _expect_background(self) -> None:
        """Start from mostly background: its many voxels would drown the first steps (RetinaNet's prior)."""
        bias = torch.zeros(self.settings.classes)
        bias[0] = math.log(_BACKGROUND_PRIOR / (1 - _BACKGROUND_PRIOR) * (self.settings.classes - 1))
        self.head.bias = nn.Parameter(bias)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, classes, Z, Y, X) of images (B, 1, Z, Y, X) whose sides are multiples of 4."""
        full = self.stem(image)
        half = self.down_half(full)
        quarter = self.down_quarter(half)
        features = self.up_full(self.up_half(quarter, half), full)
        logits: Tensor = self.head(features)
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int, convolutions: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(convolutions - 1):
            layers += [_convolution(channels, channels, groups)]
        layers += [Conv3d(channels, channels, 3, padding=1, bias=False), GroupNorm(groups, channels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features + self.layers(features))


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, convolutions: int, groups: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            Conv3d(inputs, outputs, 2, stride=2, bias=False), GroupNorm(groups, outputs), nn.ReLU()
        )
        self.residual = _Residual(outputs, convolutions, groups)

    def forward(self, features: Tensor) -> Tensor:
        refined: Tensor = self.residual(self.reduce(features))
        return refined


class _Up(nn.Module):
    """Doubles the resolution to `outputs` channels and joins the skip connection: 2 x `outputs` channels."""

    def __init__(self, inputs: int, outputs: int, convolutions: int, groups: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(
            Doubling(inputs, outputs),
            GroupNorm(groups, outputs),
            nn.ReLU(),
        )
        self.residual = _Residual(2 * outputs, convolutions, groups)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.residual(torch.cat([self.enlarge(features), skip], dim=1))
        return joined


def _convolution(inputs: int, outputs: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(inputs, outputs, 3, padding=1, bias=False), GroupNorm(groups, outputs), nn.ReLU()
    )

"""The U-Net of locate and refine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from LandmarkDetectionLib.model.convolution import Conv3d, Doubling
from LandmarkDetectionLib.model.normalisation import GroupNorm


@dataclass(frozen=True)
class UNetSettings:
    """Sizes of a U-Net.

    Attributes:
        channels: feature channels at each resolution, the finest first; each halves the one before.
        reduction: 1, or 2 where the finest features have half the resolution of the image.
        blocks: residual blocks at each resolution, on the way down and again on the way up.
        groups: of each group normalisation.
    """

    channels: tuple[int, ...]
    reduction: int = 1
    blocks: int = 1
    groups: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if any(width % self.groups for width in self.channels):
            raise ValueError(f"channels {self.channels} must be multiples of {self.groups} groups")
        if self.reduction not in (1, 2):
            raise ValueError(f"the reduction is {self.reduction}, not 1 or 2")

    @property
    def stride(self) -> int:
        """The image's sides must be multiples of this."""
        return int(self.reduction * 2 ** (len(self.channels) - 1))


class UNet(nn.Module):
    """Residual stages down and up with skip connections (Ronneberger et al., "U-Net", MICCAI 2015).

    It knows nothing of landmarks: its features are computed once, whatever they are asked for afterwards.
    """

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        channels = settings.channels
        first = channels[0]
        self.stem = Conv3d(1, first, 3, stride=settings.reduction, padding=1, bias=False)
        self.down = nn.ModuleList(_stage(width, settings) for width in channels)
        self.reduce = nn.ModuleList(
            Conv3d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairwise(channels)
        )
        self.enlarge = nn.ModuleList(Doubling(coarse, fine) for fine, coarse in pairwise(channels))
        self.up = nn.ModuleList(_stage(width, settings) for width in channels[:-1])
        self.norm = GroupNorm(settings.groups, first)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, C, Z, Y, X) / reduction, not negative, of images (B, 1, Z, Y, X)."""
        features = self.stem(image)
        skips = []
        for level, stage in enumerate(self.down):
            features = stage(features)
            if level < len(self.reduce):
                skips.append(features)
                features = self.reduce[level](features)
        for level in reversed(range(len(self.up))):
            features = self.up[level](self.enlarge[level](features).add_(skips[level]))
        return torch.relu_(self.norm(features))


def _stage(width: int, settings: UNetSettings) -> nn.Sequential:
    return nn.Sequential(*(_Block(width, settings.groups) for _ in range(settings.blocks)))


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = GroupNorm(groups, width), GroupNorm(groups, width)
        self.first = Conv3d(width, width, 3, padding=1, bias=False)
        self.second = Conv3d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first(torch.relu_(self.first_norm(features)))
        outer: Tensor = self.second(torch.relu_(self.second_norm(inner)))
        return outer.add_(features)

"""The U-Net of locate and refine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from LandmarkDetectionLib.model.normalisation import GroupNorm


@dataclass(frozen=True)
class UNetSettings:
    """Sizes of a U-Net.

    Attributes:
        outputs: channels of the result.
        channels: feature channels at each resolution, the finest first; each halves the one before.
        reduction: 1, or 2 where the finest features, and the result, have half the resolution of the image.
        blocks: residual blocks at each resolution, on the way down and again on the way up.
        groups: of each group normalisation.
        landmarks: how many landmarks the network can be asked for; 0 asks for none.
    """

    outputs: int
    channels: tuple[int, ...]
    reduction: int = 1
    blocks: int = 1
    groups: int = 8
    landmarks: int = 0

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
    """Residual stages down and up with skip connections; told, if need be, which landmark to look for.

    After Ronneberger et al., "U-Net", MICCAI 2015. What it is told scales and shifts the features of every
    stage (Perez et al., "FiLM", AAAI 2018), so that its size does not grow with the number of landmarks.
    """

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = settings.channels
        first = channels[0]
        self.stem = nn.Conv3d(1, first, 3, stride=settings.reduction, padding=1, bias=False)
        self.down = nn.ModuleList(_Stage(width, settings) for width in channels)
        self.reduce = nn.ModuleList(
            nn.Conv3d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairwise(channels)
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, 2, stride=2, bias=False) for fine, coarse in pairwise(channels)
        )
        self.up = nn.ModuleList(_Stage(width, settings) for width in channels[:-1])
        self.head = nn.Conv3d(first, settings.outputs, 1)

    def forward(self, image: Tensor, landmark: Tensor | None = None) -> Tensor:
        """(B, outputs, Z, Y, X) / reduction of images (B, 1, Z, Y, X).

        Args:
            image: sides are multiples of the stride.
            landmark: (B,) rows of the landmarks to look for, where the network was made for it.
        """
        features = self.stem(image)
        skips = []
        for level, stage in enumerate(self.down):
            features = stage(features, landmark)
            if level < len(self.reduce):
                skips.append(features)
                features = self.reduce[level](features)
        for level in reversed(range(len(self.up))):
            features = self.up[level](self.enlarge[level](features) + skips[level], landmark)
        result: Tensor = self.head(features)
        return result


class _Stage(nn.Module):
    def __init__(self, width: int, settings: UNetSettings) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, settings) for _ in range(settings.blocks))

    def forward(self, features: Tensor, landmark: Tensor | None) -> Tensor:
        for block in self.blocks:
            features = block(features, landmark)
        return features


class _Block(nn.Module):
    """Two convolutions beside a shortcut; the landmark scales and shifts what lies between them."""

    def __init__(self, width: int, settings: UNetSettings) -> None:
        super().__init__()
        self.first_norm, self.second_norm = (
            GroupNorm(settings.groups, width),
            GroupNorm(settings.groups, width),
        )
        self.first = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv3d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)
        self.film = nn.Embedding(settings.landmarks, 2 * width) if settings.landmarks else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)

    def forward(self, features: Tensor, landmark: Tensor | None) -> Tensor:
        inner = self.first(torch.relu(self.first_norm(features)))
        inner = self.second_norm(inner)
        if self.film is not None:
            scale, shift = self.film(landmark)[..., None, None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        outer: Tensor = features + self.second(torch.relu(inner))
        return outer

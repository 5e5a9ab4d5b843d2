"""What asks a U-Net's features for landmarks: each landmark is a small code of its own.

The features are computed once for all landmarks. Asking for one more costs a product with its code, so time
and memory hardly grow with their number.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from LandmarkDetectionLib.model.unet import UNet, UNetSettings


class LocateNetwork(nn.Module):
    """Heat maps of landmarks over a whole field.

    Args:
        settings: of the U-Net.
        landmarks: how many it can be asked for.

    Attributes:
        landmark_rows: tensors that have a row for each landmark, and which is the first.
    """

    landmark_rows: ClassVar[dict[str, int]] = {"codes": 0}

    def __init__(self, settings: UNetSettings, landmarks: int) -> None:
        super().__init__()
        self.settings = settings
        width = settings.channels[0]
        self.features = UNet(settings)
        self.codes = nn.Parameter(torch.randn(landmarks, width) / width**0.5)

    def heat(self, features: Tensor, landmarks: Tensor) -> Tensor:
        """Logarithms of heat (B, N, Z, Y, X) of N landmarks (rows) in features; that of 'nowhere' is 0."""
        with torch.autocast(features.device.type, enabled=False):
            return torch.einsum("bczyx,nc->bnzyx", features.float(), self.codes[landmarks])

    def forward(self, image: Tensor) -> Tensor:
        """The heat of all landmarks in images (B, 1, Z, Y, X)."""
        return self.heat(self.features(image), torch.arange(len(self.codes), device=image.device))


class RefineNetwork(nn.Module):
    """Heat and presence of landmarks in small windows around where each is expected.

    Args:
        settings: of the U-Net, whose finest features have the resolution of the image.
        landmarks: how many it can be asked for.
        deviation: how far a landmark lies from where it is expected, cells along one axis (standard
            deviation); what the network assumes of every landmark until it has learnt better.

    Attributes:
        landmark_rows: tensors that have a row for each landmark, and which is the first.

    Raises:
        ValueError: if the features are coarser than the image.
    """

    landmark_rows: ClassVar[dict[str, int]] = {"codes": 0, "log_deviations": 0, "presence.weight": 0}

    def __init__(self, settings: UNetSettings, landmarks: int, deviation: float = 1.0) -> None:
        super().__init__()
        if settings.reduction != 1:
            raise ValueError(f"the reduction of the fine network is {settings.reduction}, not 1")
        self.settings = settings
        width = settings.channels[0]
        self.features = UNet(settings)
        self.codes = nn.Parameter(torch.randn(landmarks, width) / width**0.5)
        self.log_deviations = nn.Parameter(torch.full((landmarks,), deviation).log())
        self.mix = nn.Linear(width, width)
        self.presence = nn.Embedding(landmarks, width + 1)
        nn.init.normal_(self.presence.weight, std=width**-0.5)

    def ask(self, windows: Tensor, landmarks: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """What the features in windows say of one landmark each.

        Args:
            windows: (N, C, Z, Y, X) features.
            landmarks: (N,) rows.
            offsets: (N, 3) where each landmark is expected, cells x, y, z from the window's middle.

        Returns:
            Logarithms of heat (N, Z, Y, X), up to a constant, and logits of presence (N,).
        """
        heat = self.evidence(windows, landmarks)
        heat = heat + self.expectation(windows.shape[2:], landmarks, offsets)
        return heat, self.presence_logits(windows, heat, landmarks)

    def evidence(self, windows: Tensor, landmarks: Tensor) -> Tensor:
        """What the image alone says: logarithms of heat (N, Z, Y, X), up to a constant."""
        with torch.autocast(windows.device.type, enabled=False):
            return torch.einsum("nczyx,nc->nzyx", windows.float(), self.codes[landmarks])

    def presence_logits(self, windows: Tensor, heat: Tensor, landmarks: Tensor) -> Tensor:
        """Logits (N,) of presence, from the features (N, C, Z, Y, X) where the heat (N, Z, Y, X) lies."""
        with torch.autocast(windows.device.type, enabled=False):
            share = torch.softmax(heat.flatten(1), dim=1)
            there = torch.einsum("ncv,nv->nc", windows.float().flatten(2), share)
            weights = self.presence(landmarks)
            logits: Tensor = (torch.relu(self.mix(there)) * weights[:, :-1]).sum(dim=1) + weights[:, -1]
        return logits

    def expectation(
        self, shape: torch.Size, landmarks: Tensor, offsets: Tensor, doubt: float | Tensor = 0.0
    ) -> Tensor:
        """Logarithm of a Gaussian around where each landmark is expected, (N, Z, Y, X).

        Args:
            shape: Z, Y, X of the windows.
            landmarks: (N,) rows.
            offsets: (N, 3) where each landmark is expected, cells x, y, z from the window's middle.
            doubt: how far the expectation itself is off, cells along one axis (standard deviation), beyond
                what the network was trained with.
        """
        along = []
        for axis, count in enumerate(reversed(shape)):
            cells = torch.arange(1 - count, count, 2, device=offsets.device) / 2
            along.append((cells - offsets[:, axis, None]) ** 2)
        squared = along[2][:, :, None, None] + along[1][:, None, :, None] + along[0][:, None, None, :]
        precisions = 1 / (torch.exp(2 * self.log_deviations[landmarks]) + doubt**2)
        return -0.5 * squared * precisions[:, None, None, None]


def cut_windows(features: Tensor, fields: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cubic windows (N, C, size, size, size) of features.

    Args:
        features: (B, C, Z, Y, X).
        fields: (N,) which of the B fields each window is cut from.
        corners: (N, 3) the first cell x, y, z of each window, which lies within its field.
        size: cells along each edge.

    Where all are on one GPU, it is not waited for.
    """
    channels, depth, height, width = features.shape[1:]
    fields, corners = fields.to(features.device), corners.to(features.device)
    x, y, z = (corners[:, axis, None] + torch.arange(size, device=features.device) for axis in range(3))
    planes = (fields[:, None] * depth + z)[:, :, None, None] * height
    cells = (planes + y[:, None, :, None]) * width + x[:, None, None, :]
    flat = features.permute(0, 2, 3, 4, 1).reshape(-1, channels)  # no copy of what is channels-last
    windows = flat.index_select(0, cells.flatten()).view(*cells.shape, channels).permute(0, 4, 1, 2, 3)
    return windows.contiguous() if len(windows) == 1 else windows  # or PyTorch rounds a lone one otherwise

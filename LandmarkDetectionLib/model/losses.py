"""Losses of the voxel classifier, and of heat maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

IGNORED = -1


def focal_loss(
    logits: Tensor,
    classes: Tensor,
    *,
    known: Tensor | None = None,
    gamma: float = 2.0,
    background_weight: float = 1.0,
) -> Tensor:
    """Multi-class focal loss over the voxels that are not ignored.

    Lin et al., Focal loss for dense object detection, ICCV 2017, with the softmax of all classes. The sum
    over voxels is divided by the number of landmark voxels, so that the few landmark voxels set the scale and
    not the many background ones; by at least a thousandth of all voxels that count, so that crops without a
    landmark do not swamp the others. Computed in float32 from logits: stable in half precision.

    Args:
        logits: (B, C, ...) scores, class 0 is the background.
        classes: (B, ...) integer class of each voxel, or `IGNORED`.
        known: (B, C) which classes of a sample take part; the others, of which its annotation says nothing,
            are neither right nor wrong. All if None.
        gamma: how strongly voxels that are already right are discounted; 0 gives the cross-entropy.
        background_weight: weight of background voxels relative to landmark voxels.

    Returns:
        A scalar; zero where every voxel is ignored.
    """
    if known is not None and (known.is_cuda or not known.all()):
        logits = logits.masked_fill(~known[..., *[None] * (logits.dim() - 2)], -torch.inf)
    with torch.autocast(device_type=logits.device.type, enabled=False):
        scores = logits.movedim(1, -1).reshape(-1, logits.shape[1]).float()
        target = classes.reshape(-1).long()
        surprise = cross_entropy(scores, target, ignore_index=IGNORED, reduction="none")
        missed = -torch.expm1(-surprise)
        weight = torch.where(target == 0, background_weight, 1.0)
        total = (weight * missed.clamp(min=1e-6).pow(gamma) * surprise).sum()
        kept = (target != IGNORED).sum()
        return total / torch.maximum((target > 0).sum(), 1e-3 * kept).clamp(min=1)


def heat_loss(heat: Tensor, places: Tensor, *, width: float, absent: Tensor | None = None) -> Tensor:
    """Cross-entropy between a heat map, as a probability over all its cells, and a small Gaussian.

    A landmark is somewhere: its cells compete with each other and not with a background class, so there is no
    imbalance to fight and no threshold to choose.

    Args:
        heat: (B, K, Z, Y, X) logarithms; up to a constant, where `absent` is None.
        places: (B, K, 3) where each landmark is, in cells x, y, z; NaN where it is not or nobody knows.
        width: standard deviation of the Gaussian, cells.
        absent: (B, K) which landmarks are known not to be in their maps. The cells then compete with one
            more, 'nowhere', whose logarithm is 0, and it is where these landmarks are.

    Returns:
        A scalar, the mean over the landmarks that lie within their maps or are absent; zero where there is
        none.
    """
    with torch.autocast(device_type=heat.device.type, enabled=False):
        heat = heat.float()
        size = [heat.shape[4], heat.shape[3], heat.shape[2]]
        total = torch.logsumexp(heat.flatten(2), dim=2)
        if absent is not None:
            total = softplus(total)
        x, y, z = ((places[..., axis] > -0.5) & (places[..., axis] < size[axis] - 0.5) for axis in range(3))
        inside = x & y & z  # a GPU would have to wait for a tensor of the sizes
        centres = torch.where(inside[..., None], places.float(), 0.0)
        along = [_gaussian(centres[..., axis], size[axis], width) for axis in range(3)]
        share = heat - total[..., None, None, None]
        missed = -torch.einsum("bkzyx,bkz,bky,bkx->bk", share, along[2], along[1], along[0])
        loss, count = (missed * inside).sum(), inside.sum()
        if absent is not None:
            loss, count = loss + (total * absent).sum(), count + absent.sum()
        return loss / count.clamp_min(1)


def _gaussian(centres: Tensor, count: int, width: float) -> Tensor:
    """(B, K, count) weights along one axis that sum to 1."""
    cells = torch.arange(count, device=centres.device)
    weights = torch.exp(-((cells - centres[..., None]) ** 2) / (2 * width**2))
    normed: Tensor = weights / weights.sum(dim=-1, keepdim=True)
    return normed

"""Losses of the voxel classifier."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

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

"""Losses of the lite students."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_POSITIVE_WEIGHT = 4.0
_LEAST_DEVIATION = 0.02  # keeps a nearly constant prediction from being blown up
_LEAST_RANGE = 0.008  # depth range under which a crop says nothing about depth


def edge_loss(logits_B1HW: Tensor, target_B1HW: Tensor) -> Tensor:
    """Class-balanced cross-entropy with soft targets, plus L1.

    The balance is tempered (square root, at most 4): full balance, as in HED, makes lines thick and their
    values uncalibrated, and L1 holds the values to the target's.

    Args:
        logits_B1HW: float.
        target_B1HW: float in [0, 1].

    Returns:
        float scalar.
    """
    share = target_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(1e-3, 0.5)
    weight = ((1 - share) / share).sqrt().clamp(1.0, _MAX_POSITIVE_WEIGHT)
    entropy = F.binary_cross_entropy_with_logits(logits_B1HW, target_B1HW, reduction="none")
    balanced = (entropy * (1 + (weight - 1) * target_B1HW)).mean()
    return balanced + (logits_B1HW.sigmoid() - target_B1HW).abs().mean()


def normalised_depth(depth_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Stretch each map to [0, 1] and say which maps have any range.

    Args:
        depth_B1HW: float.

    Returns:
        The stretched maps, and float (B, 1, 1, 1): 1 where the range is large enough to learn from, else 0.
    """
    low, high = depth_B1HW.amin(dim=(2, 3), keepdim=True), depth_B1HW.amax(dim=(2, 3), keepdim=True)
    valid = ((high - low) > _LEAST_RANGE).float()
    return (depth_B1HW - low) / (high - low).clamp_min(_LEAST_RANGE), valid


def _standard(depth_B1HW: Tensor) -> Tensor:
    """Remove each map's mean and mean absolute deviation: positive scale and shift do not count."""
    centred = depth_B1HW - depth_B1HW.mean(dim=(2, 3), keepdim=True)
    return centred / centred.abs().mean(dim=(2, 3), keepdim=True).clamp_min(_LEAST_DEVIATION)


def depth_loss(logits_B1HW: Tensor, depth_B1HW: Tensor) -> Tensor:
    """Scale-and-shift-invariant L1, its gradients at four scales, and plain L1 to the stretched depth.

    Args:
        logits_B1HW: float.
        depth_B1HW: True depth of the crop, float, 1 nearest; stretched here.

    Returns:
        float scalar.
    """
    target, valid = normalised_depth(depth_B1HW)
    predicted = logits_B1HW.sigmoid()
    residual = (_standard(predicted) - _standard(target)) * valid
    loss = 0.3 * residual.abs().mean() + ((predicted - target) * valid).abs().mean()
    for _ in range(4):
        across = (residual[..., :, 1:] - residual[..., :, :-1]).abs().mean()
        along = (residual[..., 1:, :] - residual[..., :-1, :]).abs().mean()
        loss = loss + 0.25 * (across + along)
        residual = F.avg_pool2d(residual, 2)
    return loss


def learning_rate(progress: float, *, peak: float, warm_up: float = 0.05) -> float:
    """Give the learning rate: a linear rise, then half a cosine down to 1 % of the peak.

    Args:
        progress: Share of the training that is done, [0, 1].
        peak: Highest rate.
        warm_up: Share of the training that the rise takes.

    Returns:
        The rate.
    """
    if progress < warm_up:
        return peak * (0.05 + 0.95 * progress / warm_up)
    place = torch.tensor((min(progress, 1.0) - warm_up) / (1 - warm_up) * torch.pi)
    return peak * (0.01 + 0.99 * float(0.5 * (1 + torch.cos(place))))

"""Which candidates are kept: the change must be visible, and the mask must be where it is (ADR-004)."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.ops.regions import blur, dilate, erode

VISIBLE = 5.0  # smallest local change, in 1/255, that counts as visible
LEAST_AREA = 24  # pixels of a mask at the model's size


def visible_region(target: Tensor, generated: Tensor, region_mask: Tensor) -> Tensor:
    """Shrink a region to where the image visibly changed, small holes and gaps closed, and one pixel around.

    Args:
        target: float (B, 3, S, S) in [-1, 1].
        generated: float (B, 3, S, S) in [-1, 1].
        region_mask: Binary float (B, 1, S, S).

    Returns:
        Binary float (B, 1, S, S), inside `region_mask`.
    """
    change = (blur(generated - target, 1.0).abs().amax(dim=1, keepdim=True) * 127.5) * region_mask
    seen = dilate((change > VISIBLE).float(), 2)
    return erode(seen, 1) * region_mask


def mean_change(target: Tensor, generated: Tensor, region_mask: Tensor) -> Tensor:
    """Mean absolute change inside each region, float (B,), in 1/255; 0 for an empty region."""
    change = (generated - target).abs().mean(dim=1, keepdim=True) * 127.5
    return (change * region_mask).sum(dim=(1, 2, 3)) / region_mask.sum(dim=(1, 2, 3)).clamp_min(1.0)


def acceptable(change_B: Tensor, region_mask: Tensor, min_change: float) -> Tensor:
    """Whether each candidate is kept, bool (B,): enough change over enough pixels."""
    return (change_B >= min_change) & (region_mask.sum(dim=(1, 2, 3)) >= LEAST_AREA)


def choose(better_B: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take the new sample's values where it is better; tensors of any shape (B, ...)."""
    return torch.where(better_B.view(-1, *([1] * (new.dim() - 1))), new, old)

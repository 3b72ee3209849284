"""Which candidates are kept: the change must be visible, and the mask must be where it is (ADR-004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

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


class Drawn(Protocol):
    """Candidates of a batch, of whatever kind."""

    @property
    def accepted(self) -> Tensor:
        """Which are kept, bool (B,)."""
        ...

    @property
    def change(self) -> Tensor:
        """Mean change inside each region, float (B,)."""
        ...


D = TypeVar("D", bound=Drawn)


def until_accepted(
    draw: Callable[[Sequence[int], int], D],
    each: Callable[[Callable[[Tensor, Tensor], Tensor], D, D], D],
    indices: Sequence[int],
    attempts: int,
) -> D:
    """Draw candidates until each image has an accepted one, or attempts run out; then the strongest is kept.

    Args:
        draw: Makes a candidate for each of the given images, at the given attempt.
        each: Makes candidates of what a function gives for each tensor of two others.
        indices: Numbers of the images.
        attempts: Most draws of an image.
    """
    best = draw(indices, 0)
    for attempt in range(1, attempts):
        missing = (~best.accepted).nonzero()[:, 0]
        if not len(missing):
            break
        again = draw([indices[i] for i in missing.tolist()], attempt)
        better = again.accepted | (again.change > best.change[missing])
        kept, new = missing[better], better.nonzero()[:, 0]

        def put(old: Tensor, drawn: Tensor, kept: Tensor = kept, new: Tensor = new) -> Tensor:
            return old.index_copy(0, kept, drawn[new])

        best = each(put, best, again)
    return best


def choose(better_B: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take the new sample's values where it is better; tensors of any shape (B, ...)."""
    return torch.where(better_B.view(-1, *([1] * (new.dim() - 1))), new, old)

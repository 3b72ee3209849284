"""Which candidates are kept: the change must be visible, and the mask must be where it is (ADR-004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from anomalyhybrid.ops.regions import blur, dilate, erode
from anomalyhybrid.ops.transfer import places_of

VISIBLE = 5.0  # smallest local change, in 1/255, that counts as visible
CLOSED = 5  # pixels of 256 a side: gaps up to twice as wide inside a defect are part of it
GRAIN = 2.0  # sigma, in pixels of 256 a side, that grain is smoothed away with
LEAST_AREA = 24  # pixels of a mask at the model's size
IMAGES_A_FURTHER = 4  # images of a batch for each further candidate that one pass on a GPU makes


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
    closed = max(2, round(CLOSED * change.shape[-1] / 256))
    seen = dilate((change > VISIBLE).float(), closed)
    return erode(seen, closed - 1) * region_mask


def mean_change(target: Tensor, generated: Tensor, region_mask: Tensor, *, coarse: bool = False) -> Tensor:
    """Mean absolute change inside each region, float (B,), in 1/255; 0 for an empty region.

    Args:
        target: float (B, 3, S, S) in [-1, 1].
        generated: float (B, 3, S, S) in [-1, 1].
        region_mask: Binary float (B, 1, S, S).
        coarse: Leave grain out: other grain of the same surface is a change that nobody sees.
    """
    change = generated - target
    if coarse:
        change = blur(change * region_mask, GRAIN * target.shape[-1] / 256)
    change = change.abs().mean(dim=1, keepdim=True) * 127.5
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
    draw: Callable[[Sequence[int], Sequence[int]], D],
    each: Callable[..., D],
    count: int,
    attempts: int,
    together: int | None = None,
    looked_at: Callable[[Tensor, D], None] = lambda places, drawn: None,
) -> D:
    """Draw candidates until each image has an accepted one, or attempts run out; then the strongest is kept.

    Several attempts of the images that lack one may be drawn in one pass: what an image gets is the same, and a GPU,
    where a pass of few candidates takes as long as one of many, is asked less often.

    Args:
        draw: Makes candidates of images, given by their places, at the given attempts, pair by pair.
        each: Makes candidates of what a function gives for each tensor of the given ones.
        count: Number of images.
        attempts: Most draws of an image.
        together: Candidates that one pass may make of images that still lack one; at least one of each is made. By
            default a quarter as many as there are images on a GPU, else 1.
        looked_at: Told of each attempt that counts: places of the images, long (M,), and their candidates.
    """
    best = draw(range(count), [0] * count)
    looked_at(torch.arange(count, device=best.accepted.device), best)
    if together is None:
        together = count // IMAGES_A_FURTHER if best.accepted.is_cuda else 1
    done = 1
    while done < attempts:
        missing = places_of(~best.accepted)
        places = missing.tolist()
        if not places:
            break
        tries = min(attempts - done, max(1, together // len(places)))
        numbers = range(done, done + tries)
        drawn = draw(places * tries, [number for number in numbers for _ in places])
        for again in range(tries):
            part = _some(each, drawn, slice(again * len(places), (again + 1) * len(places)))
            best = _better(best, part, missing, each, looked_at)
        done += tries
    return best


def _some(each: Callable[..., D], drawn: D, chosen: slice | Tensor) -> D:
    return each(lambda values: values[chosen], drawn)


def _better(best: D, drawn: D, missing: Tensor, each: Callable[..., D], looked_at: Callable[[Tensor, D], None]) -> D:
    """Take one attempt of some images where they lack an accepted candidate and it is accepted or stronger."""
    lacking = ~best.accepted[missing]
    asked = places_of(lacking)  # not a mask: a GPU is waited for once, not for each tensor
    looked_at(missing[asked], _some(each, drawn, asked))
    better = places_of(lacking & (drawn.accepted | (drawn.change > best.change[missing])))
    kept = missing[better]
    return each(lambda old, new: old.index_copy(0, kept, new[better]), best, drawn)


def choose(better_B: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take the new sample's values where it is better; tensors of any shape (B, ...)."""
    return torch.where(better_B.view(-1, *([1] * (new.dim() - 1))), new, old)

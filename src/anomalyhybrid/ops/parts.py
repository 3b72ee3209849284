"""Work on the samples of a batch that need it, and on no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.transfer import places_of
from anomalyhybrid.ops.trees import mapped

Tree = TypeVar("Tree")
_sparing: ContextVar[bool] = ContextVar("_sparing", default=False)


@contextmanager
def sparing() -> Iterator[None]:
    """Let `among` spare work on a GPU too, to the end of the block.

    The host then waits for the GPU to tell which samples are chosen. A set that is drawn can afford that; a training,
    whose views are drawn beside its steps, cannot.
    """
    token = _sparing.set(True)
    try:
        yield
    finally:
        _sparing.reset(token)


def among(chosen_B: Tensor, function: Callable[..., Tree], *given: Any) -> Tree:
    """What a function of samples gives for those that are chosen; zeros, or what it gives, for the others.

    It is called though nobody is chosen, so that its numbers are drawn, and on a GPU with two samples at least: a batch
    of one is a graph of its own there (`ops.fused`).

    Args:
        chosen_B: bool (B,).
        function: Takes each sample for itself, and as many numbers from `Draws` whatever it is given.
        given: Its arguments: trees of tensors (B, ...), `Draws` of B samples, or None.
    """
    if chosen_B.is_cuda and not _sparing.get():
        return function(*given)
    places = places_of(chosen_B)
    if len(places) == len(chosen_B):
        return function(*given)
    least = min(2 if chosen_B.is_cuda else 1, len(chosen_B))
    if len(places) < least:
        start = places[:1] if len(places) else places.new_zeros(1)
        places = (start + torch.arange(least, device=places.device)) % len(chosen_B)
    parts = [_at(places, one) for one in given]
    found = function(*parts)
    for one, part in zip(given, parts, strict=True):
        if isinstance(one, Draws):
            one.follow(part)
    return mapped(lambda part: part.new_zeros(len(chosen_B), *part.shape[1:]).index_copy_(0, places, part), found)


def _at(places: Tensor, one: Any) -> Any:
    """The samples of an argument at some places."""
    if one is None:
        return None
    return one.at(places) if isinstance(one, Draws) else mapped(lambda whole: whole[places], one)


def filled_up(batch: Tensor, count: int) -> Tensor:
    """A batch, (B, ...) with B >= 1, its first sample repeated until there are `count`; as it is where there are."""
    missing = count - len(batch)
    return torch.cat([batch, batch[:1].expand(missing, *batch.shape[1:])]) if missing > 0 else batch

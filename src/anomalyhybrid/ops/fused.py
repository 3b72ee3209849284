"""Functions of many small steps that a GPU can run as one kernel each, where compiling them pays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable)
Shapes = Literal["one", "any batch"]
_fuses: ContextVar[Shapes | None] = ContextVar("_fuses", default=None)


@contextmanager
def fusing(shapes: Shapes | None) -> Iterator[None]:
    """Whether functions that are marked `fused` are compiled, from here to the end of the block.

    Args:
        shapes: Compile for each shape (``one``), as a training has, or once for batches of any size; None not at all.
    """
    token = _fuses.set(shapes)
    try:
        yield
    finally:
        _fuses.reset(token)


def any_batch(batch: Tensor) -> Tensor:
    """Tell the compiler that a tensor's first side may have any length."""
    if batch.dim():
        torch._dynamo.maybe_mark_dynamic(batch, 0)
    return batch


def fused(function: Function, *, takes: tuple[Shapes, ...] = ("one", "any batch")) -> Function:
    """Mark a function of tensors, without side effects, as one to compile inside `fusing`.

    Compiling takes seconds: long trainings and large sets ask for it. Results differ by rounding.

    Args:
        function: What to mark. Others that it calls and that are marked become part of it.
        takes: Shapes that it is compiled for; inside another `fusing` it runs as it is.
    """

    @functools.cache
    def compiled(shapes: Shapes) -> Callable:
        return torch.compile(function, dynamic=False if shapes == "one" else None)

    @functools.wraps(function)
    def run(*args, **settings):
        shapes = None if torch.compiler.is_compiling() else _fuses.get()
        if shapes is None or shapes not in takes:
            return function(*args, **settings)
        if shapes == "any batch":
            args = [any_batch(value) if isinstance(value, Tensor) else value for value in args]
        return compiled(shapes)(*args, **settings)

    return run  # pyright: ignore[reportReturnType]


def fused_at_one_shape(function: Function) -> Function:
    """Mark a function whose numbers differ from call to call, each a graph of its own: a training has few of them."""
    return fused(function, takes=("one",))

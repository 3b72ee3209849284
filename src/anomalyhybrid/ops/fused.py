"""Functions of many small steps that a training on a GPU runs as one kernel each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=Callable)
_compiles: ContextVar[bool] = ContextVar("_compiles", default=False)


@contextmanager
def fusing(active: bool) -> Iterator[None]:
    """Whether functions that are marked `fused` are compiled, from here to the end of the block."""
    token = _compiles.set(active)
    try:
        yield
    finally:
        _compiles.reset(token)


def fused(function: Function) -> Function:
    """Mark a function of tensors, without side effects, as one to compile inside `fusing`.

    Compiling takes seconds for each shape: a training asks for it, generation does not. Results differ by rounding.
    """

    @functools.cache
    def compiled() -> Callable:
        return torch.compile(function, dynamic=False)

    @functools.wraps(function)
    def run(*args, **settings):
        return (compiled() if _compiles.get() else function)(*args, **settings)

    return run  # pyright: ignore[reportReturnType]

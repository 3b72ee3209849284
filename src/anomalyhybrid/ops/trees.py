"""Functions on all tensors of a dataclass or tuple."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from torch import Tensor

Tree = TypeVar("Tree")


def mapped(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply a function to the tensors of a tree, or to those at the same place of several alike.

    Args:
        function: Takes one tensor of each.
        tree: A tensor, or a dataclass or tuple of such trees.
        others: Alike.
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, tuple):
        found = (mapped(function, *same) for same in zip(tree, *others, strict=True))
        return type(tree)(*found) if hasattr(tree, "_fields") else tuple(found)  # pyright: ignore
    names = [field.name for field in fields(tree)]  # pyright: ignore[reportArgumentType]
    parts = ([getattr(one, name) for one in (tree, *others)] for name in names)
    return type(tree)(*(mapped(function, *same) for same in parts))

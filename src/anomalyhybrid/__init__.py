"""Realistic defects with exact masks; the public names below load on first use, and torch only with them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalyhybrid.data.parts.render import render
    from anomalyhybrid.data.reading import read_data
    from anomalyhybrid.errors import AnomalyHybridError
    from anomalyhybrid.generation.config import GenerateConfig
    from anomalyhybrid.models.generator import Generator, load_generator
    from anomalyhybrid.recipes.generation import generate
    from anomalyhybrid.recipes.training import train
    from anomalyhybrid.training.config import TrainConfig

__version__ = "0.1.0"

_HOMES = {
    "AnomalyHybridError": "errors",
    "GenerateConfig": "generation.config",
    "Generator": "models.generator",
    "TrainConfig": "training.config",
    "generate": "recipes.generation",
    "load_generator": "models.generator",
    "read_data": "data.reading",
    "render": "data.parts.render",
    "train": "recipes.training",
}

__all__ = [  # noqa: RUF022 (the order of the story)
    "read_data",
    "render",
    "TrainConfig",
    "train",
    "GenerateConfig",
    "generate",
    "Generator",
    "load_generator",
    "AnomalyHybridError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anomalyhybrid' has no attribute {name!r}")
    value: Any = getattr(importlib.import_module(f"anomalyhybrid.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

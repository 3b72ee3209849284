"""What both integrations are given: folders, devices, and sources read without a word on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.recipes.control import controlled_sources
from anomalyhybrid.recipes.sources import Sources

Folders = str | Path | Sequence[str | Path]
"""One folder or several."""

_log = logging.getLogger("anomalyhybrid")


def folders(given: Folders) -> list[Path]:
    """One folder or several as a list."""
    return [Path(given)] if isinstance(given, (str, Path)) else [Path(one) for one in given]


def sources_of(
    data: Folders, base_set: Folders, config: GenerateConfig, cache: Path | None, *, skip_unreadable: bool = False
) -> Sources:
    """Read the images of a run; what was found goes to the logger ``anomalyhybrid``.

    Raises:
        AnomalyHybridError: As `recipes.control.controlled_sources`.
    """
    return controlled_sources(
        folders(data), folders(base_set), config, skip_unreadable=skip_unreadable, cache=cache, announce=_log.info
    )


def checked_device(given: str | torch.device) -> torch.device:
    """Name a device that this machine has.

    Raises:
        ConfigError: It has none such.
    """
    try:
        device = torch.device(given)
    except RuntimeError as error:
        raise ConfigError(f"device {given!r} is not known; give 'cpu' or 'cuda'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {given!r} was asked for, but PyTorch sees no GPU here; give 'cpu'")
    return device

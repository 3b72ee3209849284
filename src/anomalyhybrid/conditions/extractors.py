"""Extractors by the name that a config gives."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.errors import ConfigError

EDGE_KINDS = ("lite", "pidinet", "hed")
DEPTH_KINDS = ("lite", "depth_anything", "fastdepth", "measured")


def make_edge_extractor(kind: str, *, weights: Path | None = None, device: torch.device | str = "cpu") -> EdgeExtractor:
    """Make an edge extractor.

    Args:
        kind: ``"lite"`` (shipped), ``"pidinet"`` (the paper's) or ``"hed"``.
        weights: Weight file; None takes the shipped one or looks in the cache folder.
        device: Where to run.

    Returns:
        The extractor.

    Raises:
        ConfigError: If ``kind`` is not known.
        WeightsError: If its weights are missing or do not fit.
    """
    if kind == "lite":
        from anomalyhybrid.conditions.lite import lite_edge

        return lite_edge(weights, device=device)
    if kind == "pidinet":
        from anomalyhybrid.conditions.pidinet import pidinet_edge

        return pidinet_edge(weights, device=device)
    if kind == "hed":
        from anomalyhybrid.conditions.hed import hed_edge

        return hed_edge(weights, device=device)
    raise _unknown("edge", kind, EDGE_KINDS)


def make_depth_extractor(
    kind: str, *, weights: Path | None = None, device: torch.device | str = "cpu"
) -> DepthExtractor:
    """Make a depth extractor.

    Args:
        kind: ``"lite"`` (shipped), ``"depth_anything"`` (the paper's) or ``"fastdepth"``. ``"measured"``
            depth is read, not extracted: see ``conditions.measured.MeasuredDepth``.
        weights: Weight file, for ``depth_anything`` the model's folder; None takes the shipped one or looks
            in the cache folder.
        device: Where to run.

    Returns:
        The extractor.

    Raises:
        ConfigError: If ``kind`` is not known, or is ``"measured"``.
        WeightsError: If its weights are missing or do not fit.
    """
    if kind == "lite":
        from anomalyhybrid.conditions.lite import lite_depth

        return lite_depth(weights, device=device)
    if kind == "depth_anything":
        from anomalyhybrid.conditions.depth_anything import depth_anything_depth

        return depth_anything_depth(weights, device=device)
    if kind == "fastdepth":
        from anomalyhybrid.conditions.fastdepth import fastdepth_depth

        return fastdepth_depth(weights, device=device)
    if kind == "measured":
        raise ConfigError(
            "depth kind 'measured' is read from files, not extracted from images: read it with "
            "conditions.measured.MeasuredDepth and give the maps to ConditionCache.extract(measured=...)."
        )
    raise _unknown("depth", kind, DEPTH_KINDS)


def _unknown(what: str, kind: str, known: tuple[str, ...]) -> ConfigError:
    """Word the error for a kind that is not known, with the nearest one."""
    near = difflib.get_close_matches(kind, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what} extractor {kind!r} is not known.{hint} Known: {', '.join(known)}.")

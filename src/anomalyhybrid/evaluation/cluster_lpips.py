"""Cluster LPIPS (IC-LPIPS): diversity among generated images that share their nearest real image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.checks import Array, finite

WithinDistances: TypeAlias = Callable[[np.ndarray], Array]
"""Takes the indices of n generated images, int64 (n,), gives their distances (n, n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Variants of cluster LPIPS that publications use (PROTOCOL: Generation quality)."""

    cap: int | None = 200
    """Most images of a cluster that are paired, >= 2: 200, 140 or 50 in publications; None for no limit."""
    singletons: Literal["zero", "drop"] = "zero"
    """Clusters of at most one image (also empty ones) count as 0, or do not count."""

    def __post_init__(self) -> None:
        if self.cap is not None and self.cap < 2:
            raise ConfigError(f"cap is {self.cap}; it must be at least 2, or None for no limit")
        if self.singletons not in ("zero", "drop"):
            raise ConfigError(f"singletons is {self.singletons!r}; it must be 'zero' or 'drop'")


@dataclass(frozen=True, slots=True)
class ClusterLpips:
    """The mean over clusters, and what it was made of.

    Attributes:
        value: Mean over the clusters that count.
        sizes: Images assigned to each centre, before the cap; in the order of the centres.
        cluster_means: Mean pairwise distance of each cluster; None where it has at most one image.
    """

    value: float
    sizes: tuple[int, ...]
    cluster_means: tuple[float | None, ...]


def assign(to_centres: Array) -> np.ndarray:
    """Assign each generated image to its nearest centre; the first of equals.

    Args:
        to_centres: Distances, (N, M).

    Returns:
        int64 (N,), values in [0, M).

    Raises:
        DataError: Nothing on a side, or distances that are not finite.
    """
    return finite(to_centres, "distances to the centres", ndim=2).argmin(axis=1)


def cluster_lpips(
    to_centres: Array,
    within: Array | WithinDistances,
    *,
    config: ClusterConfig,
    generator: torch.Generator | None = None,
) -> ClusterLpips:
    """Average the pairwise distances in each cluster, then over clusters.

    Args:
        to_centres: Distance of each generated image to each real centre image, (N, M).
        within: Distances among generated images: the matrix (N, N), or a function that gives the matrix of
            a cluster, so that the pairs that no cluster needs are never computed.
        config: Cap and singleton rule.
        generator: Draws the images of a cluster above the cap; None takes its first ones.

    Returns:
        The mean and the parts of it.

    Raises:
        DataError: Empty input, shapes that do not fit, distances that are not finite, or all clusters dropped.

    Source: Ojha et al. 2021 (intra-cluster LPIPS), as DFMGAN, AnomalyDiffusion and SeaS use it.
    """
    assignment, centres = assign(to_centres), to_centres.shape[1]
    if not callable(within) and tuple(within.shape) != (len(assignment), len(assignment)):
        raise DataError(
            f"distances among generated images have shape {tuple(within.shape)}; "
            f"{len(assignment)} images need ({len(assignment)}, {len(assignment)})"
        )
    sizes: list[int] = []
    means: list[float | None] = []
    for centre in range(centres):
        members = np.flatnonzero(assignment == centre)
        sizes.append(len(members))
        members = _capped(members, config.cap, generator)
        means.append(_mean_pair(within, members) if len(members) > 1 else None)
    counted = [mean for mean in means if mean is not None]
    if config.singletons == "zero":
        counted += [0.0] * (centres - len(counted))
    if not counted:
        raise DataError(
            f"no cluster has two images ({len(assignment)} images, {centres} centres), and singletons are "
            "dropped; generate more images or use singletons='zero'"
        )
    return ClusterLpips(value=float(np.mean(counted)), sizes=tuple(sizes), cluster_means=tuple(means))


def _capped(members: np.ndarray, cap: int | None, generator: torch.Generator | None) -> np.ndarray:
    """Keep at most ``cap`` members, in ascending order."""
    if cap is None or len(members) <= cap:
        return members
    if generator is None:
        return members[:cap]
    chosen = torch.randperm(len(members), generator=generator)[:cap].numpy()
    return members[np.sort(chosen)]


def _mean_pair(within: Array | WithinDistances, members: np.ndarray) -> float:
    """Mean distance over the pairs of one cluster, each pair once."""
    part = within(members) if callable(within) else within[members][:, members]
    matrix = finite(part, "distances in a cluster", ndim=2).astype(np.float64)
    if matrix.shape != (len(members), len(members)):
        raise DataError(f"the distance function gave shape {matrix.shape} for a cluster of {len(members)} images")
    return float(matrix[np.triu_indices(len(members), 1)].mean())

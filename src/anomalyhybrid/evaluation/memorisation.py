"""How close generated images are to the images that they were learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, finite

DistanceMatrix: TypeAlias = Callable[[Tensor, Tensor], Array]
"""Takes images (N, ...) and (M, ...), gives distances (N, M), for example LPIPS (`evaluation.lpips`)."""


@dataclass(frozen=True, slots=True, eq=False)
class NearestDistances:
    """Distance of each image to the nearest base image.

    Attributes:
        distances: float64 (N,).
        nearest: Index of that base image, int64 (N,); the first of equals.
        mean: Mean of the distances.
        minimum: Smallest distance; 0 means that an image was copied.
    """

    distances: np.ndarray
    nearest: np.ndarray
    mean: float
    minimum: float


def nearest_base(generated: Tensor, base: Tensor, distance: DistanceMatrix, *, block: int = 32) -> NearestDistances:
    """Find the nearest base image of each generated image.

    Args:
        generated: (N, ...), what ``distance`` takes.
        base: (M, ...).
        distance: Gives the distance matrix of two batches.
        block: Generated images in one call of ``distance``.

    Returns:
        Distances and indices for each generated image.

    Raises:
        DataError: Nothing on a side, or distances of another shape or not finite.
    """
    _check_sides(len(generated), len(base), least_base=1)
    rows = [
        _matrix(distance, generated[start : start + block], base) for start in range(0, len(generated), max(block, 1))
    ]
    return _summary(np.concatenate(rows))


def nearest_within(base: Tensor, distance: DistanceMatrix) -> NearestDistances:
    """Find each base image's nearest other base image: the yardstick for `nearest_base`.

    Generated images that are nearer to the base than base images are to one another were memorised.

    Args:
        base: (M, ...), M >= 2.
        distance: Gives the distance matrix of two batches.

    Returns:
        Distances and indices for each base image.

    Raises:
        DataError: Fewer than two images, or distances of another shape or not finite.
    """
    _check_sides(len(base), len(base), least_base=2)
    matrix = _matrix(distance, base, base)
    np.fill_diagonal(matrix, np.inf)
    return _summary(matrix)


def _check_sides(images: int, base: int, *, least_base: int) -> None:
    if images < 1 or base < least_base:
        raise DataError(f"there are {images} images and {base} base images; give at least 1 and {least_base}")


def _matrix(distance: DistanceMatrix, one: Tensor, two: Tensor) -> np.ndarray:
    """A checked distance matrix, float64."""
    matrix = finite(distance(one, two), "distances", ndim=2).astype(np.float64)
    if matrix.shape != (len(one), len(two)):
        raise DataError(f"the distance function gave shape {matrix.shape} for {len(one)} and {len(two)} images")
    return matrix


def _summary(matrix: np.ndarray) -> NearestDistances:
    nearest = matrix.argmin(axis=1)
    distances = matrix[np.arange(len(matrix)), nearest]
    return NearestDistances(distances, nearest, float(distances.mean()), float(distances.min()))

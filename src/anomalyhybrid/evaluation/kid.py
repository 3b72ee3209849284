"""Kernel Inception Distance: unbiased squared MMD with a polynomial kernel, over random subsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, feature_pair

LARGEST_SUBSET = 1000  # torch-fidelity's subset size


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """The distance of each subset pair, summarised.

    Attributes:
        mean: Mean over the subsets; may be slightly below 0, the estimator is unbiased.
        std: Population standard deviation over the subsets.
        subset_size: Images drawn from each side.
        subsets: Number of subset pairs.
    """

    mean: float
    std: float
    subset_size: int
    subsets: int


def unbiased_mmd(first: Array, second: Array) -> float:
    """Compute the unbiased squared MMD of two sets, which may differ in size, with k(x, y) = (x.y / D + 1)^3.

    Args:
        first: Features, (N, D), any real dtype; N >= 2.
        second: Features, (M, D); M >= 2.

    Returns:
        The estimate, computed in float64; about 0 for samples of one distribution, and may be negative.

    Raises:
        DataError: Fewer than two images on a side, different D, or values that are not finite.

    Source: Binkowski et al. 2018, Eq. 4.
    """
    return _mmd(*feature_pair(first, second))


def kernel_distance(
    first: Array, second: Array, *, subsets: int = 100, subset_size: int | None = None, seed: int = 2020
) -> KernelDistance:
    """Compute KID: the unbiased MMD averaged over random subset pairs, drawn without replacement.

    Args:
        first: Features of one image set, (N, D), any real dtype.
        second: Features of the other, (M, D).
        subsets: Number of subset pairs, >= 1.
        subset_size: Images of each side in a subset, 2 to min(N, M); None takes min(N, M, 1000). A side whose
            images are all drawn each time adds nothing to the standard deviation.
        seed: Seed of the draws (NumPy's ``RandomState``, as torch-fidelity, whose default it is).

    Returns:
        Mean and standard deviation over the subsets, computed in float64.

    Raises:
        DataError: As `unbiased_mmd`, or a count out of range.

    Source: Binkowski et al. 2018; torch-fidelity ``metric_kid``.
    """
    one, two = feature_pair(first, second)
    most = min(len(one), len(two))
    size = min(most, LARGEST_SUBSET) if subset_size is None else subset_size
    if not 2 <= size <= most:
        raise DataError(f"subsets of {size} images from sets of {len(one)} and {len(two)}; use 2 to {most}")
    if subsets < 1:
        raise DataError(f"{subsets} subsets; use at least 1")
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        chosen_one = random.choice(len(one), size, replace=False)
        chosen_two = random.choice(len(two), size, replace=False)
        values.append(_mmd(one[chosen_one], two[chosen_two]))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), size, subsets)


def _mmd(one: np.ndarray, two: np.ndarray) -> float:
    """Unbiased squared MMD of checked float64 features."""
    count_one, count_two = len(one), len(two)
    within_one, within_two = _kernel(one, one), _kernel(two, two)
    return float(
        (within_one.sum() - np.trace(within_one)) / (count_one * (count_one - 1))
        + (within_two.sum() - np.trace(within_two)) / (count_two * (count_two - 1))
        - 2.0 * _kernel(one, two).mean()
    )


def _kernel(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Polynomial kernel matrix of degree 3."""
    return (one @ two.T / one.shape[1] + 1.0) ** 3

"""Recall of hybrids at a fixed true-negative rate, and its harmonic mean (PROTOCOL: Butterfly hybrids)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, finite


@dataclass(frozen=True, slots=True)
class HybridRecall:
    """How many hybrids of each kind score above the threshold.

    Attributes:
        threshold: A score; hybrid means strictly above it.
        true_negative_rate: Share of non-hybrids at or below the threshold, >= the rate asked for.
        recalls: (kind, recall in [0, 1]) in the order given.
        harmonic_mean: Of the recalls; 0 if one is 0.
    """

    threshold: float
    true_negative_rate: float
    recalls: tuple[tuple[str, float], ...]
    harmonic_mean: float


def threshold_at_tnr(negative_scores: Array, *, tnr: float = 0.95) -> float:
    """Find the first (smallest) score at which the recall of non-hybrids reaches ``tnr``.

    Args:
        negative_scores: Scores of non-hybrids, (N,), higher is more hybrid.
        tnr: Wanted share at or below the threshold, in (0, 1].

    Returns:
        One of the scores.

    Raises:
        DataError: No scores, values that are not finite, or ``tnr`` out of range.
    """
    scores = np.sort(finite(negative_scores, "scores of non-hybrids", ndim=1))
    if not 0 < tnr <= 1:
        raise DataError(f"true-negative rate {tnr} is not in (0, 1]; the HDR challenge uses 0.95")
    needed = math.ceil(tnr * len(scores) - 1e-9)  # 0.95 * 20 is 19, not 19.000000000000004
    return float(scores[max(needed, 1) - 1])


def recall_at_tnr(negative_scores: Array, hybrid_scores: Mapping[str, Array], *, tnr: float = 0.95) -> HybridRecall:
    """Measure recall of each kind of hybrid at one threshold, set on the non-hybrids.

    Species that are thresholded separately (species A, the mimic) take one call each; join their recalls
    with `harmonic_mean`.

    Args:
        negative_scores: Scores of non-hybrids, (N,), higher is more hybrid.
        hybrid_scores: For each kind (for example ``signal``, ``non-signal``) its scores, (M,).
        tnr: Share of non-hybrids that must be at or below the threshold.

    Returns:
        Threshold, recalls and their harmonic mean.

    Raises:
        DataError: No kinds, a kind without scores, or as `threshold_at_tnr`.

    Source: HDR anomaly challenge (butterfly hybrids); paper: Table 6.
    """
    if not hybrid_scores:
        raise DataError("no kind of hybrid is given; give the scores of at least one")
    threshold = threshold_at_tnr(negative_scores, tnr=tnr)
    negatives = finite(negative_scores, "scores of non-hybrids", ndim=1)
    recalls = tuple(
        (kind, float(np.mean(finite(scores, f"scores of {kind} hybrids", ndim=1) > threshold)))
        for kind, scores in hybrid_scores.items()
    )
    return HybridRecall(
        threshold=threshold,
        true_negative_rate=float(np.mean(negatives <= threshold)),
        recalls=recalls,
        harmonic_mean=harmonic_mean(recall for _, recall in recalls),
    )


def harmonic_mean(values: Iterable[float]) -> float:
    """Compute the harmonic mean of values >= 0; 0 if one of them is 0.

    Raises:
        DataError: No values, or one that is negative or NaN.
    """
    numbers = list(values)
    if not numbers:
        raise DataError("there is nothing to average; give at least one value")
    if not all(number >= 0 for number in numbers):
        raise DataError(f"values are {numbers}; a harmonic mean needs numbers >= 0")
    if min(numbers) == 0:
        return 0.0
    return len(numbers) / sum(1.0 / number for number in numbers)

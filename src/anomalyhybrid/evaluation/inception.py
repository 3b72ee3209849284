"""Inception Score, by torch-fidelity's definition (PROTOCOL: Generation quality)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, finite


@dataclass(frozen=True, slots=True)
class InceptionScore:
    """The score of each split, summarised.

    Attributes:
        mean: Mean over the splits, >= 1.
        std: Population standard deviation over the splits.
    """

    mean: float
    std: float


def inception_score(logits: Array, *, splits: int = 10, shuffle_seed: int | None = 2020) -> InceptionScore:
    """Compute exp(mean KL(p(y|x) || p(y))) in each split of shuffled images.

    Args:
        logits: A classifier's outputs before softmax, (N, classes).
        splits: Number of parts of nearly equal size, 1 to N.
        shuffle_seed: Seed of the order (NumPy's ``RandomState``, as torch-fidelity); None keeps the order.

    Returns:
        Mean and standard deviation over the splits, computed in float64.

    Raises:
        DataError: Empty input, values that are not finite, or more splits than images.

    Source: torch-fidelity ``metric_isc``; splits 10 and seed 2020 are its defaults.
    """
    values = finite(logits, "logits", ndim=2).astype(np.float64)
    values = values - values.max(axis=1, keepdims=True)
    log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return _score(np.exp(log_p), log_p, splits, shuffle_seed)


def inception_score_of_probabilities(
    probabilities: Array, *, splits: int = 10, shuffle_seed: int | None = 2020
) -> InceptionScore:
    """Compute the Inception Score from class probabilities; a probability of 0 counts as p log p = 0.

    Args:
        probabilities: (N, classes), >= 0, each row with sum 1 (within 1e-3).
        splits: As for `inception_score`.
        shuffle_seed: As for `inception_score`.

    Returns:
        Mean and standard deviation over the splits.

    Raises:
        DataError: As `inception_score`, or rows that are no distribution.
    """
    p = finite(probabilities, "probabilities", ndim=2).astype(np.float64)
    sums = p.sum(axis=1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise DataError(
            f"rows are no probabilities (smallest value {p.min():.4g}, sums from {sums.min():.4g} to "
            f"{sums.max():.4g}); give softmax outputs, or logits to inception_score"
        )
    log_p = np.log(p, where=p > 0, out=np.zeros_like(p))
    return _score(p, log_p, splits, shuffle_seed)


def _score(p: np.ndarray, log_p: np.ndarray, splits: int, shuffle_seed: int | None) -> InceptionScore:
    """Score each split of N checked distributions."""
    count = len(p)
    if not 1 <= splits <= count:
        raise DataError(f"{splits} splits of {count} images; use 1 to {count} splits")
    if shuffle_seed is not None:
        order = np.random.RandomState(shuffle_seed).permutation(count)
        p, log_p = p[order], log_p[order]
    scores = []
    for index in range(splits):
        part = slice(index * count // splits, (index + 1) * count // splits)
        marginal = p[part].mean(axis=0)
        log_q = np.log(marginal, where=marginal > 0, out=np.zeros_like(marginal))
        scores.append(float(np.exp((p[part] * (log_p[part] - log_q)).sum(axis=1).mean())))
    return InceptionScore(mean=float(np.mean(scores)), std=float(np.std(scores)))

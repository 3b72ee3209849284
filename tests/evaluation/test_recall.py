"""Recall at a fixed true-negative rate: hand-computed tables, properties, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.recall import harmonic_mean, recall_at_tnr, threshold_at_tnr


@pytest.mark.parametrize(
    ("scores", "tnr", "threshold"),
    [
        (list(range(1, 21)), 0.95, 19),  # 19 of 20 is exactly 0.95
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 11)), 0.95, 10),  # 9 of 10 is too few
        ([3, 1, 2], 0.5, 2),
        ([3, 1, 2], 1.0, 3),
        ([1, 2, 2, 2], 0.5, 2),
        ([7], 0.95, 7),
    ],
)
def test_threshold_by_hand(scores: list[int], tnr: float, threshold: float) -> None:
    assert threshold_at_tnr(np.array(scores), tnr=tnr) == threshold


@pytest.mark.parametrize("count", range(1, 60))
def test_threshold_is_the_first_that_suffices(count: int) -> None:
    scores = np.random.default_rng(count).integers(0, 30, count) / 7
    enough = [score for score in np.unique(scores) if (scores <= score).mean() >= 0.95 - 1e-12]
    assert threshold_at_tnr(scores) == enough[0]


def test_recalls_by_hand() -> None:
    """Threshold 19; a score equal to it is no hybrid."""
    found = recall_at_tnr(
        np.arange(1, 21), {"signal": torch.tensor([19.0, 19.5, 30.0, 40.0]), "non-signal": np.array([18, 20])}
    )
    assert (found.threshold, found.true_negative_rate) == (19, 0.95)
    assert found.recalls == (("signal", 0.75), ("non-signal", 0.5))
    assert found.harmonic_mean == pytest.approx(2 / (4 / 3 + 2))
    missed = recall_at_tnr(np.arange(1, 21), {"signal": np.array([30]), "mimic": np.array([1])})
    assert missed.harmonic_mean == 0


def test_harmonic_mean() -> None:
    assert harmonic_mean([0.2, 0.6]) == pytest.approx(0.3)
    assert harmonic_mean(iter([0.4, 0.4, 0.4])) == pytest.approx(0.4)
    assert harmonic_mean([0.5, 0.0]) == 0
    assert harmonic_mean([0.2, 0.9]) < 0.55


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: threshold_at_tnr(np.array([])), "non-hybrids are empty"),
        (lambda: threshold_at_tnr(np.array([np.nan])), "NaN"),
        (lambda: threshold_at_tnr(np.array([1.0]), tnr=0), "not in"),
        (lambda: threshold_at_tnr(np.array([1.0]), tnr=95), "not in"),
        (lambda: recall_at_tnr(np.array([1.0]), {}), "no kind of hybrid"),
        (lambda: recall_at_tnr(np.array([1.0]), {"mimic": np.array([])}), "mimic hybrids are empty"),
        (lambda: harmonic_mean([]), "nothing to average"),
        (lambda: harmonic_mean([0.5, -0.1]), ">= 0"),
        (lambda: harmonic_mean([0.5, float("nan")]), ">= 0"),
    ],
)
def test_refusals(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()

"""Precision-recall curves: hand-computed, parity with scikit-learn, thinning, geometry."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.curves import HEIGHT, WIDTH, Curve, CurvePlot, geometry, precision_recall, thinned


def test_by_hand() -> None:
    """0.9 (defect), 0.7 (good), 0.7 (defect), 0.1 (good): the tie is one point."""
    curve = precision_recall("ours", np.array([0.7, 0.9, 0.1, 0.7]), np.array([0, 1, 0, 1]))
    assert curve.recall.tolist() == [0.5, 1.0, 1.0]
    assert curve.precision.tolist() == [1.0, 2 / 3, 0.5]


def test_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + labels, 1)  # many ties
    curve = precision_recall("ours", scores, labels)
    precision, recall, _ = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.recall, recall[-2::-1], atol=1e-12)
    np.testing.assert_allclose(curve.precision, precision[-2::-1], atol=1e-12)


def test_thinning_keeps_ends_and_shape() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(50_000) < 0.1
    curve = precision_recall("ours", rng.normal(size=50_000) + 2 * labels, labels)
    thin = thinned(curve)
    assert 100 < len(thin.recall) <= 200
    assert (thin.recall[0], thin.precision[0]) == (curve.recall[0], curve.precision[0])
    assert (thin.recall[-1], thin.precision[-1]) == (curve.recall[-1], curve.precision[-1])
    pairs = set(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True))
    assert all(pair in pairs for pair in zip(thin.recall.tolist(), thin.precision.tolist(), strict=True))
    inner = curve.recall > 0.05
    between = np.interp(curve.recall[inner], thin.recall, thin.precision)
    assert np.abs(between - curve.precision[inner]).max() < 0.02


def test_thinning_keeps_a_cliff() -> None:
    recall = np.r_[np.linspace(0.0, 0.9, 5000), np.full(5000, 0.9), 1.0]
    precision = np.r_[np.ones(5000), np.linspace(1.0, 0.1, 5000), 0.1]
    thin = thinned(Curve("ours", recall, precision))
    assert len(thin.recall) <= 200
    assert (np.abs(thin.recall - 0.9) < 1e-9).sum() > 20
    assert thinned(thin) is thin


def test_geometry_by_hand() -> None:
    drawn = geometry(CurvePlot("t", [Curve("ours", np.array([0.0, 1.0]), np.array([1.0, 0.5]))]), {"ours": 3})
    middle = (drawn.top + drawn.bottom) / 2
    assert drawn.lines[0].points == f"{drawn.left:.1f},{drawn.top:.1f} {drawn.right:.1f},{middle:.1f}"
    assert drawn.lines[0].style == 3
    assert [tick.label for tick in drawn.x_ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert drawn.y_ticks[0].place == drawn.bottom
    assert drawn.y_ticks[-1].place == drawn.top
    assert 0 < drawn.left < drawn.right < WIDTH
    assert 0 < drawn.top < drawn.bottom < HEIGHT


@pytest.mark.parametrize(
    ("recall", "precision", "words"),
    [
        ([0.0, 1.0], [1.0], "2 recalls and 1 precisions"),
        ([0.0, 1.1], [1.0, 1.0], r"in \[0, 1\]"),
        ([0.0, 0.5, 0.2], [1.0, 1.0, 1.0], "rises and falls"),
        ([0.0, np.nan], [1.0, 1.0], "recall"),
        ([], [], "recall"),
    ],
)
def test_wrong_curves_are_refused(recall: list[float], precision: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Curve("ours", np.array(recall), np.array(precision))


def test_a_curve_needs_an_anomalous_sample() -> None:
    with pytest.raises(DataError, match="none of the 2"):
        precision_recall("ours", np.array([0.1, 0.2]), np.array([0, 0]))
    with pytest.raises(DataError, match="one label for each"):
        precision_recall("ours", np.array([0.1, 0.2]), np.array([0]))

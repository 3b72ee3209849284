"""Heads of Table 6: what they learn, that they repeat, parity with scikit-learn called by hand, what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.hybrid_head import HeadConfig, _batches, hybrid_scores, mlp_scores, new_mlp, sgd_scores
from anomalyhybrid.seeding import derive

SMALL = HeadConfig(widths=(16, 8), epochs=30, batch_size=16, learning_rate=3e-3)


def clouds(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds apart along one of eight dimensions; a third of the samples are hybrids."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 3 == 0
    features = draw.normal(0, 1, (count, 8)).astype(np.float32)
    features[:, 0] += 4 * labels
    return features, labels


def test_both_heads_learn_and_the_final_score_is_the_larger() -> None:
    train, labels = clouds()
    test, truth = clouds(seed=1)
    scores = hybrid_scores(train, labels, torch.from_numpy(test), SMALL)
    assert np.array_equal(scores.final, np.maximum(scores.sgd, scores.mlp))
    for name in ("sgd", "mlp", "final"):
        own = getattr(scores, name)
        assert own.shape == (60,)
        assert own.min() >= 0
        assert own.max() <= 1
        assert np.mean(own[truth][:, None] > own[~truth]) > 0.95, name


def test_shuffled_labels_teach_nothing() -> None:
    """So that the figure above is the labels' doing."""
    train, labels = clouds()
    test, truth = clouds(count=300, seed=1)
    scores = hybrid_scores(train, np.random.default_rng(2).permutation(labels), test, SMALL).final
    assert np.mean(scores[truth][:, None] > scores[~truth]) < 0.85


def test_same_seed_same_scores_and_no_global_randomness() -> None:
    train, labels = clouds()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = hybrid_scores(train, labels, train, SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    np.random.default_rng(0)
    torch.manual_seed(7)
    again = hybrid_scores(train, labels, train, SMALL)
    assert np.array_equal(first.sgd, again.sgd)
    assert np.array_equal(first.mlp, again.mlp)
    other = hybrid_scores(train, labels, train, replace(SMALL, seed=1))
    assert not np.array_equal(first.mlp, other.mlp)


def test_sgd_is_the_protocols() -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold

    train, labels = clouds()
    settings = {"loss": "log_loss", "alpha": 1e-3, "learning_rate": "adaptive", "class_weight": "balanced"}
    seed = derive(0, "hybrid head", "sgd") % 2**32
    linear = SGDClassifier(**settings, eta0=0.01, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    wanted = CalibratedClassifierCV(linear, cv=folds).fit(train, labels.astype(int)).predict_proba(train)[:, 1]
    assert np.allclose(sgd_scores(train, labels, train, HeadConfig()), wanted)


def test_mlp_is_the_protocols() -> None:
    layers = list(new_mlp(1536, HeadConfig()))
    linear = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
    assert linear == [(1536, 1024), (1024, 1024), (1024, 512), (512, 2)]
    assert [type(layer).__name__ for layer in layers[1:3]] == ["BatchNorm1d", "ReLU"]
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in layers) == 3


def test_rare_class_and_odd_batches() -> None:
    train, labels = clouds(count=17)
    labels[:] = False
    labels[:2] = True
    scores = hybrid_scores(train, labels, train[:3], HeadConfig(widths=(8,), epochs=2, batch_size=4))
    assert scores.final.shape == (3,)
    parts = _batches(17, 4, torch.Generator().manual_seed(0))
    assert [len(part) for part in parts] == [4, 4, 4, 5]
    assert sorted(torch.cat(parts).tolist()) == list(range(17))


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    train, labels = clouds()
    for call, words in (
        (lambda: hybrid_scores(train, labels[:5], train, SMALL), "do not fit"),
        (lambda: hybrid_scores(train, labels, train[:, :3], SMALL), "do not fit"),
        (lambda: hybrid_scores(train, np.zeros(60, bool), train, SMALL), "0 hybrids and 60 non-hybrids"),
        (lambda: hybrid_scores(train * np.nan, labels, train, SMALL), "NaN"),
        (lambda: hybrid_scores(train, labels * 2, train, SMALL), "binarise"),
    ):
        with pytest.raises(DataError, match=words):
            call()
    for wrong in ({"folds": 1}, {"epochs": 0}, {"batch_size": 1}, {"alpha": 0.0}, {"widths": ()}):
        with pytest.raises(ConfigError, match="head"):
            HeadConfig(**wrong)
    monkeypatch.setitem(sys.modules, "sklearn.calibration", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomalyhybrid\[hybrids\]'"):
        sgd_scores(train, labels, train, SMALL)
    assert mlp_scores(train, labels, train[:1], SMALL).shape == (1,)

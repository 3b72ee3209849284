"""Inception Score, Fréchet distance and KID: hand-computed values, references, properties, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.frechet import frechet_distance
from anomalyhybrid.evaluation.inception import inception_score, inception_score_of_probabilities
from anomalyhybrid.evaluation.kid import kernel_distance, unbiased_mmd


def features(count: int, size: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, size)) @ random.normal(size=(size, size)) / size**0.5 + shift


class Given(torch.nn.Module):
    """Hands features through, so that torchmetrics measures exactly them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values


def test_inception_score_by_hand() -> None:
    """Sure and spread over C classes: C; sure of one class, or unsure: 1."""
    assert inception_score_of_probabilities(np.eye(4), splits=1).mean == pytest.approx(4)
    assert inception_score_of_probabilities(np.eye(4)[[0] * 6], splits=2).mean == pytest.approx(1)
    unsure = inception_score(np.zeros((20, 5)))
    assert (unsure.mean, unsure.std) == pytest.approx((1, 0))
    # p = (0.9, 0.1), (0.1, 0.9): KL to (0.5, 0.5) is 0.9 ln 1.8 + 0.1 ln 0.2
    value = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    table = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert inception_score_of_probabilities(table, splits=1).mean == pytest.approx(value)
    # unshuffled splits: the first is sure and spread (2), the second is all one class (1)
    split = inception_score_of_probabilities(np.eye(2)[[0, 1, 0, 0]], splits=2, shuffle_seed=None)
    assert (split.mean, split.std) == pytest.approx((1.5, 0.5))


@pytest.mark.parametrize("count", [53, 200])
def test_inception_score_is_torch_fidelitys(count: int) -> None:
    """Its definition, written out in torch: the reference package itself needs torchvision."""
    logits = torch.tensor(features(count, 12) * 3)
    order = np.random.RandomState(2020).permutation(count)
    p = logits[order].double().softmax(dim=1)
    scores = []
    for index in range(10):
        chunk = p[index * count // 10 : (index + 1) * count // 10]
        divergence = (chunk * (chunk.log() - chunk.mean(dim=0, keepdim=True).log())).sum(dim=1)
        scores.append(divergence.mean().exp().item())
    for found in (inception_score(logits), inception_score_of_probabilities(logits.softmax(dim=1))):
        assert (found.mean, found.std) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12)
    assert inception_score(logits + 7.0).mean == pytest.approx(np.mean(scores), rel=1e-9)


def test_inception_score_equals_torchmetrics_in_one_split() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.image.inception")
    logits = torch.tensor(features(60, 12) * 3)
    metric = torchmetrics.InceptionScore(feature=Given(12), splits=1)
    metric.update(logits)
    assert inception_score(logits, splits=1).mean == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_frechet_distance_by_hand() -> None:
    """In one dimension it is (m1 - m2)^2 + (s1 - s2)^2."""
    one, two = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])  # means 1, 3; deviations 2^.5, 8^.5
    assert frechet_distance(one, two) == pytest.approx(4 + (8**0.5 - 2**0.5) ** 2)


@pytest.mark.parametrize(("count", "other"), [(300, 200), (20, 300), (12, 15)])
def test_frechet_distance_equals_the_matrix_root(count: int, other: int) -> None:
    one, two = features(count, 24, 0), features(other, 24, 1, shift=0.3)
    cov_one, cov_two = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(cov_one @ cov_two).astype(complex)).real.sum()
    wanted = np.square(one.mean(0) - two.mean(0)).sum() + np.trace(cov_one) + np.trace(cov_two) - 2 * root
    assert frechet_distance(one, two) == pytest.approx(wanted, rel=1e-6)
    if min(count, other) > 24:
        assert np.trace(sqrtm(cov_one @ cov_two).real) == pytest.approx(root)


def test_frechet_distance_properties() -> None:
    one, two = features(60, 8, 0), features(50, 8, 1)
    value = frechet_distance(one, two)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(two, one) == pytest.approx(value)
    assert frechet_distance(one @ rotation + 5, two @ rotation + 5) == pytest.approx(value)
    assert frechet_distance(3 * one, 3 * two) == pytest.approx(9 * value)
    assert frechet_distance(one, one + 2) == pytest.approx(8 * 4)
    assert frechet_distance(torch.tensor(one), torch.tensor(two)) == value


def test_frechet_distance_equals_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.image.fid")
    one, two = torch.tensor(features(80, 16, 0)), torch.tensor(features(70, 16, 1, shift=0.2))
    metric = torchmetrics.FrechetInceptionDistance(feature=Given(16), input_img_size=(16,))
    metric.set_dtype(torch.float64)
    metric.update(one, real=True)
    metric.update(two, real=False)
    assert frechet_distance(one, two) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_mmd_by_hand() -> None:
    """k(x, y) = (xy + 1)^3 on {0, 1} and {1, 2}: within 1 and 27; across 1, 1, 8, 27."""
    one, two = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert unbiased_mmd(one, two) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)
    found = kernel_distance(one, two, subsets=3)
    assert (found.mean, found.std, found.subset_size, found.subsets) == pytest.approx((9.5, 0, 2, 3))


def test_kernel_distance_is_torch_fidelitys() -> None:
    one, two = features(50, 16, 0), features(70, 16, 1, shift=0.5)
    random, values = np.random.RandomState(2020), []
    for _ in range(12):
        x, y = one[random.choice(50, 20, replace=False)], two[random.choice(70, 20, replace=False)]
        xx, yy, xy = ((a @ b.T * (1 / 16) + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        inner = (xx.sum() - np.diagonal(xx).sum() + yy.sum() - np.diagonal(yy).sum()) / (20 * 19)
        values.append(inner - 2 * xy.sum() / 400)
    found = kernel_distance(one, two, subsets=12, subset_size=20)
    assert (found.mean, found.std) == pytest.approx((np.mean(values), np.std(values)), rel=1e-10)


def test_mmd_equals_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.image.kid")
    one, two = features(40, 16, 0), features(40, 16, 1, shift=0.5)
    wanted = float(torchmetrics.poly_mmd(torch.tensor(one), torch.tensor(two)))
    assert unbiased_mmd(one, two) == pytest.approx(wanted, rel=1e-10)


def test_kernel_distance_properties() -> None:
    one, two = features(120, 8, 0), features(90, 8, 1, shift=1.0)
    found = kernel_distance(one, two, subsets=10, subset_size=40)
    assert found == kernel_distance(one, two, subsets=10, subset_size=40)
    assert found != kernel_distance(one, two, subsets=10, subset_size=40, seed=1)
    assert kernel_distance(one, two, subsets=1).subset_size == 90
    assert unbiased_mmd(one, two) == pytest.approx(unbiased_mmd(two, one))
    halves = [unbiased_mmd(*np.split(np.random.default_rng(seed).permutation(one), 2)) for seed in range(40)]
    assert min(halves) < 0  # unbiased: one distribution gives both signs
    assert abs(np.mean(halves)) < found.mean / 20


SOME = np.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: inception_score(np.zeros((0, 5))), "logits are empty"),
        (lambda: inception_score(np.zeros(5)), "2 dimension"),
        (lambda: inception_score(np.zeros((5, 3))), "10 splits of 5 images"),
        (lambda: inception_score(np.full((5, 3), np.nan)), "15 of 15 logits are NaN"),
        (lambda: inception_score_of_probabilities(np.ones((5, 3))), "sums from 3 to 3"),
        (lambda: inception_score_of_probabilities(np.array([[1.5, -0.5]])), "smallest value -0.5"),
        (lambda: frechet_distance(SOME, np.ones((4, 2))), "3 and 2 dimensions"),
        (lambda: frechet_distance(SOME[:1], SOME), "1 and 4 images; both sets need at least 2"),
        (lambda: frechet_distance(SOME, SOME * np.inf), "second features are NaN or infinite"),
        (lambda: unbiased_mmd(np.ones((0, 3)), SOME), "first features are empty"),
        (lambda: kernel_distance(SOME, SOME, subset_size=5), "subsets of 5.*use 2 to 4"),
        (lambda: kernel_distance(SOME, SOME, subsets=0), "0 subsets"),
    ],
)
def test_refusals(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()

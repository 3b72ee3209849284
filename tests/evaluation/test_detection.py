"""Detection metrics: hand-computed tables, scikit-learn, a brute-force PRO curve, properties, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.detection import Detection, detection, f1_max_on_grid, localisation

SAMPLES = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


def split(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows], dtype=np.float64), np.array([label for _, label in rows])


@pytest.mark.parametrize(
    ("scores", "labels", "auroc", "ap", "f1", "threshold"),
    [
        # pairs won: 0.8 beats both, 0.35 beats 0.1 only: 3/4; AP = 1/2 (1/1) + 1/2 (2/3)
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 3 / 4, 5 / 6, 4 / 5, 0.35),
        # perfect, inverted, and one tie of all
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0, 1.0, 1.0, 0.8),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, 1 / 2 * 1 / 3 + 1 / 2 * 2 / 4, 2 / 3, 0.1),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0], 0.5, 1 / 4, 2 / 5, 0.5),
        # one tie across the classes: pairs 1 + 1 + 1/2 + 1 of 4; at 0.6 two hits of three flagged
        ([0.9, 0.6, 0.6, 0.2], [1, 1, 0, 0], 3.5 / 4, 1 / 2 * 1 + 1 / 2 * 2 / 3, 4 / 5, 0.6),
        # equal F1 at 0.9 and 0.1 (2/3 both): the higher threshold
        ([0.9, 0.5, 0.4, 0.1], [1, 0, 0, 1], 0.5, 1 / 2 * 1 + 1 / 2 * 2 / 4, 2 / 3, 0.9),
    ],
)
def test_hand_computed(
    scores: list[float], labels: list[int], auroc: float, ap: float, f1: float, threshold: float
) -> None:
    found = detection(np.array(scores), np.array(labels))
    assert (found.auroc, found.ap, found.f1_max, found.threshold) == pytest.approx((auroc, ap, f1, threshold))


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_equals_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = split(rows)
    found = detection(scores, labels)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    best = max(metrics.f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
    assert found.f1_max == pytest.approx(best, abs=1e-12)
    assert metrics.f1_score(labels, scores >= found.threshold) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_equals_scikit_learn_on_many_pixels(dtype: type) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    labels = random.random(200_000) < 0.03
    scores = (random.normal(size=labels.size) + 1.5 * labels).astype(dtype)
    found = detection(scores, labels)
    exact = scores.astype(np.float64)
    precision, recall, _ = metrics.precision_recall_curve(labels, exact)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, exact), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(labels, exact), abs=1e-12)
    assert found.f1_max == pytest.approx(f1.max(), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(SAMPLES)
def test_rank_properties(rows: list[tuple[int, bool]]) -> None:
    scores, labels = split(rows)
    found = detection(scores, labels)
    order = np.random.default_rng(len(rows)).permutation(len(scores))
    assert detection(scores[order], labels[order]) == found
    monotone = detection(np.exp(scores), labels)
    assert (monotone.auroc, monotone.ap, monotone.f1_max) == (found.auroc, found.ap, found.f1_max)
    assert detection(-scores, labels).auroc == pytest.approx(1 - found.auroc, abs=1e-12)
    assert detection(-scores, ~labels).auroc == pytest.approx(found.auroc, abs=1e-12)
    doubled = detection(np.tile(scores, 2), np.tile(labels, 2))
    assert (doubled.auroc, doubled.ap, doubled.f1_max) == pytest.approx((found.auroc, found.ap, found.f1_max))
    prevalence = labels.mean()
    assert found.f1_max >= 2 * prevalence / (1 + prevalence) - 1e-12  # flagging everything is one choice
    assert f1_max_on_grid(scores, labels, np.unique(scores)) == pytest.approx(found.f1_max)
    assert f1_max_on_grid(scores, labels, np.arange(-3, 3, 2.0)) <= found.f1_max + 1e-12


def test_tensors_and_negative_zero() -> None:
    scores = torch.tensor([0.0, -0.0, 1.0, -1.0], dtype=torch.bfloat16)
    labels = torch.tensor([1, 0, 1, 0])
    assert detection(scores, labels).auroc == pytest.approx(3.5 / 4)
    assert isinstance(detection(scores, labels), Detection)


def brute_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """The PRO curve at every distinct score, then a fine numeric area: no shared code with the product."""
    regions = []
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [(index, labels == number) for number in range(1, count)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        rates.append(float((flagged & ~masks).sum() / (~masks).sum()))
        overlaps.append(float(np.mean([flagged[index][region].mean() for index, region in regions])))
    area = 0.0
    for left, right, low, high in zip(rates, rates[1:], overlaps, overlaps[1:], strict=False):
        stop = min(right, limit)
        if stop > left:
            at_stop = low + (high - low) * (stop - left) / (right - left)
            area += (stop - left) * (low + at_stop) / 2
    return area / limit


def random_pixels(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Maps and masks with several regions; ``levels`` makes ties."""
    random = np.random.default_rng(seed)
    masks = np.zeros((4, 24, 20), bool)
    masks[0, 2:8, 3:9] = masks[0, 15:18, 10:12] = masks[1, 5:6, 5:19] = masks[2, 20:, 15:] = True
    masks[2, 19, 14] = True  # touches a region at a corner: the same region
    maps = random.normal(size=masks.shape) + 1.5 * masks
    return (np.round(maps * levels) / levels if levels else maps), masks


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_equals_brute_force(levels: int | None, limit: float) -> None:
    maps, masks = random_pixels(3, levels)
    found = localisation(maps, masks, fpr_limit=limit)
    assert found.regions == 4
    assert found.aupro == pytest.approx(brute_aupro(maps, masks, limit), abs=1e-12)


def test_localisation_pools_the_pixels() -> None:
    maps, masks = random_pixels(1, 8)
    found, pooled = localisation(maps, masks), detection(maps.ravel(), masks.ravel())
    assert (found.auroc, found.ap, found.f1_max, found.threshold) == (
        pooled.auroc,
        pooled.ap,
        pooled.f1_max,
        pooled.threshold,
    )
    as_lists = localisation([torch.tensor(m) for m in maps], [torch.tensor(m) for m in masks])
    assert as_lists == found
    mixed = localisation([maps[0], maps[1][:10]], [masks[0], masks[1][:10]])
    assert mixed.regions == 3


def test_aupro_weighs_regions_not_pixels() -> None:
    """A large region found and a small one missed give 1/2, whatever their sizes."""
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :9, :] = masks[0, 18, 18] = True
    maps = np.zeros((1, 20, 20))
    maps[0, :9, :] = 1.0
    maps[0, 18, 18] = -1.0
    assert localisation(maps, masks).aupro == pytest.approx(0.5)
    perfect = localisation(masks.astype(float), masks)
    assert (perfect.auroc, perfect.ap, perfect.f1_max, perfect.aupro) == (1.0, 1.0, 1.0, 1.0)
    assert localisation(-masks.astype(float), masks).aupro == 0.0
    constant = localisation(np.zeros_like(maps), masks)  # the diagonal: half of the limit
    assert (constant.auroc, constant.aupro) == pytest.approx((0.5, 0.15))


def test_five_million_pixels() -> None:
    """A test set of a category at 256x256: it must simply be no burden (about a second)."""
    random = np.random.default_rng(0)
    masks = np.zeros((80, 256, 256), bool)
    masks[:60, 100:160, 80:140] = True
    maps = random.random(masks.shape, dtype=np.float32) + masks
    found = localisation(maps, masks)
    assert found.auroc == 1.0
    assert found.regions == 60


SCORES, LABELS = np.array([0.1, 0.9, 0.5]), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: detection(np.array([]), np.array([])), "empty"),
        (lambda: detection(np.array([0.1, np.nan, np.inf]), LABELS), "2 of 3 scores are NaN or infinite"),
        (lambda: detection(SCORES, LABELS[:2]), "one label for each score"),
        (lambda: detection(SCORES[None], LABELS), "shape"),
        (lambda: detection(SCORES, LABELS * 255), "from 0 to 255.*binarise"),
        (lambda: detection(SCORES, np.zeros(3)), "all 3 samples are normal"),
        (lambda: detection(SCORES, np.ones(3)), "all 3 samples are anomalous"),
        (lambda: f1_max_on_grid(SCORES, LABELS, np.array([])), "thresholds are empty"),
        (lambda: f1_max_on_grid(SCORES, LABELS[:2], np.array([0.5])), "one label for each score"),
        (lambda: localisation([], []), "no anomaly maps"),
        (lambda: localisation(np.zeros((2, 4, 4)), np.zeros((1, 4, 4))), "2 maps and 1 masks"),
        (lambda: localisation(np.zeros((1, 4, 4)), np.zeros((1, 4, 5))), r"\(4, 4\), its mask \(4, 5\)"),
        (lambda: localisation(np.zeros((1, 4, 4)), np.zeros((1, 4, 4))), "all 16 samples are normal"),
        (lambda: localisation(np.full((1, 4, 4), np.nan), np.eye(4)[None]), "16 of 16 values of map 0"),
        (lambda: localisation(np.zeros((1, 4, 4)), np.eye(4)[None], fpr_limit=0), "not in"),
    ],
)
def test_refusals(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()

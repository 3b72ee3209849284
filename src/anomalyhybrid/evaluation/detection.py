"""AUROC, AP, F1-max and AUPRO, exact and with one sort of the scores (PROTOCOL: Detection and localisation).

Only the distinct scores of anomalous samples matter: between them a lower threshold adds false alarms alone,
along which AP does not move, F1 falls, and the ROC and PRO curves run flat. So the normal scores are sorted,
the anomalous ones are sorted, and the second are looked up in the first: no curve of all pixels is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, binary, finite


@dataclass(frozen=True, slots=True)
class Detection:
    """Threshold-free scores of one detector; shares in [0, 1], not percent.

    Attributes:
        auroc: Area under the ROC curve; ties count half.
        ap: Average precision, the step-wise sum of scikit-learn.
        f1_max: Largest F1 over all thresholds.
        threshold: Where F1 is largest, flagging scores >= it; the highest of equals.
    """

    auroc: float
    ap: float
    f1_max: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Localisation(Detection):
    """Pixel-level scores of one detector.

    Attributes:
        aupro: Area under the per-region overlap against the false-positive rate, up to the limit, divided by it.
        regions: Number of ground-truth regions (8-connected) that overlap was averaged over.
    """

    aupro: float
    regions: int


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """Counts at the distinct anomalous scores, descending; all arrays (K,).

    ``true`` and ``false_at`` count samples >= the score, ``false_above`` the normal ones > the score;
    ``gained`` is the anomalous weight at exactly the score.
    """

    score: np.ndarray
    true: np.ndarray
    false_above: np.ndarray
    false_at: np.ndarray
    gained: np.ndarray
    normals: int


def detection(scores: Array, labels: Array) -> Detection:
    """Score a detector on images, or on any samples.

    Args:
        scores: ``pred_score`` of each sample, (N,), higher is more anomalous, any range.
        labels: 1 or True for anomalous, (N,).

    Returns:
        AUROC, AP, F1-max and its threshold.

    Raises:
        DataError: Empty input, scores that are not finite, labels not 0/1, shapes that differ, or one class only.
    """
    values, truth = finite(scores, "scores", ndim=1), binary(labels, "labels")
    if truth.shape != values.shape:
        raise DataError(f"there are {values.shape} scores and {truth.shape} labels; give one label for each score")
    steps = _steps(values, truth, np.ones(int(truth.sum())))
    return Detection(**_summary(steps))


def localisation(
    anomaly_maps: Array | Sequence[Array], gt_masks: Array | Sequence[Array], *, fpr_limit: float = 0.3
) -> Localisation:
    """Score a detector on pixels: all images pooled, each pixel sorted once for all four figures.

    Args:
        anomaly_maps: (N, H, W), or N maps (H, W) whose sizes may differ; higher is more anomalous.
        gt_masks: Bool or 0/1, of the maps' shapes; normal images have empty masks.
        fpr_limit: Largest false-positive rate of the PRO curve, in (0, 1].

    Returns:
        Pixel AUROC, AP, F1-max with its threshold, and AUPRO.

    Raises:
        DataError: As `detection`, or a limit out of range.

    Source: AUPRO by Bergmann et al. 2021 (MVTec AD), 8-connected regions, linear between thresholds.
    """
    if not 0 < fpr_limit <= 1:
        raise DataError(f"false-positive limit {fpr_limit} is not in (0, 1]; publications use 0.3")
    if len(anomaly_maps) != len(gt_masks):
        raise DataError(f"there are {len(anomaly_maps)} maps and {len(gt_masks)} masks; give one mask for each map")
    if len(anomaly_maps) == 0:
        raise DataError("there are no anomaly maps; give at least one")
    values: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    regions = 0
    for index, (anomaly_map, gt_mask) in enumerate(zip(anomaly_maps, gt_masks, strict=True)):
        value, truth = finite(anomaly_map, f"values of map {index}", ndim=2), binary(gt_mask, f"gt mask {index}")
        if value.shape != truth.shape:
            raise DataError(f"map {index} has shape {value.shape}, its mask {truth.shape}; resize one of them first")
        weight, count = _region_weights(truth)
        values.append(value.ravel())
        truths.append(truth.ravel())
        weights.append(weight)
        regions += count
    steps = _steps(np.concatenate(values), np.concatenate(truths), np.concatenate(weights))
    return Localisation(**_summary(steps), aupro=_aupro(steps, regions, fpr_limit), regions=regions)


def f1_max_on_grid(scores: Array, labels: Array, thresholds: Array) -> float:
    """Compute the largest F1 over given thresholds, flagging scores >= each: an as-published quirk.

    Args:
        scores: (N,), flattened for pixels.
        labels: 1 or True for anomalous, (N,).
        thresholds: (T,); AnomalyDiffusion's code uses 0 to 1 in steps of 0.05.

    Returns:
        A value in [0, 1], never above `detection`'s ``f1_max``.

    Raises:
        DataError: As `detection`, or no thresholds.
    """
    values, truth = finite(scores, "scores", ndim=1), binary(labels, "labels")
    if truth.shape != values.shape:
        raise DataError(f"there are {values.shape} scores and {truth.shape} labels; give one label for each score")
    grid = finite(thresholds, "thresholds", ndim=1)
    anomalous, normal = _both_classes(values, truth)
    best = 0.0
    for threshold in grid:
        true, false = np.count_nonzero(anomalous >= threshold), np.count_nonzero(normal >= threshold)
        best = max(best, 2.0 * true / (true + false + len(anomalous)))
    return best


def _both_classes(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part scores into anomalous and normal ones; neither may be missing."""
    anomalous, normal = values[truth], values[~truth]
    if not len(anomalous) or not len(normal):
        only = "normal" if len(normal) else "anomalous"
        raise DataError(f"all {len(values)} samples are {only}; these metrics need both classes")
    return anomalous, normal


def _steps(values: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> _Steps:
    """Count what each distinct anomalous score, taken as threshold, flags.

    ``weights`` belong to the anomalous samples, in their order.
    """
    anomalous, normal = _both_classes(values, truth)
    normal.sort()
    order = np.argsort(anomalous)
    anomalous = anomalous[order]
    first = np.flatnonzero(np.r_[True, anomalous[1:] != anomalous[:-1]])
    score = anomalous[first]
    return _Steps(
        score=score[::-1],
        true=(len(anomalous) - first)[::-1],
        false_above=(len(normal) - np.searchsorted(normal, score, side="right"))[::-1],
        false_at=(len(normal) - np.searchsorted(normal, score, side="left"))[::-1],
        gained=np.add.reduceat(weights[order], first)[::-1],
        normals=len(normal),
    )


def _summary(steps: _Steps) -> dict[str, float]:
    """AUROC, AP, F1-max and threshold; counts stay integers until the last division."""
    anomalies = int(steps.true[-1])
    hits = np.diff(steps.true, prepend=0)
    precision = steps.true / (steps.true + steps.false_at)
    f1 = 2.0 * steps.true / (steps.true + steps.false_at + anomalies)
    best = int(np.argmax(f1))
    doubled_losses = int((hits.astype(np.int64) * (steps.false_above + steps.false_at)).sum())
    return {
        "auroc": 1.0 - doubled_losses / (2 * anomalies * steps.normals),
        "ap": float((hits * precision).sum() / anomalies),
        "f1_max": float(f1[best]),
        "threshold": float(steps.score[best]),
    }


def _region_weights(truth: np.ndarray) -> tuple[np.ndarray, int]:
    """Give each anomalous pixel 1 / (size of its region), in scan order, and the number of regions."""
    if not truth.any():
        return np.zeros(0), 0
    count, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
    inside = np.asarray(labels)[truth].astype(np.intp)
    return 1.0 / np.bincount(inside, minlength=count)[inside], count - 1


def _aupro(steps: _Steps, regions: int, limit: float) -> float:
    """Area under the PRO curve up to a false-positive rate, divided by it.

    Two corners a score: normal scores above it are passed first (flat), then those equal to it together
    with the anomalous ones (a slope).
    """
    overlap = np.cumsum(steps.gained) / regions
    rate = np.stack([steps.false_above, steps.false_at], axis=1).ravel() / steps.normals
    height = np.stack([np.r_[0.0, overlap[:-1]], overlap], axis=1).ravel()
    rate, height = np.r_[0.0, rate, 1.0], np.r_[0.0, height, overlap[-1]]
    end = int(np.searchsorted(rate, limit, side="right"))
    if end < len(rate):
        part = (limit - rate[end - 1]) / (rate[end] - rate[end - 1])
        last = height[end - 1] + part * (height[end] - height[end - 1])
        rate, height = np.r_[rate[:end], limit], np.r_[height[:end], last]
    return float((np.diff(rate) * (height[1:] + height[:-1])).sum() / (2.0 * limit))

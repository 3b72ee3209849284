"""By which figure the detector's checkpoint is chosen: the sum of four metrics, computed where the maps are."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.errors import DataError


def auroc_and_ap(scores_N: Tensor, label_N: Tensor) -> tuple[float, float]:
    """Exact AUROC and average precision by one sort on the device; ties as in `detection.detection`.

    For the hundreds of checks inside a training; published figures come from `detection`.

    Args:
        scores_N: float (N,), higher is more anomalous.
        label_N: bool (N,), both classes present.

    Returns:
        Two shares in [0, 1].

    Raises:
        DataError: One class only.
    """
    scores, order = scores_N.sort(descending=True)
    hits = label_N[order].cumsum(0)
    last = torch.ones_like(label_N)
    last[:-1] = scores[1:] != scores[:-1]  # one point of the curve for each distinct score
    flagged = last.nonzero().flatten() + 1
    true = hits[last].double()
    false = flagged.double() - true
    anomalous, normal = float(true[-1]), float(false[-1])
    if not anomalous or not normal:
        raise DataError(f"all {len(label_N)} samples are of one class; a checkpoint is chosen on both")
    zero = true.new_zeros(1)
    gained, height = torch.diff(true, prepend=zero), true + torch.cat([zero, true[:-1]])
    area = (torch.diff(false, prepend=zero) * height).sum() / (2.0 * anomalous * normal)
    return float(area), float((gained * true / flagged).sum() / anomalous)


def four_metrics(anomaly_map_N1SS: Tensor, mask_N1SS: Tensor, pred_score_N: Tensor, defective_N: Tensor) -> float:
    """Sum of pixel AUROC and AP and, where there are good images too, image AUROC and AP.

    Args:
        anomaly_map_N1SS: float (N, 1, S, S).
        mask_N1SS: bool (N, 1, S, S).
        pred_score_N: float (N,).
        defective_N: bool (N,).

    Returns:
        At most 4, or 2 for a set of defective images alone (a part of the base set has no good ones).

    Raises:
        DataError: No defective pixel at all.
    """
    total = sum(auroc_and_ap(anomaly_map_N1SS.flatten(), mask_N1SS.flatten()))
    if bool(defective_N.all()):
        return total
    return total + sum(auroc_and_ap(pred_score_N, defective_N))

"""The focal loss that DRAEM and its followers train the detector with."""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 2.0
SMOOTHING = 1e-5


def focal_loss(logits_BCHW: Tensor, label_BHW: Tensor, *, gamma: float = GAMMA, smoothing: float = SMOOTHING) -> Tensor:
    """Mean of -(1 - p)^gamma log(p), p the smoothed probability of each pixel's own class.

    The one-hot label is clamped to [smoothing / (C - 1), 1 - smoothing], p is its product with the softmax plus
    smoothing. With two classes p = 2 smoothing + (1 - 2 smoothing) softmax.

    Args:
        logits_BCHW: (B, C, H, W), any float type; computed in float32.
        label_BHW: Class of each pixel, long or bool (B, H, W).
        gamma: Focusing exponent.
        smoothing: In [0, 0.5).

    Returns:
        Scalar, float32.

    Source: Lin et al. 2017; form and constants of DRAEM (PROTOCOL: Detection and localisation).
    """
    probability = torch.softmax(logits_BCHW.float(), dim=1)
    own = probability.gather(1, label_BHW.long().unsqueeze(1)).squeeze(1)
    low = smoothing / (logits_BCHW.shape[1] - 1)
    p = (1.0 - smoothing) * own + low * (1.0 - own) + smoothing
    return -((1.0 - p) ** gamma * p.log()).mean()

"""Eq. 1: the output is the input's content where the fusion mask is 0, the generated source where it is 1."""

from __future__ import annotations

import torch
from torch import Tensor


def fuse(content: Tensor, source: Tensor, fusion_mask: Tensor) -> Tensor:
    """Fuse content and source under a soft mask.

    Args:
        content: C_in, float (B, 3, H, W).
        source: A_gen, float (B, 3, H, W).
        fusion_mask: M_gen, float (B, 1, H, W) in [0, 1].

    Returns:
        A_out, float (B, 3, H, W). A zero mask returns the content exactly.

    Source: Paper Eq. 1; C_in is C_r by ADR-002.
    """
    kind = content.dtype  # under autocast the content is wider than what the networks give
    return torch.lerp(content, source.to(kind), fusion_mask.to(kind).expand_as(content))

"""Exact rewrites of the networks for inference: the same function in other operations (ADR-017)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.blocks import Norm

NetT = TypeVar("NetT", bound=nn.Module)


def for_inference(net: NetT) -> NetT:
    """Rewrite a network; outputs agree to float rounding.

    Group norms are written so that no layout is changed for them.

    Args:
        net: Any network; what it has none of is left alone.

    Returns:
        A copy in evaluation mode on the CPU.
    """
    net = copy.deepcopy(net).cpu().eval()
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Norm):
                setattr(module, name, FlatNorm(child))
    return net.eval().requires_grad_(False)


class FlatNorm(nn.Module):
    """Group norm by channel means that are averaged over the group: it runs in any memory layout.

    Deviations are squared after the mean is taken off, so that nothing cancels.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        each = norm.num_channels // norm.num_groups
        average = torch.block_diag(*[torch.full((each, each), 1 / each)] * norm.num_groups)
        self.average = nn.Parameter(average[:, :, None, None])
        self.weight = nn.Parameter(norm.weight.detach().view(1, -1, 1, 1))
        self.bias = nn.Parameter(norm.bias.detach().view(1, -1, 1, 1))
        self.eps = norm.eps

    def forward(self, features: Tensor) -> Tensor:
        """Normalise float (B, C, H, W)."""
        deviation = features - F.conv2d(features.mean(dim=(2, 3), keepdim=True), self.average)
        variance = F.conv2d(deviation.square().mean(dim=(2, 3), keepdim=True), self.average)
        return deviation * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias

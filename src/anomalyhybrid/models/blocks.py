"""Convolution blocks that the encoder and the decoders share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of channels that are normalised together


class Norm(nn.GroupNorm):
    """Group norm that stays in the input's precision under autocast.

    Instance norm, pix2pixHD's choice, takes each channel's mean away and the colour of the reference with it; groups
    keep the differences between channels (ADR-002).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
            return F.group_norm(features, self.num_groups, weight, bias, self.eps)


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, ReLU; (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), Norm(outputs), nn.ReLU()
    )


class UpBlock(nn.Module):
    """Nearest upsampling by two, convolution, norm, ReLU; (B, inputs, H, W) to (B, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.block = conv_block(inputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        return self.block(self.upsample(features))


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity path; keeps the shape (B, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_block(width, width, 3)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), Norm(width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))

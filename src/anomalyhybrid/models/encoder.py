"""The encoder: concatenated conditions to features at four scales (paper 3.2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from anomalyhybrid.models.blocks import ResidualBlock, StemConv2d, conv_block
from anomalyhybrid.models.config import GeneratorConfig


def scale_widths(config: GeneratorConfig) -> list[int]:
    """Channels of each scale, from full resolution to the coarsest."""
    return [min(config.width * 2**scale, config.max_width) for scale in range(config.downsamplings + 1)]


class Encoder(nn.Module):
    """Maps stacked conditions, float (B, channels, H, W), to one feature map for each scale, finest first."""

    def __init__(self, config: GeneratorConfig, channels: int) -> None:
        super().__init__()
        widths = scale_widths(config)
        self.stem = nn.Sequential(
            StemConv2d(channels, widths[0], 7), nn.ReLU()
        )  # no norm: the finest scale carries colour as it is
        self.downs = nn.ModuleList(conv_block(fine, coarse, 3, stride=2) for fine, coarse in pairwise(widths))
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1]) for _ in range(config.blocks)))

    def forward(self, stacked: Tensor) -> list[Tensor]:
        features = [self.stem(stacked)]
        for down in self.downs:
            features.append(down(features[-1]))
        features[-1] = self.blocks(features[-1])
        return features

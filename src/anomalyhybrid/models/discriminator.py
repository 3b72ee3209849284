"""Two-scale conditional patch discriminator over (C_r, C_d, C_e, image), shared by both decoder groups (ADR-002).

That of AnomalyHybrid* judges depth and edge of one target together (ADR-010).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.blocks import Conv2d, Norm, laid_out
from anomalyhybrid.models.config import DiscriminatorConfig


class PatchNet(nn.Module):
    """Strided 4x4 convolutions to one logit a patch; returns every layer's output, the logits last."""

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Sequential(Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2))]
        inputs = width
        for layer in range(1, layers + 1):
            outputs = min(width * 2**layer, 8 * width)
            stride = 2 if layer < layers else 1
            stages.append(
                nn.Sequential(
                    Conv2d(inputs, outputs, 4, stride, 1, bias=False),
                    Norm(outputs, groups=outputs),
                    nn.LeakyReLU(0.2),
                )
            )
            inputs = outputs
        stages.append(Conv2d(inputs, 1, 4, 1, 1))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        outputs = []
        for stage in self.stages:
            image = stage(image)
            outputs.append(image)
        return outputs


class Discriminator(nn.Module):
    """Patch networks on an image pyramid."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            PatchNet(5 + config.image_channels, config.width, config.layers) for _ in range(config.scales)
        )

    def forward(self, stacked: Tensor, image: Tensor) -> list[list[Tensor]]:
        """Judge an image under its conditions.

        Args:
            stacked: Conditions, float (B, 5, H, W).
            image: Real or generated, float (B, image_channels, H, W) in [-1, 1].

        Returns:
            For each scale the list of layer outputs; the last of each list are the logits.
        """
        current = laid_out(torch.cat([stacked, image], dim=1))
        results = []
        for index, net in enumerate(self.nets):
            if index:
                current = F.avg_pool2d(current, 2)
            results.append(net(current))
        return results

"""A decoder group: a source branch (A_gen) and a fusion-mask branch (M_gen), fused by Eq. 1."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from anomalyhybrid.models.blocks import Conv2d, HeadConv2d, UpBlock
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.encoder import scale_widths
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.types import DecoderOutput


class Branch(nn.Module):
    """Upsamples the coarsest features to full resolution, adding projected finer ones, and emits raw values.

    Returns float (B, outputs, H, W), before any squashing.
    """

    def __init__(self, config: GeneratorConfig, outputs: int, narrowing: int = 1) -> None:
        super().__init__()
        encoded = scale_widths(config)[::-1]
        widths = [encoded[0], *(width // narrowing for width in encoded[1:])]
        self.ups = nn.ModuleList(UpBlock(coarse, fine) for coarse, fine in pairwise(widths))
        pairs = zip(encoded[1:], widths[1:], strict=True) if config.skips else ()
        self.projections = nn.ModuleList(Conv2d(wide, fine, 1) for wide, fine in pairs)
        self.head = HeadConv2d(widths[-1], outputs, 7)

    def forward(self, features: list[Tensor]) -> Tensor:
        current = features[-1]
        for index, up in enumerate(self.ups):
            current = up(current)
            if self.projections:
                current = current + self.projections[index](features[-2 - index])
        return self.head(current)


class DecoderGroup(nn.Module):
    """AHD or AHE: which one it is, is decided by the target that trains it (Fig. 4a)."""

    def __init__(self, config: GeneratorConfig, channels: int) -> None:
        super().__init__()
        self.source = Branch(config, channels)
        self.fusion_mask = Branch(config, 1, narrowing=config.mask_narrowing)

    def forward(self, features: list[Tensor], content: Tensor) -> DecoderOutput:
        source = torch.tanh(self.source(features))
        fusion_mask = torch.sigmoid(self.fusion_mask(features))
        return DecoderOutput(source=source, fusion_mask=fusion_mask, fused=fuse(content, source, fusion_mask))

"""Convolution blocks that the encoder and the decoders share."""

from __future__ import annotations

from torch import Tensor, nn


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Reflection-padded convolution, instance norm, ReLU; (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(),
    )


class UpBlock(nn.Module):
    """Nearest upsampling by two, convolution, instance norm, ReLU; (B, inputs, H, W) to (B, outputs, 2H, 2W)."""

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
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))

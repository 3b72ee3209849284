"""Convolution blocks that the encoder and the decoders share."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4  # of channels that are normalised together


class Norm(nn.GroupNorm):
    """Group norm that stays in the input's precision under autocast.

    Instance norm, pix2pixHD's choice, takes each channel's mean away and the colour of the reference with it; groups
    keep the differences between channels (ADR-002). With as many groups as channels it is instance norm, in either
    layout of memory.

    Args:
        channels: Of the features.
        groups: That they are normalised in.
    """

    def __init__(self, channels: int, groups: int = GROUPS) -> None:
        super().__init__(groups, channels)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
            return F.group_norm(features, self.num_groups, weight, bias, self.eps)


def laid_out(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with their channels last in a compiled function, so that what follows from them is, too."""
    return images.contiguous(memory_format=torch.channels_last) if torch.compiler.is_compiling() else images


class _LaidOutGradient(torch.autograd.Function):
    """The identity, whose gradient has its channels last."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous(memory_format=torch.channels_last)


def _trains_compiled() -> bool:
    """Whether a compiled training is being traced."""
    return torch.compiler.is_compiling() and torch.is_grad_enabled()


def gradient_laid_out(images: Tensor) -> Tensor:
    """Images whose gradient has its channels last in a compiled training: else the convolution before copies it."""
    return cast(Tensor, _LaidOutGradient.apply(images)) if _trains_compiled() else images


class Conv2d(nn.Conv2d):
    """Convolution that asks for its gradient with channels last."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply, as `nn.Conv2d` does."""
        return gradient_laid_out(super().forward(input))


def conv_block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, ReLU; (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
    return nn.Sequential(
        Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), Norm(outputs), nn.ReLU()
    )


def doubled_kernel(weight: Tensor) -> Tensor:
    """Kernel of the transposed convolution that does upsampling and a 3 x 3 convolution in one.

    Nearest upsampling by two is a transposed convolution with ones of 2 x 2, so with a convolution behind it it is
    one of 4 x 4, stride 2, padding 1: the same values, with 4 products a pixel in place of 9 and no upsampled copy.

    Args:
        weight: Of the convolution, float (outputs, inputs, 3, 3).

    Returns:
        float (inputs, outputs, 4, 4), as `F.conv_transpose2d` takes it.
    """
    padded = F.pad(weight, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return (rows[..., 1:] + rows[..., :-1]).flip(-1, -2).transpose(0, 1)


class UpBlock(nn.Module):
    """Nearest upsampling by two, convolution, norm, ReLU; (B, inputs, H, W) to (B, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = conv_block(inputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        convolution, norm, activation = self.block
        kernel = doubled_kernel(cast(Tensor, convolution.weight))
        return activation(norm(gradient_laid_out(F.conv_transpose2d(features, kernel, stride=2, padding=1))))


def shifted_kernels(weight: Tensor, rows: int, columns: int) -> Tensor:
    """Kernels that give each pixel of a block of rows x columns from one place.

    Args:
        weight: Of a convolution with stride 1, float (O, I, K, K).
        rows: Of a block.
        columns: Of a block.

    Returns:
        float (O * rows * columns, I, K + rows - 1, K + columns - 1), for a convolution whose stride is the block.
    """
    shifted = [
        F.pad(weight, (column, columns - 1 - column, row, rows - 1 - row))
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.stack(shifted, dim=1).flatten(0, 1)


def folded(images: Tensor, rows: int, columns: int) -> Tensor:
    """Blocks of pixels as channels: (B, C, H, W) to (B, rows * columns * C, H / rows, W / columns), C innermost."""
    batch, channels, height, width = images.shape
    blocks = images.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, height // rows, width // columns)


def strided_by_folds(padded: Tensor, kernels: Tensor, bias: Tensor, stride: tuple[int, int]) -> Tensor:
    """A convolution whose stride is a block of pixels as one of stride 1 over blocks.

    Arguments as of `F.conv2d`; the last step must end at the image's border, as that of `HeadConv2d` does.

    cuDNN folds so too, but in kernels of its own: here the compiler makes it part of what is before (docs/log.md).
    """
    beyond = [-side % step for side, step in zip(kernels.shape[-2:], stride, strict=True)]
    margin = (0, beyond[1], 0, beyond[0])
    blocks, weights = folded(F.pad(padded, margin), *stride), folded(F.pad(kernels, margin), *stride)
    return F.conv2d(laid_out(blocks), weights, bias)


class ReflectedConv2d(nn.Conv2d):
    """Convolution with stride 1 that pads by reflection and keeps the shape (B, C, H, W).

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Side, odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")

    def padded(self, features: Tensor) -> Tensor:
        """The features with their reflected border."""
        return F.pad(features, (self.kernel_size[0] // 2,) * 4, mode="reflect")

    def bias_in_blocks(self, pixels: int) -> Tensor:
        """The bias of each pixel of a block."""
        assert self.bias is not None
        return self.bias.repeat_interleave(pixels)


class HeadConv2d(ReflectedConv2d):
    """`ReflectedConv2d` to few channels, which gives 2 x 4 pixels at once, as channels.

    One or three outputs leave most of a matrix unit or of a vector register empty; eight times as many do not. The
    result is the same; measured in docs/log.md (ADR-017).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply: float (B, inputs, H, W) to (B, outputs, H, W)."""
        height, width = input.shape[-2:]
        rows, columns = math.gcd(height, 2), math.gcd(width, 4)
        kernels = shifted_kernels(self.weight, rows, columns)
        bias = self.bias_in_blocks(rows * columns)
        convolved = strided_by_folds if _trains_compiled() else F.conv2d
        blocks = gradient_laid_out(convolved(self.padded(input), kernels, bias, stride=(rows, columns)))
        apart = blocks.view(-1, self.out_channels, rows, columns, height // rows, width // columns)
        return apart.permute(0, 1, 4, 2, 5, 3).reshape(-1, self.out_channels, height, width)


class StemConv2d(ReflectedConv2d):
    """`ReflectedConv2d` from few channels; on a GPU it reads and gives 2 x 2 pixels at once, as channels.

    There five inputs leave most of a matrix unit empty. On a CPU the plain convolution is faster (ADR-017).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply: float (B, inputs, H, W) to (B, outputs, H, W)."""
        padded = self.padded(input)
        if input.is_cuda and padded.shape[-1] % 2 == 0 and padded.shape[-2] % 2 == 0:
            return self.in_blocks(padded)
        return gradient_laid_out(F.conv2d(padded, self.weight, self.bias))

    def in_blocks(self, padded: Tensor) -> Tensor:
        """The convolution of a padded image with even sides, by blocks of 2 x 2 pixels."""
        kernels = F.pixel_unshuffle(shifted_kernels(self.weight, 2, 2), 2)
        blocks = F.conv2d(F.pixel_unshuffle(padded, 2), kernels, self.bias_in_blocks(4))
        return F.pixel_shuffle(gradient_laid_out(blocks), 2)


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity path; keeps the shape (B, width, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_block(width, width, 3)
        self.second = nn.Sequential(Conv2d(width, width, 3, padding=1, bias=False), Norm(width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))

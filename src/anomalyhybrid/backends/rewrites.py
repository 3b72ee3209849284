"""Exact rewrites of the networks for inference: the same function with fewer operations (ADR-017)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.blocks import Norm, UpBlock
from anomalyhybrid.models.decoder import Branch

NetT = TypeVar("NetT", bound=nn.Module)


def for_inference(net: NetT) -> NetT:
    """Rewrite a network; outputs agree to float rounding.

    Nearest upsampling before a 3x3 convolution becomes a transposed convolution (4/9 of the multiplications), a head
    gives blocks of pixels, and group norms are written so that no layout is changed for them.

    Args:
        net: Any network; what it has none of is left alone.

    Returns:
        A copy in evaluation mode on the CPU.
    """
    net = copy.deepcopy(net).cpu().eval()
    for module in list(net.modules()):
        if isinstance(module, UpBlock):
            module.upsample = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
            convolution = module.block[0]
            assert isinstance(convolution, nn.Conv2d)
            module.block[0] = upsampling_convolution(convolution)
        elif isinstance(module, Branch):
            module.head = BlockHead(module.head, (2, min(4, 2 ** len(module.ups))))  # pyright: ignore[reportAttributeAccessIssue]
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Norm):
                setattr(module, name, FlatNorm(child))
    return net.eval().requires_grad_(False)


def upsampling_convolution(convolution: nn.Conv2d) -> nn.ConvTranspose2d:
    """The transposed convolution that equals nearest upsampling by two and a 3x3 convolution with zero padding.

    Each input pixel stands for 2x2 equal ones, so that taps that fall on the same one are added up beforehand: the
    4x4 kernel is the 3x3 one summed over 2x2 windows.
    """
    weight_OI33 = convolution.weight.detach().double()
    ones = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    summed = F.conv2d(F.pad(weight_OI33.flatten(0, 1)[:, None], (1, 1, 1, 1)), ones)
    kernel_OI44 = summed.view(*weight_OI33.shape[:2], 4, 4).flip(2, 3)
    transposed = nn.ConvTranspose2d(weight_OI33.shape[1], weight_OI33.shape[0], 4, stride=2, padding=1, bias=False)
    transposed.weight.data = kernel_OI44.transpose(0, 1).float().contiguous()
    return transposed


class BlockHead(nn.Module):
    """A stride-1 convolution with reflected padding that gives a block of pixels at once, as channels.

    Three or one output channels leave most of a CPU's vector lanes empty; eight times as many do not.

    Args:
        head: The convolution.
        block: Rows and columns of a block; the image's sides must be multiples of them.
    """

    def __init__(self, head: nn.Conv2d, block: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = block
        self.block = block
        assert head.bias is not None
        kernels = [
            F.pad(head.weight.detach(), (column, columns - 1 - column, row, rows - 1 - row))
            for row in range(rows)
            for column in range(columns)
        ]
        self.weight = nn.Parameter(torch.stack(kernels, dim=1).flatten(0, 1).contiguous())
        self.bias = nn.Parameter(head.bias.detach().repeat_interleave(rows * columns))
        self.padding = head.kernel_size[0] // 2
        self.outputs = head.out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Apply: float (B, C, H, W) to (B, outputs, H, W)."""
        height, width = features.shape[-2:]
        padded = F.pad(features, (self.padding,) * 4, mode="reflect")
        blocks = F.conv2d(padded, self.weight, self.bias, stride=self.block)
        apart = blocks.view(-1, self.outputs, *self.block, height // self.block[0], width // self.block[1])
        return apart.permute(0, 1, 4, 2, 5, 3).reshape(-1, self.outputs, height, width)


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

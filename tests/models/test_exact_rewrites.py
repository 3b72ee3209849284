"""Layers that are worked out in another way than they are written down give what is written down (ADR-017)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.blocks import (
    HeadConv2d,
    StemConv2d,
    UpBlock,
    doubled_kernel,
    shifted_kernels,
    strided_by_folds,
)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def gradients(net: nn.Module, output: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(output.square().sum(), list(net.parameters())))


def test_an_up_block_upsamples_and_convolves() -> None:
    block = UpBlock(8, 4).double()
    image = rand(2, 8, 5, 7)
    expected = block.block(F.interpolate(image, scale_factor=2, mode="nearest"))
    given = block(image)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(gradients(block, given), gradients(block, expected))


def test_the_kernel_of_the_transposed_convolution_by_hand() -> None:
    weight = torch.tensor([[0.0, 0, 0], [1, 10, 100], [0, 0, 0]])[None, None]
    row = torch.tensor([100.0, 110, 11, 1])  # an input pixel is seen by 4 outputs, under 1, 2, 2 and 1 of the 3 taps
    assert torch.equal(doubled_kernel(weight)[0, 0], torch.stack([torch.zeros(4), row, row, torch.zeros(4)]))


def test_shifted_kernels_by_hand() -> None:
    kernels = shifted_kernels(torch.tensor([[[[5.0]]]]), 1, 2)
    assert torch.equal(kernels, torch.tensor([[[[5.0, 0.0]]], [[[0.0, 5.0]]]]))


@pytest.mark.parametrize("size", [(12, 16), (6, 10), (5, 7)])
@pytest.mark.parametrize("kind", [HeadConv2d, StemConv2d])
def test_convolutions_in_blocks_are_convolutions(kind: type[HeadConv2d | StemConv2d], size: tuple[int, int]) -> None:
    layer = kind(5, 3, 7).double()
    features = rand(2, 5, *size)
    expected = F.conv2d(F.pad(features, (3, 3, 3, 3), mode="reflect"), layer.weight, layer.bias)
    given = layer(features)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(gradients(layer, given), gradients(layer, expected))


def test_the_stem_in_blocks_as_on_a_gpu_is_a_convolution() -> None:
    layer = StemConv2d(5, 8, 7).double()
    features = rand(2, 5, 12, 16)
    torch.testing.assert_close(layer.in_blocks(layer.padded(features)), layer(features))


@pytest.mark.parametrize("kernel", [(8, 10), (4, 4), (3, 5)])
@pytest.mark.parametrize("stride", [(2, 4), (2, 2)])
def test_a_strided_convolution_by_folds_is_one(kernel: tuple[int, int], stride: tuple[int, int]) -> None:
    kernels, bias = rand(6, 3, *kernel, seed=1).requires_grad_(), rand(6, seed=2).requires_grad_()
    sides = [length - step + 5 * step for length, step in zip(kernel, stride, strict=True)]  # five steps each way
    images = rand(2, 3, *sides).requires_grad_()
    expected = F.conv2d(images, kernels, bias, stride=stride)
    given = strided_by_folds(images, kernels, bias, stride)
    torch.testing.assert_close(given, expected)
    found = [torch.autograd.grad(one.square().sum(), (images, kernels, bias)) for one in (given, expected)]
    torch.testing.assert_close(*found)

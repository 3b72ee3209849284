"""Rewrites for inference: the same function, layer by layer and whole, with the layers that were meant."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anomalyhybrid.backends.rewrites import FlatNorm, for_inference
from anomalyhybrid.models.blocks import Norm
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator

TINY = GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@torch.no_grad()
def test_a_flat_norm_is_the_group_norm_also_far_from_zero() -> None:
    norm = Norm(8)
    norm.weight.copy_(rand(8) + 2)
    norm.bias.copy_(rand(8, seed=1))
    near, constant = rand(2, 8, 6, 5), torch.full((2, 8, 6, 5), 3.0)
    far = (near.double() * 0.01 + 100).float()  # the squares' mean would cancel to nothing here
    exact = F.group_norm(far.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps).float()
    for features, expected, bound in ((near, norm(near), 1e-5), (far, exact, 5e-3), (constant, norm(constant), 1e-3)):
        torch.testing.assert_close(FlatNorm(norm)(features), expected, atol=bound, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [TINY, replace(TINY, downsamplings=1), replace(TINY, downsamplings=3, skips=False), replace(TINY, gives="maps")],
)
def test_a_rewritten_generator_gives_the_same(config: GeneratorConfig) -> None:
    model = Generator(config).eval()
    before = copy.deepcopy(model.state_dict())
    fast = for_inference(model)
    side = 3 * config.stride  # 6 with one downsampling, no multiple of 4
    stacked = rand(3, 5, max(side, 6), max(side, 6))
    for name, output in model(stacked).items():
        for one, other in zip(fast(stacked)[name], output, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    kinds = {type(module) for module in fast.modules()}
    assert not any(issubclass(kind, Norm) for kind in kinds)
    assert FlatNorm in kinds
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_a_network_without_such_layers_is_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    image = rand(1, 3, 8, 8)
    assert torch.equal(for_inference(net)(image), net(image))

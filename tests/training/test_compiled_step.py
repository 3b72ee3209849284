"""What a compiled training runs: the same losses, one pass for both networks, channels last throughout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from test_learning import networks, step
from torch._dynamo.backends.common import aot_autograd

from anomalyhybrid.models.config import DiscriminatorConfig
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.ops import fused
from anomalyhybrid.ops.regions import polygon
from anomalyhybrid.training.config import LossConfig
from anomalyhybrid.training.step import Networks, adversarial_terms

CROPPED = LossConfig(perceptual_crop=32)


def prepared(compiler: Callable | None) -> Networks:
    parts = networks()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        parts.features = VggFeatures(stages=2)
    if compiler is not None:
        backend = aot_autograd(fw_compiler=compiler, bw_compiler=compiler)
        parts.prepare = functools.cache(lambda function: torch.compile(function, backend=backend, fullgraph=True))
    return parts


def channels_last(value: torch.Tensor) -> bool:
    return value.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """Reports of three steps as written and compiled, and the arguments of the convolutions that were compiled."""
    inputs: list[torch.Tensor] = []

    def compiler(graph: torch.fx.GraphModule, _: object) -> Callable:
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.convolution.default:
                inputs.append(node.args[0].meta["val"])
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    plain, whole = prepared(None), prepared(compiler)
    reports = [[step(CROPPED, parts) for _ in range(3)] for parts in (plain, whole)]
    return {"reports": reports, "inputs": inputs, "networks": (plain, whole)}


def test_a_compiled_step_is_the_step_as_written(compiled: dict[str, Any]) -> None:
    for plain, whole in zip(*compiled["reports"], strict=True):
        assert plain.keys() == whole.keys()
        for name in plain:
            assert float(whole[name]) == pytest.approx(float(plain[name]), rel=1e-4, abs=1e-5), name
    plain, whole = compiled["networks"]
    for one, other in ((plain.generator, whole.generator), (plain.discriminator, whole.discriminator)):
        for first, second in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.allclose(first, second, atol=2e-3)  # three steps of Adam, whose first ones have size 1e-3


def test_every_convolution_of_a_compiled_step_reads_channels_last(compiled: dict[str, Any]) -> None:
    inputs = compiled["inputs"]
    assert len(inputs) > 40
    assert [tuple(value.shape) for value in inputs if not channels_last(value)] == []


def test_what_the_discriminator_gives_is_what_two_separate_passes_give() -> None:
    torch.manual_seed(0)
    net = Discriminator(DiscriminatorConfig(width=8))
    conditions, wanted = torch.rand(2, 5, 64, 64), torch.rand(2, 3, 64, 64)
    generated = torch.rand(2, 3, 64, 64, requires_grad=True)
    terms, own = adversarial_terms(net, LossConfig(), conditions, generated, wanted)
    (terms["adversarial"] + terms["feature"]).backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert generated.grad is not None
    assert float(generated.grad.abs().sum()) > 0
    before = generated.grad.clone()
    own.backward()
    assert torch.equal(generated.grad, before)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_marked_functions_are_compiled_inside_fusing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def compile_(function: Callable, **settings: object) -> Callable:
        asked.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_)

    @fused.fused
    def twice(values: torch.Tensor) -> torch.Tensor:
        return values * 2

    one = torch.ones(1)
    assert twice(one) == 2
    assert asked == []
    with fused.fusing(False):
        twice(one)
    assert asked == []
    with fused.fusing(True):
        assert twice(one) == 2
        twice(one)
    assert asked == ["twice"]
    twice(one)
    assert asked == ["twice"]
    assert polygon.__name__ == "polygon"  # marked, and still itself to those who read it

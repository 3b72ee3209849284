"""What a compiled training runs: the same losses, one pass for both networks, channels last throughout."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from test_learning import networks, step
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.fx_passes.joint_graph import joint_graph_passes

from anomalyhybrid import losses
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
    """Reports of three steps as written and compiled, and what the convolutions that were compiled read."""
    inputs: list[torch.Tensor] = []
    gradients: list[torch.Tensor] = []

    def compiler(graph: torch.fx.GraphModule, _: object) -> Callable:
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.convolution.default:
                inputs.append(node.args[0].meta["val"])
            if node.target is torch.ops.aten.convolution_backward.default:
                gradients.append(node.args[0].meta["val"])
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    plain, whole = prepared(None), prepared(compiler)
    reports = [[step(CROPPED, parts) for _ in range(3)] for parts in (plain, whole)]
    return {"reports": reports, "inputs": inputs, "gradients": gradients, "networks": (plain, whole)}


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


def test_every_convolution_of_a_compiled_step_gets_its_gradient_channels_last(compiled: dict[str, Any]) -> None:
    gradients = compiled["gradients"]
    assert len(gradients) > 40
    assert [tuple(value.shape) for value in gradients if not channels_last(value)] == []


def test_what_the_discriminator_gives_is_what_two_separate_passes_give() -> None:
    torch.manual_seed(0)
    net = Discriminator(DiscriminatorConfig(width=8))
    conditions, wanted = torch.rand(2, 5, 64, 64), torch.rand(2, 3, 64, 64)
    generated = torch.rand(2, 3, 64, 64, requires_grad=True)
    terms, own = adversarial_terms(net, LossConfig(), conditions, generated, wanted)
    (terms["adversarial"] + terms["feature"]).backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in net.parameters())
    given = generated.grad
    assert given is not None
    assert float(given.abs().sum()) > 0
    before = given.clone()
    own.backward()
    assert torch.equal(given, before)

    again = generated.detach().requires_grad_()
    net_2 = copy.deepcopy(net).requires_grad_(False)
    fake, real = net_2(conditions, again), net_2(conditions, wanted)
    as_generator = losses.generator_loss(fake, "least_squares") + 10 * losses.feature_matching(fake, real)
    as_generator.backward()
    assert again.grad is not None
    assert torch.allclose(again.grad, given, atol=1e-6)
    assert (terms["adversarial"] + terms["feature"]).item() == pytest.approx(as_generator.item())
    net_2.requires_grad_(True)
    judged = losses.discriminator_loss(net_2(conditions, wanted), net_2(conditions, again.detach()), "least_squares")
    judged.backward()
    assert own.item() == pytest.approx(judged.item())
    for one, other in zip(net.parameters(), net_2.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_the_compiler_keeps_one_pass_over_each_kind_of_image() -> None:
    """With what PyTorch's compiler does to a graph before it is cut into forward and backward."""
    passes: list[int] = []

    def forward(graph: torch.fx.GraphModule, _: object) -> Callable:
        passes.append(sum(node.target is torch.ops.aten.convolution.default for node in graph.graph.nodes))
        return make_boxed_func(graph.forward)

    def cut(graph: torch.fx.GraphModule, inputs: object, **settings: Any) -> Any:
        joint_graph_passes(graph)
        return min_cut_rematerialization_partition(graph, inputs, **settings)

    torch._dynamo.reset()
    backend = aot_autograd(
        fw_compiler=forward,
        bw_compiler=lambda graph, _: make_boxed_func(graph.forward),
        partition_fn=cut,
        decompositions=select_decomp_table,
    )
    net, generated = Discriminator(DiscriminatorConfig(width=8)), torch.rand(2, 3, 64, 64, requires_grad=True)

    @torch.compile(backend=backend, fullgraph=True)
    def both(images: torch.Tensor) -> torch.Tensor:
        terms, own = adversarial_terms(
            net, LossConfig(), torch.zeros(2, 5, 64, 64), images * 1, torch.ones(2, 3, 64, 64)
        )
        return terms["adversarial"] + terms["feature"] + own

    both(generated).backward()
    convolutions = sum(isinstance(layer, torch.nn.Conv2d) for layer in net.modules())
    assert passes == [2 * convolutions]


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
    with fused.fusing(None):
        twice(one)
    assert asked == []
    with fused.fusing("one"):
        assert twice(one) == 2
        twice(one)
    assert asked == ["twice"]
    twice(one)
    assert asked == ["twice"]
    assert polygon.__name__ == "polygon"  # marked, and still itself to those who read it
    with fused.fusing("any batch"):
        fused.fused_at_one_shape(torch.square)(one)
    assert asked == ["twice"]
    with fused.fusing("one"):
        fused.fused_at_one_shape(torch.square)(one)
    assert asked == ["twice", "square"]

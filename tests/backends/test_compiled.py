"""The compiled generator gives what the generator gives, from one graph for batches of any size."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.backends.choice import choose_backend, recorded_backend
from anomalyhybrid.backends.compiled import CompiledGenerator
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.pipeline import redraw
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.fused import fused, fusing
from anomalyhybrid.types import Conditions

TINY = GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)


def conditions(batch: int) -> Conditions:
    values = torch.rand(batch, 5, 32, 32, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    return Conditions(values[:, :3], values[:, 3:4], values[:, 4:])


def test_one_graph_for_every_batch() -> None:
    torch.manual_seed(0)
    generator = Generator(TINY).eval()
    compiled = CompiledGenerator(generator)
    assert not list(compiled.parameters())
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    for batch in (5, 1, 3, 8):
        decoder_B = torch.arange(batch) % 2
        with torch.inference_mode():
            expected = redraw(generator, conditions(batch), ("ahd", "ahe"), decoder_B)
            found = redraw(compiled, conditions(batch), ("ahd", "ahe"), decoder_B)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    assert counters["stats"]["unique_graphs"] == 2  # the encoder, and one for both decoder groups


def test_marked_functions_are_compiled_once_for_any_batch() -> None:
    @fused
    def scaled(values: torch.Tensor, by_B: torch.Tensor) -> torch.Tensor:
        return values * by_B[:, None] + 1

    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    with fusing("any batch"):
        for batch in (3, 2, 7):
            values, by = torch.ones(batch, 4), torch.arange(float(batch))
            torch.testing.assert_close(scaled(values, by), values * by[:, None] + 1)
    assert counters["stats"]["unique_graphs"] == 1


def test_compiled_needs_a_gpu_and_is_gone_on_with_on_one_alone() -> None:
    assert choose_backend("compiled", "cuda").name == "compiled"
    assert choose_backend("auto", "cuda").name == "torch"
    with pytest.raises(ConfigError, match="needs a GPU"):
        choose_backend("compiled", "cpu")
    record = {"backend": {"name": "compiled", "version": "0"}}
    assert recorded_backend(record, "cuda").name == "compiled"
    with pytest.raises(DataError, match="GPU, which this machine lacks"):
        recorded_backend(record, "cpu")

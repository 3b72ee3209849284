"""The networks as graphs of one input: what other runtimes load, and what `export-model` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from anomalyhybrid.models.generator import Generator
from anomalyhybrid.types import Decoder, DecoderOutput

Run = Callable[[np.ndarray], list[np.ndarray]]
"""Maps float32 (B, C, S, S) to the graph's outputs, B as it likes."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network with the names that a runtime knows its ends by.

    Attributes:
        net: Maps one tensor to one tensor or several.
        input: Name of what it takes, float (B, C, S, S).
        outputs: Names of what it gives.
    """

    net: nn.Module
    input: str
    outputs: tuple[str, ...]


class Runtime(Protocol):
    """Loads graphs."""

    def load(self, graph: Graph, example: Tensor) -> Run:
        """Make a graph ready to run, for inputs like an example but for the batch's size."""
        ...


class DecoderGraph(nn.Module):
    """The encoder and one decoder group: stacked conditions, float (B, 5, S, S), to the three of a `DecoderOutput`.

    A joint graph for each group, because every image is drawn by one group alone; only the weights of the encoder are
    held twice.
    """

    def __init__(self, generator: Generator, name: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = generator.encoder, generator.decoders[name]
        self.channels = generator.config.content_channels(name)

    def forward(self, stacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source, fusion_mask, fused = self.decoder(self.encoder(stacked), stacked[:, self.channels])
        return source, fusion_mask, fused


def decoder_graph(generator: Generator, name: Decoder) -> Graph:
    """The graph of one decoder group."""
    return Graph(DecoderGraph(generator, name), "stacked", DecoderOutput._fields)


class GraphModule(nn.Module):
    """A graph in a runtime in a network's place; it is loaded when it is first called, for each image size."""

    def __init__(self, graph: Graph, runtime: Runtime) -> None:
        super().__init__()
        self._graph, self._runtime = graph, runtime  # a dataclass, so that the weights are none of this module's
        self._ready: dict[tuple[int, ...], Run] = {}

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run: float (B, C, S, S) on any device to the graph's outputs as float32 on the same device."""
        size = tuple(inputs.shape[1:])
        if size not in self._ready:
            with torch.inference_mode(False), torch.no_grad():
                self._ready[size] = self._runtime.load(self._graph, torch.zeros(2, *size))
        arrays = self._ready[size](inputs.detach().float().cpu().contiguous().numpy())
        outputs = tuple(torch.from_numpy(array).to(inputs.device) for array in arrays)
        return outputs[0] if len(outputs) == 1 else outputs


class _PassOn(nn.Module):
    """Stands where an encoder does; the graph of each decoder group holds the encoder."""

    def forward(self, stacked: Tensor) -> list[Tensor]:
        return [stacked]


class _GraphDecoder(GraphModule):
    """Stands where a decoder group does."""

    def forward(self, features: Sequence[Tensor], content: Tensor) -> DecoderOutput:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DecoderOutput(*super().forward(features[0]))


class GraphGenerator(Generator):
    """A generator whose decoder groups, each with the encoder, run in another runtime; used as a `Generator` is.

    Not to be trained or saved: it has no weights of its own.
    """

    def __init__(self, generator: Generator, runtime: Runtime) -> None:
        nn.Module.__init__(self)
        self.config = generator.config
        self.encoder = _PassOn()  # pyright: ignore[reportAttributeAccessIssue]
        self.decoders = nn.ModuleDict(
            {name: _GraphDecoder(decoder_graph(generator, name), runtime) for name in generator.config.decoders}
        )

"""The generator compiled for a GPU, for sets that are worth a minute of compiling (ADR-017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.fused import any_batch
from anomalyhybrid.ops.parts import filled_up
from anomalyhybrid.types import DecoderOutput

LEAST = 2
"""Images that a compiled part is given at least: for a single one the compiler would make another graph."""


class CompiledGenerator(Generator):
    """A generator whose encoder and decoder groups are compiled, for batches of any size; used as a `Generator` is.

    Not to be trained or saved: it has no weights of its own.
    """

    def __init__(self, generator: Generator) -> None:
        nn.Module.__init__(self)
        self.config = generator.config
        self.encoder = _Encoder(generator.encoder)  # pyright: ignore[reportAttributeAccessIssue]
        self.decoders = nn.ModuleDict({name: _Decoder(part) for name, part in generator.decoders.items()})


class _Compiled(nn.Module):
    """One part; it is compiled when it is first called."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        # a function, so that the weights stay the part's; the layout as in training (ADR-021)
        self._run: Callable = torch.compile(part.forward, options={"force_layout_optimization": True})

    def _of(self, *batches: Tensor) -> list[Tensor]:
        """Batches as the compiler is to see them: of any size."""
        return [any_batch(filled_up(batch, LEAST)) for batch in batches]


class _Encoder(_Compiled):
    """Stands where an encoder does."""

    def forward(self, stacked: Tensor) -> list[Tensor]:
        return [level[: len(stacked)] for level in self._run(*self._of(stacked))]


class _Decoder(_Compiled):
    """Stands where a decoder group does."""

    def forward(self, features: Sequence[Tensor], content: Tensor) -> DecoderOutput:
        found = self._run(self._of(*features), *self._of(content))
        return DecoderOutput(*(part[: len(content)] for part in found))

"""Training steps replayed as one CUDA graph, and views drawn while they run (ADR-021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.trees import mapped

WARM_UP = 3
"""Steps before one is recorded: they compile, choose convolutions and allocate what the optimisers keep."""


class ReplayedStep:
    """A step that is recorded once, then replayed: the host issues one call for its thousand and more kernels.

    Args:
        step: From views and draws to scalars on the device. It must not wait for the device, and must leave the
            addresses of what it updates as they are.
    """

    def __init__(self, step: Callable[[Any, Draws], dict[str, Tensor]]) -> None:
        self._step = step
        self._done = 0
        self._given: tuple[Any, Draws] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._values: dict[str, Tensor] = {}

    def __call__(self, views: Any, draws: Draws) -> dict[str, Tensor]:
        """Run one step; the scalars hold until the next one."""
        if self._given is None:
            self._given = mapped(torch.clone, views), draws.copy()
        else:
            mapped(Tensor.copy_, self._given[0], views)
            self._given[1].take(draws)
        self._done += 1
        if self._done <= WARM_UP:
            return self._beside()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._values = self._run()
        self._graph.replay()
        return self._values

    def _run(self) -> dict[str, Tensor]:
        assert self._given is not None
        views, draws = self._given
        return self._step(views, draws.again())

    def _beside(self) -> dict[str, Tensor]:
        """Run the step on a stream of its own, as recording will."""
        current, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            values = self._run()
        current.wait_stream(beside)
        return values

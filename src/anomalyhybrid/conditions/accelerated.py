"""The shipped students in another runtime than PyTorch."""

from __future__ import annotations

from typing import TypeVar

from anomalyhybrid.backends.choice import Backend
from anomalyhybrid.backends.graphs import Graph, GraphModule
from anomalyhybrid.backends.networks import runtime_of
from anomalyhybrid.conditions.lite import LiteDepth, LiteEdge

ExtractorT = TypeVar("ExtractorT")


def extractor_on_backend(extractor: ExtractorT, backend: Backend) -> ExtractorT:
    """A lite extractor that runs in a runtime.

    Args:
        extractor: Any extractor; those that are no students, and all under PyTorch, come back as they are.
        backend: Which runtime; maps are made in float32.

    Returns:
        An extractor whose name, the key of cached maps, tells the runtime: maps may differ in a last bit.

    Source: ADR-017.
    """
    backend = backend.exact
    runtime = runtime_of(backend)
    if runtime is None or not isinstance(extractor, (LiteEdge, LiteDepth)):
        return extractor
    net = GraphModule(Graph(extractor.net, "image", ("logits",)), runtime)
    return type(extractor)(net, name=f"{extractor.name}-{backend.name}-{backend.version}")  # pyright: ignore[reportArgumentType, reportReturnType]

"""A network in the runtime that was chosen."""

from __future__ import annotations

from anomalyhybrid.backends.choice import Backend
from anomalyhybrid.backends.graphs import GraphGenerator, Runtime
from anomalyhybrid.models.generator import Generator


def runtime_of(backend: Backend, threads: int | None = None) -> Runtime | None:
    """What loads graphs, with its package imported; None for PyTorch, which needs no graphs.

    Args:
        backend: Which.
        threads: As many as PyTorch uses by default.
    """
    if backend.exact.name == "openvino":
        from anomalyhybrid.backends.openvino_graphs import OpenVinoRuntime

        return OpenVinoRuntime(threads, "f32" if backend == backend.exact else "bf16")
    if backend.name == "onnx":
        from anomalyhybrid.backends.onnx_graphs import OnnxRuntime

        return OnnxRuntime(threads)
    return None


def on_backend(generator: Generator, backend: Backend) -> Generator:
    """A generator that runs in a runtime; under PyTorch the very same."""
    if backend.name == "compiled":
        from anomalyhybrid.backends.compiled import CompiledGenerator

        return CompiledGenerator(generator)
    runtime = runtime_of(backend)
    return generator if runtime is None else GraphGenerator(generator, runtime)

"""ONNX and ONNX Runtime: graphs from PyTorch's exporter, in float32, with the batch's size left open."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.backends.graphs import Graph, Run
from anomalyhybrid.backends.rewrites import for_inference


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that it does not need."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def to_onnx(graph: Graph, example: Tensor) -> Any:
    """Convert a graph.

    Args:
        graph: The network; rewritten by `for_inference`.
        example: float (B, C, S, S) with B > 1; all but B is fixed.

    Returns:
        An ``onnx.ModelProto`` with named ends.
    """
    with _quiet():
        program = torch.onnx.export(
            for_inference(graph.net),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=[graph.input],
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


class OnnxRuntime:
    """Loads graphs into ONNX Runtime on the CPU.

    Args:
        threads: As many as PyTorch uses by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or torch.get_num_threads()

    def load(self, graph: Graph, example: Tensor) -> Run:
        """See `Runtime`."""
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # PyTorch's threads need the cores
        content = to_onnx(graph, example).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        outputs = list(graph.outputs)

        def run(values: np.ndarray) -> list[np.ndarray]:
            return session.run(outputs, {graph.input: values})

        return run

"""OpenVINO: graphs from PyTorch's, in float32 or bfloat16, with the batch's size left open."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.backends.graphs import Graph, Run
from anomalyhybrid.backends.rewrites import for_inference


def to_openvino(graph: Graph, example: Tensor) -> Any:
    """Convert a graph.

    Args:
        graph: The network; rewritten by `for_inference`.
        example: float (B, C, S, S); all but B is fixed.

    Returns:
        An ``openvino.Model`` with named ends.
    """
    import openvino  # pyright: ignore[reportMissingImports]

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches on the image's size, which is fixed
        traced = torch.jit.trace(for_inference(graph.net), example[:1], check_trace=False)
    model = openvino.convert_model(traced, input=[openvino.PartialShape([-1, *example.shape[1:]])])
    model.inputs[0].get_tensor().set_names({graph.input})
    for output, name in zip(model.outputs, graph.outputs, strict=True):
        output.get_tensor().set_names({name})
    return model


class OpenVinoRuntime:
    """Loads graphs into OpenVINO's CPU plugin.

    Args:
        threads: As many as PyTorch uses by default. The rewritten graphs gave the same bits with any number (ADR-017).
        precision: ``f32``, or ``bf16``, as a GPU takes it: twice as fast where the CPU has instructions for it, and
            apart by 0.002 on average on a scale of [-1, 1].
    """

    def __init__(self, threads: int | None = None, precision: str = "f32") -> None:
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # processes side by side would be pinned to the same cores
        }

    def load(self, graph: Graph, example: Tensor) -> Run:
        """See `Runtime`."""
        import openvino  # pyright: ignore[reportMissingImports]

        compiled = openvino.Core().compile_model(to_openvino(graph, example), "CPU", self._settings)
        count = len(graph.outputs)

        def run(values: np.ndarray) -> list[np.ndarray]:
            found = compiled(values)
            return [found[place] for place in range(count)]

        return run

"""HED edges: a baseline with wide lines, and the lite student's teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.conditions.base import NetworkExtractor
from anomalyhybrid.models.hed import Hed, load_hed
from anomalyhybrid.models.weights import find_weights, sha256_of

HED_FILE = "hed_bsds500.fp16.safetensors"


class HedEdge(NetworkExtractor[Hed]):
    """HED's fused output as an `EdgeExtractor`."""

    @torch.no_grad()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract edges, float (B, 1, H, W) in [0, 1]; see `EdgeExtractor`."""
        _, fused = self.net(self.prepared(image_B3HW))
        return fused.float().sigmoid()


def hed_edge(weights: Path | None = None, *, device: torch.device | str = "cpu") -> HedEdge:
    """Make HED; looks at ``weights``, then in the cache folder.

    Args:
        weights: A safetensors file; None looks in the cache folder.
        device: Where to run.

    Raises:
        WeightsError: If the weights are nowhere or do not fit.
    """
    path = find_weights(HED_FILE, explicit=weights)
    return HedEdge(load_hed(path), name=f"hed-{sha256_of(path)[:12]}", device=device)

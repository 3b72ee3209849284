"""PiDiNet edges, as in the paper (section 4.1: the first granularity); the weights are research-only."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.conditions.base import NetworkExtractor
from anomalyhybrid.models.pidinet import PIDINET_FILE, PiDiNet, load_pidinet
from anomalyhybrid.models.weights import find_weights, sha256_of


class PiDiNetEdge(NetworkExtractor[PiDiNet]):
    """PiDiNet's first granularity as an `EdgeExtractor`."""

    @torch.no_grad()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract edges, float (B, 1, H, W) in [0, 1]; see `EdgeExtractor`."""
        return self.net(self.prepared(image_B3HW))[0].float()


def pidinet_edge(weights: Path | None = None, *, device: torch.device | str = "cpu") -> PiDiNetEdge:
    """Make PiDiNet, converted to plain convolutions; looks at ``weights``, then in the cache folder.

    Args:
        weights: ``pidinet_table5.pth`` or a safetensors file with its keys; None looks in the cache folder.
        device: Where to run.

    Raises:
        WeightsError: If the weights are nowhere, are not the published file, or do not fit.
    """
    path = find_weights(PIDINET_FILE, explicit=weights)
    return PiDiNetEdge(load_pidinet(path).to_vanilla(), name=f"pidinet-{sha256_of(path)[:12]}", device=device)

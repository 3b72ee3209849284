"""The shipped students: edges and depth without a download, the offline default (DESIGN)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.conditions.base import NetworkExtractor, stretched
from anomalyhybrid.models.lite_unet import LiteUNet, load_lite
from anomalyhybrid.models.weights import sha256_of, shipped

EDGE_FILE = "lite_edge.safetensors"
DEPTH_FILE = "lite_depth.safetensors"


@torch.no_grad()
def _probability(extractor: NetworkExtractor[LiteUNet], image_B3HW: Tensor) -> Tensor:
    """Run a lite U-Net: float (B, 1, H, W) in [0, 1]."""
    image = extractor.prepared(image_B3HW).to(memory_format=torch.channels_last)
    return extractor.net(image).float().sigmoid()


class LiteEdge(NetworkExtractor[LiteUNet]):
    """The edge student as an `EdgeExtractor`."""

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract edges, float (B, 1, H, W) in [0, 1]; see `EdgeExtractor`."""
        return _probability(self, image_B3HW).contiguous()


class LiteDepth(NetworkExtractor[LiteUNet]):
    """The depth student as a `DepthExtractor`."""

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract depth, float (B, 1, H, W) in [0, 1], 1 nearest; see `DepthExtractor`."""
        return stretched(_probability(self, image_B3HW)).contiguous()


def lite_edge(weights: Path | None = None, *, device: torch.device | str = "cpu") -> LiteEdge:
    """Make the edge student.

    Args:
        weights: A file written by ``models.lite_unet.save_lite``; None takes the shipped one.
        device: Where to run.

    Raises:
        WeightsError: If the file is missing or does not fit.
    """
    path = shipped(EDGE_FILE) if weights is None else Path(weights)
    return LiteEdge(load_lite(path), name=f"lite-edge-{sha256_of(path)[:12]}", device=device)


def lite_depth(weights: Path | None = None, *, device: torch.device | str = "cpu") -> LiteDepth:
    """Make the depth student.

    Args:
        weights: A file written by ``models.lite_unet.save_lite``; None takes the shipped one.
        device: Where to run.

    Raises:
        WeightsError: If the file is missing or does not fit.
    """
    path = shipped(DEPTH_FILE) if weights is None else Path(weights)
    return LiteDepth(load_lite(path), name=f"lite-depth-{sha256_of(path)[:12]}", device=device)

"""FastDepth: a baseline trained on rooms; on close-ups of parts its maps follow the object poorly."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.conditions.base import NetworkExtractor, stretched
from anomalyhybrid.models.fastdepth import FastDepth, load_fastdepth
from anomalyhybrid.models.weights import find_weights, sha256_of

FASTDEPTH_FILE = "fastdepth.fp16.safetensors"
_STEP = 32
_NEAREST_METRES = 0.1


class FastDepthDepth(NetworkExtractor[FastDepth]):
    """FastDepth's inverse depth as a `DepthExtractor`; images are resized to multiples of 32 inside."""

    @torch.no_grad()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract depth, float (B, 1, H, W) in [0, 1], 1 nearest; see `DepthExtractor`."""
        image = self.prepared(image_B3HW)
        size = image.shape[-2:]
        fitting = [max(_STEP, round(side / _STEP) * _STEP) for side in size]
        if list(size) != fitting:
            image = F.interpolate(image, size=fitting, mode="bilinear", align_corners=False)
        inverse = 1.0 / self.net(image).float().clamp_min(_NEAREST_METRES)
        if list(size) != fitting:
            inverse = F.interpolate(inverse, size=size, mode="bilinear", align_corners=False)
        return stretched(inverse)


def fastdepth_depth(weights: Path | None = None, *, device: torch.device | str = "cpu") -> FastDepthDepth:
    """Make FastDepth; looks at ``weights``, then in the cache folder.

    Args:
        weights: A safetensors file; None looks in the cache folder.
        device: Where to run.

    Raises:
        WeightsError: If the weights are nowhere or do not fit.
    """
    path = find_weights(FASTDEPTH_FILE, explicit=weights)
    return FastDepthDepth(load_fastdepth(path), name=f"fastdepth-{sha256_of(path)[:12]}", device=device)

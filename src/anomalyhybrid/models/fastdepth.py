"""FastDepth monocular depth (Wofk et al., 2019): a reference of the lite depth student, and a baseline."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import DataError
from anomalyhybrid.models.weights import load_into, load_safetensors

_ENCODER = (16, 56, 88, 120, 144, 256, 408, 376, 272, 288, 296, 328, 480, 512)
_DECODER = (200, 256, 120, 56, 16)
_STRIDED = (0, 3, 7, 11, 23)
_SKIPS = (10, 6, 2)
_STEP = 32


class FastDepth(nn.Module):
    """MobileNet encoder, five depthwise-pointwise decoder pairs with additive skips; batch norms folded.

    Keys ``c00`` to ``c37`` (dwofk/fast-depth by way of weilly0912/ATU_Model_Zoo, MIT).
    """

    def __init__(self) -> None:
        super().__init__()
        self._add(0, 3, _ENCODER[0], kernel=3)
        number, before = 1, _ENCODER[0]
        for channels in _ENCODER[1:]:
            self._add(number, before, before, kernel=3, groups=before)
            self._add(number + 1, before, channels, kernel=1)
            number, before = number + 2, channels
        for channels in _DECODER:
            self._add(number, before, before, kernel=5, groups=before)
            self._add(number + 1, before, channels, kernel=1)
            number, before = number + 2, channels
        self._add(number, before, 1, kernel=1)

    def _add(self, number: int, before: int, after: int, *, kernel: int, groups: int = 1) -> None:
        """Add convolution ``cNN``."""
        stride = 2 if number in _STRIDED else 1
        conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, groups=groups)
        self.add_module(f"c{number:02d}", conv)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Estimate depth.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1]; H and W multiples of 32.

        Returns:
            Depth in metres (larger is farther), float (B, 1, H, W), at least 0.

        Raises:
            DataError: If a side is not a multiple of 32.
        """
        height, width = image_B3HW.shape[-2:]
        if height % _STEP or width % _STEP:
            raise DataError(f"FastDepth needs sides that are multiples of {_STEP}, got {height}x{width}: resize.")
        x = (image_B3HW + 1.0) / 2.0
        skips: list[Tensor] = []
        for number in range(27):
            x = F.relu6(self.get_submodule(f"c{number:02d}")(x))
            if number in _SKIPS:
                skips.append(x)
        for pair in range(5):
            for number in (27 + 2 * pair, 28 + 2 * pair):
                x = F.relu(self.get_submodule(f"c{number:02d}")(x))
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            if 1 <= pair <= 3:
                x = x + skips[3 - pair]
        return F.relu(self.get_submodule("c37")(x))


def load_fastdepth(path: Path) -> FastDepth:
    """Build FastDepth from a safetensors file.

    Args:
        path: ``fastdepth.fp16.safetensors`` or one with its keys.

    Returns:
        The network in evaluation mode, without gradients, on the CPU.

    Raises:
        WeightsError: If the file is missing or does not fit.
    """
    return load_into(FastDepth(), load_safetensors(path), name="FastDepth").eval().requires_grad_(False)

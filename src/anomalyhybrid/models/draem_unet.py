"""The detector that publications train on synthetic defects: DRAEM's discriminative sub-network, a plain U-Net."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError

STRIDE = 32  # images must be a multiple of it: five poolings
_ENCODER = (1, 2, 4, 8, 8, 8)  # widths of the six blocks, in units of the base width
_DECODER = (8, 4, 2, 1, 1)  # of the five steps upwards


@dataclass(frozen=True, slots=True, kw_only=True)
class DraemUNetConfig:
    """Size of the U-Net."""

    width: int = 64
    """Channels of the first block; publications use 64, tests 4."""
    channels: int = 3
    """Channels of the image."""
    classes: int = 2
    """Channels of the logits: normal, anomalous."""

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("channels", 1), ("classes", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"U-Net {name} is {getattr(self, name)}; it must be at least {least}")


def _convs(before: int, after: int, count: int) -> nn.Sequential:
    """3x3 convolution, batch norm and ReLU, ``count`` times."""
    layers: list[nn.Module] = []
    for index in range(count):
        layers += [nn.Conv2d(after if index else before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(True)]
    return nn.Sequential(*layers)


class DraemUNet(nn.Module):
    """Six encoder blocks with max pooling between them, five bilinear steps back with skips, a 3x3 head.

    28,372,418 parameters at the default size; 37.9 G multiply-adds for one image of 256 x 256.

    Source: DRAEM (Zavrtanik et al. 2021), discriminative sub-network; PROTOCOL: Detection and localisation.
    """

    def __init__(self, config: DraemUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DraemUNetConfig()
        down = [scale * config.width for scale in _ENCODER]
        up = [scale * config.width for scale in _DECODER]
        skips = down[-2::-1]
        self.encoder = nn.ModuleList(
            _convs(before, after, 2) for before, after in zip([config.channels, *down[:-1]], down, strict=True)
        )
        self.rise = nn.ModuleList(
            _convs(before, after, 1) for before, after in zip([down[-1], *up[:-1]], up, strict=True)
        )
        self.merge = nn.ModuleList(_convs(width + skip, width, 2) for width, skip in zip(up, skips, strict=True))
        self.head = nn.Conv2d(up[-1], config.classes, 3, padding=1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Judge every pixel.

        Args:
            image_BCHW: float (B, 3, H, W) in [0, 1]; H and W multiples of 32.

        Returns:
            ``logits``, float (B, 2, H, W): normal, anomalous.
        """
        current, outputs = image_BCHW, []
        for index, block in enumerate(self.encoder):
            current = block(F.max_pool2d(current, 2) if index else current)
            outputs.append(current)
        for rise, merge, skip in zip(self.rise, self.merge, outputs[-2::-1], strict=True):
            larger = F.interpolate(current, scale_factor=2.0, mode="bilinear", align_corners=True)
            current = merge(torch.cat([rise(larger), skip], dim=1))
        return self.head(current)


@torch.no_grad()
def draw_weights(model: DraemUNet, generator: torch.Generator) -> DraemUNet:
    """Draw initial weights: convolutions N(0, 0.02), batch norms N(1, 0.02) with zero bias.

    Biases of convolutions, which the publications leave to torch's default, are 0; before a batch norm they have
    no effect.

    Args:
        model: On the CPU; changed in place, running statistics included.
        generator: On the CPU.

    Returns:
        ``model``.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.normal_(0.0, 0.02, generator=generator)
            assert layer.bias is not None
            layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.weight.normal_(1.0, 0.02, generator=generator)
            layer.bias.zero_()
    return model


def new_draem_unet(config: DraemUNetConfig, generator: torch.Generator) -> DraemUNet:
    """Make a U-Net with weights drawn from a generator; torch's global random state is left as it was.

    Args:
        config: Its size.
        generator: On the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        model = DraemUNet(config)
    return draw_weights(model, generator)

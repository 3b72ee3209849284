"""Colour changes of the baselines, on float RGB in [0, 1], with one strength for each image."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import LUMINANCE
from anomalyhybrid.ops.regions import masked_mean


def grey_of(rgb: Tensor) -> Tensor:
    """Luminance, float (B, 1, H, W)."""
    red, green, blue = rgb.unbind(dim=1)
    return (red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2])[:, None]


def hsv_from_rgb(rgb: Tensor) -> Tensor:
    """Hue (in turns), saturation and value of float RGB (B, 3, H, W) in [0, 1]; grey has hue 0."""
    red, green, blue = rgb.unbind(dim=1)
    value, low = rgb.amax(dim=1), rgb.amin(dim=1)
    spread = value - low
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    of_blue = (red - green) / safe + 4
    of_green = (blue - red) / safe + 2
    of_red = (green - blue) / safe
    hue = torch.where(value == red, of_red, torch.where(value == green, of_green, of_blue)) / 6
    saturation = spread / torch.where(value > 0, value, torch.ones_like(value))
    return torch.stack([torch.where(spread > 0, hue % 1.0, torch.zeros_like(hue)), saturation, value], dim=1)


def rgb_from_hsv(hsv: Tensor) -> Tensor:
    """The inverse of `hsv_from_rgb`."""
    hue, saturation, value = hsv.unbind(dim=1)

    def channel(offset: float) -> Tensor:
        position = (offset + hue * 6) % 6
        return value - value * saturation * torch.minimum(position, 4 - position).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], dim=1)


def shift_hue(rgb: Tensor, turns_B: Tensor, saturation_B: Tensor | None = None) -> Tensor:
    """Turn the hue, and add to the saturation."""
    hsv = hsv_from_rgb(rgb)
    hue = (hsv[:, 0] + turns_B.view(-1, 1, 1)) % 1.0
    saturation = hsv[:, 1] if saturation_B is None else (hsv[:, 1] + saturation_B.view(-1, 1, 1)).clamp(0, 1)
    return rgb_from_hsv(torch.stack([hue, saturation, hsv[:, 2]], dim=1))


def jitter(draws: Draws, rgb: Tensor, region: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast, saturation and hue, each by at most `strength` (hue in turns).

    Args:
        draws: Random rows.
        rgb: float (B, 3, H, W) in [0, 1].
        region: Where the mean is taken that contrast turns about, float (B, 1, H, W) of 0 and 1.
        strength: 0 changes nothing.

    Source: the ColorJitter that CutPaste uses; here always in this order.
    """
    brightness, contrast, saturation = (draws.uniform(1 - strength, 1 + strength).view(-1, 1, 1, 1) for _ in range(3))
    turns = draws.uniform(-strength, strength)
    if strength == 0:
        return rgb
    lit = (rgb * brightness).clamp(0, 1)
    centre = masked_mean(grey_of(lit), region)
    lit = (centre + (lit - centre) * contrast).clamp(0, 1)
    grey = grey_of(lit)
    lit = (grey + (lit - grey) * saturation).clamp(0, 1)
    return shift_hue(lit, turns)

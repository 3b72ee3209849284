"""DRAEM's augmentation of textures: three of ten changes, in simple form, batched.

Each change takes float RGB (B, 3, S, S) in [0, 1] and its strengths, uniform numbers in [0, 1), float (B, `STRENGTHS`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.evaluation.baselines.colour import shift_hue
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import affine_grid, sample, similarity_matrix

STRENGTHS = 4
LEVELS = 256


def _between(strength_B: Tensor, low: float, high: float) -> Tensor:
    return (low + (high - low) * strength_B).view(-1, 1, 1, 1)


def gamma(rgb: Tensor, strength: Tensor) -> Tensor:
    """Gamma 0.5 to 2, each channel its own."""
    return rgb ** (0.5 + 1.5 * strength[:, :3, None, None])


def brightness(rgb: Tensor, strength: Tensor) -> Tensor:
    """Times 0.8 to 1.2, plus -30 to 30 of 255."""
    return rgb * _between(strength[:, 0], 0.8, 1.2) + _between(strength[:, 1], -30 / 255, 30 / 255)


def sharpness(rgb: Tensor, strength: Tensor) -> Tensor:
    """From a 3x3 mean (0) to twice the difference from it (2)."""
    padded = F.pad(rgb, (1, 1, 1, 1), mode="replicate")
    mean = F.avg_pool2d(padded, 3, stride=1)
    return mean + (rgb - mean) * _between(strength[:, 0], 0.0, 2.0)


def hue(rgb: Tensor, strength: Tensor) -> Tensor:
    """Hue and saturation shifted by up to 50 of 255."""
    return shift_hue(rgb, (strength[:, 0] * 2 - 1) * (50 / 255), (strength[:, 1] * 2 - 1) * (50 / 255))


def solarise(rgb: Tensor, strength: Tensor) -> Tensor:
    """Invert values above 32 to 128 of 255, in half of the images."""
    above = (rgb >= _between(strength[:, 0], 32 / 255, 128 / 255)) & (strength[:, 1] < 0.5).view(-1, 1, 1, 1)
    return torch.where(above, 1 - rgb, rgb)


def posterise(rgb: Tensor, strength: Tensor) -> Tensor:
    """Keep 1 to 8 bits."""
    step = 2.0 ** (7 - (strength[:, 0] * 8).floor().clamp(0, 7)).view(-1, 1, 1, 1)
    return ((rgb * 255).round() / step).floor() * step / 255


def invert(rgb: Tensor, strength: Tensor) -> Tensor:
    """1 - value."""
    return 1 - rgb


def _cumulative(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of each channel, long (B * 3, S * S), and the share of pixels at or below each, float (B * 3, 256)."""
    levels = (rgb * 255).round().clamp(0, 255).long().reshape(rgb.shape[0] * 3, -1)
    counts = torch.zeros(len(levels), LEVELS, dtype=torch.long, device=rgb.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    return levels, counts.cumsum(dim=1).float() / levels.shape[1]


def autocontrast(rgb: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel so that 0 to 20 % of the pixels are cut at either end."""
    _, share = _cumulative(rgb)
    cut = (strength[:, 0] * 0.2).repeat_interleave(3)[:, None]
    low = (share <= cut).sum(dim=1).float() / 255
    high = (share < 1 - cut).sum(dim=1).float() / 255
    low, high = low.view(-1, 3, 1, 1), high.view(-1, 3, 1, 1)
    return torch.where(high > low, (rgb - low) / (high - low).clamp_min(1e-6), rgb)


def equalise(rgb: Tensor, strength: Tensor) -> Tensor:
    """Spread the levels of each channel evenly."""
    levels, share = _cumulative(rgb)
    least = share.gather(1, levels.amin(dim=1, keepdim=True))
    curve = ((share - least) / (1 - least).clamp_min(1e-6)).clamp(0, 1)
    flat = curve.gather(1, levels).reshape(rgb.shape)
    return torch.where((least >= 1).view(-1, 3, 1, 1), rgb, flat)  # one level only


def rotate(rgb: Tensor, strength: Tensor) -> Tensor:
    """Turn by up to 45 degrees; corners are mirrored."""
    turn = (strength[:, 0] * 2 - 1) * (torch.pi / 4)
    still = torch.ones(len(rgb), 2, device=rgb.device)
    matrix = similarity_matrix(torch.ones_like(turn), turn, torch.zeros_like(still), still)
    return sample(rgb, affine_grid(matrix, *rgb.shape[-2:]), padding="reflection")


CHANGES = (gamma, brightness, sharpness, hue, solarise, posterise, invert, autocontrast, equalise, rotate)
ROUNDS = 3


def augment_textures(draws: Draws, rgb: Tensor) -> Tensor:
    """Apply three different changes to each texture, in random order.

    Args:
        draws: Random rows; 22 numbers of each.
        rgb: float (B, 3, S, S) in [0, 1].

    Returns:
        float (B, 3, S, S) in [0, 1].

    Source: Zavrtanik et al. 2021 (DRAEM): three of ten augmenters; ranges as in its code.
    """
    order = draws.uniforms(len(CHANGES)).argsort(dim=1)
    for number in range(ROUNDS):
        chosen, strength = order[:, number], draws.uniforms(STRENGTHS)
        changed = rgb.clone()
        for index, change in enumerate(CHANGES):
            rows = (chosen == index).nonzero()[:, 0]
            if len(rows):
                changed[rows] = change(rgb[rows], strength[rows]).clamp(0, 1)
        rgb = changed
    return rgb

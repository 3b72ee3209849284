"""Which turns and flips leave a product looking like itself, measured on its own good images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.ops.ranges import signed_from_u8

MEASURED_IMAGES = 16  # good images that are compared
TOLERANCE = 1.25  # a turned image may differ this many times as much from the others as they do among themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """Moves that keep a product's normal look."""

    flip_x: bool
    flip_y: bool
    half_turn: bool
    any_turn: bool


def _appearance(images: Tensor) -> Tensor:
    """Low-resolution colour and direction of detail, float (N, 5, S, S)."""
    grey = images.mean(dim=1, keepdim=True)
    slope_x = F.pad((grey[..., :, 1:] - grey[..., :, :-1]).abs(), (0, 1, 0, 0))
    slope_y = F.pad((grey[..., 1:, :] - grey[..., :-1, :]).abs(), (0, 0, 0, 1))
    detail = F.avg_pool2d(torch.cat([slope_x, slope_y], dim=1), 4)
    detail = detail / detail.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    colour = F.avg_pool2d(images, 4)
    return torch.cat([colour - colour.mean(dim=(2, 3), keepdim=True), 0.25 * detail], dim=1)


def symmetry_of(color_u8: Tensor) -> Symmetry:
    """Measure the symmetry of a product on its first good images.

    Args:
        color_u8: Good images of one category, uint8 (N, 3, S, S), N >= 1.
    """
    shown = signed_from_u8(color_u8[:MEASURED_IMAGES].cpu())
    if len(shown) == 1:  # what another image of the product would look like: a little elsewhere
        shown = torch.cat([shown, shown.roll((1, 1), (2, 3))])
    side = shown.shape[-1] // 4 * 4
    return measure_symmetry(shown[..., :side, :side])


def measure_symmetry(images: Tensor) -> Symmetry:
    """Compare each image with the others, as it is and moved.

    Args:
        images: Good images of one category, float (N, 3, S, S) in [-1, 1], N >= 2 and S a multiple of 4.

    Returns:
        The moves after which images differ at most `TOLERANCE` times as much as unmoved ones do.
    """
    reference = _appearance(images)
    others = torch.roll(reference, 1, dims=0)
    usual = (reference - others).abs().mean()

    def holds(moved: Tensor) -> bool:
        return bool((_appearance(moved) - others).abs().mean() <= TOLERANCE * usual + 1e-4)

    return Symmetry(
        flip_x=holds(images.flip(3)),
        flip_y=holds(images.flip(2)),
        half_turn=holds(images.flip(2, 3)),
        any_turn=holds(torch.rot90(images, 1, (2, 3))) and holds(torch.rot90(images, 3, (2, 3))),
    )

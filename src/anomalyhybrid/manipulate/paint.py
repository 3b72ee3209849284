"""Paint a procedural structure on an image: what its relief presses aside and shades, darkening and stain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.fused import fused_at_one_shape
from anomalyhybrid.ops.regions import blur
from anomalyhybrid.ops.structures import Structure, is_soft
from anomalyhybrid.ops.warp import identity_grid, sample

VOID = -0.7  # a tint darker than this is no stain but a hole or a crack
WEAR = 0.3  # brightness that raised surface gains and sunken surface loses
SOFT_WEAR = 0.12  # the same of dents and bumps, whose floors lie as the surface does
PRESS = 60.0  # shift of what lies on the slopes of dents and bumps, in pixels of 256 a side at slope 1
GLOSS = 0.3  # highlight of the slope that faces the light
GRAIN = 1.5  # sigma, in pixels of 256 a side, above which what a stain covers no longer shows
LIGHT = torch.pi / 4  # image direction that rises towards the light: it comes from the upper left


def slopes(relief: Tensor) -> tuple[Tensor, Tensor]:
    """Rise of a relief (B, 1, H, W) to the right and down, for each pixel of 256 a side; float (B, 1, H, W) each."""
    scale = relief.shape[-1] / 256
    padded = F.pad(blur(relief, scale), (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return 0.5 * scale * across, 0.5 * scale * down


def relief_shading(rise: tuple[Tensor, Tensor], azimuth_B: Tensor) -> Tensor:
    """Relative brightness change of a relief lit from one side, float (B, 1, H, W); 0 where it is flat.

    Args:
        rise: Of the relief, as `slopes` gives it.
        azimuth_B: Direction of the light in radians.
    """
    across, down = rise
    return across * torch.cos(azimuth_B).view(-1, 1, 1, 1) + down * torch.sin(azimuth_B).view(-1, 1, 1, 1)


def pressed(image: Tensor, kind: Tensor, rise: tuple[Tensor, Tensor]) -> Tensor:
    """Move what an image shows down the slopes of dents and off those of bumps, as pressing the surface would.

    Without it they are veils through which everything shows as it was.

    Args:
        image: float (B, 3, H, W).
        kind: Of the structures, index into `KINDS`, long (B,).
        rise: Of their relief, as `slopes` gives it.
    """
    height, width = image.shape[-2:]
    shift = torch.cat(rise, dim=1) * (PRESS * 2 / 256)
    grid = identity_grid(len(image), height, width, image.device) + shift.permute(0, 2, 3, 1)
    return torch.where(is_soft(kind), sample(image, grid), image)


def paint(draws: Draws, image: Tensor, structure: Structure) -> Tensor:
    """Show a structure on an image, lit from the upper left.

    Light, gloss and wear hardly vary, so that the look follows from the structure and can be learnt: under random
    light the best guess at a dent is no dent at all (ADR-006).

    Args:
        draws: Random rows: contrast, and a little of the light's direction.
        image: float (B, 3, H, W) in [-1, 1].
        structure: What to show.

    Returns:
        float (B, 3, H, W) in [-1, 1]; equal to the image outside the region grown by the relief's own slope.
    """
    contrast = draws.uniform(3.0, 5.0).view(-1, 1, 1, 1)
    azimuth = LIGHT + draws.uniform(-0.35, 0.35)
    shown = (structure.kind, structure.relief, structure.tint, structure.tint_alpha)
    return _shown_on(image, *shown, contrast, azimuth)


@fused_at_one_shape
def _shown_on(
    image: Tensor, kind: Tensor, relief: Tensor, tint: Tensor, tint_alpha: Tensor, contrast: Tensor, azimuth_B: Tensor
) -> Tensor:
    """`paint`, once its numbers are drawn; the parts of a structure as `Structure` has them."""
    rise = slopes(relief)
    shade = relief_shading(rise, azimuth_B) * contrast
    unit = (pressed(image, kind, rise) + 1) * 0.5
    around = blur(unit, 8 * image.shape[-1] / 256)
    local = around.mean(dim=1, keepdim=True)
    floor = torch.where(is_soft(kind), SOFT_WEAR, WEAR) * relief * (0.15 + local)
    gloss = GLOSS * shade.clamp(0, 1) * (0.1 + local)
    lit = unit * (1 + shade.clamp(-0.8, 1.5)) + gloss + floor
    grey = unit.mean(dim=1, keepdim=True)
    fine = blur(grey, GRAIN * image.shape[-1] / 256)
    grain = ((grey + 0.02) / (fine + 0.02)).clamp(0.7, 1.3)  # a stain takes the surface's grain, not what it covers
    surface = (tint + 1) * 0.5 * (1 + 0.6 * shade.clamp(-1, 1.5)) * grain
    is_void = (tint.amax(dim=1, keepdim=True) < VOID).float()
    surface = surface + is_void * 0.3 * around * (1 + shade.clamp(-1, 1.5))  # light that reaches a hole's walls
    stained = torch.lerp(lit, surface, tint_alpha.expand_as(lit))
    return (stained * 2 - 1).clamp(-1, 1)

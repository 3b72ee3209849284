"""Paint a procedural structure on an image: shading of its relief, darkening and stain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur
from anomalyhybrid.ops.structures import Structure

VOID = -0.7  # a tint darker than this is no stain but a hole or a crack
WEAR = 0.3  # brightness that raised surface gains and sunken surface loses
GLOSS = 0.3  # highlight of the slope that faces the light
GRAIN = 1.5  # sigma, in pixels of 256 a side, above which what a stain covers no longer shows
LIGHT = torch.pi / 4  # image direction that rises towards the light: it comes from the upper left


def relief_shading(relief: Tensor, azimuth_B: Tensor) -> Tensor:
    """Relative brightness change of a relief lit from one side, float (B, 1, H, W); 0 where it is flat.

    Args:
        relief: Height, float (B, 1, H, W).
        azimuth_B: Direction of the light in radians.
    """
    smooth = blur(relief, relief.shape[-1] / 256)
    padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    slope_x = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    slope_y = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    toward = slope_x * torch.cos(azimuth_B).view(-1, 1, 1, 1) + slope_y * torch.sin(azimuth_B).view(-1, 1, 1, 1)
    return toward * (relief.shape[-1] / 256)


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
    shade = relief_shading(structure.relief, azimuth) * contrast
    unit = (image + 1) * 0.5
    around = blur(unit, 8 * image.shape[-1] / 256)
    local = around.mean(dim=1, keepdim=True)
    floor = WEAR * structure.relief * (0.15 + local)
    gloss = GLOSS * shade.clamp(0, 1) * (0.1 + local)
    lit = unit * (1 + shade.clamp(-0.8, 1.5)) + gloss + floor
    grey = unit.mean(dim=1, keepdim=True)
    fine = blur(grey, GRAIN * image.shape[-1] / 256)
    grain = ((grey + 0.02) / (fine + 0.02)).clamp(0.7, 1.3)  # a stain takes the surface's grain, not what it covers
    surface = (structure.tint + 1) * 0.5 * (1 + 0.6 * shade.clamp(-1, 1.5)) * grain
    is_void = (structure.tint.amax(dim=1, keepdim=True) < VOID).float()
    surface = surface + is_void * 0.3 * around * (1 + shade.clamp(-1, 1.5))  # light that reaches a hole's walls
    stained = torch.lerp(lit, surface, structure.tint_alpha.expand_as(lit))
    return (stained * 2 - 1).clamp(-1, 1)

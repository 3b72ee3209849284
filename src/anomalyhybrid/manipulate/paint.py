"""Paint a procedural structure on an image: shading of its relief, darkening and stain."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur
from anomalyhybrid.ops.structures import Structure


def relief_shading(relief: Tensor, azimuth_B: Tensor) -> Tensor:
    """Relative brightness change of a relief lit from one side, float (B, 1, H, W); 0 where it is flat.

    Args:
        relief: Height, float (B, 1, H, W).
        azimuth_B: Direction of the light in radians.
    """
    smooth = blur(relief, relief.shape[-1] / 256)
    slope_x = 0.5 * (torch.roll(smooth, -1, 3) - torch.roll(smooth, 1, 3))
    slope_y = 0.5 * (torch.roll(smooth, -1, 2) - torch.roll(smooth, 1, 2))
    toward = slope_x * torch.cos(azimuth_B).view(-1, 1, 1, 1) + slope_y * torch.sin(azimuth_B).view(-1, 1, 1, 1)
    return toward * (relief.shape[-1] / 256)


def paint(draws: Draws, image: Tensor, structure: Structure) -> Tensor:
    """Show a structure on an image.

    Args:
        draws: Random rows: light direction, contrast and gloss.
        image: float (B, 3, H, W) in [-1, 1].
        structure: What to show.

    Returns:
        float (B, 3, H, W) in [-1, 1]; equal to the image outside the region grown by the relief's own slope.
    """
    contrast = draws.uniform(2.0, 6.0).view(-1, 1, 1, 1)
    gloss = draws.uniform(0.0, 0.5).view(-1, 1, 1, 1)
    wear = (draws.normals(1).view(-1, 1, 1, 1) * 0.35).clamp(-0.6, 0.6)  # a worn floor is lighter or darker
    shade = relief_shading(structure.relief, draws.uniform(0, 2 * torch.pi)) * contrast
    unit = (image + 1) * 0.5
    local = blur(unit, 8 * image.shape[-1] / 256).mean(dim=1, keepdim=True)
    floor = structure.relief.abs() * wear * (0.15 + local)
    lit = unit * (1 + shade.clamp(-0.8, 1.5)) + gloss * shade.clamp(0, 1) * (0.1 + local) + floor
    stained = torch.lerp(lit, (structure.tint + 1) * 0.5 * (1 + 0.5 * shade), structure.tint_alpha.expand_as(lit))
    return (stained * 2 - 1).clamp(-1, 1)

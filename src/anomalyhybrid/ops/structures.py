"""Procedural structure: shapes with relief, edges and surface change, as defects have them.

The same structures make pseudo-defects for training and, where no real defect is at hand, the edited depth and
edge maps of generation; the generator therefore meets at generation what it learnt (ADR-006).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws, constant
from anomalyhybrid.ops.parts import among
from anomalyhybrid.ops.regions import blob, blur, dilate, erode, polygon, smooth_noise, stroke

KINDS = ("scratch", "dent", "bump", "crack", "hole", "contamination")
_FAMILY = (1, 0, 0, 1, 2, 0)  # of each kind: 0 blob, 1 stroke, 2 polygon or blob
_RELIEF = (-0.35, -1.0, 1.0, -0.6, -1.0, 0.25)  # relative height at full depth
_EDGE = (0.7, 0.55, 0.55, 0.9, 0.9, 0.65)  # strength of the outline in an edge map
_WARM = (1.0, 0.15, -0.85)  # colours of dirt: brown, ochre and rust one way, bluish grey the other
_DARKENING = (0.0, 0.0, 0.0, 0.75, 0.85, 0.0)  # how far the surface goes towards black


@dataclass(frozen=True, slots=True)
class Structure:
    """Procedural defects of one batch.

    Attributes:
        kind: Index into `KINDS`, long (B,).
        region_mask: Binary float (B, 1, H, W).
        relief: Height change, float (B, 1, H, W) in [-1, 1]; negative lies deeper.
        edge: Outline as an edge map shows it, float (B, 1, H, W) in [0, 1].
        tint: Colour of a changed surface, float (B, 3, 1, 1) in [-1, 1].
        tint_alpha: How far the surface takes the tint, float (B, 1, H, W) in [0, 1].
    """

    kind: Tensor
    region_mask: Tensor
    relief: Tensor
    edge: Tensor
    tint: Tensor
    tint_alpha: Tensor


def is_soft(kind: Tensor) -> Tensor:
    """Whether kinds press the surface and leave it whole, bool (B, 1, 1, 1): dents and bumps."""
    return ((kind == KINDS.index("dent")) | (kind == KINDS.index("bump"))).view(-1, 1, 1, 1)


def _pick(table: tuple[float, ...], kind: Tensor) -> Tensor:
    """Look a per-kind constant up, float (B, 1, 1, 1)."""
    return constant(table, kind.device)[kind].view(-1, 1, 1, 1)


def _walk(draws: Draws, center_B2: Tensor, length_B: Tensor, steps: int, wiggle_B: Tensor) -> Tensor:
    """Vertices of a random walk through the centre, float (B, steps + 1, 2)."""
    heading = draws.uniform(0, 2 * torch.pi)[:, None] + (draws.normals(steps) * wiggle_B[:, None]).cumsum(1)
    stride = length_B[:, None] / steps * draws.uniforms(steps, 0.6, 1.4)
    moves = torch.stack([torch.cos(heading), torch.sin(heading)], dim=2) * stride[..., None]
    path = torch.cat([torch.zeros_like(moves[:, :1]), moves.cumsum(1)], dim=1)
    return path - path.mean(dim=1, keepdim=True) + center_B2[:, None]


def _outline(draws: Draws, center_B2: Tensor, radius_B: Tensor, corners: int) -> Tensor:
    """Vertices of an irregular polygon around the centre, float (B, corners, 2)."""
    step = 2 * torch.pi / corners
    turns = torch.arange(corners, device=center_B2.device) * step + draws.uniforms(corners, -0.4, 0.4) * step
    radii = radius_B[:, None] * draws.uniforms(corners, 0.5, 1.3)
    squeeze = draws.uniform(0.5, 1.0)[:, None]
    around = torch.stack([torch.cos(turns) * radii, torch.sin(turns) * radii * squeeze], dim=2)
    return center_B2[:, None] + around


def draw_region(draws: Draws, kind: Tensor, center_B2: Tensor, extent_B: Tensor, height: int, width: int) -> Tensor:
    """Draw the outline of each structure.

    Args:
        draws: Random rows.
        kind: Index into `KINDS`, long (B,).
        center_B2: Centres (x, y) in grid units.
        extent_B: Half size in grid units (strokes are 3 times as long, and thin).
        height: Rows.
        width: Columns.

    Returns:
        Binary float (B, 1, H, W); at least one pixel (the centre's) in each sample.
    """
    noise = smooth_noise(draws.normals(1, 12, 12), height, width)[:, 0]
    radii = extent_B[:, None] * draws.uniforms(2, 0.45, 1.0)
    round_ones = (center_B2, radii, draws.uniform(0, 2 * torch.pi), noise, draws.uniform(0.1, 0.5))
    is_crack = kind == KINDS.index("crack")
    wiggle = torch.where(is_crack, draws.uniform(0.35, 0.8), draws.uniform(0.0, 0.25))
    vertices = _walk(draws, center_B2, extent_B * draws.uniform(1.8, 3.5), 9, wiggle)
    pixel = 2.0 / min(height, width)
    thin_ones = (vertices, pixel * draws.log_uniform(0.8, 2.6), noise, draws.uniform(0.1, 0.5))
    corners = _outline(draws, center_B2, extent_B * draws.uniform(0.6, 1.0), 7)
    family = constant(_FAMILY, kind.device)[kind]
    family = torch.where((family == 2) & draws.happens(0.5), torch.zeros_like(family), family)
    choose = family.view(-1, 1, 1, 1)
    blobs = among(family == 0, blob, *round_ones)
    strokes = among(family == 1, stroke, *thin_ones)
    polygons = among(family == 2, _worn, corners, noise)
    region = torch.where(choose == 0, blobs, torch.where(choose == 1, strokes, polygons))
    dot = blob(center_B2, torch.full_like(center_B2, 2 * pixel), torch.zeros_like(extent_B), noise * 0, extent_B * 0)
    return torch.maximum(region, dot)


def _worn(vertices_BK2: Tensor, noise_BHW: Tensor) -> Tensor:
    """Polygons with worn corners, binary float (B, 1, H, W)."""
    height, width = noise_BHW.shape[1:]
    sharp = polygon(vertices_BK2, height, width)
    return (blur(sharp, min(height, width) / 110) + 0.12 * noise_BHW[:, None] > 0.5).float()


def _relief(draws: Draws, kind: Tensor, region_mask: Tensor) -> Tensor:
    """Height profile inside the region: flat-bottomed, bowl-like or grooved, with a rough floor."""
    size = region_mask.shape[-1]
    bowl = (2 * blur(region_mask, size / 40) - 1).clamp_min(0)
    shaft = (blur(region_mask, size / 90) - 0.3).clamp_min(0) / 0.7
    groove = blur(region_mask, size / 220)
    is_shaft = (kind == KINDS.index("hole")).view(-1, 1, 1, 1)
    profile = torch.where(is_soft(kind), bowl, torch.where(is_shaft, shaft, groove)) * region_mask
    floor = 1 + 0.25 * smooth_noise(draws.normals(1, 10, 10), *region_mask.shape[-2:])
    strength = draws.uniform(0.4, 1.0).view(-1, 1, 1, 1)
    return (profile * floor.clamp(0.3, 1.7) * strength * _pick(_RELIEF, kind)).clamp(-1, 1)


def _outline_edges(draws: Draws, kind: Tensor, region_mask: Tensor, relief: Tensor) -> Tensor:
    """Edge map of the outline (and of the relief's slopes), 2-3 pixels wide as detectors draw it."""
    border = blur(dilate(region_mask, 1) - erode(region_mask, 1), 0.7)
    slope_x = relief[..., :, 1:] - relief[..., :, :-1]
    slope_y = relief[..., 1:, :] - relief[..., :-1, :]
    slope = torch.zeros_like(relief)
    slope[..., :, 1:] += slope_x.abs()
    slope[..., 1:, :] += slope_y.abs()
    texture = 0.75 + 0.35 * smooth_noise(draws.normals(1, 8, 8), *region_mask.shape[-2:])
    strength = _pick(_EDGE, kind) * draws.uniform(0.6, 1.3).view(-1, 1, 1, 1)
    outline = torch.where(is_soft(kind), 0.35 * border, border)
    return ((outline + 4 * slope) * texture.clamp_min(0.2) * strength).clamp(0, 1)


def _inner_ramp(region_mask: Tensor) -> Tensor:
    """Soft edge of a painted surface, all of it inside the region; strokes keep their middle."""
    ramp = (2 * blur(region_mask, 0.8) - 0.9).clamp(0, 1)
    return torch.maximum(ramp, 0.6 * blur(region_mask, 0.5)) * region_mask


def draw_structures(
    draws: Draws,
    kind: Tensor,
    center_B2: Tensor,
    extent_B: Tensor,
    height: int,
    width: int,
    *,
    outline: Tensor | None = None,
) -> Structure:
    """Draw one structure for each sample; arguments as for `draw_region`, or its result as `outline`."""
    region_mask = draw_region(draws, kind, center_B2, extent_B, height, width) if outline is None else outline
    relief = _relief(draws, kind, region_mask)
    edge = _outline_edges(draws, kind, region_mask, relief)
    grey = draws.uniform(-0.9, 0.8)[:, None]
    warmth, own = draws.normals(1), draws.normals(3)
    colour = (grey + 0.3 * warmth * constant(_WARM, kind.device) + 0.06 * own).clamp(-1, 1)
    stained = (kind == KINDS.index("contamination")).view(-1, 1, 1, 1)
    cloud = (0.85 + 0.25 * smooth_noise(draws.normals(1, 14, 14), height, width)).clamp(0.2, 1)
    opacity = draws.uniform(0.6, 1.0).view(-1, 1, 1, 1)
    stain = torch.where(stained, opacity * cloud, torch.zeros_like(cloud))
    dark = _pick(_DARKENING, kind) * draws.uniform(0.75, 1.0).view(-1, 1, 1, 1)
    alpha = _inner_ramp(region_mask) * torch.maximum(stain, dark.expand_as(stain))
    tint = torch.where(stained[..., 0, 0], colour, colour * 0.08 - 0.88)
    return Structure(
        kind=kind,
        region_mask=region_mask,
        relief=relief,
        edge=edge,
        tint=tint[:, :, None, None],
        tint_alpha=alpha,
    )

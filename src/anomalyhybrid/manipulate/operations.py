"""The paper's operations on the depth and edge maps inside a region: merge, remove, replace, TPS (section 3.5)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from anomalyhybrid.manipulate.reference import FEATHER, Reference, levelled, ring
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.parts import among
from anomalyhybrid.ops.regions import masked_mean, soft_alpha
from anomalyhybrid.ops.warp import identity_grid, local_tps_displacement, sample

Operation = Literal["merge", "remove", "replace", "tps"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
LEVEL_LIMIT = 1.0  # largest shift of a reference's depth when it is levelled to the target


def merge(depth: Tensor, edge: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """Both structures together: the mean of the levelled depths, the stronger of the edges (ADR-004)."""
    level = levelled(reference.depth, depth, reference.region_mask, LEVEL_LIMIT)
    return 0.5 * (depth + level), torch.maximum(edge, reference.edge)


def replace(depth: Tensor, edge: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """The reference's structure: its depth, levelled at the region's surroundings, and its edges (ADR-004)."""
    return levelled(reference.depth, depth, reference.region_mask, LEVEL_LIMIT), reference.edge


def remove(depth: Tensor, edge: Tensor, region_mask: Tensor, to_back_B: Tensor) -> tuple[Tensor, Tensor]:
    """Background values: no edges; the depth of the surroundings or of the scene's back (ADR-004).

    Args:
        depth: float (B, 1, H, W) in [-1, 1].
        edge: float (B, 1, H, W) in [-1, 1].
        region_mask: Binary float (B, 1, H, W).
        to_back_B: bool (B,): True takes the farthest depth of the scene.
    """
    around = masked_mean(depth, ring(region_mask))
    back = depth.amin(dim=(2, 3), keepdim=True)
    filled = torch.where(to_back_B.view(-1, 1, 1, 1), back, around)
    return filled.expand_as(depth), torch.full_like(edge, -1.0)


def region_frame(region_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (x, y), float (B, 2), and half side, float (B,), of the window around each region, in grid units."""
    batch, _, height, width = region_mask.shape
    grid = identity_grid(batch, height, width, region_mask.device)
    inside = region_mask[:, 0, :, :, None] > 0
    low = torch.where(inside, grid, torch.full_like(grid, 2.0)).amin(dim=(1, 2))
    high = torch.where(inside, grid, torch.full_like(grid, -2.0)).amax(dim=(1, 2))
    empty = (low > high).any(dim=1, keepdim=True)
    low, high = (
        torch.where(empty, torch.zeros_like(low), low),
        torch.where(empty, torch.zeros_like(high), high),
    )
    return (low + high) / 2, ((high - low).amax(dim=1) / 2).clamp_min(0.06)


def bend(draws: Draws, depth: Tensor, edge: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The target's own structure under a strong local thin-plate spline around the region."""
    center, radius = region_frame(region_mask)
    magnitude = draws.uniforms(18, 0.5, 1.0) * torch.where(draws.uniforms(18) < 0.5, -1.0, 1.0)
    common = draws.uniforms(2, -1, 1)[:, None]
    shifts = (0.22 * magnitude.reshape(-1, 9, 2) + 0.25 * common).clamp(-0.4, 0.4)
    field = local_tps_displacement(center, radius, shifts, depth.shape[2], depth.shape[3])
    grid = identity_grid(depth.shape[0], depth.shape[2], depth.shape[3], depth.device) + field
    warped = sample(torch.cat([depth, edge], dim=1), grid)
    return warped[:, :1], warped[:, 1:]


def edit_maps(
    draws: Draws, operation_B: Tensor, then_tps_B: Tensor, depth: Tensor, edge: Tensor, reference: Reference
) -> tuple[Tensor, Tensor]:
    """Apply one operation to each sample, inside its region only.

    Args:
        draws: Random rows.
        operation_B: Index into `OPERATIONS`, long (B,).
        then_tps_B: bool (B,): bend the edited maps as well (a mixture, Table 7's last row).
        depth: The target's, float (B, 1, H, W) in [-1, 1].
        edge: The target's, float (B, 1, H, W) in [-1, 1].
        reference: Placed references with their regions.

    Returns:
        Edited depth and edge, same shapes, unchanged outside the region.
    """
    region_mask = reference.region_mask
    bent = among(operation_B == OPERATIONS.index("tps"), bend, draws, depth, edge, region_mask)
    results = (
        merge(depth, edge, reference),
        remove(depth, edge, region_mask, draws.happens(0.5)),
        replace(depth, edge, reference),
        bent,
    )
    pick = operation_B.view(-1, 1, 1, 1)
    edited_depth, edited_edge = results[0]
    for index in range(1, len(results)):
        edited_depth = torch.where(pick == index, results[index][0], edited_depth)
        edited_edge = torch.where(pick == index, results[index][1], edited_edge)
    bends_too = then_tps_B & (operation_B != OPERATIONS.index("tps"))
    again = among(bends_too, bend, draws, edited_depth, edited_edge, region_mask)
    twice = bends_too.view(-1, 1, 1, 1)
    edited_depth = torch.where(twice, again[0], edited_depth).clamp(-1, 1)
    edited_edge = torch.where(twice, again[1], edited_edge).clamp(-1, 1)
    alpha = soft_alpha(region_mask, FEATHER)
    return torch.lerp(depth, edited_depth, alpha), torch.lerp(edge, edited_edge, (region_mask > 0).to(edge.dtype))

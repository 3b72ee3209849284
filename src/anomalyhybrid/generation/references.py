"""What each generated defect takes its structure and look from: a real defect, a patch, or procedural structure."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from anomalyhybrid.augment.pseudo import foreign_reference
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of, pick_by_kind
from anomalyhybrid.generation.quality import choose
from anomalyhybrid.manipulate.placement import draw_bend, lit_part, moved_into, object_point, suit_placement
from anomalyhybrid.manipulate.policy import Plan
from anomalyhybrid.manipulate.reference import Reference, from_structure, place
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blob, dilate, erode, smooth_noise
from anomalyhybrid.ops.structures import Structure, draw_structures

BEND_SHIFT = 0.15  # largest shift of a control point of a bent reference, as in training (ADR-003)
CROP_SHARE = 0.2  # of real regions, those cut by a random outline (paper 3.5, Mask: crop)


def _cropped(draws: Draws, region_mask: Tensor) -> Tensor:
    """Cut some regions by a random outline through one of their own points."""
    size = region_mask.shape[-1]
    center = object_point(draws, region_mask)
    radii = draws.uniforms(2, 0.08, 0.35)
    noise = smooth_noise(draws.normals(1, 6, 6), size, size)[:, 0]
    outline = blob(center, radii, draws.uniform(0, 3.14), noise, draws.uniform(0.1, 0.3))
    kept = region_mask * outline
    enough = kept.sum(dim=(1, 2, 3)) > 0.2 * region_mask.sum(dim=(1, 2, 3))
    return choose(draws.happens(CROP_SHARE) & enough, kept, region_mask)


def real_reference(
    draws: Draws,
    pool: CategoryPool,
    config: GenerateConfig,
    target: Tensor,
    object_mask: Tensor,
    number_B: Tensor,
    room: Tensor | None = None,
) -> tuple[Reference, Tensor, Tensor, Tensor]:
    """Place real defects on the targets; the references, their indices, their placements and splines.

    Where a room is given, binary float (B, 1, S, S), none of it empty, each is placed where most of it falls into the
    room, and cut to it.
    """
    assert pool.base is not None
    index = draws.index(len(pool.base)) if pool.base_kind is None else pick_by_kind(draws, pool.base_kind, number_B)
    color, depth, edge = maps_of(pool.base, index)
    region = mask_of(pool.base.region_u8, index)
    its_object = mask_of(pool.base.object_u8, index)
    where, its_place = (object_mask, its_object) if room is None else (room, torch.ones_like(room))
    symmetries = [pool.symmetry] * draws.batch
    matrix = suit_placement(draws, symmetries, target, where, color, its_place, region, most_turn=config.turn)
    straight = place(color, depth, edge, region, matrix).region_mask
    bend = draw_bend(draws, straight, config.bend, BEND_SHIFT)
    placed = place(color, depth, edge, region, matrix, bend)
    if room is not None:
        missed = (placed.region_mask * room).sum(dim=(1, 2, 3)) == 0
        matrix = choose(missed, moved_into(draws, room, region), matrix)
        bend = choose(missed, torch.cat([bend[:, :3], torch.zeros_like(bend[:, 3:])], dim=1), bend)
        placed = place(color, depth, edge, region, matrix, bend)
        inside = replace(placed, region_mask=_cropped(draws, placed.region_mask * room))
        return inside, index, matrix, bend
    own = (region * its_object).sum(dim=(1, 2, 3)) / region.sum(dim=(1, 2, 3)).clamp_min(1)
    clipped = placed.region_mask * dilate(object_mask, max(1, round(color.shape[-1] / 64)))
    on_object = choose((own > 0.95) & (clipped.sum(dim=(1, 2, 3)) > 0), clipped, placed.region_mask)
    return replace(placed, region_mask=_cropped(draws, on_object)), index, matrix, bend


def place_structure(draws: Draws, config: GenerateConfig, object_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Draw centres on the targets' objects, float (B, 2), and half sizes, float (B,), of procedural outlines."""
    inner = erode(object_mask, max(1, round(object_mask.shape[-1] / 64)))
    inner = choose(inner.sum(dim=(1, 2, 3)) > 0, inner, object_mask)  # thin objects have no inside
    return object_point(draws, inner), draws.log_uniform(*config.extent)


def _procedural_reference(
    draws: Draws,
    config: GenerateConfig,
    plan: Plan,
    maps: tuple[Tensor, Tensor, Tensor],
    object_mask: Tensor,
    room: Tensor | None,
    severity_B: Tensor,
) -> Reference:
    """Draw structures on the targets' objects, cut to the room where there is one."""
    color, depth, edge = maps
    center, extent = place_structure(draws, config, lit_part(color, object_mask if room is None else room))
    structure = strengthened(draw_structures(draws, plan.kind, center, extent, *color.shape[-2:]), severity_B)
    reference = from_structure(draws, structure, color, depth, edge)
    return replace(reference, region_mask=reference.region_mask * (dilate(object_mask, 1) if room is None else room))


def strengthened(structure: Structure, severity_B: Tensor) -> Structure:
    """Scale relief, outline and stain of structures, each within its range; 1 changes nothing."""
    by = severity_B.view(-1, 1, 1, 1)
    return replace(
        structure,
        relief=(structure.relief * by).clamp(-1, 1),
        edge=(structure.edge * by).clamp(0, 1),
        tint_alpha=(structure.tint_alpha * by).clamp(0, 1),
    )


def choose_reference(
    draws: Draws,
    pool: CategoryPool,
    config: GenerateConfig,
    plan: Plan,
    target_index: Tensor,
    number_B: Tensor,
    room: Tensor | None,
    severity_B: Tensor,
) -> tuple[Reference, Tensor, Tensor, Tensor]:
    """Place each target's reference: a real defect, a patch of another good image, or procedural structure.

    Returns:
        The references, their indices (the target's own for procedural ones), their placements and splines.
    """
    maps = maps_of(pool.normals, target_index)
    object_mask = mask_of(pool.normals.object_u8, target_index)
    reference = _procedural_reference(draws, config, plan, maps, object_mask, room, severity_B)
    donor_index = draws.index(len(pool.normals))
    nothing = torch.zeros_like(object_mask)
    patch = foreign_reference(draws, Reference(*maps_of(pool.normals, donor_index), region_mask=nothing))
    reference = replace(patch, region_mask=reference.region_mask).where(plan.foreign, reference)
    index = choose(plan.foreign, donor_index, target_index)
    matrix = torch.eye(2, 3, device=target_index.device).expand(len(target_index), 2, 3)
    bend = torch.eye(21, device=target_index.device)[2:3].expand(len(target_index), 21)  # a window, no shifts
    if pool.base is not None:
        real, base_index, placement, bent = real_reference(draws, pool, config, maps[0], object_mask, number_B, room)
        reference = real.where(plan.uses_base, reference)
        index = choose(plan.uses_base, base_index, index)
        matrix = choose(plan.uses_base, placement, matrix)
        bend = choose(plan.uses_base, bent, bend)
    return reference, index, matrix, bend

"""What each generated defect takes its structure and look from: a real defect, a patch, or procedural structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of, pick_by_kind
from anomalyhybrid.generation.quality import choose
from anomalyhybrid.manipulate.operations import region_frame
from anomalyhybrid.manipulate.placement import (
    cover_placement,
    draw_bend,
    lit_part,
    moved_into,
    object_point,
    suit_placement,
)
from anomalyhybrid.manipulate.policy import Plan, suited_kind
from anomalyhybrid.manipulate.reference import Reference, from_structure, place
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.parts import among
from anomalyhybrid.ops.regions import blob, dilate, erode, smooth_noise
from anomalyhybrid.ops.structures import KINDS, Structure, draw_region, draw_structures
from anomalyhybrid.ops.warp import similarity_matrix
from anomalyhybrid.seeding import stream

LEAST_FILL = 0.6  # of a drawn region that must visibly change
LEAST_NEAR = 0.95  # of a drawn region that must lie near visible change, so that no end or island of it is left empty
NEAR = 8 / 256  # of the image's side
LINE = 3 / 256  # of the image's side: a region nowhere twice as wide is a line
BEND_SHIFT = 0.15  # largest shift of a control point of a bent reference, as in training (ADR-003)
PATCH_TURN = 0.6  # spread of the turns of patches, in radians
PATCH_SCALE = (0.75, 1.1)  # enlargement of patches; much larger ones are blurred
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
    pool: CategoryPool,
    config: GenerateConfig,
    draws: Draws,
    target: Tensor,
    object_mask: Tensor,
    number_B: Tensor,
    room: Tensor | None = None,
    drawn: Tensor | None = None,
) -> tuple[Reference, Tensor, Tensor, Tensor]:
    """Place real defects on the targets; the references, their indices, their placements and splines.

    Where a room is given, binary float (B, 1, S, S), none of it empty, each is placed where most of it falls into the
    room, and cut to it. Where drawn regions are, alike, each is made to cover its region, and cut to it.
    """
    assert pool.base is not None
    kind = pool.base_kind if config.types == "equal" else None
    index = draws.index(len(pool.base)) if kind is None else pick_by_kind(draws, kind, number_B)
    color, depth, edge = maps_of(pool.base, index)
    region = mask_of(pool.base.region_u8, index)
    its_object = mask_of(pool.base.object_u8, index)
    if drawn is not None:
        matrix = cover_placement(draws, drawn, region, config.turn)
        placed = place(color, depth, edge, region, matrix)
        return replace(placed, region_mask=placed.region_mask * drawn), index, matrix, _straight(drawn)
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


def _straight(like: Tensor) -> Tensor:
    """No spline for each sample, float (B, 21): a window, no shifts."""
    return torch.eye(21, device=like.device)[2:3].expand(len(like), 21)


def drawn_regions(pool: CategoryPool, indices: Sequence[int]) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Targets, long (B,), and regions, binary float (B, 1, S, S), that images take in turn; None without any."""
    return (None, None) if pool.drawn is None else pool.drawn.of(indices)


def type_numbers(
    pool: CategoryPool, config: GenerateConfig, category: str, indices: Sequence[int], number: int
) -> Tensor:
    """Numbers by which images choose types of real defects, long (B,): their own, or each one of its own stream.

    In all attempts of a defect they are the same, so that faint types are not rare.

    Args:
        pool: Images of the category.
        config: Settings of the set.
        category: Its name.
        indices: Numbers of the images within the category.
        number: Of the defect within its image.
    """
    if pool.in_turn:
        chosen = [index + number for index in indices]
    else:
        streams = [stream(config.seed, "type", category, index, number) for index in indices]
        chosen = [int(torch.randint(0, 2**31, (), generator=one)) for one in streams]
    return torch.tensor(chosen, device=pool.normals.color_u8.device)


def suited(plan: Plan, config: GenerateConfig, drawn: Tensor | None) -> Plan:
    """The plan, its procedural kinds such as drawn regions can be where the user has not chosen kinds."""
    if drawn is None or set(config.kinds) != set(KINDS):
        return plan
    is_line = erode(drawn, max(1, round(LINE * drawn.shape[-1]))).sum(dim=(1, 2, 3)) == 0
    return replace(plan, kind=suited_kind(plan.kind, is_line))


def labelled(pool: CategoryPool, visible: Tensor, region_mask: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
    """What becomes the label mask, and whether enough of a drawn region visibly changed.

    Args:
        pool: Images of the category.
        visible: Part of the region that visibly changed, binary float (B, 1, S, S).
        region_mask: The region that was edited, likewise.
        drawn: The region that was to be edited, likewise; None where none was drawn.

    Returns:
        Binary float (B, 1, S, S), never empty, and bool (B,).
    """
    shown = choose(visible.sum(dim=(1, 2, 3)) > 0, visible, region_mask)
    if drawn is None:
        return shown, torch.ones(len(visible), dtype=torch.bool, device=visible.device)
    assert pool.drawn is not None
    area, near = drawn.sum(dim=(1, 2, 3)), dilate(visible, max(1, round(NEAR * drawn.shape[-1]))) * drawn
    filled = (visible.sum(dim=(1, 2, 3)) >= LEAST_FILL * area) & (near.sum(dim=(1, 2, 3)) >= LEAST_NEAR * area)
    shown = choose(shown.sum(dim=(1, 2, 3)) > 0, shown, drawn)  # a reference may have missed it
    return (drawn if pool.drawn.exact else shown), filled


def place_structure(draws: Draws, config: GenerateConfig, object_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Draw centres on the targets' objects, float (B, 2), and half sizes, float (B,), of procedural outlines."""
    inner = erode(object_mask, max(1, round(object_mask.shape[-1] / 64)))
    inner = choose(inner.sum(dim=(1, 2, 3)) > 0, inner, object_mask)  # thin objects have no inside
    return object_point(draws, inner), draws.log_uniform(*config.extent)


def _procedural_reference(
    config: GenerateConfig,
    draws: Draws,
    kind: Tensor,
    painted_B: Tensor,
    maps: tuple[Tensor, Tensor, Tensor],
    object_mask: Tensor,
    room: Tensor | None,
    severity_B: Tensor,
    drawn: Tensor | None,
) -> Reference:
    """Draw structures on the targets' objects, cut to the room where there is one, or in drawn regions.

    Where none is to be painted, bool (B,), only the region counts.
    """
    color = maps[0]
    center, extent = place_structure(draws, config, lit_part(color, object_mask if room is None else room))
    if drawn is None:
        outline = draw_region(draws, kind, center, extent, *color.shape[-2:])
        region = dilate(outline, 1) * (dilate(object_mask, 1) if room is None else room)
    else:
        outline = region = drawn
    reference = among(painted_B, _painted, draws, kind, center, extent, outline, severity_B, maps)
    return replace(reference, region_mask=region)


def _painted(
    draws: Draws,
    kind: Tensor,
    center_B2: Tensor,
    extent_B: Tensor,
    outline: Tensor,
    severity_B: Tensor,
    maps: tuple[Tensor, Tensor, Tensor],
) -> Reference:
    """Structures of given outlines, painted on the targets."""
    structure = draw_structures(draws, kind, center_B2, extent_B, *outline.shape[-2:], outline=outline)
    return from_structure(draws, strengthened(structure, severity_B), *maps)


def strengthened(structure: Structure, severity_B: Tensor) -> Structure:
    """Scale relief, outline and stain of structures, each within its range; 1 changes nothing."""
    by = severity_B.view(-1, 1, 1, 1)
    return replace(
        structure,
        relief=(structure.relief * by).clamp(-1, 1),
        edge=(structure.edge * by).clamp(0, 1),
        tint_alpha=(structure.tint_alpha * by).clamp(0, 1),
    )


def foreign_patch(pool: CategoryPool, draws: Draws, donor_index: Tensor, region_mask: Tensor) -> Reference:
    """Patches of other good images' products in given regions, each with a point of its product in the middle.

    Args:
        pool: Images of the category.
        draws: Random rows.
        donor_index: Into its normals, long (B,).
        region_mask: Where the patches are to lie, binary float (B, 1, S, S).
    """
    color, depth, edge = maps_of(pool.normals, donor_index)
    point = object_point(draws, lit_part(color, mask_of(pool.normals.object_u8, donor_index)))
    flip = torch.stack([draws.signs(), draws.signs()], dim=1)
    turn = draws.normals(1)[:, 0] * PATCH_TURN
    center, _ = region_frame(region_mask)
    matrix = similarity_matrix(draws.log_uniform(*PATCH_SCALE), turn, center - point, flip, point)
    return replace(place(color, depth, edge, region_mask, matrix), region_mask=region_mask)


def choose_reference(
    draws: Draws,
    pool: CategoryPool,
    config: GenerateConfig,
    plan: Plan,
    target_index: Tensor,
    number_B: Tensor,
    room: Tensor | None,
    severity_B: Tensor,
    drawn: Tensor | None = None,
) -> tuple[Reference, Tensor, Tensor, Tensor]:
    """Place each target's reference: a real defect, a patch of another good image, or procedural structure.

    Where drawn regions are given, binary float (B, 1, S, S), none of it empty, each reference covers its region.

    Returns:
        The references, their indices (the target's own for procedural ones), their placements and splines.
    """
    maps = maps_of(pool.normals, target_index)
    object_mask = mask_of(pool.normals.object_u8, target_index)
    made = (draws, plan.kind, ~plan.foreign, maps, object_mask, room, severity_B, drawn)
    reference = among(~plan.uses_base, partial(_procedural_reference, config), *made)
    donor_index = draws.index(len(pool.normals))
    patch = among(plan.foreign, partial(foreign_patch, pool), draws, donor_index, reference.region_mask)
    reference = patch.where(plan.foreign, reference)
    index = choose(plan.foreign, donor_index, target_index)
    matrix = torch.eye(2, 3, device=target_index.device).expand(len(target_index), 2, 3)
    bend = _straight(object_mask)
    if pool.base is not None:
        placed = (draws, maps[0], object_mask, number_B, room, drawn)
        real, base_index, placement, bent = among(plan.uses_base, partial(real_reference, pool, config), *placed)
        reference = real.where(plan.uses_base, reference)
        index = choose(plan.uses_base, base_index, index)
        matrix = choose(plan.uses_base, placement, matrix)
        bend = choose(plan.uses_base, bent, bend)
    return reference, index, matrix, bend

"""Aligned pairs: from one manipulation a defect in colour (AnomalyHybrid) and its relief (AnomalyHybrid*).

Paper 3.1 and Fig. 2b; ADR-010. Batched on the device, one row of draws for each image (ADR-005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig
from anomalyhybrid.generation.depth_pool import DENT, FLAT, HOLE, PROTRUSION, PairPool
from anomalyhybrid.generation.depth_profile import fit_profile
from anomalyhybrid.generation.pipeline import (
    MARGIN,
    as_composed,  # what composition shows must be one function for both kinds of set
    own_detail,
    redraw,
)
from anomalyhybrid.generation.pool import maps_of, mask_of
from anomalyhybrid.generation.quality import acceptable, choose, mean_change, until_accepted, visible_region
from anomalyhybrid.generation.references import place_structure, real_reference
from anomalyhybrid.manipulate import operations
from anomalyhybrid.manipulate.placement import lit_part
from anomalyhybrid.manipulate.reference import FEATHER, Reference, blended, from_structure, levelled, place
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.regions import dilate, soft_alpha
from anomalyhybrid.ops.structures import KINDS, draw_structures
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import stream
from anomalyhybrid.types import Conditions, DecoderOutput

KINDS_OF = {  # procedural kinds of each sign, with their shares
    DENT: {"dent": 0.6, "crack": 0.2, "scratch": 0.2},
    PROTRUSION: {"bump": 1.0},
    HOLE: {"hole": 1.0},
    FLAT: {"contamination": 1.0},
}
TARGET_SHARE = 0.5  # of signed procedural structure that the maps alone describe, in appearance `auto`
STRENGTH = (0.7, 1.3)  # factors on painted relief from the least to the largest height


@dataclass(frozen=True, slots=True)
class Pairs:
    """One aligned pair for each image of a batch, at the model's size, on the device.

    Attributes:
        target_index: Into the pool's normals, long (B,).
        reference_index: Into its base set where `uses_base`, else the target's own, long (B,).
        uses_base: bool (B,).
        kind: Procedural kind, index into `KINDS`, long (B,).
        sign: Index into `SIGNS`, long (B,).
        decoder: Index into the set's decoders, long (B,).
        blend: bool (B,): C_r shows the reference, else the target alone.
        matrix: Placement of the reference, float (B, 2, 3).
        bend: Local spline of the reference, float (B, 21), as in `Candidates`.
        level: Part of the difference in level that pasting takes off, float (B,).
        content: C_r, float (B, 3, S, S).
        source: A_gen of the colour.
        fusion_mask: M_gen of the colour.
        fused: A_out of the colour.
        region_mask: Region after shrinking to the visible change, float (B, 1, S, S).
        reference_region: Placed region before shrinking.
        change: Mean change of colour inside the region, float (B,), in 1/255.
        accepted: bool (B,).
        attempt: long (B,).
        height: Place of the requested height in its range, float (B,) in [0, 1).
        edited_depth: Measured depth with the manipulation, float (B, 1, S, S).
        edited_edge: float (B, 1, S, S).
        relief: Shape of the defect in depth, float (B, 1, S, S) in [0, 1].
        profile: Where the shape came from, index into `depth_profile.SOURCES`, long (B,).
    """

    target_index: Tensor
    reference_index: Tensor
    uses_base: Tensor
    kind: Tensor
    sign: Tensor
    decoder: Tensor
    blend: Tensor
    matrix: Tensor
    bend: Tensor
    level: Tensor
    content: Tensor
    source: Tensor
    fusion_mask: Tensor
    fused: Tensor
    region_mask: Tensor
    reference_region: Tensor
    change: Tensor
    accepted: Tensor
    attempt: Tensor
    height: Tensor
    edited_depth: Tensor
    edited_edge: Tensor
    relief: Tensor
    profile: Tensor


def _structure_plan(draws: Draws, config: DepthDefectConfig, number_B: Tensor) -> tuple[Tensor, Tensor]:
    """Sign and procedural kind of each image, long (B,) each; signs take turns by the image's number."""
    sign = number_B % len(SIGNS) if config.sign == "auto" else torch.full_like(number_B, SIGNS.index(config.sign))
    kind = torch.zeros_like(sign)
    for number, shares in KINDS_OF.items():
        drawn = draws.choice([shares.get(name, 0.0) for name in KINDS])
        kind = torch.where(sign == number, drawn, kind)
    return sign, kind


@dataclass(frozen=True, slots=True)
class _Real:
    """Placed real defects, and where they came from; fields as in `Pairs`, `depth` the measured one in place."""

    reference: Reference
    depth: Tensor
    index: Tensor
    matrix: Tensor
    bend: Tensor
    sign: Tensor


def _real(
    draws: Draws, pool: PairPool, config: DepthDefectConfig, target: Tensor, object_mask: Tensor, number_B: Tensor
) -> _Real:
    """Place real defects of the asked sign as `generate` does, types in turn, with their measured depth."""
    base = pool.colour.base
    assert base is not None
    assert pool.base_depth is not None
    assert pool.base_sign is not None
    kinds = pool.colour.base_kind if pool.colour.base_kind is not None else torch.zeros(len(base), dtype=torch.long)
    usable = torch.arange(len(base))
    if config.sign != "auto":
        usable = usable[pool.base_sign == SIGNS.index(config.sign)]
        usable = usable if len(usable) else torch.arange(len(base))  # none is taken then: `check_pool`
    _, dense = kinds[usable].unique(return_inverse=True)
    chosen = usable.to(target.device)
    colour = replace(pool.colour, base=base[chosen], base_kind=dense)
    placed, within, matrix, bend = real_reference(colour, config.colour(), draws, target, object_mask, number_B)
    index = chosen[within]
    color, _, edge = maps_of(base, index)
    measured = place(color, pool.base_depth[index], edge, mask_of(base.region_u8, index), matrix, bend).depth
    return _Real(placed, measured, index, matrix, bend, pool.base_sign.to(target.device)[index])


def _edited(depth: Tensor, reference: Reference, sign_B: Tensor) -> Tensor:
    """Depth with the reference's relief inside the region, a hole at the scene's back; unchanged outside."""
    raised = levelled(reference.depth, depth, reference.region_mask, operations.LEVEL_LIMIT)
    back = depth.amin(dim=(2, 3), keepdim=True).expand_as(depth)
    wanted = choose(sign_B == HOLE, torch.minimum(back, raised), raised).clamp(-1, 1)
    return torch.lerp(depth, wanted, soft_alpha(reference.region_mask, FEATHER))


def composed_color(pairs: Pairs, color: Tensor) -> Tensor:
    """Colour images as composition will show them, at the model's size, as `generate` reckons them.

    Args:
        pairs: The pairs.
        color: Their targets, float (B, 3, S, S) in [-1, 1].

    Returns:
        float (B, 3, S, S) in [-1, 1].
    """
    return as_composed(color, choose(pairs.blend, pairs.content, color), pairs.fused, pairs.region_mask)


@torch.inference_mode()
def draw_pairs(
    model: Generator,
    pool: PairPool,
    config: DepthDefectConfig,
    category: str,
    indices: Sequence[int],
    attempts: Sequence[int],
) -> Pairs:
    """Make candidates of images: manipulation and colour; `relief` and `profile` are still empty.

    Args:
        model: AnomalyHybrid in evaluation mode, on the pool's device.
        pool: Images of the category.
        config: Settings of the set.
        category: Its name, part of each image's random stream.
        indices: Numbers of the images within the category, one for each candidate.
        attempts: Which of its image's candidates each one is; 0 is the first.
    """
    images = pool.colour.normals
    device = images.color_u8.device
    each = zip(indices, attempts, strict=True)
    streams = [stream(config.seed, "pair", category, index, attempt) for index, attempt in each]
    draws = Draws.from_streams(streams, columns=4096).to(device)
    target_index = draws.index(len(images))
    color, shown_depth, edge = maps_of(images, target_index)
    measured = pool.depth[target_index].float()
    object_mask = mask_of(images.object_u8, target_index)
    numbers = torch.tensor(list(indices), device=device)
    sign, kind = _structure_plan(draws, config, numbers)
    height, decoder = draws.uniform(), draws.choice([1.0] * len(config.decoders))
    uses_base = ~draws.happens(config.procedural) if pool.colour.base is not None else draws.happens(0.0)
    center, extent = place_structure(draws, config.colour(), lit_part(color, object_mask))
    structure = draw_structures(draws, kind, center, extent, *color.shape[-2:])
    strength = (STRENGTH[0] + (STRENGTH[1] - STRENGTH[0]) * height).view(-1, 1, 1, 1)
    structure = replace(structure, relief=(structure.relief * strength).clamp(-1, 1))
    reference = from_structure(draws, structure, color, shown_depth, edge)
    reference = replace(reference, region_mask=reference.region_mask * dilate(object_mask, 1))
    relief_depth = (measured + 0.5 * structure.relief).clamp(-1, 1)
    by_maps = draws.happens(TARGET_SHARE)
    reference_index = target_index
    matrix = torch.eye(2, 3, device=device).expand(len(indices), 2, 3)
    bend = torch.eye(21, device=device)[2:3].expand(len(indices), 21)  # a window, no shifts
    if pool.colour.base is not None:
        real = _real(draws, pool, config, color, object_mask, numbers)
        reference, sign = real.reference.where(uses_base, reference), choose(uses_base, real.sign, sign)
        relief_depth = choose(uses_base, real.depth, relief_depth)
        reference_index = choose(uses_base, real.index, reference_index)
        matrix, bend = choose(uses_base, real.matrix, matrix), choose(uses_base, real.bend, bend)
    blend = uses_base | (sign == FLAT) | ~by_maps
    if config.appearance != "auto":
        blend = torch.full_like(blend, config.appearance == "blend")
    level = draws.uniform(*config.colour().levelling)
    content = choose(blend, blended(color, reference, level), color)
    edited_edge = torch.lerp(edge, reference.edge, (reference.region_mask > 0).to(edge.dtype)).clamp(-1, 1)
    conditions = Conditions(color=content, depth=_edited(shown_depth, reference, sign), edge=edited_edge)
    output = redraw(model, conditions, config.decoders, decoder)
    source = own_detail(output.source, content, blend)
    output = DecoderOutput(source, output.fusion_mask, fuse(content, source, output.fusion_mask))
    region = visible_region(color, output.fused, reference.region_mask)
    region = choose(region.sum(dim=(1, 2, 3)) > 0, region, reference.region_mask)  # a mask is never empty
    under = choose(blend, content, color)
    change = mean_change(color, as_composed(color, under, output.fused, region), region)
    return Pairs(
        target_index=target_index,
        reference_index=reference_index,
        uses_base=uses_base,
        kind=kind,
        sign=sign,
        decoder=decoder,
        blend=blend,
        matrix=matrix,
        bend=bend,
        level=level,
        content=content,
        source=output.source,
        fusion_mask=output.fusion_mask,
        fused=output.fused,
        region_mask=region,
        reference_region=reference.region_mask,
        change=change,
        accepted=acceptable(change, region, MARGIN * config.min_change),
        attempt=torch.tensor(attempts, device=device),
        height=height,
        edited_depth=_edited(measured, replace(reference, depth=relief_depth), sign),
        edited_edge=edited_edge,
        relief=torch.zeros_like(region),
        profile=torch.zeros_like(sign),
    )


@torch.inference_mode()
def read_relief(sister: Generator, color: Tensor, depth: Tensor, edge: Tensor) -> Tensor:
    """Depth that AnomalyHybrid* gives for a colour image, float (B, 1, S, S), with reference maps."""
    device = color.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        given = sister.redraw(Conditions(color=color, depth=depth, edge=edge), "ahd").fused
    return given.float()


@torch.inference_mode()
def with_relief(sister: Generator, pool: PairPool, config: DepthDefectConfig, pairs: Pairs) -> Pairs:
    """Add the shape in depth: what AnomalyHybrid* sees in the generated image beyond what it sees in the target."""
    color, _, edge = maps_of(pool.colour.normals, pairs.target_index)
    measured = pool.depth[pairs.target_index].float()
    edited = config.reference == "edited"
    shown = composed_color(pairs, color)
    own = read_relief(sister, color, measured, edge)
    seen = read_relief(sister, shown, pairs.edited_depth if edited else measured, pairs.edited_edge if edited else edge)
    toward = torch.where((pairs.sign == DENT) | (pairs.sign == HOLE), -1.0, 1.0)
    profile = fit_profile(
        seen - own,
        pairs.edited_depth - measured,
        pairs.region_mask,
        toward,
        least=2 * config.least_relief,
        smooth=config.smooth * color.shape[-1],
    )
    return replace(pairs, relief=profile.relief, profile=profile.source)


def accepted_pairs(
    model: Generator,
    sister: Generator,
    pool: PairPool,
    config: DepthDefectConfig,
    category: str,
    indices: Sequence[int],
) -> Pairs:
    """Draw pairs until each image has an accepted colour, or attempts run out; then the strongest is kept.

    Raises:
        ConfigError: A generator that gives maps in place of colour, or the other way round.
    """
    if model.config.gives != "color" or sister.config.gives != "maps":
        raise ConfigError("aligned pairs need AnomalyHybrid for the colour and AnomalyHybrid* for the depth")

    def draw(places: Sequence[int], attempts: Sequence[int]) -> Pairs:
        return draw_pairs(model, pool, config, category, [indices[place] for place in places], attempts)

    best = until_accepted(draw, mapped, len(indices), config.max_attempts)
    return with_relief(sister, pool, config, best)

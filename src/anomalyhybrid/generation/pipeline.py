"""From targets and references to accepted candidates, batched on the device (ADR-005: rows of draws)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate_real import originals
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of
from anomalyhybrid.generation.quality import acceptable, choose, mean_change, until_accepted, visible_region
from anomalyhybrid.generation.references import choose_reference, drawn_regions, labelled, suited, type_numbers
from anomalyhybrid.manipulate.operations import edit_maps
from anomalyhybrid.manipulate.policy import Plan, draw_plan
from anomalyhybrid.manipulate.reference import FEATHER, Reference, blended
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws, constant
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.parts import among, filled_up, sparing
from anomalyhybrid.ops.ranges import LUMINANCE
from anomalyhybrid.ops.regions import blur, soft_alpha
from anomalyhybrid.ops.transfer import places_of
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import derive, stream
from anomalyhybrid.types import Conditions, Decoder, DecoderOutput

MARGIN = 1.1  # by which a candidate exceeds the least change, since native pixels change a little less
TOGETHER = 8
"""From so many samples on a GPU's networks are run on a multiple of it: for each new number of them cuDNN chooses anew
how to run every convolution, 0.7 ms of the host each, half of all that it does (docs/log.md)."""
DETAIL = 3.0  # sigma in pixels at 256 below which the content's own detail is kept


@dataclass(frozen=True, slots=True)
class Candidates:
    """One candidate for each image of a batch, at the model's size, on the device.

    Attributes:
        plan: Decisions.
        target_index: Into the pool's normals, long (B,).
        reference_index: Into the pool's base set where `plan.uses_base`, else into its normals, long (B,).
        matrix: Placement of the reference, float (B, 2, 3).
        bend: Local spline of the reference, float (B, 21), as `ops.warp.bent_grid` takes it.
        level: Part of the difference in level that pasting takes off, float (B,).
        severity: Strength of a procedural structure, float (B,); 1 as drawn.
        opacity: Of the change over the target, float (B,) in (0, 1]; below 1 only for what is pasted.
        content: C_r, float (B, 3, S, S).
        source: A_gen.
        fusion_mask: M_gen.
        fused: A_out.
        region_mask: Region after shrinking to the visible change, float (B, 1, S, S).
        reference_region: Placed region before shrinking, float (B, 1, S, S).
        change: Mean change inside the region, float (B,), in 1/255.
        accepted: bool (B,).
        redrawn: Whether the network drew it, bool (B,); not where paste or edited depth alone showed too little.
        attempt: long (B,).
        scores: Of the gate, float (B, 6) as `generation.gate.SCORES`; (B, 0) without one.
        rejected: How many candidates of each image fell for each of `generation.gate.REASONS`, long (B, 7), this one
            among them; (B, 0) without a gate.
    """

    plan: Plan
    target_index: Tensor
    reference_index: Tensor
    matrix: Tensor
    bend: Tensor
    level: Tensor
    severity: Tensor
    opacity: Tensor
    content: Tensor
    source: Tensor
    fusion_mask: Tensor
    fused: Tensor
    region_mask: Tensor
    reference_region: Tensor
    change: Tensor
    accepted: Tensor
    redrawn: Tensor
    attempt: Tensor
    scores: Tensor
    rejected: Tensor


@dataclass(frozen=True, slots=True)
class Before:
    """What the images of a further defect hold already (ADR-012).

    Attributes:
        number: Of the further defect within its image, from 1.
        target_index: Into the pool's normals, long (B,).
        taken: Where it may not fall: the earlier defects and a margin, binary float (B, 1, S, S).
    """

    number: int
    target_index: Tensor
    taken: Tensor

    def __getitem__(self, chosen: list[int]) -> Before:
        return Before(self.number, self.target_index[chosen], self.taken[chosen])


def _appearance(
    draws: Draws, plan: Plan, pool: CategoryPool, target: Tensor, reference: Reference, level_B: Tensor
) -> tuple[Tensor, Tensor]:
    """C_r by mode, and the normal image that gives it where mode is ``reference`` and no real defect is used."""
    donor = draws.index(len(pool.normals))
    shows_reference, blends = plan.shows("reference"), plan.shows("blend")
    foreign = among(shows_reference & ~plan.uses_base, lambda index: maps_of(pool.normals, index)[0], donor)
    whole = choose(plan.uses_base, reference.color, foreign)
    blend = among(blends, blended, target, reference, level_B, plan.foreign)
    color = choose(shows_reference, whole, choose(blends, blend, target))
    return color, donor


def redraw(model: Generator, conditions: Conditions, decoders: Sequence[Decoder], decoder_B: Tensor) -> DecoderOutput:
    """Run each sample through its own decoder group; the encoder runs once."""
    stacked = conditions.stacked()
    device = stacked.device.type
    groups = [(name, places_of(decoder_B == index)) for index, name in enumerate(decoders)]  # before a GPU is busy
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        features = model.encoder(_rounded_up(stacked))
        parts = [
            (places, model.decoders[name]([level[some] for level in features], stacked[some, :3]))
            for name, places in groups
            if len(places)
            for some in [_rounded_up(places)]
        ]
    merged = []
    for name in DecoderOutput._fields:
        whole = torch.empty(len(stacked), *getattr(parts[0][1], name).shape[1:], device=stacked.device)
        for places, part in parts:
            whole[places] = getattr(part, name)[: len(places)].float()
        merged.append(whole)
    return DecoderOutput(*merged)


def _rounded_up(batch: Tensor) -> Tensor:
    """A batch with its first sample repeated until there are as many as the device's networks are to see."""
    together = _together(batch.device)
    return filled_up(batch, -(-len(batch) // together) * together) if len(batch) > together else batch


def _together(device: torch.device) -> int:
    """What a larger number of samples is to be a multiple of."""
    return TOGETHER if device.type == "cuda" else 1


def _redrawn(
    model: Generator, conditions: Conditions, decoders: Sequence[Decoder], decoder_B: Tensor, chosen_B: Tensor
) -> DecoderOutput:
    """`redraw` for the chosen samples; the others keep C_in: a fusion mask of zeros."""
    blank = torch.zeros_like(conditions.color)
    kept = DecoderOutput(source=blank, fusion_mask=blank[:, :1], fused=conditions.color)
    if not len(places_of(chosen_B)):
        return kept
    drawn = among(chosen_B, lambda some, own: redraw(model, some, decoders, own), conditions, decoder_B)
    return mapped(lambda new, old: choose(chosen_B, new, old), drawn, kept)


def own_detail(source: Tensor, content: Tensor, kept_B: Tensor) -> Tensor:
    """Give A_gen the fine detail of C_in where C_in shows what is to be seen: the source branch blurs small things.

    Args:
        source: A_gen, float (B, 3, S, S) in [-1, 1].
        content: C_in, alike.
        kept_B: Samples that keep the content's detail, bool (B,).

    Returns:
        A_gen, float (B, 3, S, S) in [-1, 1].

    Source: ADR-004; the sharpness measured is in docs/log.md.
    """
    sigma = DETAIL * content.shape[-1] / 256

    def detailed(source: Tensor, content: Tensor) -> Tensor:
        return (content + blur(source - content, sigma)).clamp(-1, 1)  # one blur: it is linear

    return choose(kept_B, among(kept_B, detailed, source, content), source)


def as_composed(
    target: Tensor, under: Tensor, fused: Tensor, region_mask: Tensor, opacity_B: Tensor | None = None
) -> Tensor:
    """What composition will show at the model's size: soft at the region's border, grey where the target is."""
    mixed = torch.lerp(target, torch.lerp(under, fused, soft_alpha(region_mask, FEATHER)), region_mask)
    mixed = faded(target, mixed, opacity_B)
    is_grey = (target.amax(dim=1) - target.amin(dim=1)).amax(dim=(1, 2)) == 0
    luminance = (mixed * constant(LUMINANCE, target.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return choose(is_grey, luminance.expand_as(mixed), mixed)


def faded(target: Tensor, shown: Tensor, opacity_B: Tensor | None) -> Tensor:
    """Let the target show through what is less than opaque."""
    if opacity_B is None:
        return shown
    return choose(opacity_B < 1, torch.lerp(target, shown, opacity_B.view(-1, 1, 1, 1)), shown)


def told_change(target: Tensor, shown: Tensor, region_mask: Tensor, foreign_B: Tensor, change_B: Tensor) -> Tensor:
    """The change that decides, float (B,): of patches of other images without their grain, else as it is."""
    return choose(foreign_B, among(foreign_B, partial(mean_change, coarse=True), target, shown, region_mask), change_B)


def _shows_enough(
    config: GenerateConfig,
    target: Tensor,
    pasted: Tensor,
    region_mask: Tensor,
    foreign_B: Tensor,
    opacity_B: Tensor | None,
) -> Tensor:
    """Whether what is pasted alone changes the image enough, bool (B,): redrawing adds little to it (docs/log.md)."""
    shown = faded(target, pasted, opacity_B)
    visible = visible_region(target, shown, region_mask)
    change = mean_change(target, shown, visible)
    return acceptable(told_change(target, shown, visible, foreign_B, change), visible, config.min_change)


def _moves_enough(config: GenerateConfig, target: Tensor, edited: Tensor, region_mask: Tensor) -> Tensor:
    """Whether depth that is edited lets the network change the image enough, bool (B,).

    What moves less in it than a candidate must change, each in 1/255 of its range, hardly ever shows (docs/log.md,
    tenth session: of 123 that show 6 lie below, of 517 that do not 331, with `min_change` as it is by default).
    """
    return acceptable(mean_change(target, edited, region_mask), region_mask, MARGIN * config.min_change)


def _hopeless(
    config: GenerateConfig,
    plan: Plan,
    target: tuple[Tensor, Tensor, Tensor],
    conditions: Conditions,
    region_mask: Tensor,
    opacity_B: Tensor | None,
) -> Tensor:
    """Whether what the network is to be given says beforehand that too little will show, bool (B,).

    A look that the user asked for is given, so what only edits the maps is judged in ``auto`` alone.
    """
    color, depth, _ = target
    pasted, edited = plan.shows("blend"), plan.shows("target") & (config.appearance == "auto")
    shows = among(pasted, partial(_shows_enough, config), color, conditions.color, region_mask, plan.foreign, opacity_B)
    moves = among(edited, partial(_moves_enough, config), depth, conditions.depth, region_mask)
    return (pasted & ~shows) | (edited & ~moves)


def draw_severity(config: GenerateConfig, category: str, indices: Sequence[int], number: int) -> Tensor:
    """Strength of one defect of each image, float (B,); the same in all of its attempts, so that weak ones stay."""
    low, high = config.severity
    if low == high:
        return torch.full((len(indices),), low)
    streams = [stream(config.seed, "severity", category, index, number) for index in indices]
    return torch.tensor([low + (high - low) * float(torch.rand((), generator=one)) for one in streams])


def _room(pool: CategoryPool, target_index: Tensor, before: Before | None) -> Tensor | None:
    """Where a defect of each image may fall, binary float (B, 1, S, S); None for the object as ever."""
    room = pool.room(target_index)
    if before is None:
        return room
    return (mask_of(pool.normals.object_u8, target_index) if room is None else room) * (1 - before.taken)


@torch.inference_mode()
@sparing()
def draw_candidates(
    model: Generator,
    pool: CategoryPool,
    config: GenerateConfig,
    category: str,
    indices: Sequence[int],
    attempts: Sequence[int],
    before: Before | None = None,
    refuse: bool = True,
) -> Candidates:
    """Make candidates of images.

    Args:
        model: Generator in evaluation mode, on the pool's device.
        pool: Images of the category.
        config: Settings of the set.
        category: Its name, part of each image's random stream.
        indices: Numbers of the images within the category, one for each candidate.
        attempts: Which of its image's candidates each one is; 0 is the first.
        before: What the images hold already, for defects after the first.
        refuse: Leave alone, unaccepted, those whose paste alone shows too little, or in ``auto`` whose edited depth.
    """
    device = pool.normals.color_u8.device
    attempt = torch.tensor(attempts, device=device)
    number = 0 if before is None else before.number
    pairs = zip(indices, attempts, strict=True)
    streams = [stream(config.seed, *defect_keys(category, index, tried, number)) for index, tried in pairs]
    draws = Draws.from_streams(streams, columns=4096).to(device)
    plan = draw_plan(
        draws,
        operations=config.operations,
        mixture=config.mixture,
        appearance=config.appearance,
        procedural=config.procedural,
        has_base=pool.base is not None,
        foreign=config.foreign,
        decoders=len(config.decoders),
        remove_real=config.remove_real,
        kinds=config.kinds,
        again_B=attempt > 0,
    )
    its_target, drawn = drawn_regions(pool, indices)
    plan = suited(plan, config, drawn)
    target_index = draws.index(len(pool.normals))
    target_index = target_index if its_target is None else its_target
    target_index = target_index if before is None else before.target_index
    maps = maps_of(pool.normals, target_index)
    numbers = type_numbers(pool, config, category, indices, number)
    severity = draw_severity(config, category, indices, number).to(device)
    opacity = choose(plan.uses_base | plan.foreign, severity.clamp_max(1), torch.ones_like(severity))
    reference, reference_index, matrix, bend = choose_reference(
        draws, pool, config, plan, target_index, numbers, _room(pool, target_index, before), severity, drawn
    )
    depth, edge = edit_maps(draws, plan.operation, plan.then_tps, maps[1], maps[2], reference)
    level = draws.uniform(*config.levelling)
    color, donor = _appearance(draws, plan, pool, maps[0], reference, level)
    borrowed = plan.shows("reference") & ~plan.uses_base
    reference_index = choose(borrowed, donor, reference_index)
    blends = plan.shows("blend")
    faint = None if config.severity == (1.0, 1.0) else opacity
    conditions = Conditions(color=color, depth=depth, edge=edge)
    redrawn = torch.ones_like(blends)
    if refuse:
        redrawn = ~_hopeless(config, plan, maps, conditions, reference.region_mask, faint)
    output = _redrawn(model, conditions, config.decoders, plan.decoder, redrawn)
    shown = blends | (plan.shows("reference") & plan.uses_base)
    source = own_detail(output.source, color, shown)
    output = DecoderOutput(source, output.fusion_mask, fuse(color, source, output.fusion_mask))
    visible = visible_region(maps[0], faded(maps[0], output.fused, faint), reference.region_mask)
    region, filled = labelled(pool, visible, reference.region_mask, drawn)
    under = choose(blends, color, maps[0])
    shown = as_composed(maps[0], under, output.fused, region, faint)
    change = mean_change(maps[0], shown, region)
    told = told_change(maps[0], shown, region, plan.foreign, change)
    changed = filled & acceptable(told, region, MARGIN * config.min_change) & redrawn
    scores, rejected = judged(pool, shown, region, target_index, plan.uses_base, reference_index, changed, redrawn)
    return Candidates(
        plan=plan,
        target_index=target_index,
        reference_index=reference_index,
        matrix=matrix,
        bend=bend,
        level=level,
        severity=severity,
        opacity=opacity,
        content=color,
        source=output.source,
        fusion_mask=output.fusion_mask,
        fused=output.fused,
        region_mask=region,
        reference_region=reference.region_mask,
        change=change,
        accepted=changed & ~rejected.bool().any(dim=1),
        redrawn=redrawn,
        attempt=attempt,
        scores=scores,
        rejected=rejected,
    )


def judged(
    pool: CategoryPool,
    shown: Tensor,
    region_mask: Tensor,
    target_index: Tensor,
    uses_base: Tensor,
    reference_index: Tensor,
    changed: Tensor,
    redrawn: Tensor,
) -> tuple[Tensor, Tensor]:
    """Judge candidates by their pool's gate.

    Args:
        pool: Images of the category.
        shown: What composition will show, float (B, 3, S, S) in [-1, 1].
        region_mask: Binary float (B, 1, S, S).
        target_index: As in `Candidates`.
        uses_base: Whether the reference is a real defect, bool (B,).
        reference_index: As in `Candidates`.
        changed: Whether enough changed, bool (B,).
        redrawn: Those that were, bool (B,); of the others nothing but the change is known.

    Returns:
        ``(scores, rejected)`` as `Candidates` keeps them, the latter of this candidate alone.
    """
    if pool.gate is None:
        nothing = shown.new_zeros(len(shown), 0)
        return nothing, nothing.long()
    group = originals(pool)
    source = torch.full_like(target_index, -1)
    if len(group):
        source = choose(uses_base, group[reference_index.clamp_max(len(group) - 1)], source)
    objects = mask_of(pool.normals.object_u8, target_index)
    scores = pool.gate.scores(shown, region_mask, objects, target_index, source)
    broken = pool.gate.broken(scores) & redrawn[:, None]
    return scores, torch.cat([~changed[:, None], broken], dim=1).long()


def accepted_candidates(
    model: Generator,
    pool: CategoryPool,
    config: GenerateConfig,
    category: str,
    indices: Sequence[int],
    before: Before | None = None,
) -> Candidates:
    """Draw candidates until each image has an accepted one, or attempts run out; then the strongest is kept.

    One that was refused beforehand counts with what its paste showed, or with nothing where its depth decided.
    """
    fallen: Tensor | None = None

    def draw(places: Sequence[int], attempts: Sequence[int], *, refuse: bool = True) -> Candidates:
        held = None if before is None else before[list(places)]
        some = [indices[place] for place in places]
        return draw_candidates(model, pool, config, category, some, attempts, held, refuse)

    def count(places: Tensor, drawn: Candidates) -> None:
        nonlocal fallen
        fallen = drawn.rejected.new_zeros(len(indices), drawn.rejected.shape[1]) if fallen is None else fallen
        fallen[places] += drawn.rejected

    best = until_accepted(draw, mapped, len(indices), config.max_attempts, looked_at=count)
    left = places_of(~best.redrawn)
    if len(left):  # nothing better was found: what is kept is redrawn like all others
        drawn = draw(left.tolist(), best.attempt[left].tolist(), refuse=False)
        if fallen is not None:
            fallen[left] += drawn.rejected - best.rejected[left]
        best = mapped(lambda old, new: old.index_copy(0, left, new), best, drawn)
    return best if fallen is None else replace(best, rejected=fallen)


def defect_keys(category: str, index: int, attempt: int, number: int = 0) -> tuple[str | int, ...]:
    """Keys of a defect's stream: its image, the attempt, and its number within the image where that is not 0."""
    return ("image", category, index, attempt, *(("part", number) if number else ()))


def defect_seed(seed: int, category: str, index: int, attempt: int, number: int = 0) -> int:
    """Seed of the stream that a defect came from, as the manifest records it."""
    return derive(seed, *defect_keys(category, index, attempt, number))

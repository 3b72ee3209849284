"""Candidates: regions on the object, several attempts, and a mask even when nothing is visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any, Literal, cast

import cv2
import pytest
import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.generation import pipeline
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.normals import RedrawnNormals, redraw_normals
from anomalyhybrid.generation.pipeline import (
    DETAIL,
    Candidates,
    _moves_enough,
    accepted_candidates,
    draw_candidates,
    redraw,
)
from anomalyhybrid.generation.pool import CategoryPool, maps_of, pick_by_kind
from anomalyhybrid.generation.quality import choose, mean_change, until_accepted
from anomalyhybrid.generation.references import foreign_patch
from anomalyhybrid.manipulate.policy import APPEARANCES, Appearance
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.regions import blur, dilate
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.ops.warp import identity_grid
from anomalyhybrid.seeding import stream
from anomalyhybrid.types import Conditions, DecoderOutput

SIZE = 64
INDICES = list(range(40))
FREE = Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)


def _model(source: Callable[[Tensor], Tensor], opening: float) -> Generator:
    """A stand-in whose decoders draw `source(content)` under a constant fusion mask."""

    def decode(features: list[Tensor], content: Tensor) -> DecoderOutput:
        drawn, mask = source(content), torch.full_like(content[:, :1], opening)
        return DecoderOutput(drawn, mask, fuse(content, drawn, mask))

    stand_in = SimpleNamespace(encoder=lambda stacked: [stacked], decoders={"ahd": decode, "ahe": decode})
    return cast(Generator, stand_in)


INVERTING = _model(torch.neg, 1.0)
COPYING = _model(torch.neg, 0.0)


def _images(count: int, object_mask: Tensor, region: Tensor | None = None) -> ImageSet:
    """A lit object on a dark ground; a bright region where there is one."""
    grey = 60 + 100 * object_mask.float().expand(count, 3, SIZE, SIZE)
    grey = grey + torch.arange(count).view(-1, 1, 1, 1)
    nothing = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    return ImageSet(
        color_u8=grey.to(torch.uint8),
        depth_u8=(object_mask * 120).to(torch.uint8).expand(count, 1, SIZE, SIZE).contiguous(),
        edge_u8=nothing,
        region_u8=nothing if region is None else (region * 255).to(torch.uint8).expand_as(nothing).contiguous(),
        object_u8=(object_mask * 255).to(torch.uint8).expand_as(nothing).contiguous(),
        category=torch.zeros(count, dtype=torch.long),
    )


def _disc(x: float, y: float, radius: float) -> Tensor:
    grid = identity_grid(1, SIZE, SIZE, torch.device("cpu"))
    return ((grid - torch.tensor([x, y])).norm(dim=-1) < radius).float()[:, None]


def _pool(object_mask: Tensor, base_region: Tensor | None = None) -> CategoryPool:
    base = None if base_region is None else _images(5, object_mask, base_region)
    return CategoryPool(normals=_images(3, object_mask), base=base, symmetry=FREE)


def _draw(model: Generator, pool: CategoryPool, **settings: Any) -> Candidates:
    return draw_candidates(model, pool, GenerateConfig(**settings), "nut", INDICES, [0] * len(INDICES))


@pytest.mark.parametrize("with_base", [False, True], ids=["procedural", "base"])
def test_regions_lie_on_an_off_centre_object(with_base: bool) -> None:
    thing = _disc(0.4, -0.4, 0.45)
    pool = _pool(thing, _disc(0.35, -0.3, 0.15) if with_base else None)
    region = _draw(INVERTING, pool).reference_region
    area = region.sum((1, 2, 3))
    assert (area > 0).all()
    share = (region * thing).sum((1, 2, 3)) / area
    assert share.mean() >= 0.9
    if with_base:
        assert share.min() >= 0.8
    else:
        assert (region <= dilate(thing, 1)).all(), "at most the outline's own pixels"


@pytest.mark.parametrize("width", [1, 2, 3])
def test_thin_objects_get_regions_too(width: int) -> None:
    rod = torch.zeros(1, 1, SIZE, SIZE)
    rod[..., 10:54, 40 : 40 + width] = 1
    drawn = _draw(INVERTING, _pool(rod))
    assert (drawn.reference_region.sum((1, 2, 3)) > 0).all()
    columns = drawn.reference_region.amax(dim=(0, 1, 2)).nonzero()[:, 0]
    assert columns.min() >= 39
    assert columns.max() <= 40 + width


def test_the_label_region_lies_inside_the_edited_one() -> None:
    drawn = _draw(INVERTING, _pool(_disc(0, 0, 0.7)), appearance="target")
    assert (drawn.region_mask <= drawn.reference_region).all()
    assert drawn.accepted.all() == (drawn.region_mask.sum((1, 2, 3)) >= 24).all()


def test_nothing_visible_keeps_the_edited_region_as_mask() -> None:
    config = GenerateConfig(appearance="target", max_attempts=3)
    kept = accepted_candidates(COPYING, _pool(_disc(0, 0, 0.7)), config, "nut", INDICES)
    assert not kept.accepted.any()
    assert torch.equal(kept.region_mask, kept.reference_region)
    assert (kept.region_mask.sum((1, 2, 3)) > 0).all()
    assert not kept.change.any()


def test_an_image_is_tried_again_until_it_is_accepted() -> None:
    pool = _pool(_disc(0, 0, 0.7))
    limit = float(_draw(INVERTING, pool).change.median())
    config = GenerateConfig(max_attempts=4, min_change=limit)
    first = draw_candidates(INVERTING, pool, config, "nut", INDICES, [0] * len(INDICES))
    last = accepted_candidates(INVERTING, pool, config, "nut", INDICES)
    assert 0 < first.accepted.sum() < len(INDICES)
    assert last.accepted.sum() > first.accepted.sum()
    assert (last.attempt[first.accepted] == 0).all()
    assert torch.equal(last.region_mask[first.accepted], first.region_mask[first.accepted])
    assert (last.attempt > 0).any()
    assert ((last.change >= limit) | ~last.accepted).all()
    for attempt in last.attempt.unique().tolist():
        again = draw_candidates(INVERTING, pool, config, "nut", INDICES, [attempt] * len(INDICES), refuse=False)
        mine = last.attempt == attempt
        for name in ("region_mask", "fused", "content", "target_index", "reference_index"):
            assert torch.equal(getattr(last, name)[mine], getattr(again, name)[mine]), name
        assert torch.equal(last.plan.operation[mine], again.plan.operation[mine])


def test_without_an_accepted_candidate_the_strongest_is_kept() -> None:
    pool, config = _pool(_disc(0, 0, 0.7)), GenerateConfig(max_attempts=4, min_change=300.0)
    kept = accepted_candidates(INVERTING, pool, config, "nut", INDICES)
    tried = torch.stack(
        [
            draw_candidates(INVERTING, pool, config, "nut", INDICES, [attempt] * len(INDICES)).change
            for attempt in range(4)
        ]
    )
    assert torch.equal(kept.attempt, tried.argmax(dim=0))
    redrawn = draw_candidates(INVERTING, pool, config, "nut", INDICES, kept.attempt.tolist(), refuse=False)
    assert torch.equal(kept.change, redrawn.change)
    assert not kept.accepted.any()


@pytest.mark.parametrize("appearance", ["target", "auto"])
@pytest.mark.parametrize(("together", "most_passes"), [(1, 5), (60, 4), (1000, 2)])
def test_attempts_that_are_drawn_together_are_those_drawn_in_turn(
    together: int, most_passes: int, appearance: Literal["target", "auto"]
) -> None:
    pool = _pool(_disc(0, 0, 0.7))
    least = float(_draw(INVERTING, pool, appearance="target").change.quantile(0.8)) if appearance == "target" else 20.0
    config = GenerateConfig(max_attempts=5, min_change=least, appearance=appearance)
    passes: list[int] = []
    counted = torch.zeros(len(INDICES), dtype=torch.long)

    def draw(places: Sequence[int], attempts: Sequence[int]) -> Candidates:
        passes.append(len(places))
        return draw_candidates(INVERTING, pool, config, "nut", [INDICES[place] for place in places], attempts)

    def looked_at(places: torch.Tensor, drawn: Candidates) -> None:
        assert len(places) == len(drawn.change)
        counted[places] += 1

    kept = until_accepted(draw, mapped, len(INDICES), config.max_attempts, together, looked_at)
    in_turn = accepted_candidates(INVERTING, pool, config, "nut", INDICES)
    seen = kept.redrawn  # `accepted_candidates` redraws the others too
    for name in ("attempt", "accepted", "region_mask", "change", "target_index"):
        assert torch.equal(getattr(kept, name)[seen], getattr(in_turn, name)[seen]), name
    assert torch.equal(kept.attempt, in_turn.attempt)
    assert in_turn.redrawn.all()
    tried = torch.where(kept.accepted, kept.attempt + 1, torch.full_like(kept.attempt, config.max_attempts))
    assert torch.equal(counted, tried)
    assert len(passes) <= most_passes
    assert max(passes[1:]) <= max(together, len(INDICES))


def test_an_image_is_the_same_in_any_batch() -> None:
    pool, config = _pool(_disc(0, 0, 0.7), _disc(0.1, 0, 0.2)), GenerateConfig(procedural=0.5)
    together = accepted_candidates(INVERTING, pool, config, "nut", INDICES[:6])
    for index in (0, 5):
        alone = accepted_candidates(INVERTING, pool, config, "nut", [index])
        assert torch.allclose(alone.fused[0], together.fused[index], atol=1e-5)
        assert torch.equal(alone.region_mask[0], together.region_mask[index])
        assert int(alone.attempt) == int(together.attempt[index])


def test_patches_show_the_product_of_another_image_around_a_point_of_it() -> None:
    """A small product at the left: patches for regions at the right hold its brightness, not the dark ground."""
    pool = _pool(_disc(-0.6, 0, 0.25))
    region = _disc(0.6, 0.4, 0.1).expand(12, 1, SIZE, SIZE)
    patch = foreign_patch(pool, Draws.from_stream(stream(0, "patch"), 12, 64), torch.arange(12) % 3, region)
    assert torch.equal(patch.region_mask, region)
    middle = _disc(0.6, 0.4, 0.03).expand(12, 3, SIZE, SIZE) > 0
    lit = maps_of(pool.normals, torch.tensor([0]))[0].amax()
    assert float((patch.color[middle] > lit - 0.2).float().mean()) > 0.8  # some points lie near the product's border


def test_other_grain_of_the_same_surface_is_no_change_that_is_seen() -> None:
    noise = [torch.randn(1, 3, 256, 256, generator=stream(0, "grain", n)) * 0.1 for n in range(2)]
    region = torch.zeros(1, 1, 256, 256)
    region[..., 60:140, 60:140] = 1
    assert float(mean_change(noise[0], noise[1], region)) > 10
    assert float(mean_change(noise[0], noise[1], region, coarse=True)) < 3
    darker = noise[1] - 0.2
    assert float(mean_change(noise[0], darker, region, coarse=True)) > 15
    assert float(mean_change(noise[0], darker, region * 0, coarse=True)) == 0


def test_categories_and_seeds_have_streams_of_their_own() -> None:
    pool = _pool(_disc(0, 0, 0.7))
    one = draw_candidates(INVERTING, pool, GenerateConfig(), "nut", INDICES, [0] * len(INDICES))
    for other in (
        draw_candidates(INVERTING, pool, GenerateConfig(), "bolt", INDICES, [0] * len(INDICES)),
        draw_candidates(INVERTING, pool, GenerateConfig(seed=1), "nut", INDICES, [0] * len(INDICES)),
        draw_candidates(INVERTING, pool, GenerateConfig(), "nut", INDICES, [1] * len(INDICES)),
    ):
        assert not torch.equal(one.reference_region, other.reference_region)


def test_appearances() -> None:
    thing, region = _disc(0, 0, 0.7), _disc(0.1, 0, 0.2)
    pool = _pool(thing, region)
    shown = pool.normals.color_u8.float() / 127.5 - 1
    target = _draw(INVERTING, pool, appearance="target")
    assert torch.equal(target.content, shown[target.target_index])
    blend = _draw(INVERTING, pool, appearance="blend")
    outside = (blend.reference_region == 0).expand_as(blend.content)
    assert torch.equal(blend.content[outside], shown[blend.target_index][outside])
    borrowed = _draw(INVERTING, _pool(thing), appearance="reference")
    assert torch.equal(borrowed.content, shown[borrowed.reference_index]), "another good image"
    assert (borrowed.reference_index != borrowed.target_index).any()


def test_each_sample_is_drawn_by_its_own_decoder() -> None:
    pool = _pool(_disc(0, 0, 0.7))
    by_name = {"ahd": 0.5, "ahe": -0.5}

    def decoder(value: float) -> Callable[[list[Tensor], Tensor], DecoderOutput]:
        def decode(features: list[Tensor], content: Tensor) -> DecoderOutput:
            drawn = torch.full_like(content, value)
            return DecoderOutput(drawn, torch.ones_like(content[:, :1]), drawn)

        return decode

    decoders = {name: decoder(value) for name, value in by_name.items()}
    model = cast(Generator, SimpleNamespace(encoder=lambda stacked: [stacked], decoders=decoders))
    drawn = _draw(model, pool, decoders=("ahe", "ahd"), appearance="target")
    assert set(drawn.plan.decoder.tolist()) == {0, 1}
    assert (drawn.fused[drawn.plan.decoder == 0] == by_name["ahe"]).all()
    assert (drawn.fused[drawn.plan.decoder == 1] == by_name["ahd"]).all()
    only = _draw(model, pool, decoders=("ahd",), appearance="target")
    assert (only.fused == by_name["ahd"]).all()


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_fine_detail_is_the_content_s_where_it_shows_the_defect(appearance: Appearance) -> None:
    flat = _model(torch.zeros_like, 1.0)
    drawn = _draw(flat, _pool(_disc(0, 0, 0.7)), appearance=appearance)
    sigma = DETAIL * drawn.content.shape[-1] / 256
    detail = drawn.content - blur(drawn.content, sigma)
    expected = detail.clamp(-1, 1) if appearance == "blend" else torch.zeros_like(detail)
    assert detail.abs().max() > 0.1, "there is some"
    assert torch.allclose(drawn.source, expected, atol=1e-6)
    redrawn = drawn.fusion_mask.amax(dim=(1, 2, 3)) > 0
    assert redrawn.sum() > 10
    assert torch.equal(drawn.fused[redrawn], drawn.source[redrawn])


def test_what_hardly_shows_when_it_is_pasted_is_not_redrawn() -> None:
    """Refused before the network sees it; where nothing better is found, it is redrawn after all."""
    pool, seen = _pool(_disc(0, 0, 0.7)), []
    redrawing = SimpleNamespace(encoder=lambda stacked: seen.append(len(stacked)) or [stacked])
    model = cast(Generator, SimpleNamespace(encoder=redrawing.encoder, decoders=INVERTING.decoders))
    drawn = _draw(model, pool, appearance="blend", min_change=12.0)
    redrawn = drawn.fusion_mask.amax(dim=(1, 2, 3)) > 0
    assert 0 < int(redrawn.sum()) < len(INDICES)
    assert seen == [int(redrawn.sum())]
    assert torch.equal(drawn.fused[~redrawn], drawn.content[~redrawn])
    assert not drawn.accepted[~redrawn].any()
    assert drawn.accepted[redrawn].any(), "the network inverts what it is given, which is change enough"
    assert _draw(model, pool, appearance="target", min_change=12.0).fusion_mask.eq(1).all()
    nothing = _draw(model, pool, appearance="blend", min_change=250.0)
    assert len(seen) == 2, "a network is not asked for nothing"
    assert torch.equal(nothing.fused, nothing.content)
    assert not nothing.redrawn.any()
    config = GenerateConfig(appearance="blend", min_change=250.0, max_attempts=3)
    kept = accepted_candidates(model, pool, config, "nut", INDICES)
    assert kept.redrawn.all(), "what is kept for want of better is redrawn as the others are"
    assert kept.fusion_mask.eq(1).all()
    assert not kept.accepted.any()
    assert seen[2:] == [len(INDICES)]


def test_depth_that_is_hardly_edited_is_not_redrawn_where_the_look_is_chosen_for_the_user() -> None:
    """A look that was asked for is given, however little it may show."""
    pool, seen = _pool(_disc(0, 0, 0.7)), []
    encoder = SimpleNamespace(encoder=lambda stacked: seen.append(stacked) or [stacked], decoders=INVERTING.decoders)
    model = cast(Generator, encoder)
    asked, chosen = (_draw(model, pool, appearance=look, min_change=12.0) for look in ("target", "auto"))
    assert asked.redrawn.all()
    edited, target = seen[1][:, 3:4], maps_of(pool.normals, chosen.target_index[chosen.redrawn])[1]
    moved = mean_change(target, edited, chosen.reference_region[chosen.redrawn])
    assert (moved[chosen.plan.shows("target")[chosen.redrawn]] >= 13.2).all()
    alone = chosen.plan.shows("target")
    refused = alone & ~chosen.redrawn
    assert 0 < int(refused.sum()) < int(alone.sum())
    assert not chosen.accepted[refused].any()
    assert torch.equal(chosen.fused[refused], chosen.content[refused])
    assert float(chosen.change[refused].max()) == 0
    assert chosen.accepted[alone & chosen.redrawn].all(), "inverted, which is change enough"
    config = GenerateConfig(appearance="auto", min_change=12.0, max_attempts=1)
    kept = accepted_candidates(INVERTING, pool, config, "nut", INDICES)
    assert kept.redrawn.all(), "what is kept for want of better is redrawn as the others are"
    assert kept.accepted[refused].all(), "and judged by that"


def test_a_gate_counts_what_was_redrawn_at_last() -> None:
    """Refused, kept for want of better, redrawn, accepted: then it did not fall, nor does it count twice."""
    gate = SimpleNamespace(scores=lambda shown, *_: torch.zeros(len(shown), 6), broken=lambda scores: scores > 0)
    pool = replace(_pool(_disc(0, 0, 0.7)), gate=cast(Any, gate))
    config = GenerateConfig(appearance="auto", min_change=12.0, max_attempts=1)
    refused = ~_draw(INVERTING, pool, appearance="auto", min_change=12.0).redrawn
    kept = accepted_candidates(INVERTING, pool, config, "nut", INDICES)
    assert (refused & kept.accepted).any()
    assert torch.equal(kept.rejected.sum(dim=1), (~kept.accepted).long())


def test_depth_moves_enough_where_it_changes_as_much_as_an_image_must() -> None:
    config = GenerateConfig(min_change=10.0)
    region, depth = _disc(0, 0, 0.5).expand(3, 1, SIZE, SIZE), torch.zeros(3, 1, SIZE, SIZE)
    assert not _moves_enough(config, depth, depth, region).any()
    moved = torch.tensor([10.9, 11.1, -11.1]).view(3, 1, 1, 1) / 127.5 * torch.ones_like(depth)
    assert _moves_enough(config, depth, moved, region).tolist() == [False, True, True]
    assert _moves_enough(config, depth, moved * region, region).tolist() == [False, True, True]
    assert not _moves_enough(config, depth, moved * (1 - region), region).any()


@pytest.mark.parametrize("normals_as", ["full", "patch"])
def test_normals_are_redrawn_with_unedited_maps(normals_as: Literal["full", "patch"]) -> None:
    pool = _pool(_disc(0.3, -0.2, 0.6))
    seen: list[Tensor] = []
    decoders = (INVERTING if normals_as == "full" else COPYING).decoders  # a patch shows the source branch alone
    model = cast(
        Generator, SimpleNamespace(encoder=lambda stacked: seen.append(stacked) or [stacked], decoders=decoders)
    )
    drawn = redraw_normals(model, pool, GenerateConfig(normals_as=normals_as), "nut", INDICES)
    maps = torch.cat([pool.normals.depth_u8, pool.normals.edge_u8], dim=1).float() / 127.5 - 1
    assert torch.allclose(seen[0][:, 3:], maps[drawn.target_index])
    assert torch.equal(drawn.content, pool.normals.color_u8[drawn.reference_index].float() / 127.5 - 1)
    detail = (drawn.fused + drawn.content).abs().amax(dim=(1, 2, 3)) > 0
    assert not detail.any() if normals_as == "full" else 0.2 < float(detail.float().mean()) < 0.8, "half keep detail"
    assert torch.equal(drawn.fused[~detail], -drawn.content[~detail])
    assert drawn.fusion_mask.eq(1).all()
    assert drawn.decoder.unique().tolist() == [0, 1]
    assert drawn.target_index.unique().tolist() == [0, 1, 2]
    assert torch.equal(drawn.target_index, drawn.reference_index) == (normals_as == "patch")
    assert drawn.patched.all() == drawn.patched.any() == (normals_as == "patch")


def test_patches_lie_on_the_object_and_are_one_to_three() -> None:
    thing, config = _disc(0.3, -0.2, 0.6), GenerateConfig(normals_as="patch", extent=(0.03, 0.1))
    drawn = redraw_normals(INVERTING, _pool(thing), config, "nut", INDICES)
    area = drawn.region_mask.sum((1, 2, 3))
    assert set(drawn.region_mask.unique().tolist()) == {0.0, 1.0}
    assert (area > 0).all()
    assert (area < 0.5 * thing.sum()).all()
    assert (drawn.region_mask <= dilate(thing, 1)).all()
    parts = [cv2.connectedComponents(region[0].numpy().astype("uint8"))[0] - 1 for region in drawn.region_mask]
    assert {1, 2, 3} <= set(parts)
    whole = redraw_normals(INVERTING, _pool(thing), replace(config, normals_as="full"), "nut", INDICES)
    assert whole.region_mask.all()


def test_both_kinds_of_normals_take_turns() -> None:
    pool = _pool(_disc(0, 0, 0.7))
    both, full, patch = (
        redraw_normals(INVERTING, pool, GenerateConfig(normals_as=kind), "nut", INDICES[3:])
        for kind in ("both", "full", "patch")
    )
    assert both.patched.tolist() == [index % 2 == 1 for index in INDICES[3:]]
    for field in fields(RedrawnNormals):
        mixed, ones = getattr(both, field.name), both.patched
        assert torch.equal(mixed[ones], getattr(patch, field.name)[ones]), field.name
        assert torch.equal(mixed[~ones], getattr(full, field.name)[~ones]), field.name
    alone = redraw_normals(INVERTING, pool, GenerateConfig(normals_as="both"), "nut", [INDICES[5]])
    assert torch.equal(alone.region_mask[0], both.region_mask[2]), "whatever the batch"


def test_candidates_choose_by_sample() -> None:
    pool = _pool(_disc(0, 0, 0.7))
    first, second = (
        draw_candidates(INVERTING, pool, GenerateConfig(), "nut", INDICES, [number] * len(INDICES)) for number in (0, 1)
    )
    better = torch.arange(len(INDICES)) % 3 == 0
    mixed = mapped(lambda old, new: choose(better, new, old), first, second)
    assert torch.equal(mixed.plan.kind[better], second.plan.kind[better])
    assert torch.equal(mixed.plan.kind[~better], first.plan.kind[~better])
    assert torch.equal(mixed.fused[better], second.fused[better])
    assert torch.equal(mixed.fused[~better], first.fused[~better])
    assert replace(mixed, attempt=first.attempt).accepted.shape == first.accepted.shape


def test_types_take_turns_by_the_number_of_the_image() -> None:
    kind = torch.tensor([1, 0, 1, 1, 2, 1])
    numbers = torch.tensor([0, 1, 2, 3, 7])
    for attempt in range(3):
        index = pick_by_kind(Draws.from_stream(stream(attempt, "kinds"), 5, columns=8), kind, numbers)
        assert kind[index].tolist() == [0, 1, 2, 0, 1]


def test_rare_types_are_drawn_as_often_as_frequent_ones() -> None:
    kind = torch.tensor([1, 0, 1, 1, 2, 1])
    index = pick_by_kind(Draws.from_stream(stream(0, "kinds"), 3000, columns=8), kind)
    shares = torch.bincount(kind[index], minlength=3) / len(index)
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert set(index.tolist()) == set(range(6)), "every image comes up"
    within = torch.bincount(index[kind[index] == 1], minlength=6)[[0, 2, 3, 5]] / (kind[index] == 1).sum()
    assert within.tolist() == pytest.approx([0.25] * 4, abs=0.05)


def test_types_may_be_as_frequent_as_in_the_base_set() -> None:
    whole = torch.ones(1, 1, SIZE, SIZE)
    region = torch.zeros(1, 1, SIZE, SIZE)
    region[..., 20:36, 24:40] = 1
    kind = torch.tensor([0, 0, 0, 1])  # of four base images, one is of another type
    pool = CategoryPool(_images(2, whole), _images(4, whole, region), FREE, base_kind=kind)
    shares = {}
    for types in ("equal", "base"):
        config = GenerateConfig(types=types, max_attempts=1)
        drawn = draw_candidates(INVERTING, pool, config, "things", list(range(80)), [0] * 80)
        shares[types] = float((kind[drawn.reference_index] == 1).float().mean())
    assert shares["equal"] == pytest.approx(0.5, abs=0.02)
    assert shares["base"] == pytest.approx(0.25, abs=0.12)


def test_networks_see_few_sizes_of_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven samples of one decoder group and two of the other: the copies that fill up the many do not come back."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)).eval()
    stacked = torch.rand(13, 5, 32, 32) * 2 - 1
    conditions = Conditions(color=stacked[:, :3], depth=stacked[:, 3:4], edge=stacked[:, 4:])
    decoder_B = (torch.arange(13) % 6 == 3).long()
    seen: list[int] = []

    def look(_: torch.nn.Module, given: tuple) -> None:
        first = given[0] if isinstance(given[0], Tensor) else given[0][0]  # decoders take a list of features
        seen.append(len(first))

    with torch.inference_mode():
        expected = redraw(generator, conditions, ("ahd", "ahe"), decoder_B)
        for part in (generator.encoder, *generator.decoders.values()):
            part.register_forward_pre_hook(look)
        gpu = pipeline._together(torch.device("cuda"))
        assert (pipeline._together(torch.device("cpu")), gpu) == (1, 8)
        monkeypatch.setattr(pipeline, "_together", lambda device: gpu)
        found = redraw(generator, conditions, ("ahd", "ahe"), decoder_B)
    assert seen == [16, 16, 2]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)

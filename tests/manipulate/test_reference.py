"""Placing references, levelling them, pasting them, and painting procedural ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomalyhybrid.manipulate.paint import paint, relief_shading, slopes
from anomalyhybrid.manipulate.reference import (
    FEATHER,
    Reference,
    blended,
    from_structure,
    levelled,
    place,
    ring,
    seamless,
)
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur, dilate, erode, masked_mean
from anomalyhybrid.ops.structures import KINDS, Structure, draw_structures
from anomalyhybrid.ops.warp import identity_grid, similarity_matrix
from anomalyhybrid.seeding import stream

SIZE = 64


def _disc(batch: int = 2, x: float = 0.0, y: float = 0.0, radius: float = 0.3) -> Tensor:
    grid = identity_grid(batch, SIZE, SIZE, torch.device("cpu"))
    return ((grid - torch.tensor([x, y])).norm(dim=-1) < radius).float()[:, None]


def _smooth(seed: int, *shape: int) -> Tensor:
    values = blur(torch.randn(*shape, generator=stream(seed, "maps")), 2.0)
    return 0.6 * values / values.abs().amax()


def _reference(region: Tensor, seed: int = 0) -> Reference:
    batch = len(region)
    return Reference(
        color=_smooth(seed, batch, 3, SIZE, SIZE),
        depth=_smooth(seed + 1, batch, 1, SIZE, SIZE),
        edge=_smooth(seed + 2, batch, 1, SIZE, SIZE),
        region_mask=region,
    )


def test_the_ring_surrounds_the_region() -> None:
    region = _disc()
    around = ring(region)
    assert not (around * region).any()
    assert torch.equal(torch.maximum(around, region), dilate(region, 2))


def test_levelled_brings_the_surroundings_to_one_mean() -> None:
    values, target, region = _smooth(1, 2, 3, SIZE, SIZE), _smooth(2, 2, 3, SIZE, SIZE), _disc()
    level = levelled(values, target, region, limit=2.0)
    assert torch.allclose(masked_mean(level, ring(region)), masked_mean(target, ring(region)), atol=1e-5)
    shift = level - values
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6), "one shift for each channel"


def test_levelled_shifts_no_further_than_its_limit() -> None:
    zeros, ones, region = torch.zeros(2, 1, SIZE, SIZE), torch.ones(2, 1, SIZE, SIZE), _disc()
    assert torch.allclose(levelled(zeros, ones, region, limit=0.25), 0.25 * ones)
    assert torch.allclose(levelled(ones, zeros, region, limit=0.25), 0.75 * ones)
    empty = torch.zeros_like(region)
    assert torch.equal(levelled(zeros, ones, empty, limit=0.25), zeros), "no surroundings, no shift"


def test_blended_is_the_target_outside_and_the_levelled_reference_within() -> None:
    region = _disc()
    target, reference = _smooth(9, 2, 3, SIZE, SIZE), _reference(region)
    result = blended(target, reference)
    outside, core = (region == 0).expand_as(target), (erode(region, FEATHER) > 0).expand_as(target)
    assert torch.equal(result[outside], target[outside])
    matched = levelled(reference.color, target, region, limit=0.25).clamp(-1, 1)
    assert torch.equal(result[core], matched[core])
    low, high = torch.minimum(target, matched), torch.maximum(target, matched)
    assert ((result >= low - 1e-6) & (result <= high + 1e-6)).all()


def test_a_seamless_paste_has_no_step_at_its_border_and_keeps_its_own_detail() -> None:
    region = _disc()
    target = _smooth(1, 2, 3, SIZE, SIZE)
    slope = torch.linspace(-0.3, 0.3, SIZE).expand(2, 3, SIZE, SIZE)  # lit from the side: no mean can level this
    dots = (torch.rand(2, 3, SIZE, SIZE, generator=stream(2, "dots")) > 0.9) * 0.1
    inside = erode(region, 3)
    reference = Reference(color=target + slope + dots * inside, depth=region, edge=region, region_mask=region)
    border = region - erode(region, 1)
    steps = [
        masked_mean((pasted - target).abs(), border).mean()
        for pasted in (levelled(reference.color, target, region, 0.25), seamless(target, reference))
    ]
    assert steps[1] < 0.25 * steps[0]
    assert masked_mean((seamless(target, reference) - target - dots).abs(), inside).mean() < 0.03
    chosen = blended(target, reference, seamless_B=torch.tensor([True, False]))
    assert torch.equal(chosen[1], blended(target, reference)[1])
    assert not torch.equal(chosen[0], blended(target, reference)[0])


def test_blending_an_image_with_itself_changes_nothing() -> None:
    reference = _reference(_disc())
    assert torch.allclose(blended(reference.color, reference), reference.color, atol=1e-6)


def test_an_unmoved_reference_stays_as_it_is() -> None:
    given = _reference(_disc())
    placed = place(given.color, given.depth, given.edge, given.region_mask, torch.eye(2, 3).expand(2, 2, 3))
    for name in ("color", "depth", "edge", "region_mask"):
        assert torch.allclose(getattr(placed, name), getattr(given, name), atol=1e-5), name


def test_image_maps_and_region_move_together() -> None:
    batch = 16
    region = _disc(batch, 0.2, -0.1, 0.25)
    draws = Draws.from_stream(stream(3, "place"), batch)
    matrix = similarity_matrix(
        draws.log_uniform(0.6, 1.4),
        draws.uniform(0, 6.28),
        draws.uniforms(2, -0.3, 0.3),
        torch.stack([draws.signs(), draws.signs()], dim=1),
    )
    marked = region * 2 - 1
    placed = place(marked.expand(-1, 3, -1, -1), marked, marked, region, matrix)
    assert set(placed.region_mask.unique().tolist()) == {0.0, 1.0}
    for values in (placed.color[:, :1], placed.depth, placed.edge):
        shown = values > -0.2
        both = (shown & (placed.region_mask > 0)).flatten(1).sum(1)
        either = (shown | (placed.region_mask > 0)).flatten(1).sum(1)
        assert (both / either > 0.98).all()


def test_what_leaves_the_image_is_cut_off() -> None:
    region = _disc(1, 0.9, 0.0, 0.2)
    still = torch.ones(1)
    matrix = similarity_matrix(still, 0 * still, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    nothing = torch.zeros(1, 1, SIZE, SIZE)
    placed = place(nothing.expand(-1, 3, -1, -1), nothing, nothing, region, matrix)
    assert not placed.region_mask.any(), "borders are not repeated for regions"


def test_where_chooses_by_sample() -> None:
    first, second = _reference(_disc(4), 0), _reference(_disc(4, 0.3), 10)
    chosen = torch.tensor([True, False, True, False])
    mixed = first.where(chosen, second)
    for name in ("color", "depth", "edge", "region_mask"):
        assert torch.equal(getattr(mixed, name)[chosen], getattr(first, name)[chosen])
        assert torch.equal(getattr(mixed, name)[~chosen], getattr(second, name)[~chosen])


def _structures(kind: str, batch: int = 12) -> tuple[Draws, Structure]:
    draws = Draws.from_stream(stream(5, kind), batch, columns=4096)
    center = draws.uniforms(2, -0.4, 0.4)
    number = torch.full((batch,), KINDS.index(kind))
    return draws, draw_structures(draws, number, center, draws.log_uniform(0.1, 0.3), SIZE, SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_painted_structure_shows_in_colour_depth_and_edge_near_its_region_alone(kind: str) -> None:
    draws, structure = _structures(kind)
    batch = len(structure.region_mask)
    color, depth = 0.3 * torch.ones(batch, 3, SIZE, SIZE), torch.zeros(batch, 1, SIZE, SIZE)
    edge = torch.full_like(depth, -0.5)
    reference = from_structure(draws, structure, color, depth, edge)
    near = dilate(structure.region_mask, 3)
    assert torch.equal(reference.region_mask, dilate(structure.region_mask, 1))
    for new, old in ((reference.color, color), (reference.depth, depth), (reference.edge, edge)):
        assert new.abs().amax() <= 1
        assert ((new - old).abs() * (1 - near)).amax() < 1e-3
    shown = ((reference.color - color).abs().mean(1, keepdim=True) * reference.region_mask).sum((1, 2, 3))
    shown = shown / reference.region_mask.sum((1, 2, 3)) * 127.5
    assert (shown > 2).float().mean() >= 0.9
    sign = {"bump": 1, "contamination": 1}.get(kind, -1)
    assert ((reference.depth - depth) * sign >= 0).all()
    assert ((reference.depth - depth).abs().amax(dim=(1, 2, 3)) > 0).all()


def test_a_flat_surface_has_no_shading_and_slopes_follow_the_light() -> None:
    flat = torch.full((1, 1, SIZE, SIZE), 0.4)
    assert torch.equal(relief_shading(slopes(flat), torch.zeros(1)), torch.zeros_like(flat))
    ramp = identity_grid(1, SIZE, SIZE, flat.device)[..., 0][:, None]
    inner = relief_shading(slopes(ramp), torch.zeros(1))[..., 8:-8, 8:-8]
    assert (inner > 0).all()
    assert (relief_shading(slopes(ramp), torch.full((1,), torch.pi))[..., 8:-8, 8:-8] < 0).all()


def test_painting_nothing_changes_nothing() -> None:
    draws, structure = _structures("dent")
    nothing = torch.zeros_like(structure.relief)
    still = Structure(structure.kind, nothing, nothing, nothing, structure.tint, nothing)
    image = _smooth(4, len(nothing), 3, SIZE, SIZE)
    assert torch.allclose(paint(draws, image, still), image, atol=1e-6)

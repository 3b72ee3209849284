"""Regions fall on the object, and where the surroundings suit the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomalyhybrid.manipulate.operations import region_frame
from anomalyhybrid.manipulate.placement import lit_part, object_point, suit_placement
from anomalyhybrid.manipulate.reference import place
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import identity_grid, sample
from anomalyhybrid.seeding import stream

BATCH, SIZE = 48, 64
FREE = Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)
FIXED = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)


def _draws(seed: int = 0, batch: int = BATCH) -> Draws:
    return Draws.from_stream(stream(seed, "placement"), batch, columns=4096)


def _disc(x: float, y: float, radius: float) -> Tensor:
    grid = identity_grid(BATCH, SIZE, SIZE, torch.device("cpu"))
    return ((grid - torch.tensor([x, y])).norm(dim=-1) < radius).float()[:, None]


def _on(background: float, object_mask: Tensor, value: float) -> Tensor:
    return (background + (value - background) * object_mask).expand(-1, 3, -1, -1)


def _placed(
    symmetry: Symmetry,
    target: Tensor,
    object_mask: Tensor,
    reference: Tensor,
    reference_object: Tensor,
    region: Tensor,
    free_share: float = 0.5,
) -> Tensor:
    matrix = suit_placement(
        _draws(), [symmetry] * BATCH, target, object_mask, reference, reference_object, region, free_share
    )
    maps = torch.zeros(BATCH, 1, SIZE, SIZE)
    return place(reference, maps, maps, region, matrix).region_mask


def _share(region: Tensor, object_mask: Tensor) -> Tensor:
    return (region * object_mask).sum((1, 2, 3)) / region.sum((1, 2, 3)).clamp_min(1)


def test_points_lie_on_the_object_and_reach_all_of_it() -> None:
    batch = 400
    mask = torch.zeros(batch, 1, 30, 40)
    mask[:, :, 2:6, 3:9] = 1
    mask[:, :, 20:24, 30:36] = 1
    points = object_point(_draws(1, batch), mask)
    values = sample(mask, points[:, None, None], nearest=True)
    assert (values == 1).all()
    assert 0.4 < (points[:, 0] < 0).float().mean() < 0.6, "both parts are equally large"
    assert len(points.unique(dim=0)) == 48, "all 24 pixels of both parts come up"


def test_the_only_pixel_is_always_the_one() -> None:
    mask = torch.zeros(BATCH, 1, 16, 16)
    mask[:, :, 15, 15] = 1
    assert torch.equal(object_point(_draws(), mask), torch.full((BATCH, 2), 15 / 16))
    mask[:] = 0
    mask[:, :, 0, 0] = 1
    assert torch.equal(object_point(_draws(), mask), torch.full((BATCH, 2), -15 / 16))


def test_an_empty_object_counts_as_the_whole_image() -> None:
    points = object_point(_draws(2, 300), torch.zeros(300, 1, 16, 16))
    assert points.abs().amax() <= 1
    assert (points.mean(dim=0).abs() < 0.15).all()
    assert (points.std(dim=0) > 0.5).all()


@pytest.mark.parametrize("symmetry", [FREE, FIXED], ids=["free", "fixed"])
@pytest.mark.parametrize("colours", [(-0.5, 0.5), (0.2, 0.3)], ids=["bright object", "faint object"])
def test_regions_stay_on_an_off_centre_object(symmetry: Symmetry, colours: tuple[float, float]) -> None:
    target_object, reference_object = _disc(-0.45, 0.4, 0.4), _disc(0.3, -0.3, 0.5)
    region = _disc(0.35, -0.2, 0.12)
    target, reference = _on(colours[0], target_object, colours[1]), _on(colours[0], reference_object, colours[1])
    placed = _placed(symmetry, target, target_object, reference, reference_object, region)
    share = _share(placed, target_object)
    assert (placed.sum((1, 2, 3)) > 0).all()
    assert share.min() >= 0.8
    assert share.mean() >= 0.95


def test_a_region_that_stood_out_of_its_object_may_stand_out_again() -> None:
    thing = _disc(0.0, 0.0, 0.5)
    region = _disc(0.5, 0.0, 0.2)
    picture = _on(-0.5, thing, 0.5)
    before = _share(region, thing)[0]
    assert 0.3 < before < 0.7
    placed = _placed(FREE, picture, thing, picture, thing, region)
    assert (_share(placed, thing) >= before - 0.15).all()


def test_the_place_whose_surroundings_match_is_preferred() -> None:
    bright = _disc(0.5, -0.5, 0.35)
    target, everything = _on(-0.6, bright, 0.7), torch.ones(BATCH, 1, SIZE, SIZE)
    region = _disc(-0.4, 0.4, 0.1)
    reference = torch.full((BATCH, 3, SIZE, SIZE), 0.7)
    placed = _placed(FREE, target, everything, reference, everything, region)
    on_bright = _share(placed, bright) > 0.7
    assert bright.mean() < 0.11
    assert on_bright.float().mean() > 0.75
    opposite = _placed(FREE, -target, everything, reference, everything, region)
    assert (_share(opposite, bright) < 0.3).float().mean() > 0.95


def test_where_all_places_match_all_are_used() -> None:
    plain, everything = torch.zeros(BATCH, 3, SIZE, SIZE), torch.ones(BATCH, 1, SIZE, SIZE)
    center, _ = region_frame(_placed(FREE, plain, everything, plain, everything, _disc(-0.4, 0.4, 0.1), 1.0))
    assert (center.std(dim=0) > 0.3).all()


def test_an_asymmetric_product_keeps_the_references_orientation() -> None:
    plain, everything = torch.zeros(BATCH, 3, SIZE, SIZE), torch.ones(BATCH, 1, SIZE, SIZE)
    arguments = (plain, everything, plain, everything, _disc(0.2, 0.1, 0.15))
    fixed = suit_placement(_draws(), [FIXED] * BATCH, *arguments)
    linear = fixed[:, :, :2]
    assert (torch.linalg.det(linear) > 0).all(), "no flip"
    angle = torch.atan2(linear[:, 0, 1] - linear[:, 1, 0], linear[:, 0, 0] + linear[:, 1, 1])
    assert angle.abs().max() < 0.35
    kept = suit_placement(_draws(), [FIXED] * BATCH, *arguments, 0.0)
    center, _ = region_frame(place(plain, plain[:, :1], plain[:, :1], arguments[4], kept).region_mask)
    assert (center - torch.tensor([0.2, 0.1])).abs().max() < 0.15, "without free candidates it keeps its place"
    free = suit_placement(_draws(), [FREE] * BATCH, *arguments)
    determinant = torch.linalg.det(free[:, :, :2])
    assert 0.2 < (determinant < 0).float().mean() < 0.8


def test_each_sample_uses_its_own_products_symmetry() -> None:
    plain, everything = torch.zeros(BATCH, 3, SIZE, SIZE), torch.ones(BATCH, 1, SIZE, SIZE)
    arguments = (plain, everything, plain, everything, _disc(0.2, 0.1, 0.15))
    mixed = suit_placement(_draws(), [FIXED, FREE] * (BATCH // 2), *arguments)
    fixed, free = (suit_placement(_draws(), [one] * BATCH, *arguments) for one in (FIXED, FREE))
    assert torch.equal(mixed[0::2], fixed[0::2])
    assert torch.equal(mixed[1::2], free[1::2])


def test_a_placement_is_a_similarity_of_moderate_scale() -> None:
    plain, everything = torch.zeros(BATCH, 3, SIZE, SIZE), torch.ones(BATCH, 1, SIZE, SIZE)
    matrix = suit_placement(_draws(), [FREE] * BATCH, plain, everything, plain, everything, _disc(0.2, 0.1, 0.15))
    linear = matrix[:, :, :2]
    gram = linear.transpose(1, 2) @ linear
    squared = gram[:, 0, 0]
    assert torch.allclose(gram, squared[:, None, None] * torch.eye(2), atol=1e-5)
    scale = squared.rsqrt()
    assert scale.min() >= 0.59
    assert scale.max() <= 1.41


def test_structures_are_placed_where_the_object_is_lit() -> None:
    color = torch.full((3, 3, 64, 64), -1.0)
    color[0, :, :, 32:] = 0.5  # half lit
    color[1, :, :2, :2] = 0.5  # hardly any
    color[2] = 0.5
    whole = torch.ones(3, 1, 64, 64)
    lit = lit_part(color, whole)
    assert lit[0, 0, :, :24].sum() == 0
    assert lit[0, 0, :, 40:].all()
    assert lit[1].all(), "hardly anything is lit: all of it stays"
    assert lit[2].all()
    assert not (lit_part(color, torch.zeros(3, 1, 64, 64)) > 0).any()

"""Pseudo-defects: nothing changes outside the region, something does inside, and what a reference may show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.augment.pseudo import (
    PseudoDefect,
    foreign_reference,
    from_pair,
    make_pseudo_defects,
    removal_reference,
    roughly_pasted,
    structure_reference,
)
from anomalyhybrid.manipulate.reference import Reference
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.seeding import stream

SIZE, BATCH = 64, 48


def scenes(seed: int = 0, batch: int = BATCH) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour, depth and edges of different smooth images, edges near -1 (none) in most places."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 5, 8, 8, generator=generator) * 1.6 - 0.8
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(-1, 1)
    return smooth[:, :3], smooth[:, 3:4], smooth[:, 4:].square() - 1


def good(seed: int) -> Reference:
    """Good images with their maps and no region."""
    color, depth, edge = scenes(seed)
    return Reference(color=color, depth=depth, edge=edge, region_mask=torch.zeros_like(depth))


def draws(name: str, batch: int = BATCH) -> Draws:
    return Draws.from_stream(stream(0, name), batch, columns=2048)


def outside(values: torch.Tensor, region_mask: torch.Tensor) -> torch.Tensor:
    return values * (1 - region_mask)


def inside_change(one: torch.Tensor, other: torch.Tensor, region_mask: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference inside the region, float (B,)."""
    error = (one - other).abs().mean(dim=1, keepdim=True) * region_mask
    return error.sum(dim=(1, 2, 3)) / region_mask.sum(dim=(1, 2, 3))


@pytest.fixture(scope="module", params=["clean", "rough", "mixed"])
def made(request: pytest.FixtureRequest) -> tuple[torch.Tensor, PseudoDefect]:
    chosen = {"clean": 0.0, "rough": 1.0, "mixed": 0.5}[request.param]
    rough = torch.arange(BATCH) < BATCH * chosen
    return rough, make_pseudo_defects(draws("make"), good(0), good(5), None, 0.5, rough)


def test_nothing_changes_outside_the_region(made) -> None:
    color, depth, edge = scenes()
    _, defect = made
    for changed, original in (
        (defect.image, color),
        (defect.rough, color),
        (defect.depth, depth),
        (defect.edge, edge),
    ):
        assert torch.equal(outside(changed, defect.region_mask), outside(original, defect.region_mask))
        assert float(changed.abs().max()) <= 1


def test_most_samples_change_inside(made) -> None:
    color, depth, edge = scenes()
    _, defect = made
    assert set(defect.region_mask.unique().tolist()) == {0.0, 1.0}
    assert bool((defect.region_mask.sum(dim=(1, 2, 3)) > 0).all())
    for changed, original, least in (
        (defect.image, color, 0.01),
        (defect.depth, depth, 0.005),
        (defect.edge, edge, 0.02),
    ):
        share = (inside_change(changed, original, defect.region_mask) > least).float().mean()
        assert float(share) > 0.8


def test_the_rough_paste_differs_from_the_answer_inside(made) -> None:
    _, defect = made
    share = (inside_change(defect.rough, defect.image, defect.region_mask) > 0.02).float().mean()
    assert float(share) > 0.8


def test_only_rough_samples_get_colours_that_structure_does_not_tell() -> None:
    """Switching `rough` on must not change the others, and must bring foreign patches and stains."""
    none, some = torch.zeros(BATCH, dtype=torch.bool), torch.arange(BATCH) % 2 == 0
    plain, mixed = (make_pseudo_defects(draws("make"), good(0), good(5), None, 0.5, chosen) for chosen in (none, some))
    assert torch.equal(plain.image[~some], mixed.image[~some])
    assert torch.equal(plain.depth[~some], mixed.depth[~some])
    changed = (plain.image != mixed.image).flatten(1).any(dim=1)[some]
    assert 0.4 < float(changed.float().mean()) < 0.95


def test_a_structure_reference_is_the_image_away_from_its_region() -> None:
    color, depth, edge = scenes()
    reference = structure_reference(draws("structure"), color, depth, edge)
    near = dilate(reference.region_mask, 4)
    for changed, original in ((reference.color, color), (reference.depth, depth), (reference.edge, edge)):
        kept, wanted = (outside(values, near)[..., 1:-1, 1:-1] for values in (changed, original))
        torch.testing.assert_close(kept, wanted, atol=1e-5, rtol=0)


def test_a_foreign_reference_shows_its_donor() -> None:
    flat = torch.linspace(-0.9, 0.9, BATCH).view(-1, 1, 1, 1)
    color, depth = flat.expand(-1, 3, SIZE, SIZE), flat.expand(-1, 1, SIZE, SIZE)
    donor = Reference(color=color, depth=depth, edge=depth, region_mask=torch.zeros(BATCH, 1, SIZE, SIZE))
    reference = foreign_reference(draws("foreign"), donor)
    for values in (reference.color, reference.depth, reference.edge):
        torch.testing.assert_close(values[:, 0, 0, 0], flat.flatten(), atol=1e-5, rtol=0)
    assert bool((reference.region_mask.sum(dim=(1, 2, 3)) > 0).all())


def test_a_removal_has_no_edges_and_flat_depth() -> None:
    color, depth, edge = scenes()
    reference = removal_reference(draws("removal"), color, depth, edge)
    region = reference.region_mask > 0
    assert bool((reference.edge[region] == -1).all())
    spread = [float(reference.depth[index][region[index]].std()) for index in range(BATCH)]
    assert max(spread) < 1e-5
    at_back = [
        float((reference.depth[index][region[index]] - depth[index].min()).abs().max()) < 1e-5 for index in range(BATCH)
    ]
    assert 0.2 < sum(at_back) / BATCH < 0.8
    for index in range(BATCH):
        if at_back[index]:
            assert float(reference.color[index][:, region[index, 0]].max()) <= -0.8


def test_base_defects_are_used_at_their_share() -> None:
    region = torch.zeros(BATCH, 1, SIZE, SIZE)
    region[:, :, 24:40, 20:44] = 1
    base = Reference(*scenes(seed=9), region_mask=region)
    none = torch.zeros(BATCH, dtype=torch.bool)
    never, always = (make_pseudo_defects(draws("base"), good(0), good(5), base, share, none) for share in (0.0, 1.0))
    without = make_pseudo_defects(draws("base"), good(0), good(5), None, 0.0, none)
    assert torch.equal(never.region_mask, without.region_mask)
    home = (always.region_mask == region).flatten(1).all(dim=1)
    assert 0.25 < float(home.float().mean()) < 0.75  # half stay where they were, half go anywhere
    core = (slice(None), slice(None), slice(28, 36), slice(26, 38))  # past the feather: the defect's own structure
    torch.testing.assert_close(always.edge[core][home], base.edge[core][home], atol=1e-4, rtol=0)
    moved = (always.depth - base.depth)[core][home]
    assert float(moved.std(dim=(1, 2, 3)).median()) < 0.05  # the same relief at the target's level
    empty = Reference(base.color, base.depth, base.edge, region * 0)
    unusable = make_pseudo_defects(draws("base"), good(0), good(5), empty, 1.0, none)
    assert torch.equal(unusable.region_mask, never.region_mask)


def test_pairs_give_the_defective_rendering_and_its_maps() -> None:
    region = torch.zeros(BATCH, 1, SIZE, SIZE)
    region[:, :, 20:40, 20:40] = 1
    good = Reference(*scenes(0), region_mask=region * 0)
    defective = Reference(*scenes(1), region_mask=region)
    defect = from_pair(draws("pair"), good, defective)
    assert torch.equal(defect.image, defective.color)
    assert torch.equal(defect.region_mask, region)
    assert torch.equal(outside(defect.rough, region), outside(good.color, region))
    near = dilate(region, 2)
    torch.testing.assert_close(defect.depth * near, defective.depth * near, atol=1e-6, rtol=0)
    torch.testing.assert_close(defect.edge * near, defective.edge * near, atol=1e-6, rtol=0)
    whole = (outside(defect.edge - defective.edge, near).abs() < 1e-6).flatten(1).all(dim=1)
    local = (outside(defect.edge - good.edge, near).abs() < 1e-6).flatten(1).all(dim=1)
    assert bool((whole ^ local).all())
    assert 0.25 < float(whole.float().mean()) < 0.75


def test_where_takes_whole_samples() -> None:
    one = PseudoDefect(*(torch.full((4, channels, 2, 2), 1.0) for channels in (3, 1, 1, 3, 1)))
    two = PseudoDefect(*(torch.full((4, channels, 2, 2), 2.0) for channels in (3, 1, 1, 3, 1)))
    chosen = torch.tensor([True, False, False, True])
    for name in PseudoDefect.__slots__:
        picked = getattr(one.where(chosen, two), name)
        assert picked[:, 0, 0, 0].tolist() == [1, 2, 2, 1]


def test_the_rough_seam_is_hard() -> None:
    color = torch.zeros(8, 3, SIZE, SIZE)
    region = torch.zeros(8, 1, SIZE, SIZE)
    region[..., 20:40, 20:40] = 1
    rough = roughly_pasted(draws("seam", 8), color, color + 0.6, region)
    level = rough[:, :, 30, 30]
    torch.testing.assert_close(rough[:, :, 20, 20], level)  # full strength on the region's last pixel
    assert not rough[:, :, 19, 20].any()
    assert float((level - 0.6).abs().mean()) > 0.03

"""merge, remove, replace and TPS: what each does to the maps, and that nothing outside the region moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomalyhybrid.manipulate.operations import OPERATIONS, bend, edit_maps, region_frame, remove
from anomalyhybrid.manipulate.reference import FEATHER, Reference, levelled, ring
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blob, blur, erode, masked_mean
from anomalyhybrid.seeding import stream

BATCH, SIZE = 8, 64


def _draws(seed: int = 0, batch: int = BATCH) -> Draws:
    return Draws.from_stream(stream(seed, "test"), batch)


def _random(seed: int, *shape: int) -> Tensor:
    smooth = blur(torch.randn(*shape, generator=stream(seed, "maps")), 2.0)
    return (smooth / smooth.abs().amax()).clamp(-1, 1)


def _blobs(seed: int = 0) -> Tensor:
    """Regions with a core deeper than the feather."""
    draws = _draws(seed)
    center = draws.uniforms(2, -0.4, 0.4)
    still = torch.zeros(BATCH, SIZE, SIZE)
    return blob(center, torch.full((BATCH, 2), 0.4), torch.zeros(BATCH), still, torch.zeros(BATCH))


@pytest.fixture
def depth() -> Tensor:
    return 0.6 * _random(1, BATCH, 1, SIZE, SIZE)


@pytest.fixture
def edge() -> Tensor:
    return _random(2, BATCH, 1, SIZE, SIZE)


@pytest.fixture
def reference() -> Reference:
    return Reference(
        color=_random(3, BATCH, 3, SIZE, SIZE),
        depth=0.6 * _random(4, BATCH, 1, SIZE, SIZE) - 0.2,
        edge=_random(5, BATCH, 1, SIZE, SIZE),
        region_mask=_blobs(),
    )


def _edit(
    name: str, depth: Tensor, edge: Tensor, reference: Reference, then_tps: bool = False
) -> tuple[Tensor, Tensor]:
    operation = torch.full((BATCH,), OPERATIONS.index(name))  # type: ignore[arg-type]
    return edit_maps(_draws(7), operation, torch.full((BATCH,), then_tps), depth, edge, reference)


def _core(reference: Reference) -> Tensor:
    """Where the feather has reached 1."""
    core = erode(reference.region_mask, FEATHER) > 0
    assert core.flatten(1).sum(1).min() > 100
    return core


@pytest.mark.parametrize("then_tps", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_only_the_region_changes(name: str, then_tps: bool, depth: Tensor, edge: Tensor, reference: Reference) -> None:
    new_depth, new_edge = _edit(name, depth, edge, reference, then_tps)
    outside = reference.region_mask == 0
    assert torch.equal(new_depth[outside], depth[outside])
    assert torch.equal(new_edge[outside], edge[outside])
    for new, old in ((new_depth, depth), (new_edge, edge)):
        assert new.shape == old.shape
        assert new.abs().amax() <= 1
        changed = ((new - old).abs() * reference.region_mask).flatten(1).amax(1)
        assert (changed > 0.02).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_empty_region_changes_nothing(name: str, depth: Tensor, edge: Tensor, reference: Reference) -> None:
    empty = Reference(reference.color, reference.depth, reference.edge, torch.zeros_like(depth))
    new_depth, new_edge = _edit(name, depth, edge, empty, then_tps=True)
    assert torch.equal(new_depth, depth)
    assert torch.equal(new_edge, edge)


def test_merge_takes_the_mean_depth_and_the_stronger_edge(depth: Tensor, edge: Tensor, reference: Reference) -> None:
    new_depth, new_edge = _edit("merge", depth, edge, reference)
    core, region = _core(reference), reference.region_mask > 0
    level = levelled(reference.depth, depth, reference.region_mask, 1.0)
    assert torch.allclose(new_depth[core], (0.5 * (depth + level)).clamp(-1, 1)[core], atol=1e-6)
    assert torch.equal(new_edge[region], torch.maximum(edge, reference.edge)[region])


def test_replace_takes_the_references_edge_and_its_levelled_depth(
    depth: Tensor, edge: Tensor, reference: Reference
) -> None:
    new_depth, new_edge = _edit("replace", depth, edge, reference)
    core, region = _core(reference), reference.region_mask > 0
    level = levelled(reference.depth, depth, reference.region_mask, 1.0).clamp(-1, 1)
    assert torch.allclose(new_depth[core], level[core], atol=1e-6)
    assert torch.equal(new_edge[region], reference.edge[region])


def test_remove_leaves_no_edge_and_the_depth_of_surroundings_or_back(
    depth: Tensor, edge: Tensor, reference: Reference
) -> None:
    new_depth, new_edge = _edit("remove", depth, edge, reference)
    core, region = _core(reference), reference.region_mask > 0
    assert (new_edge[region] == -1).all()
    around, back = masked_mean(depth, ring(reference.region_mask)), depth.amin(dim=(2, 3), keepdim=True)
    seen = set()
    for index in range(BATCH):
        values = new_depth[index][core[index]]
        assert values.max() - values.min() < 1e-6
        is_around = torch.isclose(values[0], around[index, 0, 0, 0], atol=1e-6)
        is_back = torch.isclose(values[0], back[index, 0, 0, 0], atol=1e-6)
        assert is_around != is_back
        seen.add(bool(is_back))
    assert seen == {False, True}


def test_remove_by_choice(depth: Tensor, edge: Tensor) -> None:
    region = _blobs()
    to_back = torch.arange(BATCH) % 2 == 0
    filled, flat = remove(depth, edge, region, to_back)
    assert (flat == -1).all()
    assert torch.equal(filled[to_back], depth.amin(dim=(2, 3), keepdim=True)[to_back].expand_as(filled[to_back]))
    assert torch.allclose(filled[~to_back][:, 0, 0, 0], masked_mean(depth, ring(region))[~to_back][:, 0, 0, 0])


def test_tps_moves_the_targets_own_structure(depth: Tensor, edge: Tensor, reference: Reference) -> None:
    new_depth, new_edge = _edit("tps", depth, edge, reference)
    other = Reference(-reference.color, -reference.depth, -reference.edge, reference.region_mask)
    assert torch.equal(_edit("tps", depth, edge, other)[0], new_depth), "the reference's maps play no part"
    for new, old in ((new_depth, depth), (new_edge, edge)):
        assert (new.amax(dim=(2, 3)) <= old.amax(dim=(2, 3)) + 1e-6).all()
        assert (new.amin(dim=(2, 3)) >= old.amin(dim=(2, 3)) - 1e-6).all()
    flat = torch.full_like(depth, 0.3)
    bent = _edit("tps", flat, flat, reference)
    assert torch.allclose(bent[0], flat, atol=1e-5)
    assert torch.allclose(bent[1], flat, atol=1e-5)


def test_bend_moves_depth_and_edge_together(depth: Tensor, reference: Reference) -> None:
    bent_depth, bent_edge = bend(_draws(), depth, depth, reference.region_mask)
    assert torch.equal(bent_depth, bent_edge)


def test_a_mixture_bends_what_the_first_operation_made(depth: Tensor, edge: Tensor, reference: Reference) -> None:
    for name in ("merge", "replace"):
        once, twice = _edit(name, depth, edge, reference), _edit(name, depth, edge, reference, then_tps=True)
        assert ((once[0] - twice[0]).flatten(1).abs().amax(1) > 0.01).all()
        assert ((once[1] - twice[1]).flatten(1).abs().amax(1) > 0.01).all()
    once, twice = _edit("tps", depth, edge, reference), _edit("tps", depth, edge, reference, then_tps=True)
    assert torch.equal(once[0], twice[0])
    assert torch.equal(once[1], twice[1])


def test_each_sample_has_its_own_operation(depth: Tensor, edge: Tensor, reference: Reference) -> None:
    mixed = torch.arange(BATCH) % len(OPERATIONS)
    none = torch.zeros(BATCH, dtype=torch.bool)
    new = edit_maps(_draws(7), mixed, none, depth, edge, reference)
    for index, name in enumerate(OPERATIONS):
        alone = _edit(name, depth, edge, reference)
        assert torch.equal(new[0][mixed == index], alone[0][mixed == index])
        assert torch.equal(new[1][mixed == index], alone[1][mixed == index])


def test_region_frame() -> None:
    region = torch.zeros(3, 1, 10, 20)
    region[0, 0, 2:4, 5:15] = 1
    region[1, 0, 9, 19] = 1
    center, radius = region_frame(region)
    assert torch.allclose(center[0], torch.tensor([0.0, -0.4]), atol=1e-6)
    assert radius[0] == pytest.approx(0.45)
    assert torch.allclose(center[1], torch.tensor([0.95, 0.9]))
    assert radius[1] == pytest.approx(0.06), "a point has a window too"
    assert torch.equal(center[2], torch.zeros(2)), "an empty region counts as the centre"

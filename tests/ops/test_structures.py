"""Procedural structures: where they lie, which way their relief goes, what stays untouched."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import dilate, erode
from anomalyhybrid.ops.structures import KINDS, Structure, draw_region, draw_structures
from anomalyhybrid.seeding import stream

SIZE, BATCH = 64, 32


def structures(name: str) -> tuple[Structure, torch.Tensor]:
    draws = Draws.from_stream(stream(0, name), BATCH, columns=4096)
    center = draws.uniforms(2, -0.8, 0.8)
    kind = torch.full((BATCH,), KINDS.index(name))
    return draw_structures(draws, kind, center, draws.log_uniform(0.05, 0.3), SIZE, SIZE), center


@pytest.fixture(scope="module", params=KINDS)
def drawn(request: pytest.FixtureRequest) -> tuple[str, Structure, torch.Tensor]:
    return request.param, *structures(request.param)


def test_every_region_holds_its_centre(drawn) -> None:
    _, structure, center = drawn
    assert set(structure.region_mask.unique().tolist()) == {0.0, 1.0}
    column, row = ((center + 1) * SIZE / 2).long().unbind(1)
    assert bool((structure.region_mask[torch.arange(BATCH), 0, row, column] == 1).all())
    assert float(structure.region_mask.mean(dim=(1, 2, 3)).max()) < 0.6


def test_relief_goes_the_way_of_its_kind_and_stays_inside(drawn) -> None:
    name, structure, _ = drawn
    sign = -1.0 if name in ("dent", "hole", "scratch", "crack") else 1.0
    assert not structure.relief[structure.region_mask == 0].any()
    assert float((structure.relief * sign).min()) >= 0
    assert float(structure.relief.abs().max()) <= 1
    peak = structure.relief.abs().amax(dim=(1, 2, 3))
    assert float(peak.median()) > 0.05


def test_edges_are_there_and_only_near_the_region(drawn) -> None:
    _, structure, _ = drawn
    assert float(structure.edge.min()) >= 0
    assert float(structure.edge.max()) <= 1
    assert not structure.edge[dilate(structure.region_mask, 3) == 0].any()
    assert float(structure.edge.amax(dim=(1, 2, 3)).min()) > 0.02


def test_colour_changes_only_inside(drawn) -> None:
    name, structure, _ = drawn
    assert not structure.tint_alpha[structure.region_mask == 0].any()
    assert float(structure.tint_alpha.min()) >= 0
    assert float(structure.tint_alpha.max()) <= 1
    assert float(structure.tint.abs().max()) <= 1
    coloured = bool((structure.tint_alpha.amax(dim=(1, 2, 3)) > 0.05).all())
    assert coloured == (name in ("crack", "hole", "contamination"))
    if name in ("crack", "hole"):
        assert float(structure.tint.max()) < -0.7  # they darken


def test_holes_lie_deeper_than_scratches() -> None:
    hole, scratch = structures("hole")[0], structures("scratch")[0]
    assert float(hole.relief.amin(dim=(1, 2, 3)).mean()) < 2 * float(scratch.relief.amin(dim=(1, 2, 3)).mean())


@pytest.mark.parametrize(("name", "thick"), [("scratch", False), ("crack", False), ("dent", True), ("hole", True)])
def test_scratches_and_cracks_are_lines_dents_and_holes_are_areas(name: str, thick: bool) -> None:
    draws = Draws.from_stream(stream(1, name), BATCH)
    kind = torch.full((BATCH,), KINDS.index(name))
    regions = draw_region(draws, kind, torch.zeros(BATCH, 2), torch.full((BATCH,), 0.4), 128, 128)
    core = erode(regions, 7).sum(dim=(1, 2, 3))
    assert float(regions.sum(dim=(1, 2, 3)).min()) > 40
    assert (float((core > 0).float().mean()) > 0.6) if thick else not core.any()


def test_a_structure_is_the_same_alone_and_in_a_batch() -> None:
    def draw(numbers: list[int]) -> Structure:
        draws = Draws.from_streams([stream(4, number) for number in numbers])
        kind = draws.choice([1.0] * len(KINDS))
        return draw_structures(draws, kind, draws.uniforms(2, -0.5, 0.5), draws.uniform(0.1, 0.3), SIZE, SIZE)

    together = draw([0, 1, 2])
    for number in range(3):
        alone = draw([number])
        assert torch.equal(alone.region_mask, together.region_mask[number : number + 1])
        torch.testing.assert_close(alone.relief, together.relief[number : number + 1], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.edge, together.edge[number : number + 1], atol=1e-5, rtol=0)

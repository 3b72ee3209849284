"""References that are to cover drawn regions, and kinds that suit these."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomalyhybrid.manipulate.placement import ASPECT, cover_placement
from anomalyhybrid.manipulate.policy import suited_kind
from anomalyhybrid.manipulate.reference import place
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blob
from anomalyhybrid.ops.structures import KINDS

SIZE = 64


def _ellipse(x: float, y: float, long: float, short: float, degrees: float) -> Tensor:
    noise = torch.zeros(1, SIZE, SIZE)
    radii = torch.tensor([[long, short]])
    return blob(torch.tensor([[x, y]]), radii, torch.tensor([math.radians(degrees)]), noise, torch.zeros(1))


def _placed(drawn: Tensor, region: Tensor, turn: float, seed: int) -> tuple[Tensor, Tensor]:
    draws = Draws.from_stream(torch.Generator().manual_seed(seed), 1)
    matrix = cover_placement(draws, drawn, region, turn)
    color = torch.zeros(1, 3, SIZE, SIZE)
    return place(color, color[:, :1], color[:, :1], region, matrix).region_mask, matrix


def test_references_cover_regions_of_other_place_size_and_lie() -> None:
    region = _ellipse(-0.4, -0.3, 0.4, 0.15, 10)
    for seed, drawn in enumerate(
        [_ellipse(0.3, 0.4, 0.3, 0.12, 100), _ellipse(0.2, -0.2, 0.15, 0.15, 0), _ellipse(0, 0, 0.7, 0.3, 45)]
    ):
        placed, matrix = _placed(drawn, region, 180.0, seed)
        covered = float((placed * drawn).sum() / drawn.sum())
        assert covered > 0.9, seed
        scales = torch.linalg.svdvals(matrix[0, :, :2])
        assert scales[0] / scales[1] <= ASPECT + 1e-3
        assert scales.min() > 0.2


def test_turns_keep_within_the_limit() -> None:
    region = _ellipse(-0.2, 0.1, 0.4, 0.2, 0)
    for seed in range(8):
        _, matrix = _placed(_ellipse(0.3, 0.3, 0.3, 0.15, 90), region, 15.0, seed)
        left, _, right = torch.linalg.svd(matrix[0, :, :2])
        turn = left @ right  # the rotation nearest to the map
        assert torch.det(turn) > 0  # not mirrored
        assert abs(math.degrees(math.atan2(turn[1, 0], turn[0, 0]))) <= 15.5


def test_lines_are_no_dents_and_patches_no_scratches() -> None:
    kind = torch.arange(len(KINDS))
    lines = [KINDS[int(one)] for one in suited_kind(kind, torch.ones(6, dtype=torch.bool))]
    patches = [KINDS[int(one)] for one in suited_kind(kind, torch.zeros(6, dtype=torch.bool))]
    assert set(lines) == {"scratch", "crack", "contamination"}
    assert set(patches) == {"dent", "bump", "hole", "contamination"}
    assert lines[5] == patches[5] == "contamination"  # the one kind that maps alone do not show

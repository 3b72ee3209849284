"""Which moves leave a product looking like itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anomalyhybrid.manipulate.symmetry import Symmetry, measure_symmetry
from anomalyhybrid.ops.regions import blur
from anomalyhybrid.ops.warp import identity_grid
from anomalyhybrid.seeding import stream

COUNT, SIZE = 8, 64


def _noise(seed: int, strength: float = 0.05) -> Tensor:
    return strength * torch.randn(COUNT, 3, SIZE, SIZE, generator=stream(seed, "noise"))


def _grid() -> tuple[Tensor, Tensor]:
    grid = identity_grid(1, SIZE, SIZE, torch.device("cpu"))
    return grid[..., 0][:, None], grid[..., 1][:, None]


def _photographed(picture: Tensor, seed: int = 0) -> Tensor:
    """Several photographs of one product: noise and uneven brightness."""
    gain = 1 + 0.05 * torch.randn(COUNT, 1, 1, 1, generator=stream(seed, "gain"))
    return (picture.expand(COUNT, 3, SIZE, SIZE) * gain + _noise(seed)).clamp(-1, 1)


def test_a_round_product_may_turn_and_flip() -> None:
    x, y = _grid()
    radius = (x.square() + y.square()).sqrt()
    rings = torch.cos(12 * radius) * 0.6
    symmetry = measure_symmetry(_photographed(rings))
    assert symmetry == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)


def test_an_even_texture_may_turn_and_flip() -> None:
    grain = blur(torch.randn(COUNT, 3, SIZE, SIZE, generator=stream(1, "grain")), 0.8)
    assert measure_symmetry(grain.clamp(-1, 1)) == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)


@pytest.mark.parametrize("upright", [True, False], ids=["vertical", "horizontal"])
def test_a_brushed_texture_may_flip_but_not_turn(upright: bool) -> None:
    lines = torch.randn(COUNT, 1, 1, SIZE, generator=stream(2, "lines")).expand(COUNT, 3, SIZE, SIZE)
    brushed = (0.4 * (lines if upright else lines.transpose(2, 3)) + _noise(3)).clamp(-1, 1)
    symmetry = measure_symmetry(brushed)
    assert symmetry == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=False)


def test_an_asymmetric_mark_allows_no_move() -> None:
    x, y = _grid()
    disc = ((x.square() + y.square()).sqrt() < 0.8).float() * 1.2 - 0.6
    mark = ((x - 0.4).abs() < 0.2) & ((y + 0.35).abs() < 0.1)
    symmetry = measure_symmetry(_photographed(torch.where(mark, torch.tensor(-0.9), disc)))
    assert symmetry == Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)


def test_a_bar_may_flip_but_not_turn() -> None:
    x, y = _grid()
    bar = ((x.abs() < 0.8) & (y.abs() < 0.25)).float() * 1.2 - 0.6
    symmetry = measure_symmetry(_photographed(bar))
    assert symmetry == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=False)


def test_one_mirror_axis_alone() -> None:
    x, y = _grid()
    wedge = (x.abs() < 0.5 * (y + 0.9).clamp_min(0)).float() * 1.2 - 0.6
    symmetry = measure_symmetry(_photographed(wedge))
    assert symmetry == Symmetry(flip_x=True, flip_y=False, half_turn=False, any_turn=False)


def test_colour_counts() -> None:
    x, _ = _grid()
    left = torch.cat([torch.where(x < 0, 0.5, -0.5), torch.zeros_like(x), torch.where(x < 0, -0.5, 0.5)], dim=1)
    symmetry = measure_symmetry(_photographed(left))
    assert (symmetry.flip_x, symmetry.flip_y, symmetry.half_turn) == (False, True, False)


def test_identical_images_of_a_symmetric_product_pass() -> None:
    x, y = _grid()
    ring = torch.cos(9 * (x.square() + y.square()).sqrt()).expand(3, 3, SIZE, SIZE)
    assert measure_symmetry(ring) == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)

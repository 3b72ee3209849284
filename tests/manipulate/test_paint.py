"""What painting a structure shows."""

from __future__ import annotations

import torch

from anomalyhybrid.manipulate.paint import pressed, slopes
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.structures import KINDS, Structure, draw_structures

SIZE = 64


def structures(kind: str) -> Structure:
    rows = Draws.from_stream(torch.Generator().manual_seed(0), 2, 2048)
    kinds = torch.full((2,), KINDS.index(kind))
    return draw_structures(rows, kinds, torch.zeros(2, 2), torch.full((2,), 0.5), SIZE, SIZE)


def ramp() -> torch.Tensor:
    """Brightness that rises to the right, so that it tells where a pixel was taken from."""
    return torch.linspace(-1, 1, SIZE).expand(2, 3, SIZE, SIZE)


def test_dents_and_bumps_move_what_lies_on_their_slopes_opposite_ways() -> None:
    """As a lens does: what shows in a dent is drawn together, what shows on a bump apart."""
    dent, bump = structures("dent"), structures("bump")
    assert torch.equal(dent.region_mask, bump.region_mask)
    into, off = (pressed(ramp(), one.kind, slopes(one.relief)) - ramp() for one in (dent, bump))
    across, _ = slopes(bump.relief)
    steep = across.abs() > 0.5 * across.abs().max()
    assert (into[:, :1][steep].sign() == -across[steep].sign()).all()
    assert (off[:, :1][steep].sign() == across[steep].sign()).all()
    flat = torch.cat(slopes(dent.relief), dim=1).abs().sum(dim=1, keepdim=True) == 0
    assert flat.any()
    assert float((into * flat).abs().max()) < 1e-5


def test_other_kinds_leave_the_surface_where_it_is() -> None:
    for kind in ("scratch", "crack", "hole", "contamination"):
        structure = structures(kind)
        assert torch.equal(pressed(ramp(), structure.kind, slopes(structure.relief)), ramp())


def test_slopes_do_not_depend_on_the_resolution() -> None:
    """In heights for each pixel of 256 a side."""
    for size in (64, 256):
        hill = torch.linspace(0, 1, size).expand(1, 1, size, size)
        across, down = slopes(hill)
        inner = across[..., size // 4 : -size // 4]
        torch.testing.assert_close(inner, torch.full_like(inner, 1 / 256), rtol=0.03, atol=0)
        assert float(down.abs().max()) < 1e-6

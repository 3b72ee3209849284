"""Eq. 1 at its ends and in between; conversions between files and models."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.ranges import signed_from_u8, signed_from_unit, u8_from_signed, unit_from_signed


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    content, source = torch.rand(2, 2, 3, 16, 16, generator=generator) * 2 - 1
    return content, source


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_zero_mask_is_the_content_bit_for_bit_and_a_one_mask_the_source(kind: torch.dtype) -> None:
    content, source = images()
    source = source.to(kind)
    assert torch.equal(fuse(content, source, torch.zeros(2, 1, 16, 16, dtype=kind)), content)
    assert torch.equal(fuse(content, source, torch.ones(2, 1, 16, 16, dtype=kind)), source.float())


def test_in_between_it_is_equation_one() -> None:
    content, source = images()
    mask = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fuse(content, source, mask), content * (1 - mask) + source * mask)


def test_every_byte_survives_the_round_trip() -> None:
    bytes_u8 = torch.arange(256, dtype=torch.uint8)
    signed = signed_from_u8(bytes_u8)
    assert (float(signed.min()), float(signed.max())) == (-1, 1)
    assert torch.equal(u8_from_signed(signed), bytes_u8)
    assert torch.equal(u8_from_signed(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))
    torch.testing.assert_close(signed_from_unit(unit_from_signed(signed)), signed)
    assert unit_from_signed(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0.5, 1]


def test_bytes_survive_half_precision_networks() -> None:
    """A bf16 image is at most one level off, never wrapped around."""
    bytes_u8 = torch.arange(256, dtype=torch.uint8)
    back = u8_from_signed(signed_from_u8(bytes_u8).bfloat16())
    assert int((back.int() - bytes_u8.int()).abs().max()) <= 1

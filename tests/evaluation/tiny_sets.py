"""Tiny labelled sets: noise, with a square for defects of one type and a frame for the other."""

from __future__ import annotations

import torch

from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples

KINDS = ("square", "frame")


def noise(count: int, seed: int, size: int = 32) -> torch.Tensor:
    """Good images, uint8 (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(60, 140, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def tiny_set(good: int, square: int, frame: int = 0, *, seed: int = 0, size: int = 32) -> Samples:
    """Good images first, then squares, then frames; defects are 60 levels brighter than the noise."""
    generator = torch.Generator().manual_seed(seed + 1000)
    count = good + square + frame
    images, masks = noise(count, seed, size), torch.zeros(count, 1, size, size, dtype=torch.uint8)
    for index in range(good, count):
        top, left = torch.randint(0, size - 12, (2,), generator=generator).tolist()
        masks[index, 0, top : top + 12, left : left + 12] = 255
        if index >= good + square:
            masks[index, 0, top + 3 : top + 9, left + 3 : left + 9] = 0
    images += (masks > 0).to(torch.uint8) * 60
    kind = torch.tensor([GOOD_KIND] * good + [0] * square + [1] * frame)
    return Samples(images, masks, kind, KINDS)

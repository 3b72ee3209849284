"""The images of one category as generation draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8

if TYPE_CHECKING:
    from anomalyhybrid.generation.gate import Gate


@dataclass(frozen=True, slots=True)
class DrawnRegions:
    """Regions drawn by the user (ADR-015).

    Attributes:
        target: Good image of each, index into the pool's normals, long (M,).
        region_u8: uint8 (M, 1, S, S), 255 inside.
        exact: Whether the region is the label mask, whatever part of it visibly changed.
    """

    target: Tensor
    region_u8: Tensor
    exact: bool = True

    def of(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Targets, long (B,), and regions, binary float (B, 1, S, S), of images of given numbers."""
        turn = torch.tensor(indices, device=self.target.device) % len(self.target)
        return self.target[turn], mask_of(self.region_u8, turn)


@dataclass(frozen=True, slots=True)
class CategoryPool:
    """Images of one category on the generating device.

    Attributes:
        normals: Good images; targets and donors of normal appearance.
        base: Real defects, or None.
        symmetry: Moves that keep the product's look.
        base_kind: Defect type of each real defect as a number from 0, long (len(base),), on the CPU; None without any.
        allowed_u8: Where each good image may change, uint8 (len(normals), 1, S, S), 255 allowed; None for everywhere.
        drawn: Regions that the images take in turn; None where they are drawn at random.
        in_turn: Whether types of real defects take turns by the image's number; else each image has one of its
            own stream.
        base_group: Number of each real defect's original, the same for near-duplicates, long (len(base),); None where
            nobody asked.
        gate: Judges candidates (ADR-014); None to keep all that visibly changed.
    """

    normals: ImageSet
    base: ImageSet | None
    symmetry: Symmetry
    base_kind: Tensor | None = None
    allowed_u8: Tensor | None = None
    drawn: DrawnRegions | None = None
    in_turn: bool = True
    base_group: Tensor | None = None
    gate: Gate | None = None

    def room(self, index: Tensor) -> Tensor | None:
        """Where chosen good images may change, on the object, binary float (B, 1, S, S); None without a limit."""
        if self.allowed_u8 is None:
            return None
        return mask_of(self.normals.object_u8, index) * mask_of(self.allowed_u8, index)


def pick_by_kind(draws: Draws, kind: Tensor, number_B: Tensor | None = None) -> Tensor:
    """Draw one image of some type for each sample, long (B,), so that rare types are not rare.

    Args:
        draws: Random rows.
        kind: Type of each image as a number from 0, each type at least once, long (M,).
        number_B: Numbers of the samples, long (B,): the types take turns, however often a sample is drawn anew, so
            that faint types are not rare either. None draws a uniform type.
    """
    counts = torch.bincount(kind)
    first, order = counts.cumsum(0) - counts, kind.argsort(stable=True)
    chosen = draws.index(len(counts)) if number_B is None else number_B % len(counts)
    first, order, of_kind = first.to(chosen.device), order.to(chosen.device), counts.to(chosen.device)[chosen]
    within = (draws.uniform() * of_kind).long().minimum(of_kind - 1)
    return order[first[chosen] + within]


def maps_of(images: ImageSet, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, depth and edge of chosen images as model values, float (B, 3 or 1, S, S) in [-1, 1]."""
    maps = (images.color_u8, images.depth_u8, images.edge_u8)
    color, depth, edge = (signed_from_u8(values[index]) for values in maps)
    return color, depth, edge


def mask_of(values_u8: Tensor, index: Tensor) -> Tensor:
    """Masks of chosen images, binary float (B, 1, S, S)."""
    return (values_u8[index] > 127).float()

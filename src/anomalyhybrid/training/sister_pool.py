"""The training images of AnomalyHybrid*: colour, depth in half precision where it was measured, edges (Fig. 4b)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.errors import DataError
from anomalyhybrid.manipulate.reference import Reference
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.ops.trees import mapped


@dataclass(frozen=True, slots=True)
class DepthSet:
    """Images with depth at the model's size.

    Attributes:
        color_u8: uint8 (N, 3, S, S).
        depth: float16 (N, 1, S, S) in [-1, 1], 1 nearest, linear in the data's unit (`conditions.relief`); 8 bits
            would cut a dent of a twentieth of the range into 12 steps.
        valid_u8: uint8 (N, 1, S, S), 255 where depth was measured.
        edge_u8: uint8 (N, 1, S, S), 255 an edge.
        region_u8: uint8 (N, 1, S, S), 255 inside a real defect; 0 everywhere in good images.
        object_u8: uint8 (N, 1, S, S), 255 on the product.
        category: Index of each image's category, long (N,).
    """

    color_u8: Tensor
    depth: Tensor
    valid_u8: Tensor
    edge_u8: Tensor
    region_u8: Tensor
    object_u8: Tensor
    category: Tensor

    def __len__(self) -> int:
        return len(self.color_u8)

    def to(self, device: torch.device | str) -> DepthSet:
        """The same images on another device."""
        return mapped(lambda values: values.to(device), self)

    def __getitem__(self, index: Tensor | slice) -> DepthSet:
        return mapped(lambda values: values[index], self)


@dataclass(frozen=True, slots=True)
class Measured:
    """Drawn images as model values.

    Attributes:
        maps: Colour, depth, edge and region, in their own frames.
        valid: Where depth was measured, float (B, 1, S, S), 0 or 1.
    """

    maps: Reference
    valid: Tensor

    def where(self, chosen_B: Tensor, other: Measured) -> Measured:
        """Take these images for the chosen samples, the other ones for the rest."""
        valid = torch.where(chosen_B.view(-1, 1, 1, 1), self.valid, other.valid)
        return Measured(self.maps.where(chosen_B, other.maps), valid)


def gather(images: DepthSet, index_B: Tensor) -> Measured:
    """Pick images as model values."""
    maps = Reference(
        color=signed_from_u8(images.color_u8[index_B]),
        depth=images.depth[index_B].float(),
        edge=signed_from_u8(images.edge_u8[index_B]),
        region_mask=(images.region_u8[index_B] > 127).float(),
    )
    return Measured(maps, (images.valid_u8[index_B] > 127).float())


class DepthPool:
    """Good images, where given real defects with depth, and pairs of one rendered scene.

    Args:
        normals: Good images, or images whose defects were cut out.
        base: Real defects with regions and depth, or None.
        categories: Number of categories.
        pairs: The same scenes good and defective, index by index, or None.

    Raises:
        DataError: A category has no good image; sizes or lengths that do not fit.
    """

    def __init__(
        self,
        normals: DepthSet,
        base: DepthSet | None,
        categories: int,
        pairs: tuple[DepthSet, DepthSet] | None = None,
    ) -> None:
        self.normals, self.base, self.pairs = normals, base if base is not None and len(base) else None, pairs
        self.categories = categories
        counts = torch.bincount(normals.category, minlength=categories)
        if bool((counts == 0).any()):
            raise DataError("a category has no good image with depth to train on; add some, or leave it out")
        if pairs is not None and len(pairs[0]) != len(pairs[1]):
            raise DataError(f"there are {len(pairs[0])} good and {len(pairs[1])} defective scenes; give pairs")
        sides = {
            len(s.color_u8) and s.color_u8.shape[-1] for s in (normals, self.base, *(pairs or ())) if s is not None
        }
        if len(sides) > 1:
            raise DataError(f"the images have sides of {sorted(sides)} pixels; load all at one size")
        self._members = [self._of(normals, number) for number in range(categories)]
        self._base_members = [self._of(self.base, number) for number in range(categories)]

    @staticmethod
    def _of(images: DepthSet | None, category: int) -> Tensor:
        if images is None:
            return torch.zeros(0, dtype=torch.long)
        return (images.category == category).nonzero()[:, 0]

    def to(self, device: torch.device) -> DepthPool:
        """The same images on another device."""
        base = None if self.base is None else self.base.to(device)
        pairs = None if self.pairs is None else (self.pairs[0].to(device), self.pairs[1].to(device))
        return DepthPool(self.normals.to(device), base, self.categories, pairs)

    @staticmethod
    def _pick(members: list[Tensor], category_B: Tensor, share_B: Tensor) -> Tensor:
        """One member of each sample's category, long (B,); 0 where the category has none."""
        counts = torch.tensor([len(part) for part in members], device=category_B.device)
        starts = counts.cumsum(0) - counts
        order = torch.cat([part.to(category_B.device) for part in members] + [counts.new_zeros(1)])
        own = counts[category_B]
        place = starts[category_B] + (share_B * own).long().minimum((own - 1).clamp_min(0))
        return torch.where(own > 0, order[place.clamp_max(len(order) - 1)], torch.zeros_like(place))

    def draw(self, draws: Draws) -> tuple[Measured, Measured | None, Tensor]:
        """Draw good images, each with a real defect of its category where there is one.

        Returns:
            The good images, the defects (None without any), and bool (B,): the category has defects.
        """
        category = draws.index(self.categories)
        normals = gather(self.normals, self._pick(self._members, category, draws.uniform()))
        share = draws.uniform()
        if self.base is None:
            return normals, None, torch.zeros_like(category, dtype=torch.bool)
        has_base = torch.tensor([len(part) > 0 for part in self._base_members], device=category.device)[category]
        return normals, gather(self.base, self._pick(self._base_members, category, share)), has_base

    def draw_pairs(self, draws: Draws) -> tuple[Measured, Measured] | None:
        """Draw scenes without and with their defect, or None where the pool has none."""
        if self.pairs is None:
            return None
        index = draws.index(len(self.pairs[0]))
        return gather(self.pairs[0], index), gather(self.pairs[1], index)

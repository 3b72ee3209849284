"""The training images as uint8 tensors on the training device, drawn category by category."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import DataError
from anomalyhybrid.manipulate.reference import Reference
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8


def gather(images: ImageSet, index_B: Tensor) -> Reference:
    """Pick images as model values, in their own frames."""
    return Reference(
        color=signed_from_u8(images.color_u8[index_B]),
        depth=signed_from_u8(images.depth_u8[index_B]),
        edge=signed_from_u8(images.edge_u8[index_B]),
        region_mask=(images.region_u8[index_B] > 127).float(),
    )


class TrainingPool:
    """Good images and, where given, real defects of the same categories, and pairs of one scene.

    Args:
        normals: Good images.
        base: Real defects with regions, or None.
        categories: Number of categories.
        pairs: The same rendered scenes good and defective, index by index, or None.

    Raises:
        DataError: a category has no good image, or the images are not sorted by category.
    """

    def __init__(
        self,
        normals: ImageSet,
        base: ImageSet | None,
        categories: int,
        pairs: tuple[ImageSet, ImageSet] | None = None,
    ) -> None:
        self.normals = normals
        self.base = base
        self.pairs = pairs
        self._normal_span = self._spans(normals, categories)
        self._base_span = self._spans(base, categories) if base is not None and len(base) else None
        for images in (normals, base):
            if images is not None and bool((images.category.diff() < 0).any()):
                raise DataError("the images of a training pool must be sorted by category")
        if bool((self._normal_span[1] == 0).any()):
            raise DataError("a category has no good image to train on; add images to its train/good folder")

    @staticmethod
    def _spans(images: ImageSet, categories: int) -> tuple[Tensor, Tensor]:
        """First index and count of each category, long (categories,) each."""
        count = torch.bincount(images.category, minlength=categories)
        return count.cumsum(0) - count, count

    @staticmethod
    def _pick(draws: Draws, span: tuple[Tensor, Tensor], category_B: Tensor) -> Tensor:
        start, count = span[0][category_B], span[1][category_B]
        return start + (draws.uniform() * count).long().clamp_max((count - 1).clamp_min(0))

    def draw(self, draws: Draws) -> tuple[Reference, Reference | None, Tensor]:
        """Draw good images, each with a real defect of its category where there is one.

        Returns:
            The good images, the defects (None without a base set), and bool (B,): the category has defects.
        """
        categories = len(self._normal_span[1])
        category = (draws.uniform() * categories).long().clamp_max(categories - 1)
        normals = gather(self.normals, self._pick(draws, self._normal_span, category))
        if self.base is None or self._base_span is None:
            return normals, None, torch.zeros_like(category, dtype=torch.bool)
        has_base = self._base_span[1][category] > 0
        index = torch.where(has_base, self._pick(draws, self._base_span, category), torch.zeros_like(category))
        return normals, gather(self.base, index), has_base

    def to(self, device: torch.device) -> TrainingPool:
        """The same images on another device."""
        base = None if self.base is None else self.base.to(device)
        pairs = None if self.pairs is None else (self.pairs[0].to(device), self.pairs[1].to(device))
        return TrainingPool(self.normals.to(device), base, len(self._normal_span[1]), pairs)

    def draw_donors(self, draws: Draws) -> Reference:
        """Draw good images of any category, that patches may come from."""
        count = len(self.normals)
        return gather(self.normals, (draws.uniform() * count).long().clamp_max(count - 1))

    def draw_pairs(self, draws: Draws) -> tuple[Reference, Reference] | None:
        """Draw scenes with and without their defect, or None where the pool has none."""
        if self.pairs is None:
            return None
        count = len(self.pairs[0])
        index = (draws.uniform() * count).long().clamp_max(count - 1)
        return gather(self.pairs[0], index), gather(self.pairs[1], index)

"""Small image sets that the tests of the baselines share."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.ops.warp import identity_grid
from anomalyhybrid.seeding import stream

SIZE = 48
KINDS = ("red", "green", "blue")


def disc(count: int, x: float, y: float, radius: float, size: int = SIZE) -> Tensor:
    """uint8 (count, 1, size, size), 255 in a disc given in grid units."""
    grid = identity_grid(count, size, size, torch.device("cpu"))
    return ((grid - torch.tensor([x, y])).norm(dim=-1) < radius).to(torch.uint8)[:, None] * 255


def image_set(color_u8: Tensor, region_u8: Tensor, object_u8: Tensor) -> ImageSet:
    """A set of one category without structure maps."""
    nothing = torch.zeros_like(object_u8)
    category = torch.zeros(len(color_u8), dtype=torch.long)
    return ImageSet(color_u8, nothing, nothing, region_u8, object_u8, category)


def good_images(count: int = 5, size: int = SIZE) -> ImageSet:
    """Noisy colour images with a brighter disc as the object; all differ."""
    noise = torch.rand(count, 3, size, size, generator=stream(0, "good", size)) * 80
    objects = disc(count, 0.0, 0.0, 0.8, size)
    color = (noise + 30 + objects.float() / 255 * 100).byte()
    return image_set(color, torch.zeros_like(objects), objects)


def base_images() -> tuple[ImageSet, Tensor]:
    """Two images of each of `KINDS`, wholly of that colour, and their types."""
    base_kind = torch.tensor([0, 0, 1, 1, 2, 2])
    color = torch.zeros(6, 3, SIZE, SIZE, dtype=torch.uint8)
    color[torch.arange(6), base_kind] = 255
    return image_set(color, disc(6, 0.2, 0.1, 0.3), disc(6, 0.0, 0.0, 0.8)), base_kind


def outside_difference(image_u8: Tensor, mask_u8: Tensor, good: ImageSet) -> Tensor:
    """Largest difference outside the mask to the good image that is nearest by it, (N,)."""
    kept = (mask_u8 == 0).float()[:, None]
    difference = (image_u8.float()[:, None] - good.color_u8.float()[None]).abs() * kept
    return difference.amax(dim=(2, 3, 4)).amin(dim=1)

"""Squares around defects: what realism is judged on where most of an image is the good product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.errors import DataError

REGION_SIDE = 160  # of the compared squares, in pixels
REGION_CONTEXT = 1.6  # side of a square over the longer side of its mask
REGION_LEAST = 48  # least side of a square before it is resized, in pixels


def region_squares(
    image_u8: Tensor,
    mask_u8: Tensor,
    *,
    side: int = REGION_SIDE,
    context: float = REGION_CONTEXT,
    least: int = REGION_LEAST,
) -> Tensor:
    """Cut the square around each mask with some context, mirrored at the image's border, and resize it.

    Args:
        image_u8: uint8 (N, 3, H, W), RGB.
        mask_u8: uint8 (N, 1, H, W), above 127 in the region, no mask empty.
        side: Side of the result in pixels.
        context: Side of a square over the longer side of its mask's bounding box.
        least: Least side of a square before it is resized, in pixels.

    Returns:
        uint8 (N, 3, side, side), on the images' device.

    Raises:
        DataError: Shapes that do not fit, or an empty mask.
    """
    if image_u8.dim() != 4 or mask_u8.shape != (len(image_u8), 1, *image_u8.shape[2:]):
        raise DataError(
            f"images have shape {tuple(image_u8.shape)} and masks {tuple(mask_u8.shape)}; give (N, 3, H, W) and "
            "(N, 1, H, W)"
        )
    squares = []
    for image, region in zip(image_u8, mask_u8[:, 0] > 127, strict=True):
        rows, columns = (region.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
        if not rows:
            raise DataError("a mask is empty; leave out images whose defect got lost when masks were resized")
        longer = max(rows[-1] - rows[0], columns[-1] - columns[0])
        length = max(int(context * longer), least)
        indices = [
            _mirrored((places[0] + places[-1] - length) // 2, length, limit).to(image.device)
            for places, limit in zip((rows, columns), image.shape[1:], strict=True)
        ]
        part = image[:, indices[0]][:, :, indices[1]][None].float()
        part = F.interpolate(part, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
        squares.append(part.round().clamp(0, 255).byte())
    return torch.cat(squares)


def _mirrored(start: int, length: int, limit: int) -> Tensor:
    """Places ``start`` .. of a line of ``limit`` pixels that is mirrored without end, long (length,)."""
    period = max(2 * (limit - 1), 1)
    place = torch.arange(start, start + length) % period
    return torch.minimum(place, period - place) if limit > 1 else torch.zeros(length, dtype=torch.long)

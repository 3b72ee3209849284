"""Images with their structure maps, as uint8 tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.records import Record


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images at the model's size.

    Attributes:
        color_u8: uint8 (N, 3, S, S).
        depth_u8: uint8 (N, 1, S, S), 255 nearest.
        edge_u8: uint8 (N, 1, S, S), 255 an edge.
        region_u8: uint8 (N, 1, S, S), 255 inside a real defect; 0 everywhere in good images.
        object_u8: uint8 (N, 1, S, S), 255 on the product.
        category: Index of each image's category, long (N,).
    """

    color_u8: Tensor
    depth_u8: Tensor
    edge_u8: Tensor
    region_u8: Tensor
    object_u8: Tensor
    category: Tensor

    def __len__(self) -> int:
        return len(self.color_u8)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on another device."""
        return ImageSet(*(getattr(self, field.name).to(device) for field in fields(self)))

    def __getitem__(self, index: Tensor | slice) -> ImageSet:
        return ImageSet(*(getattr(self, field.name)[index] for field in fields(self)))


def load_image_set(
    records: Sequence[Record],
    categories: Sequence[str],
    *,
    size: int,
    edge: EdgeExtractor,
    depth: DepthExtractor | MeasuredDepth,
    cache: ConditionCache,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Load images, squeeze them to the model's size and extract what the cache lacks.

    Args:
        records: Readable images (`check_images`), in the order of the result.
        categories: Names that give `ImageSet.category` its indices.
        size: Side in pixels.
        edge: Edge extractor.
        depth: Depth extractor, or the measured maps.
        cache: Where maps are kept.
        progress: Called with images done and in all.

    Returns:
        The images, on the CPU.

    Raises:
        DataError: An image, a mask or a measured map is unreadable, or does not fit.
    """
    colors, regions, objects, measured = [], [], [], []
    read = partial(_load, size=size, measured=depth if isinstance(depth, MeasuredDepth) else None)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for number, (color, region, product, depth_map) in enumerate(pool.map(read, records)):
            colors.append(color)
            regions.append(region)
            objects.append(product)
            measured.append(depth_map)
            if progress is not None:
                progress(number + 1, len(records))
    if isinstance(depth, MeasuredDepth):
        edges, depths = cache.extract(colors, edge=edge, depth=None, size=size, measured=measured)
    else:
        edges, depths = cache.extract(colors, edge=edge, depth=depth, size=size)
    return ImageSet(
        color_u8=_stack(colors).permute(0, 3, 1, 2).contiguous(),
        depth_u8=torch.as_tensor(depths),
        edge_u8=torch.as_tensor(edges),
        region_u8=_stack(regions)[:, None].to(torch.uint8) * 255,
        object_u8=_stack(objects)[:, None].to(torch.uint8) * 255,
        category=torch.tensor([categories.index(record.category) for record in records], dtype=torch.long),
    )


def _load(
    record: Record, *, size: int, measured: MeasuredDepth | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Colour, region and product at the model's size, and the measured map at the image's own."""
    pixels = load_image(record.path).pixels
    shape = (pixels.shape[0], pixels.shape[1])
    color = to_model_u8(pixels, size)
    region = np.zeros((size, size), bool)
    if record.mask_path is not None:
        region = mask_to_model(load_mask(record.mask_path, shape=shape), size)
    depth_map = None if measured is None else measured.read_record(record, shape=shape)
    return color, region, object_mask(color), depth_map


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))

"""Images with their structure maps, as uint8 tensors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.tiling import by_file
from anomalyhybrid.data.windows import uncut
from anomalyhybrid.ops.trees import mapped


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
        return mapped(lambda values: values.to(device), self)

    def __getitem__(self, index: Tensor | slice) -> ImageSet:
        return mapped(lambda values: values[index], self)


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
        records: Readable images (`check_images`) or windows of them, in the order of the result. Successive windows of
            one image share one decoding.
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
    threads = at_a_time((record.path for record in records), min(16, os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        for loaded in pool.map(read, by_file(records)):
            for color, region, product, depth_map in loaded:
                colors.append(color)
                regions.append(region)
                objects.append(product)
                measured.append(depth_map)
            if progress is not None:
                progress(len(colors), len(records))
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
    records: list[Record], *, size: int, measured: MeasuredDepth | None
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Colour, region and product of records of one file at the model's size, and the measured maps at their own.

    The product of a window is that of the whole image, of which the window shows too little to tell it.
    """
    pixels = load_image(records[0].path).pixels
    shape = (pixels.shape[0], pixels.shape[1])
    whole = to_model_u8(pixels, size)
    product = object_mask(whole)
    mask_path = records[0].mask_path
    mask = None if mask_path is None else load_mask(mask_path, shape=shape)
    depth_map = None if measured is None else measured.read_record(records[0], shape=shape)
    loaded = []
    for record in records:
        window = record.window
        if window is None:
            region = np.zeros((size, size), bool) if mask is None else mask_to_model(mask, size)
            loaded.append((whole, region, product, depth_map))
            continue
        color = to_model_u8(window.crop(pixels), size)
        region = np.zeros((size, size), bool)
        if mask is not None:
            region = mask_to_model(uncut(window.crop(mask, repeat=False)), size)
        depth = None if depth_map is None else window.crop(depth_map).copy()
        loaded.append((color, region, window.crop_squeezed(product, shape), depth))
    return loaded


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))

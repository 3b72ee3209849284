"""Images and masks of an evaluation at one size, each file read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples

Item = TypeVar("Item")
Value = TypeVar("Value")


class Pictures:
    """Images of one category at one size, each loaded once.

    Args:
        size: Side in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._color: dict[Path, np.ndarray] = {}
        self._mask: dict[tuple[Path, bool], np.ndarray] = {}
        self._object: dict[Path, np.ndarray] = {}

    def color(self, record: Record) -> np.ndarray:
        """Give an image, uint8 (S, S, 3), RGB."""
        if record.path not in self._color:
            self._color[record.path] = to_model_u8(load_image(record.path).pixels, self.size)
        return self._color[record.path]

    def mask(self, record: Record, *, eroded: bool = False) -> np.ndarray:
        """Give a mask, bool (S, S): `mask_to_model`, or as published (`eroded_mask`); empty for good images."""
        if record.mask_path is None:
            return np.zeros((self.size, self.size), bool)
        if (record.path, eroded) not in self._mask:
            pixels = load_image(record.path).pixels
            native = load_mask(record.mask_path, shape=(pixels.shape[0], pixels.shape[1]))
            squeeze = eroded_mask if eroded else mask_to_model
            self._mask[record.path, eroded] = squeeze(native, self.size)
        return self._mask[record.path, eroded]

    def object(self, record: Record) -> np.ndarray:
        """Give the product's mask, bool (S, S)."""
        if record.path not in self._object:
            self._object[record.path] = object_mask(self.color(record))
        return self._object[record.path]

    def samples(self, records: Sequence[Record], kinds: tuple[str, ...], *, eroded: bool = False) -> Samples:
        """Give images with masks and defect types, on the CPU."""
        each(self.color, records)
        each(lambda record: self.mask(record, eroded=eroded), records)
        kind = [GOOD_KIND if record.is_good else kinds.index(record.defect) for record in records]
        colors = [self.color(record) for record in records]
        masks = [self.mask(record, eroded=eroded) for record in records]
        return Samples(
            image_u8=_stack(colors, (self.size, self.size, 3)).permute(0, 3, 1, 2).contiguous(),
            mask_u8=_stack(masks, (self.size, self.size))[:, None].to(torch.uint8) * 255,
            kind=torch.tensor(kind, dtype=torch.long),
            kinds=kinds,
        )

    def image_set(self, records: Sequence[Record]) -> ImageSet:
        """Give images with regions and product masks, as the baselines take them; the structure maps are empty."""
        each(self.color, records)
        each(self.object, records)
        samples = self.samples(records, tuple({record.defect: None for record in records if not record.is_good}))
        empty = torch.zeros_like(samples.mask_u8)
        objects = _stack([self.object(record) for record in records], (self.size, self.size))
        return ImageSet(
            color_u8=samples.image_u8,
            depth_u8=empty,
            edge_u8=empty,
            region_u8=samples.mask_u8,
            object_u8=objects[:, None].to(torch.uint8) * 255,
            category=torch.zeros(len(records), dtype=torch.long),
        )


def eroded_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Squeeze a mask as published code does: bilinear, then truncated to integers, so that borders are lost.

    Args:
        mask: Bool (H, W).
        size: Side in pixels.

    Returns:
        Bool (size, size), True only where the bilinear value is 1; may be empty.

    Source: PROTOCOL, Detection and localisation, as-published quirks.
    """
    resized = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.int64) > 0


def each(function: Callable[[Item], Value], items: Sequence[Item]) -> list[Value]:
    """Apply a function to all items in threads, in order."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(function, items))


def _stack(arrays: list[np.ndarray], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, *shape, dtype=torch.uint8)

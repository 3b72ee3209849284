"""Records and arrays to what AnomalyHybrid* trains on and generates from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.conditions.relief import signed_depth
from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.recipes.sources import Announce, Sources
from anomalyhybrid.training.sister_pool import DepthSet


def with_readable_depth(
    sources: Sources, measured: MeasuredDepth, *, skip_unreadable: bool, announce: Announce
) -> Sources:
    """The sources whose depth can be used.

    Args:
        sources: Readable images.
        measured: Where depth lies.
        skip_unreadable: Leave the others out, by name, instead of stopping.
        announce: Told what was left out.

    Raises:
        DataError: Lists the depth that cannot be used (unless it is skipped), or says that none is left.
    """

    def on_skip(record: Record, error: DataError) -> None:
        announce(f"skipped {record.relative}: {error}")

    normals, base = (
        tuple(measured.readable(records, on_skip=on_skip if skip_unreadable else None))
        for records in (sources.normals, sources.base)
    )
    return replace(sources, normals=normals, base=base)


def model_depth(depth: DepthImage, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth and validity at the model's size; see `signed_depth`."""
    return signed_depth(depth.values.astype(np.float32), depth.valid, size, nearer_is_larger=depth.nearer_is_larger)


def with_depth(images: ImageSet, depth: Tensor, valid: Tensor, *, cut_out: bool = False) -> DepthSet:
    """Join images with their depth.

    Args:
        images: At the model's size, on the CPU.
        depth: float (N, S, S) in [-1, 1], 1 nearest.
        valid: bool (N, S, S).
        cut_out: Nothing is learnt of depth inside the images' regions: they serve as good images though they show
            defects.

    Raises:
        DataError: Other shapes.
    """
    wanted = (len(images), *images.color_u8.shape[-2:])
    if tuple(depth.shape) != wanted or tuple(valid.shape) != wanted:
        raise DataError(f"depth is {tuple(depth.shape)} and its validity {tuple(valid.shape)}; both must be {wanted}")
    known = valid[:, None]
    region = images.region_u8
    if cut_out:
        known, region = known & (region == 0), torch.zeros_like(region)
    return DepthSet(
        color_u8=images.color_u8,
        depth=depth[:, None].to(torch.float16),
        valid_u8=known.to(torch.uint8) * 255,
        edge_u8=images.edge_u8,
        region_u8=region,
        object_u8=images.object_u8,
        category=images.category,
    )


def measured_set(
    images: ImageSet, records: Sequence[Record], measured: MeasuredDepth, *, cut_out: bool = False
) -> DepthSet:
    """Join images with the measured depth of their records, linear in the files' unit.

    Args:
        images: Of the records, in their order.
        records: Images with depth.
        measured: Where depth lies.
        cut_out: As for `with_depth`.

    Raises:
        DataError: Depth that is missing, unreadable, or of another size than its image.
    """
    size = images.color_u8.shape[-1]

    def read(record: Record) -> tuple[np.ndarray, np.ndarray]:
        pixels = load_image(record.path).pixels
        return model_depth(measured.load(record, shape=(pixels.shape[0], pixels.shape[1])), size)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        found = list(threads.map(read, records))
    depth, valid = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
    return with_depth(images, depth, valid, cut_out=cut_out)


def extracted_set(images: ImageSet) -> DepthSet:
    """Join images with the extractor's own depth, all of it valid: where nothing was measured."""
    depth = signed_from_u8(images.depth_u8[:, 0])
    return with_depth(images, depth, torch.ones_like(depth, dtype=torch.bool))

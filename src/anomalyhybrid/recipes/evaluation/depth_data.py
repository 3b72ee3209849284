"""A category with its measured depth, as Tables 3 and 4 take it: one range for training and test alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.conditions.relief import filled
from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.baselines.depth import DepthImages
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.depth_samples import DepthSamples, set_range, to_u8
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation.data import CategoryData, CategorySource
from anomalyhybrid.recipes.evaluation.pictures import each


def near_map(depth: DepthImage, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring measured depth to a square, in its own unit.

    Args:
        depth: As read.
        size: Side in pixels.

    Returns:
        float32 (S, S), nearer is larger (distances are negated), unmeasured pixels filled; bool (S, S), True where at
        least half of the pixel was measured.
    """
    whole = cv2.resize(filled(depth.values.astype(np.float32), depth.valid), (size, size), interpolation=cv2.INTER_AREA)
    share = cv2.resize(depth.valid.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return whole * np.float32(depth.nearer_sign), share >= 0.5


class DepthMaps:
    """Depth of one category at one size, each file read once.

    Args:
        config: `size`, `nearer_is_larger`.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.size = config.size
        self.measured = MeasuredDepth(nearer_is_larger=config.nearer_is_larger)
        self._maps: dict[Path, tuple[np.ndarray, np.ndarray]] = {}

    def stack(self, records: Sequence[Record]) -> tuple[Tensor, Tensor]:
        """Depth float32 and validity bool, (N, 1, S, S) each; `near_map`.

        Raises:
            DataError: Depth that is missing, unreadable, or of another size than its image.
        """
        found = each(self._of, records)
        if not found:
            empty = torch.zeros(0, 1, self.size, self.size)
            return empty, empty.bool()
        near, valid = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*found, strict=True))
        return near, valid

    def _of(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        if record.path not in self._maps:
            pixels = load_image(record.path).pixels
            depth = self.measured.load(record, shape=(pixels.shape[0], pixels.shape[1]))
            self._maps[record.path] = near_map(depth, self.size)
        return self._maps[record.path]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCategory:
    """A split category with depth, on the CPU.

    Attributes:
        data: The category, split.
        value_range: `set_range` of the good training depth; all depth is shown over it.
        good: Good training images, for the baselines.
        base_images: The base set, for the baselines.
        train_good: Good training images as detectors see them.
        base: The base set.
        test: The test set.
    """

    data: CategoryData
    value_range: tuple[float, float]
    good: DepthImages
    base_images: DepthImages
    train_good: DepthSamples
    base: DepthSamples
    test: DepthSamples


def has_depth(source: CategorySource) -> bool:
    """Whether any image of a category has measured depth."""
    return any(record.depth_path is not None for record in source.records)


def check_depth_files(source: CategorySource, config: EvaluateConfig) -> None:
    """Refuse a category whose images lack depth, or whose depth is in two units.

    Raises:
        DataError: Says how many images lack depth, and what to do.
    """
    lacking = [record.relative for record in source.records if record.depth_path is None]
    if lacking:
        raise DataError(
            f"{source.category}: {len(lacking)} of {len(source.records)} images have no measured depth, for example "
            f"{lacking[0]}; add it (MVTec 3D-AD, Eyecandies, or a folder depth/ with the images' relative paths), or "
            "evaluate tables 1 and 2, which need colour alone"
        )
    MeasuredDepth(nearer_is_larger=config.nearer_is_larger).check_units(source.records)


def depth_fingerprint(source: CategorySource) -> str:
    """Fingerprint of a category's images, masks and depth."""
    depth = each(lambda record: sha256_of(record.depth_path) if record.depth_path else "", source.records)
    return hashlib.sha256("\n".join([source.fingerprint, *depth]).encode()).hexdigest()


def depth_category(data: CategoryData, maps: DepthMaps) -> DepthCategory:
    """Join a split category with its depth.

    Args:
        data: The category, split; every image has depth.
        maps: Of the category.

    Raises:
        DataError: Depth that is missing or unreadable, or good training depth that is flat.
    """
    good, base, test = (maps.stack(records) for records in (data.good_records, data.base_records, data.test_records))
    value_range = set_range(*good)

    def shown(samples: Samples, depth: tuple[Tensor, Tensor]) -> DepthSamples:
        return DepthSamples(samples, to_u8(*depth, value_range))

    return DepthCategory(
        data=data,
        value_range=value_range,
        good=DepthImages(data.pictures.image_set(data.good_records), *good),
        base_images=DepthImages(data.pictures.image_set(data.base_records), *base),
        train_good=shown(data.train_good, good),
        base=shown(data.base, base),
        test=shown(data.test, test),
    )

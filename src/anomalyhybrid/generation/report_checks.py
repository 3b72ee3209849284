"""What the files of a generated set hold, counted again without a look at what the manifest says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anomalyhybrid.data.files import resolve_inside
from anomalyhybrid.data.loading import load_image, load_mask, to_rgb_u8
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.additions import data_root_of
from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.sheet import target_pixels

GRID = 48
"""Cells on a side of a map of positions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked:
    """One image of a set as its files are.

    Attributes:
        row: What the manifest says.
        faults: What is wrong with the files, in words; then the other values may be missing.
        shape: ``(height, width)`` of the image.
        mask_area: Pixels of the label mask; None without one.
        coverage: Share of each cell that the label mask covers, float32 (GRID, GRID) in [0, 1], the image stretched to
            a square; None without one.
        changed_outside: Pixels outside the label mask that differ from the target's file; None where nothing was
            compared: no label mask, target not found or of another kind, or composition ``full``.
        change_inside: Mean absolute difference from the target inside the label mask, in 1/255; None likewise, but
            known of composition ``full`` too.
    """

    row: Row
    faults: tuple[str, ...]
    shape: tuple[int, int] | None = None
    mask_area: int | None = None
    coverage: np.ndarray | None = None
    changed_outside: int | None = None
    change_inside: float | None = None

    @property
    def area_share(self) -> float | None:
        """Share of the image that the label mask covers."""
        if self.shape is None or self.mask_area is None:
            return None
        return self.mask_area / (self.shape[0] * self.shape[1])


def check_row(row: Row, dataset: Path, about: dict[str, Any], more: Sequence[str] = ()) -> Checked:
    """Look at one image's files; whatever is wrong with them is said, not raised.

    Args:
        row: Its row.
        dataset: Folder of the set.
        about: Content of `dataset.json`.
        more: Further files that belong to it, relative to the folder.
    """
    faults = [fault for path in more if (fault := _missing(dataset, path))]
    try:
        pixels = load_image(resolve_inside(dataset, row.image)).pixels
    except DataError as error:
        return Checked(row=row, faults=(_said(error, dataset), *faults))
    shape = (pixels.shape[0], pixels.shape[1])
    if row.label_mask is None:
        return Checked(row=row, faults=tuple(faults), shape=shape)
    try:
        label_mask = load_mask(resolve_inside(dataset, row.label_mask), shape=shape)
    except DataError as error:
        return Checked(row=row, faults=(_said(error, dataset), *faults), shape=shape)
    area = int(label_mask.sum())
    if area != row.mask_area:
        faults.append(f"the label mask covers {area} pixels, the manifest says {row.mask_area}")
    target = target_pixels(row.target, data_root_of(dataset, about, row), shape)
    outside, inside = (None, None) if target is None else _changes(pixels, target, label_mask)
    if row.composition != "region":
        outside = None
    elif outside:
        faults.append(f"{outside} pixels outside the label mask differ from the target {row.target}")
    return Checked(
        row=row,
        faults=tuple(faults),
        shape=shape,
        mask_area=area,
        coverage=_coverage(label_mask),
        changed_outside=outside,
        change_inside=inside,
    )


def _missing(dataset: Path, relative: str) -> str:
    try:
        return "" if resolve_inside(dataset, relative).is_file() else f"{relative} is missing"
    except DataError as error:
        return _said(error, dataset)


def _said(error: DataError, dataset: Path) -> str:
    """An error's text without the folder, which is the page's own place."""
    return str(error).replace(f"{dataset.resolve()}/", "").replace(f"{dataset}/", "")


def _changes(pixels: np.ndarray, target: np.ndarray, label_mask: np.ndarray) -> tuple[int | None, float]:
    """Pixels that differ outside the label mask, and the mean difference inside."""
    height, width = label_mask.shape
    change = np.abs(to_rgb_u8(pixels)[label_mask].astype(np.int16) - to_rgb_u8(target)[label_mask])
    inside = float(change.mean())
    if pixels.shape != target.shape or pixels.dtype != target.dtype:
        return None, inside
    differs = (pixels != target).reshape(height, width, -1).any(axis=2)
    return int((differs & ~label_mask).sum()), inside


def _coverage(label_mask: np.ndarray) -> np.ndarray:
    height, width = label_mask.shape
    mask = label_mask.astype(np.float32)
    if min(height, width) < GRID:  # each cell lies in a pixel, or between some
        factor = -(-GRID // min(height, width))
        mask = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
    return cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)

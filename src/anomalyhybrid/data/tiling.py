"""From images to what the model looks at: windows of large or elongated ones, other images whole (ADR-013)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from statistics import mode

import cv2
import numpy as np

from anomalyhybrid.choices import WindowSetting
from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.headers import at_a_time, image_sides
from anomalyhybrid.data.loading import load_image, load_mask, to_model_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import Areas, allowed_at_model_size
from anomalyhybrid.data.windows import Window, around_regions, grid, spread, window_side

MOST_WINDOWS = 16
"""Windows of one good image at most."""
MOST_TARGETS = 1024
"""Windows of a category's good images at most, unless it has more images, of which each keeps one."""
LEAST_OF_BEST = 0.25
"""A window is dropped that holds less of the product than this share of what the image's fullest window holds."""
_GOLDEN = 0.618034  # spreads the phases of successive images


def target_windows(
    records: Sequence[Record],
    setting: WindowSetting,
    *,
    size: int,
    areas: Areas,
    least_room: int,
    most: int = MOST_TARGETS,
) -> list[Record]:
    """Replace large or elongated good images by windows that show enough of the product.

    Args:
        records: Good images of one category.
        setting: See `generation.config.GenerateConfig.window`.
        size: Side of the model's square.
        areas: Where defects may fall.
        least_room: Allowed pixels on the product, at the model's size, that a window must have.
        most: Windows of all images together, as far as each image may keep one.

    Returns:
        Whole images as they were and windows of the others, in order.

    Raises:
        DataError: No window of some image has room for a defect; names them.
    """
    sides = [window_side(setting, image_sides(record.path), size) for record in records]
    each = min(MOST_WINDOWS, max(1, most // max(1, len(records))))

    def load(number: int) -> list[Record]:
        record, side = records[number], sides[number]
        if side is None:
            return [record]
        windows = _useful(record, side, size=size, areas=areas, least_room=least_room)
        return [replace(record, window=one) for one in spread(windows, each, number * _GOLDEN % 1)]

    with ThreadPoolExecutor(at_a_time([record.path for record in records])) as threads:
        found = list(threads.map(load, range(len(records))))
    raise_problems(
        f"--roi and --forbid leave no window of these images room for a defect ({least_room} whole pixels on the "
        f"product at the model's {size}x{size}); widen them, give another --window, or leave these images out:",
        [record.relative for record, windows in zip(records, found, strict=True) if not windows],
    )
    return [window for windows in found for window in windows]


def _useful(record: Record, side: int, *, size: int, areas: Areas, least_room: int) -> list[Window]:
    """Windows of one image with enough of the product, and enough room where it is limited."""
    pixels = load_image(record.path).pixels
    shape = (pixels.shape[0], pixels.shape[1])
    product = object_mask(to_model_u8(pixels, size))
    allowed = areas.allowed(record, shape) if areas else None
    windows = grid(shape, side)
    shown = [window.crop_squeezed(product, shape) for window in windows]
    fullest = max(np.count_nonzero(one) for one in shown)
    kept = []
    for window, on_product in zip(windows, shown, strict=True):
        if np.count_nonzero(on_product) < LEAST_OF_BEST * fullest:
            continue
        room = on_product if allowed is None else on_product & allowed_at_model_size(window.crop(allowed), size)
        if allowed is None or np.count_nonzero(room) >= least_room:
            kept.append(window)
    return kept


def usual_side(records: Sequence[Record]) -> int | None:
    """The side that most windows have, in native pixels; None where all images are whole."""
    sides = [record.window.width for record in records if record.window is not None]
    return mode(sides) if sides else None


def reference_windows(records: Sequence[Record], side: int) -> list[Record]:
    """Replace images of real defects by windows around their regions.

    Args:
        records: Real defects.
        side: Of the targets' windows.

    Returns:
        One to `windows.MOST_REGIONS` records of each image, in order.
    """

    def load(record: Record) -> list[Record]:
        assert record.mask_path is not None, "a real defect has a mask"
        shape = load_image(record.path).pixels.shape
        mask = load_mask(record.mask_path, shape=(shape[0], shape[1]))
        return [replace(record, window=window) for window in around_regions(mask, side)]

    with ThreadPoolExecutor(at_a_time([record.path for record in records])) as threads:
        return [window for windows in threads.map(load, records) for window in windows]


def reference_pixels(record: Record, longest: int) -> np.ndarray:
    """Native pixels of what a reference is taken from.

    Args:
        record: An image, or a window of it.
        longest: Longest side of the target it is shown on; a larger window is shrunk to it, as it will be shown.

    Returns:
        (H, W) or (H, W, C), of the file's type.
    """
    pixels = load_image(record.path).pixels
    if record.window is None:
        return pixels
    cut = record.window.crop(pixels)
    side = max(cut.shape[:2])
    if side <= longest:
        return cut.copy()  # a view would keep the whole image
    size = (round(cut.shape[1] * longest / side), round(cut.shape[0] * longest / side))
    return cv2.resize(cut, size, interpolation=cv2.INTER_AREA).astype(cut.dtype, copy=False)


def by_file(records: Sequence[Record]) -> list[list[Record]]:
    """Group successive records of one file, so that it is decoded once."""
    return [list(group) for _, group in groupby(records, key=lambda record: record.path)]

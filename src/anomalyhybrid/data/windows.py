"""Windows: the square parts of large or elongated images that the model looks at in their own pixels (ADR-013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from anomalyhybrid.choices import WindowSetting

AUTO_TIMES = 4
"""`auto` takes images whole up to so many times the model's side."""
AUTO_ASPECT = 2
"""`auto` takes images whole up to this ratio of their sides."""
MOST_REGIONS = 4
"""Windows around the regions of one real defect's image at most, the largest regions first."""
_CONTEXT = 2  # side of a reference's window, at least, over its region's longer side
_COARSE = 1024  # side to which masks are pooled before their regions are told apart

T = TypeVar("T")


class Borders(NamedTuple):
    """The four borders of a window, each in or out."""

    top: bool
    bottom: bool
    left: bool
    right: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, in its own pixels, upright.

    Attributes:
        x: Left column; negative where a reference's window reaches beyond its image.
        y: Top row, likewise.
        width: Columns.
        height: Rows.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def where(self) -> tuple[slice, slice]:
        """Rows and columns; only for a window inside its image."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def as_list(self) -> list[int]:
        """``[x, y, width, height]``, as manifests keep it."""
        return [self.x, self.y, self.width, self.height]

    def crop(self, pixels: np.ndarray, *, repeat: bool = True) -> np.ndarray:
        """Cut the window out.

        Args:
            pixels: (H, W) or (H, W, C) of the whole image, any type.
            repeat: Beyond the image its border repeats; otherwise there is 0.

        Returns:
            The window's part, a view of `pixels` where it lies inside them.
        """
        height, width = pixels.shape[:2]
        top, left = max(0, self.y), max(0, self.x)
        bottom, right = min(height, self.y + self.height), min(width, self.x + self.width)
        inside = pixels[top:bottom, left:right]
        beyond = ((top - self.y, self.y + self.height - bottom), (left - self.x, self.x + self.width - right))
        if beyond == ((0, 0), (0, 0)):
            return inside
        return np.pad(inside, (*beyond, *[(0, 0)] * (pixels.ndim - 2)), mode="edge" if repeat else "constant")

    def crop_squeezed(self, squeezed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Cut the window out of a mask of the whole image that was squeezed to the model's square.

        Args:
            squeezed: Bool (S, S); beyond the image its border repeats.
            shape: Height and width of the whole image.

        Returns:
            Bool (S, S), the window's part enlarged; its outline is as exact as `squeezed` was.
        """
        size = squeezed.shape[0]
        steps = (np.arange(size) + 0.5) / size
        columns = (self.x + steps * self.width) * (size / shape[1]) - 0.5
        rows = (self.y + steps * self.height) * (size / shape[0]) - 0.5
        at_x, at_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        values = squeezed.astype(np.float32)
        return cv2.remap(values, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) > 0.5

    def inner_borders(self, shape: tuple[int, ...]) -> Borders:
        """Which of the window's borders lie inside an image of this height and width."""
        height, width = shape[:2]
        return Borders(self.y > 0, self.y + self.height < height, self.x > 0, self.x + self.width < width)

    def holds(self, other: Window) -> bool:
        """Whether another window lies inside this one."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )


def window_side(setting: WindowSetting, sides: tuple[int, int], size: int) -> int | None:
    """How large the square windows of an image are.

    Args:
        setting: See `generation.config.GenerateConfig.window`.
        sides: Shorter and longer side of the image, in pixels.
        size: Side of the model's square.

    Returns:
        Their side in native pixels; None where the image is looked at whole.
    """
    shorter, longer = sides
    if setting == "whole":
        return None
    if setting == "auto":
        whole = longer <= AUTO_TIMES * size and longer <= AUTO_ASPECT * shorter
        return None if whole else min(shorter, AUTO_TIMES * size)
    return None if longer <= setting else min(shorter, setting)


def grid(shape: tuple[int, int], side: int) -> list[Window]:
    """Tile an image evenly with square windows that overlap by a quarter of their side or more.

    Args:
        shape: Height and width of the image.
        side: Of the windows, at most the shorter side of the image.

    Returns:
        Windows inside the image, line by line, every second line backwards.
    """
    windows = []
    for number, y in enumerate(_starts(shape[0], side)):
        line = [Window(x, y, side, side) for x in _starts(shape[1], side)]
        windows += line if number % 2 == 0 else line[::-1]
    return windows


def _starts(length: int, side: int) -> list[int]:
    """First pixels of windows that cover a length, with steps of at most three quarters of the side."""
    steps = -(-(length - side) // max(1, 3 * side // 4))
    return [number * (length - side) // max(1, steps) for number in range(steps + 1)]


def spread(items: Sequence[T], most: int, phase: float = 0.0) -> list[T]:
    """Choose at most so many items, evenly spread.

    Args:
        items: In order.
        most: At least 1.
        phase: In [0, 1): where in the first step the choice begins, so that not all images give the same part.
    """
    if len(items) <= most:
        return list(items)
    return [items[int((number + phase) * len(items) / most)] for number in range(most)]


def around_regions(mask: np.ndarray, side: int) -> list[Window]:
    """Windows around a real defect's regions, with context.

    Regions that lie in one window share it. A window is square and of the targets' side, so that what is pasted keeps
    its native scale; where its largest region is longer than half of that, twice the region, at most the image's
    longer side. Where an image is too small for it, the window reaches beyond.

    Args:
        mask: Bool (H, W), not empty.
        side: Of the targets' windows.

    Returns:
        At least one window and at most `MOST_REGIONS`, the largest region's first.
    """
    windows: list[Window] = []
    for box in _boxes(mask):
        if len(windows) < MOST_REGIONS and not any(window.holds(box) for window in windows):
            windows.append(_around(box, side, mask.shape))
    return windows


def _boxes(mask: np.ndarray) -> list[Window]:
    """Boxes of a mask's connected regions, the largest region first; up to a coarse pixel too large."""
    step = -(-max(mask.shape) // _COARSE)
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % step), (0, -width % step)))
    coarse = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).any(axis=(1, 3))
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.asarray(coarse, np.uint8), connectivity=8)
    regions = stats[1:][np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable"), :4] * step
    boxes = []
    for x, y, wide, high in regions.tolist():
        boxes.append(Window(x, y, min(wide, width - x), min(high, height - y)))
    return boxes


def _around(box: Window, side: int, shape: tuple[int, ...]) -> Window:
    side = max(side, min(_CONTEXT * max(box.width, box.height), max(shape[:2])))
    x = _start(box.x + box.width // 2, side, shape[1])
    y = _start(box.y + box.height // 2, side, shape[0])
    return Window(x, y, side, side)


def _start(centre: int, side: int, length: int) -> int:
    """First pixel of a window: inside the image where it fits, else with the image in its middle."""
    return (length - side) // 2 if side > length else min(max(0, centre - side // 2), length - side)


def uncut(region: np.ndarray) -> np.ndarray:
    """Leave out the parts of a region that its window's border cuts, unless that would leave none.

    Args:
        region: Bool (H, W) of a window.

    Returns:
        Bool (H, W).
    """
    _, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    kept = region & ~np.isin(labels, cut)
    return kept if kept.any() else region

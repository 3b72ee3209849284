"""Figures of a set's report: counts, histograms as geometry, maps of positions, gate statistics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np

from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.rejected import Rejected
from anomalyhybrid.generation.report_checks import GRID, Checked

WIDTH, HEIGHT = 420, 190
"""Of a histogram's drawing."""
AREA_EDGES = (0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of the image between which areas are counted; each but the last bin is without its upper edge."""
_LEFT, _TOP, _BOTTOM = 8, 36, 150
_MAP_SIDE = 240


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram, in the drawing's units, with its count and the label below."""

    x: float
    y: float
    width: float
    height: float
    count: int
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram ready to draw.

    Attributes:
        title: Above it.
        axis: What is counted along it.
        bars: From left to right.
    """

    title: str
    axis: str
    bars: tuple[Bar, ...]

    @property
    def said(self) -> str:
        """The same in words, for those who do not see it."""
        return f"{self.title}: " + ", ".join(f"{bar.label}: {bar.count}" for bar in self.bars)


def counted(values: Iterable[str]) -> list[tuple[str, int]]:
    """How often each value occurs, the most frequent first, then by name."""
    return sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))


def area_histogram(title: str, shares: Sequence[float]) -> Histogram:
    """Histogram of areas.

    Args:
        title: Of the drawing.
        shares: Shares of the image that masks cover, in (0, 1].
    """
    counts = [0] * (len(AREA_EDGES) - 1)
    for share in shares:
        place = next((i for i, edge in enumerate(AREA_EDGES[1:]) if share < edge), len(counts) - 1)
        counts[place] += 1
    labels = [f"<{100 * edge:g}" for edge in AREA_EDGES[1:-1]] + [f"≥{100 * AREA_EDGES[-2]:g}"]
    return _histogram(title, "% of the image, up to", counts, labels)


def change_histogram(title: str, changes: Sequence[float]) -> Histogram:
    """Histogram of mean changes in at most 12 bins of equal width, 5, 10, 20 or 25 levels.

    Args:
        title: Of the drawing.
        changes: Mean absolute differences in 1/255, in [0, 255].
    """
    highest = max(changes, default=0.0)
    width = next(step for step in (5, 10, 20, 25) if highest < 12 * step)
    counts = [0] * max(1, math.floor(highest / width) + 1)
    for change in changes:
        counts[math.floor(change / width)] += 1
    return _histogram(title, "of 255, from", counts, [f"{width * number}" for number in range(len(counts))])


def _histogram(title: str, axis: str, counts: Sequence[int], labels: Sequence[str]) -> Histogram:
    pitch = (WIDTH - 2 * _LEFT) / len(counts)
    scale = (_BOTTOM - _TOP) / max(1, *counts)
    bars = tuple(
        Bar(
            x=round(_LEFT + pitch * number + 1, 2),
            y=round(_BOTTOM - scale * count, 2),
            width=round(min(pitch, 60) - 2, 2),
            height=round(scale * count, 2),
            count=count,
            label=label,
        )
        for number, (count, label) in enumerate(zip(counts, labels, strict=True))
    )
    return Histogram(title, axis, bars)


def position_map(checked: Sequence[Checked]) -> tuple[np.ndarray, float] | None:
    """Where label masks lie, over all images of a category.

    Args:
        checked: Its images.

    Returns:
        ``(picture, highest)``: uint8 (H, W, 3) of the images' usual aspect, black nowhere to yellow where most; and the
        share of masks at that place, in [0, 1]. None without masks.
    """
    maps = [one.coverage for one in checked if one.coverage is not None]
    if not maps:
        return None
    mean = np.mean(maps, axis=0)
    highest = float(mean.max())
    levels = np.round(255 * mean / max(highest, 1e-9)).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO))[..., ::-1]
    aspect = median(one.shape[1] / one.shape[0] for one in checked if one.coverage is not None and one.shape)
    size = (round(_MAP_SIDE * min(1, aspect)), round(_MAP_SIDE * min(1, 1 / aspect)))
    size = (max(size[0], GRID // 4), max(size[1], GRID // 4))
    return cv2.resize(coloured, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False), highest


@dataclass(frozen=True, slots=True)
class GateFigures:
    """What the quality gate did, as rows and `rejected.jsonl` record it.

    Attributes:
        images: Rows that say something of it.
        retried: Of these, rows with a candidate that was rejected before.
        fallen: Reason and number of candidates that fell, also those of images left out; the most frequent first.
        left_out: Reason and number of images left out; an image counts for each of its reasons.
        scores: Name, and least, median and largest value over the rows.
    """

    images: int
    retried: int
    fallen: list[tuple[str, int]]
    left_out: list[tuple[str, int]]
    scores: list[tuple[str, float, float, float]]


def gate_figures(rows: Sequence[Row], left_out: Sequence[Rejected]) -> GateFigures | None:
    """Sum up the entries ``gate: {scores: {name: value}, rejected: {reason: number}}``; None where no row has one.

    Args:
        rows: The manifest's.
        left_out: Images that the gate left out.
    """
    entries = [row.gate for row in rows if isinstance(row.gate, Mapping)]
    if not entries and not left_out:
        return None
    fallen: Counter[str] = Counter()
    for entry in (*entries, *(one.gate for one in left_out)):
        fallen.update({reason: int(number) for reason, number in _numbers(_entry(entry, "rejected")).items()})
    values: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in _numbers(_entry(entry, "scores")).items():
            values.setdefault(name, []).append(value)
    return GateFigures(
        images=len(entries),
        retried=sum(any(_numbers(_entry(entry, "rejected")).values()) for entry in entries),
        fallen=fallen.most_common(),
        left_out=counted(str(reason) for one in left_out for reason in one.reasons),
        scores=[(name, min(own), median(own), max(own)) for name, own in sorted(values.items())],
    )


def _entry(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else None


def _numbers(entries: Any) -> dict[str, float]:
    """Those entries that are finite numbers."""
    if not isinstance(entries, Mapping):
        return {}
    return {
        str(name): value
        for name, value in entries.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }

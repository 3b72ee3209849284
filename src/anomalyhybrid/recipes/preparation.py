"""`anomalyhybrid prepare`: check every image, say what the data are, extract all maps into the cache."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.checks import is_colourless
from anomalyhybrid.data.findings import FEW_GOOD
from anomalyhybrid.data.loading import load_image, to_model_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.recipes.sources import (
    Announce,
    best_device,
    condition_folder,
    make_extractors,
    read_sources,
)
from anomalyhybrid.training.config import TrainConfig

_SQUEEZED = 1.6  # ratio of sides from which squeezing to a square distorts visibly


@dataclass(slots=True)
class Survey:
    """What one category's images are, gathered while they pass."""

    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    colourless: int = 0
    normals: int = 0
    defects: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, pixels: np.ndarray, mode: str) -> None:
        """Take one image into account."""
        self.modes[mode] += 1
        self.sizes[pixels.shape[1], pixels.shape[0]] += 1
        if record.is_good:
            self.normals += 1
        else:
            self.defects[record.defect] += 1
        self.colourless += int(is_colourless(pixels))

    def describe(self) -> str:
        """Say in one line what was found."""
        parts = [f"{self.normals} good images"]
        if self.defects:
            kinds = ", ".join(f"{name} {count}" for name, count in self.defects.items())
            parts.append(f"{self.defects.total()} real defects ({kinds})")
        parts.append("modes " + ", ".join(f"{mode} {count}" for mode, count in self.modes.most_common()))
        shown = [f"{width}x{height} {count}" for (width, height), count in self.sizes.most_common(4)]
        more = len(self.sizes) - len(shown)
        parts.append("sizes " + ", ".join(shown) + (f" and {more} others" if more > 0 else ""))
        return "; ".join(parts)

    def remarks(self, size: int) -> list[str]:
        """What may harm the result, with what to do about it."""
        total = self.modes.total()
        found = []
        if self.normals < FEW_GOOD:
            found.append(f"only {self.normals} good images; give at least {FEW_GOOD}, better 50, to learn from")
        if 0 < self.colourless < total:
            found.append(f"{self.colourless} of {total} images are grey, the others colour; keep them apart")
        if len({mode[-2:] == "16" for mode in self.modes}) > 1:
            found.append("8-bit and 16-bit images are mixed; check that they were exposed alike")
        small = sum(count for sides, count in self.sizes.items() if min(sides) < size)
        if small:
            found.append(f"{small} images are smaller than the model's {size} px and get enlarged; see --size")
        squeezed = sum(count for sides, count in self.sizes.items() if max(sides) > _SQUEEZED * min(sides))
        if squeezed:
            found.append(
                f"{squeezed} images are far from square: training squeezes them, generation looks at windows of them "
                "(--window); crop them where you can"
            )
        return found


def prepare(
    data: Sequence[Path],
    *,
    base_set: Sequence[Path] = (),
    cache: Path | None = None,
    edge: Literal["lite", "pidinet"] = "lite",
    depth: Literal["lite", "depth_anything", "fastdepth"] = "lite",
    edge_weights: str = "",
    depth_weights: str = "",
    size: int = 256,
    skip_unreadable: bool = False,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, Survey]:
    """Check all images and masks, describe them, and fill the cache of maps.

    Args:
        data: Folders of good images, or in MVTec AD layout.
        base_set: Folders with real defects and masks.
        cache: Folder of condition maps; the user's cache by default.
        edge: Edge extractor.
        depth: Depth extractor.
        edge_weights: Weight file of the edge extractor; empty looks in the usual places.
        depth_weights: Weight file or folder of the depth extractor; empty looks in the usual places.
        size: Side of the maps in pixels; must be the training's.
        skip_unreadable: Leave unreadable images out, by name.
        announce: Told in words what was found.
        report: Given images done and in all.

    Returns:
        What each category holds.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    TrainConfig(size=size)  # the same limits
    started = time.monotonic()
    sources = read_sources(data, base_set, base_part="all", seed=0, skip_unreadable=skip_unreadable, announce=announce)
    edges, depths = make_extractors(edge, depth, edge_weights, depth_weights, best_device())
    assert not isinstance(depths, MeasuredDepth), "measured depth has nothing to extract; it is no choice here"
    announce(f"edges by {edges.name}, depth by {depths.name}, {size} px")
    folder = condition_folder(cache)
    surveys = {category: Survey() for category in sources.categories}
    records = [*sources.normals, *sources.base]

    def squares(part: Sequence[Record], start: int) -> Iterator[np.ndarray]:
        for number, record in enumerate(part, start + 1):
            image = load_image(record.path)
            surveys[record.category].add(record, image.pixels, image.mode)
            yield to_model_u8(image.pixels, size)
            if report is not None:
                report(number, len(records))

    store = ConditionCache(folder)
    for start in range(0, len(records), 256):  # maps of a part are in memory at a time, not of all
        store.extract(squares(records[start : start + 256], start), edge=edges, depth=depths, size=size)
    for category, survey in surveys.items():
        announce(f"{category}: {survey.describe()}")
        for remark in survey.remarks(size):
            announce(f"{category}: note: {remark}")
    announce(f"maps of {len(records)} images are in {folder} ({time.monotonic() - started:.0f} s)")
    return surveys

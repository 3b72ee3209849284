"""Figures of a generated set, from its manifest alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from anomalyhybrid.generation.manifest import Row


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Figures of a set, for each category: counts, contract, visible change, fusion masks.

    Args:
        rows: Read once, in order; none is kept.
    """
    tallies: dict[str, _Tally] = {}
    for row in rows:
        tallies.setdefault(row.category, _Tally()).add(row)
    return {category: tally.entry() for category, tally in tallies.items()}


class _Tally:
    """Counts and sums of one category."""

    def __init__(self) -> None:
        self.normals = self.defects = self.several = self.fewer = 0
        self.outside = self.visible = self.not_accepted = self.area = 0
        self.kinds: Counter[str] = Counter()
        self.fusion: dict[str, tuple[float, int]] = {}

    def add(self, row: Row) -> None:
        if row.label_mask is None:
            self.normals += 1
            return
        self.defects += 1
        self.kinds[row.defect] += 1
        self.outside += row.changed_outside > 0
        self.visible += row.change_inside > 6
        self.not_accepted += not row.accepted
        self.area += row.mask_area
        if row.defects_asked:
            self.several += 1
            self.fewer += len(row.parts or ()) < row.defects_asked
        total, count = self.fusion.get(row.decoder, (0.0, 0))
        self.fusion[row.decoder] = (total + row.fusion_mask, count + 1)

    def entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"defects": self.defects, "normals": self.normals}
        if self.defects:
            entry["by_defect"] = dict(self.kinds)
            entry["images_changed_outside"] = self.outside
            entry["share_changed_over_6"] = round(self.visible / self.defects, 4)
            entry["not_accepted"] = self.not_accepted
            if self.several:
                entry["images_with_fewer_defects_than_asked"] = self.fewer
            entry["mean_mask_area"] = round(self.area / self.defects, 1)
            for decoder, (total, count) in self.fusion.items():
                entry[f"fusion_mask_{decoder}"] = round(total / count, 4)
        return entry

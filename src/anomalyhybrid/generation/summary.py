"""Figures of a generated set, from its manifest alone."""

from __future__ import annotations

from collections.abc import Sequence

from anomalyhybrid.generation.manifest import Row


def summarise(rows: Sequence[Row]) -> dict:
    """Figures of a set, for each category: counts, contract, visible change, fusion masks."""
    summary = {}
    for category in dict.fromkeys(row.category for row in rows):
        own = [row for row in rows if row.category == category]
        defects = [row for row in own if row.label_mask is not None]
        entry: dict = {"defects": len(defects), "normals": len(own) - len(defects)}
        if defects:
            kinds = dict.fromkeys(row.defect for row in defects)
            entry["by_defect"] = {kind: sum(row.defect == kind for row in defects) for kind in kinds}
            entry["images_changed_outside"] = sum(row.changed_outside > 0 for row in defects)
            entry["share_changed_over_6"] = round(sum(row.change_inside > 6 for row in defects) / len(defects), 4)
            entry["not_accepted"] = sum(not row.accepted for row in defects)
            several = [row for row in defects if row.defects_asked]
            if several:
                fewer = sum(len(row.parts or ()) < (row.defects_asked or 0) for row in several)
                entry["images_with_fewer_defects_than_asked"] = fewer
            entry["mean_mask_area"] = round(sum(row.mask_area for row in defects) / len(defects), 1)
            for decoder in dict.fromkeys(row.decoder for row in defects):
                values = [row.fusion_mask for row in defects if row.decoder == decoder]
                entry[f"fusion_mask_{decoder}"] = round(sum(values) / len(values), 4)
        summary[category] = entry
    return summary

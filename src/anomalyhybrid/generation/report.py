"""The report of a generated set: one HTML file, everything inside, its figures counted from the set's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import resolve_inside
from anomalyhybrid.data.loading import load_image, to_rgb_u8
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.additions import data_root_of
from anomalyhybrid.generation.manifest import SUMMARY, Row
from anomalyhybrid.generation.pictures import SIDE, shrunk, uri
from anomalyhybrid.generation.rejected import Rejected
from anomalyhybrid.generation.report_checks import Checked
from anomalyhybrid.generation.report_figures import (
    HEIGHT,
    WIDTH,
    Histogram,
    area_histogram,
    change_histogram,
    counted,
    gate_figures,
    position_map,
)
from anomalyhybrid.generation.report_provenance import gate_limits, mapping, provenance
from anomalyhybrid.generation.sheet import NORMALS, shot, spread, template

_QUALITY = 90  # of JPEG
_NAMED = 200  # faults, unaccepted images and other files that are named; more are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFiles:
    """A set as it was read.

    Attributes:
        folder: Of the set.
        about: Content of `dataset.json`.
        checked: Its images, in the manifest's order.
        previews: Of sets with depth, each image's shaded relief by id, relative to the folder.
        left_out: Images that the quality gate left out; they have no files.
        others: Files in the folder that are not the set's, relative to it.
    """

    folder: Path
    about: dict[str, Any]
    checked: Sequence[Checked]
    previews: dict[str, str]
    left_out: Sequence[Rejected]
    others: Sequence[str]

    @property
    def faults(self) -> list[str]:
        """All that is wrong with the files, with the image's id."""
        return [f"{one.row.id}: {fault}" for one in self.checked for fault in one.faults]


def render_set_report(found: SetFiles, *, limit: int) -> str:
    """Make the page.

    Args:
        found: The set.
        limit: Defects or hybrids shown at most, spread over all kinds.

    Returns:
        HTML that asks for nothing outside; names and texts of files are escaped.
    """
    rows = [one.row for one in found.checked]
    shown = {row.id for row in spread([row for row in rows if _is_shown_as_defect(row)], limit)}
    names = list(dict.fromkeys(row.category for row in rows))
    return template("report.jinja").render(
        title=f"Generated set “{found.folder.resolve().name}”",
        kind="hybrids" if found.about.get("kind") == "hybrids" else "depth" if _has_depth(found) else "colour",
        finished=SUMMARY in found.about,
        contract=_contract(found.checked),
        faults=_some(found.faults),
        others=_some(found.others),
        unaccepted=_some([row.id for row in rows if not row.accepted]),
        totals=_totals(rows, shown),
        attempts=counted(f"{row.attempt + 1}" for row in rows if row.label_mask),
        gate=gate_figures(rows, found.left_out),
        limits=gate_limits(found.about),
        categories=[_category(name, found, shown) for name in names],
        provenance=provenance(found.about),
        depth=mapping(mapping(found.about.get(SUMMARY)).get("depth")) if _has_depth(found) else {},
        width=WIDTH,
        height=HEIGHT,
    )


def _has_depth(found: SetFiles) -> bool:
    return found.about.get("level") == "depth"


def _is_shown_as_defect(row: Row) -> bool:
    return row.label_mask is not None or row.reference_class is not None


def _some(names: Sequence[str]) -> dict[str, Any]:
    return {"count": len(names), "named": list(names[:_NAMED]), "more": max(0, len(names) - _NAMED)}


def _totals(rows: Sequence[Row], shown: set[str]) -> dict[str, int]:
    hybrids = sum(row.reference_class is not None for row in rows)
    defects = sum(row.label_mask is not None for row in rows)
    return {
        "images": len(rows),
        "defects": defects,
        "hybrids": hybrids,
        "normals": len(rows) - defects - hybrids,
        "shown": len(shown),
    }


def _contract(checked: Sequence[Checked]) -> dict[str, int]:
    """Figures of the mask contract, from images whose files and target's were all found."""
    bound = [one for one in checked if one.row.label_mask is not None and one.row.composition == "region"]
    compared = [one for one in bound if one.changed_outside is not None]
    return {
        "bound": len(bound),
        "compared": len(compared),
        "broken": sum(bool(one.changed_outside) for one in compared),
        "outside": sum(one.changed_outside or 0 for one in compared),
        "full": sum(one.row.label_mask is not None and one.row.composition == "full" for one in checked),
    }


def _category(name: str, found: SetFiles, shown: set[str]) -> dict[str, Any]:
    checked = [one for one in found.checked if one.row.category == name]
    defects = [one for one in checked if _is_shown_as_defect(one.row)]
    normals = [one.row for one in checked if not _is_shown_as_defect(one.row)]
    kinds = []
    for kind, total in counted(one.row.defect for one in defects):
        own = [one.row for one in defects if one.row.defect == kind and one.row.id in shown]
        kinds.append({"name": kind, "total": total, "shots": _shots(own, found)})
    return {
        "name": name,
        "defects": len(defects),
        "normals_total": len(normals),
        "counts": _counts([one.row for one in defects]),
        "histograms": _histograms(defects),
        "map": _map(checked),
        "kinds": [kind for kind in kinds if kind["shots"]],
        "normals": _shots(normals[:NORMALS], found),
    }


def _counts(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, int]]]]:
    hybrids = [row for row in rows if row.reference_class is not None]
    tables = [("defect", counted(row.defect for row in rows))]
    if hybrids:
        tables.append(("classes", counted(f"{row.reference_class} on {row.target_class}" for row in hybrids)))
    for name in ("operation", "decoder", "appearance"):
        tables.append((name, counted(str(getattr(row, name)) for row in rows)))
    several = [row for row in rows if row.parts]
    if several:
        tables.append(("defects in an image", counted(str(len(row.parts or ())) for row in several)))
    return [(name, lines) for name, lines in tables if lines]


def _histograms(defects: Sequence[Checked]) -> list[Histogram]:
    """Areas and changes of defects as counted; of hybrids, which have no mask to count in, changes as recorded."""
    drawn = []
    if shares := [share for one in defects if (share := one.area_share) is not None]:
        drawn.append(area_histogram("area of the mask", shares))
    if changes := [one.change_inside for one in defects if one.change_inside is not None]:
        drawn.append(change_histogram("mean change inside the mask", changes))
    hybrids = [one.row for one in defects if one.row.reference_class is not None]
    if hybrids:
        drawn.append(change_histogram("change from the target, as recorded", [row.change_inside for row in hybrids]))
        changes = [row.change_from_reference or 0.0 for row in hybrids]
        drawn.append(change_histogram("change from the reference, as recorded", changes))
    return drawn


def _map(checked: Sequence[Checked]) -> dict[str, Any] | None:
    found = position_map(checked)
    if found is None:
        return None
    picture, highest = found
    return {"picture": uri(picture), "width": picture.shape[1], "highest": f"{100 * highest:.0f} %"}


def _shots(rows: Sequence[Row], found: SetFiles) -> list[dict[str, Any]]:
    """Pictures of rows whose files can be read; the others are named among the faults."""
    shots = []
    for row in rows:
        try:
            taken = shot(row, found.folder, found.about, quality=_QUALITY)
            if row.id in found.previews:
                taken["relief"] = _picture(found.folder, found.previews[row.id])
        except DataError:
            continue
        if row.reference_class is not None and row.reference is not None:
            taken["reference_picture"] = _reference(row.reference, data_root_of(found.folder, found.about, row))
        shots.append(taken)
    return shots


def _picture(folder: Path, relative: str) -> str:
    return uri(shrunk(to_rgb_u8(load_image(resolve_inside(folder, relative)).pixels), SIDE), _QUALITY)


def _reference(relative: str, data_root: Path) -> str:
    try:
        return _picture(data_root, relative)
    except DataError:
        return ""

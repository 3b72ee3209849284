"""Pages to look at: a self-contained HTML sheet and a PNG contact sheet, made from a set's manifest alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from anomalyhybrid.data.files import resolve_inside, write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask, save_png, to_rgb_u8
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.additions import data_root_of, descriptions
from anomalyhybrid.generation.manifest import Row, read_dataset, read_rows
from anomalyhybrid.generation.pictures import SIDE, outlined, shrunk, uri, zoomed

NORMALS = 16
"""Generated good images shown for each category."""
_CELL = 208  # side of the contact sheet's pictures
_LABEL = 34  # height of the text below them


def write_sheet(dataset: Path, path: Path, *, limit: int = 96) -> Path:
    """Write one HTML file, pictures inside, that shows a generated set by category and defect.

    Args:
        dataset: Folder of a generated set.
        path: The HTML file.
        limit: Defect images shown at most, spread evenly over categories, defects and operations.

    Returns:
        The path.

    Raises:
        ConfigError: The limit is below 1.
        DataError: No set, a damaged one, or the file cannot be written.
    """
    rows, about = _read(dataset, limit)
    shown = {row.id for row in spread([row for row in rows if row.label_mask], limit)}
    names = list(dict.fromkeys(row.category for row in rows))
    page = template("sheet.jinja").render(
        title=f"Generated defects: {', '.join(names)}",
        facts=_facts(about),
        counts=_counts(rows),
        categories=[_category([row for row in rows if row.category == name], shown, dataset, about) for name in names],
        shown_defects=len(shown),
        **_totals(rows),
    )
    write_text_atomic(path, page)
    return path


def write_contact_png(dataset: Path, path: Path, *, columns: int = 8, limit: int = 64) -> Path:
    """Write one PNG of generated defects with the outlines of their masks and short labels.

    Args:
        dataset: Folder of a generated set.
        path: The PNG file.
        columns: Pictures in a row.
        limit: Pictures at most, spread evenly over categories, defects and operations.

    Returns:
        The path.

    Raises:
        ConfigError: Columns or limit below 1.
        DataError: No set, one without defects, a damaged one, or the file cannot be written.
    """
    if columns < 1:
        raise ConfigError(f"columns is {columns}; it must be at least 1")
    rows, _ = _read(dataset, limit)
    chosen = spread([row for row in rows if row.label_mask], limit)
    if not chosen:
        raise DataError(f"{dataset} holds no defect image to show")
    cells = [_contact_cell(dataset, row) for row in chosen]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    lines = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    save_png(path, np.vstack(lines))
    return path


def _read(dataset: Path, limit: int) -> tuple[list[Row], dict[str, Any]]:
    if limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1")
    about = read_dataset(dataset)
    return read_rows(dataset), about


def template(name: str) -> jinja2.Template:
    """A page of this package, which escapes whatever is put into it."""
    folder = files("anomalyhybrid.generation")
    loader = jinja2.FunctionLoader(lambda asked: folder.joinpath(asked).read_text(encoding="utf-8"))
    settings = {"autoescape": True, "trim_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(loader=loader, **settings).get_template(name)


def spread(rows: Sequence[Row], limit: int) -> list[Row]:
    """Choose rows evenly over categories, defects and operations, in the manifest's order within each.

    Args:
        rows: All rows.
        limit: Rows at most.

    Returns:
        The chosen rows, grouped by category and defect.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.category, row.defect, row.operation), []).append(row)
    by_category: dict[str, list[list[Row]]] = {}
    for (category, _, _), group in groups.items():
        by_category.setdefault(category, []).append(group)
    per_category = [_in_turn(own) for own in by_category.values()]
    in_turn = _in_turn(per_category)
    return sorted(in_turn[:limit], key=lambda row: (row.category, row.defect, row.operation, row.id))


def _in_turn(groups: Sequence[Sequence[Row]]) -> list[Row]:
    """The first of each group, then the second of each, and so on."""
    rounds = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(rounds) for group in groups if turn < len(group)]


def _facts(about: dict[str, Any]) -> list[tuple[str, str]]:
    """Header lines of `dataset.json`, nested entries by dotted names."""
    facts: list[tuple[str, str]] = []

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else key, inner)
        elif isinstance(value, list):
            facts.append((prefix, ", ".join(map(str, value))))
        elif value != "":
            facts.append((prefix, str(value)))

    for number, description in enumerate(descriptions(about)):
        for name in ("model", "versions", "config", "data_root"):
            visit(f"addition {number}: {name}" if number else name, description.get(name, ""))
    return facts


def _counts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.label_mask:
            groups.setdefault((row.category, row.defect), []).append(row)
    return [
        {
            "category": category,
            "defect": defect,
            "images": len(group),
            "change": f"{statistics.median(row.change_inside for row in group):.1f}",
            "area": round(statistics.median(row.mask_area for row in group)),
        }
        for (category, defect), group in sorted(groups.items())
    ]


def _totals(rows: Sequence[Row]) -> dict[str, int]:
    defects = [row for row in rows if row.label_mask]
    region = [row for row in defects if row.composition == "region"]
    return {
        "defects_total": len(defects),
        "normals_total": len(rows) - len(defects),
        "region_total": len(region),
        "full_total": len(defects) - len(region),
        "changed_outside": sum(row.changed_outside for row in region),
        "rejected": sum(not row.accepted for row in defects),
    }


def _category(rows: list[Row], shown: set[str], dataset: Path, about: dict[str, Any]) -> dict[str, Any]:
    defects = [row for row in rows if row.label_mask]
    normals = [row for row in rows if not row.label_mask]
    kinds = []
    for name in sorted({row.defect for row in defects}):
        own = [row for row in defects if row.defect == name]
        shots = [shot(row, dataset, about) for row in own if row.id in shown]
        if shots:
            kinds.append({"name": name, "total": len(own), "shots": shots})
    return {
        "name": rows[0].category,
        "kinds": kinds,
        "normals": [shot(row, dataset, about) for row in normals[:NORMALS]],
        "normals_total": len(normals),
    }


def shot(row: Row, dataset: Path, about: dict[str, Any], *, quality: int | None = None) -> dict[str, Any]:
    """A row's fields and its pictures as data URIs, for `shots.jinja`; the target's is empty where its file is gone.

    Args:
        row: The row.
        dataset: Folder of the set.
        about: Content of `dataset.json`.
        quality: Of JPEG, to 100; None for PNG.

    Raises:
        DataError: Image or label mask cannot be read.
    """
    generated = to_rgb_u8(load_image(resolve_inside(dataset, row.image)).pixels)
    target = target_pixels(row.target, data_root_of(dataset, about, row), generated.shape[:2])
    pictures: dict[str, np.ndarray] = {"generated": shrunk(generated, SIDE)}
    if target is not None:
        target = to_rgb_u8(target)
        pictures["target"] = shrunk(target, SIDE)
    if row.label_mask is not None:
        mask = load_mask(resolve_inside(dataset, row.label_mask), shape=generated.shape[:2])
        pictures["outline"] = outlined(generated, mask, SIDE)
        before = generated if target is None else target
        pictures["zoom"] = np.hstack([zoomed(before, mask), zoomed(generated, mask)])
    names = ("generated", "target", "outline", "zoom", "relief")
    return asdict(row) | dict.fromkeys(names, "") | {name: uri(one, quality) for name, one in pictures.items()}


def target_pixels(relative: str, data_root: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The native pixels of the image that another was made from; None where the data have moved away or changed.

    Args:
        relative: Path as the row gives it.
        data_root: Folder that it starts from.
        shape: ``(height, width)`` of the generated image.
    """
    try:
        target = load_image(resolve_inside(data_root, relative)).pixels
    except DataError:
        return None
    return target if target.shape[:2] == tuple(shape) else None


def _contact_cell(dataset: Path, row: Row) -> np.ndarray:
    image = to_rgb_u8(load_image(resolve_inside(dataset, row.image)).pixels)
    assert row.label_mask is not None
    mask = load_mask(resolve_inside(dataset, row.label_mask), shape=image.shape[:2])
    picture = outlined(image, mask, _CELL)
    cell = np.full((_CELL + _LABEL + 4, _CELL + 4, 3), 255, np.uint8)
    height, width = picture.shape[:2]
    cell[2 : 2 + height, 2 : 2 + width] = picture
    mark = "" if row.accepted else " WEAK"
    below = f"{row.decoder} {row.operation} {row.appearance} {row.change_inside:.0f}{mark}"
    _write_lines(cell, _CELL, (f"{row.category} {row.defect}", below))
    return cell


def _write_lines(cell: np.ndarray, top: int, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()
        place = (4, top + 15 + 15 * number)
        cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)

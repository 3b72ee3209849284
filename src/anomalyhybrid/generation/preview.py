"""A contact sheet of candidates at the model's size, before any set is written (ADR-012)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.generation.pool import CategoryPool, maps_of
from anomalyhybrid.generation.several import Defects, shown_defects
from anomalyhybrid.generation.sheet import outlined
from anomalyhybrid.generation.writer import SetWriter
from anomalyhybrid.ops.ranges import unit_from_signed

CELL = 208  # longest side of a picture
_LABEL = 34  # height of the text below it
_COLUMNS = 8


def preview_cells(
    pool: CategoryPool, writer: SetWriter, found: Sequence[Defects], indices: Sequence[int]
) -> list[np.ndarray]:
    """Show the defects of some images as composition will, outlined, with their names below.

    Args:
        pool: Images of the category.
        writer: Of the category; nothing is written with it.
        found: First, second, ... defects of the images.
        indices: Numbers of the images within the category.

    Returns:
        One uint8 (H, W, 3) for each image, all of one size.
    """
    targets = maps_of(pool.normals, found[0].candidates.target_index)[0]
    pictures, labels = shown_defects(found, targets)
    words: list[list[str]] = [[] for _ in indices]
    for defects in found:
        for place, position in enumerate(defects.positions):
            about = writer.about_small(defects, place, indices[position])
            weak = "" if about["accepted"] else " WEAK"
            words[position].append(f"{about['defect']} {about['operation']} {about['change_inside']:.0f}{weak}")
    cells = []
    for position, record in enumerate(writer.normals[int(i)] for i in found[0].candidates.target_index):
        picture = (unit_from_signed(pictures[position]).permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
        window = record.window
        size = _fitted((window.height, window.width) if window else load_image(record.path).pixels.shape)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        mask = labels[position, 0].cpu().numpy().astype(np.uint8)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0
        cells.append(_cell(outlined(picture, mask, CELL), words[position]))
    return cells


def _fitted(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of an image whose longest side is `CELL`."""
    factor = CELL / max(shape[:2])
    return max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))


def _cell(picture: np.ndarray, words: Sequence[str]) -> np.ndarray:
    cell = np.full((CELL + _LABEL + 4, CELL + 4, 3), 255, np.uint8)
    height, width = picture.shape[:2]
    cell[2 : 2 + height, 2 : 2 + width] = picture
    lines = words if len(words) <= 2 else [words[0], f"and {len(words) - 1} more"]
    for number, line in enumerate(lines):
        text, place = line.encode("ascii", "replace").decode(), (4, CELL + 15 + 15 * number)
        cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def write_preview(path: Path, cells: Sequence[np.ndarray]) -> Path:
    """Write pictures as one PNG, eight in a line.

    Args:
        path: The PNG file; one that is there is replaced.
        cells: uint8 (H, W, 3), all of one size; at least one.

    Returns:
        The path.
    """
    columns = min(_COLUMNS, len(cells))
    filled = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    lines = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    save_png(path, np.vstack(lines))
    return path

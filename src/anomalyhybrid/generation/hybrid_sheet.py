"""A PNG of hybrids beside their parents, both directions and all decoders in one line, from a set's manifest alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.files import resolve_inside
from anomalyhybrid.data.loading import load_image, save_png, to_rgb_u8
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.hybrid_rows import HybridRow, read_hybrid_rows
from anomalyhybrid.generation.manifest import read_dataset
from anomalyhybrid.generation.sheet import shrunk

_LABEL = 30  # height of the text below pictures
_GAP = 4


def write_hybrid_sheet(dataset: Path, path: Path, *, limit: int = 24, side: int = 256) -> Path:
    """Write one PNG: a line for each pair of images, first both parents, then what was made of them.

    Lines are chosen in turn from the pairs of classes, so that all of them are seen before one is seen twice.

    Args:
        dataset: Folder of a set of hybrids; its data must still be where they were.
        path: The PNG file.
        limit: Lines at most.
        side: Longest side of a picture in pixels.

    Returns:
        The path.

    Raises:
        ConfigError: Limit below 1 or side below 32.
        DataError: No set of hybrids, a damaged one, data that have moved away, or the file cannot be written.
    """
    if limit < 1 or side < 32:
        raise ConfigError(f"limit is {limit}, side {side}; they must be at least 1 and 32")
    rows = read_hybrid_rows(dataset)
    if not rows:
        raise DataError(f"{dataset} holds no hybrid to show")
    root = Path(dataset) / read_dataset(dataset)["data_root"]
    lines = [_line(own, Path(dataset), root, side) for own in _in_turn(rows)[:limit]]
    height, width = max(line.shape[0] for line in lines), max(line.shape[1] for line in lines)
    page = np.full((height * len(lines), width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        page[number * height : number * height + line.shape[0], : line.shape[1]] = line
    save_png(path, page)
    return path


def _in_turn(rows: Sequence[HybridRow]) -> list[list[HybridRow]]:
    """Rows by their two images, whichever is the reference; the pairs of classes in turn."""
    by_images: dict[frozenset[str], list[HybridRow]] = {}
    for row in rows:
        by_images.setdefault(frozenset((str(row.reference), row.target)), []).append(row)
    by_classes: dict[frozenset[str], list[list[HybridRow]]] = {}
    for own in by_images.values():
        by_classes.setdefault(frozenset((own[0].reference_class, own[0].target_class)), []).append(own)
    groups = list(by_classes.values())
    return [group[turn] for turn in range(max(map(len, groups))) for group in groups if turn < len(group)]


def _line(rows: Sequence[HybridRow], dataset: Path, root: Path, side: int) -> np.ndarray:
    first = rows[0]
    parents = [(str(first.reference), first.reference_class), (first.target, first.target_class)]
    cells = [_cell(resolve_inside(root, image), side, (name, "photograph")) for image, name in parents]
    for row in rows:
        words = (f"{row.reference_class} on {row.target_class}", f"{row.decoder}{'' if row.accepted else ' WEAK'}")
        cells.append(_cell(resolve_inside(dataset, row.image), side, words))
    height = max(cell.shape[0] for cell in cells)
    return np.hstack([np.pad(c, ((0, height - len(c)), (0, 0), (0, 0)), constant_values=255) for c in cells])


def _cell(path: Path, side: int, words: Sequence[str]) -> np.ndarray:
    picture = shrunk(to_rgb_u8(load_image(path).pixels), side)
    height, width = picture.shape[:2]
    cell = np.full((height + _LABEL + _GAP, side + _GAP, 3), 255, np.uint8)
    cell[:height, :width] = picture
    for number, line in enumerate(words):
        place = (2, height + 12 + 13 * number)
        text = line.encode("ascii", "replace").decode()
        cv2.putText(cell, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return cell

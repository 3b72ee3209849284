"""Masks drawn by the user: for each a good image and the very pixels that its defect is to cover (ADR-015)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image, load_mask
from anomalyhybrid.data.own_folders import MASK_SUFFIX, category_places, typed_images
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.windows import Window
from anomalyhybrid.errors import DataError

FLAG = "--masks"
_CONTEXT = 1.5  # side of a window, at least, over the longer side of the mask in it


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnMask:
    """One drawn mask.

    Attributes:
        record: The good image that it is drawn for, whole, or the window of it that is looked at.
        path: The mask's file.
        defect: Name of the folder that it lies in; empty where it lies in none.
        shape: Height and width of the whole image.
        box: Around what is marked, in the whole image.
    """

    record: Record
    path: Path
    defect: str
    shape: tuple[int, int]
    box: Window

    def load(self) -> np.ndarray:
        """The marked pixels of the image or window, bool (H, W)."""
        mask = load_mask(self.path, shape=self.shape)
        return mask if self.record.window is None else self.record.window.crop(mask, repeat=False)

    def in_window(self, side: int) -> DrawnMask:
        """The same mask in a square window around it, with context.

        Args:
            side: Of the windows of other images of the category. A longer mask gets a larger window, and one longer
                than the image's shorter side the whole image.
        """
        longest, shorter = max(self.box.width, self.box.height), min(self.shape)
        if longest > shorter:
            return self
        side = min(max(side, round(_CONTEXT * longest)), shorter)
        x = min(max(0, self.box.x + self.box.width // 2 - side // 2), self.shape[1] - side)
        y = min(max(0, self.box.y + self.box.height // 2 - side // 2), self.shape[0] - side)
        return replace(self, record=replace(self.record, window=Window(x, y, side, side)))


def read_drawn_masks(root: Path, records: Sequence[Record], categories: Sequence[str]) -> tuple[DrawnMask, ...]:
    """Read drawn masks and check that each fits its image.

    Args:
        root: Folder of mask files named as the good images (``name.png`` or ``name_mask.png``), directly in it or in
            folders of defect types; of several categories below folders of their names.
        records: Good images, whole.
        categories: Their categories; each needs a mask.

    Returns:
        The masks, by category, type and name.

    Raises:
        ConfigError: A type's folder whose name cannot be a defect's.
        DataError: No mask, one without an image, one that is empty or of another size, or names that leave open
            which mask belongs to which image.
    """
    places = category_places(FLAG, root, categories)
    if missing := [category for category in categories if category not in places]:
        raise DataError(f"{FLAG} {root} has no folder for {', '.join(missing)}; every category needs a mask")
    pairs: list[tuple[Record, Path, str]] = []
    problems: list[str] = []
    for category, folder in places.items():
        own = [record for record in records if record.category == category]
        before = len(pairs) + len(problems)
        for defect, paths in typed_images(FLAG, folder):
            found, wrong = _paired(own, paths)
            pairs += [(record, path, defect) for record, path in found]
            problems += wrong
        if len(pairs) + len(problems) == before:
            raise DataError(f"{FLAG} {folder} holds no mask; draw some, named as the good images")
    raise_problems(f"{FLAG} {root}: masks and good images do not fit together; mend these:", problems)
    with ThreadPoolExecutor(at_a_time(record.path for record, _, _ in pairs)) as threads:
        loaded = list(threads.map(lambda pair: _checked(*pair), pairs))
    raise_problems(f"{FLAG} {root}: masks do not fit; mend these:", [one for one in loaded if isinstance(one, str)])
    return tuple(one for one in loaded if isinstance(one, DrawnMask))


def _paired(records: Sequence[Record], paths: Sequence[Path]) -> tuple[list[tuple[Record, Path]], list[str]]:
    """Images and masks of equal names, and what is wrong."""
    images: dict[str, list[Record]] = {}
    for record in records:
        images.setdefault(record.path.stem, []).append(record)
    pairs, problems, owners = [], [], {}
    for path in paths:
        named = images.get(path.stem, images.get(path.stem.removesuffix(MASK_SUFFIX), []))
        if len(named) != 1:
            which = ", ".join(record.relative for record in named)
            problems.append(
                f"{path}: there are {len(named)} good images of its name ({which}); rename them"
                if named
                else f"{path}: there is no good image of its name"
            )
        elif (other := owners.setdefault(named[0].relative, path)) is not path:
            problems.append(f"{path}: {other.name} is for the same image; keep one, or put one into a folder of a type")
        else:
            pairs.append((named[0], path))
    return pairs, problems


def _checked(record: Record, path: Path, defect: str) -> DrawnMask | str:
    try:
        height, width = load_image(record.path).pixels.shape[:2]
        rows, columns = np.nonzero(load_mask(path, shape=(height, width)))
    except DataError as error:
        return str(error)
    y, x = int(rows.min()), int(columns.min())
    box = Window(x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
    return DrawnMask(record=record, path=path, defect=defect, shape=(height, width), box=box)

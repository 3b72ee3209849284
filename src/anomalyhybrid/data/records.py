"""Records: what one image of a data folder is, before any pixel is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anomalyhybrid.data.windows import Window

GOOD = "good"
"""Defect name of normal images."""

Split = Literal["train", "test"]
Layout = Literal["folder", "mvtec_ad", "mvtec_3d", "eyecandies", "rgb_depth", "mixed", "defect_folders", "images_masks"]

_LAYOUT_NAMES: dict[Layout, str] = {
    "folder": "plain folder of good images",
    "mvtec_ad": "MVTec AD layout",
    "mvtec_3d": "MVTec 3D-AD layout",
    "eyecandies": "Eyecandies layout",
    "rgb_depth": "RGB and depth pairs",
    "mixed": "several roots of different layouts",
    "defect_folders": "base set, one folder for each defect",
    "images_masks": "base set, images/ and masks/",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image of a data folder.

    Attributes:
        path: Absolute path of the image.
        relative: POSIX path relative to the data root, as manifests name it.
        category: Product the image shows, for example ``bottle``.
        defect: ``good`` or the name of the defect type.
        mask_path: Absolute path of the data set's ground-truth mask; None for good images.
        split: The side the data set puts the image on; plain folders and base sets are ``train``.
        depth_path: Absolute path of the image's measured depth; None where there is none.
        window: The part of the image that is meant; None for the whole.
    """

    path: Path
    relative: str
    category: str
    defect: str
    mask_path: Path | None
    split: Split
    depth_path: Path | None = None
    window: Window | None = None

    @property
    def is_good(self) -> bool:
        """Whether the image shows no defect."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """What one data root holds.

    Attributes:
        root: Absolute path that every record's ``relative`` starts from.
        layout: The layout that was recognised.
        records: All images, in natural order of category, split, defect and name.
        ignored: POSIX paths below the root of visible files and folders that were not read.
    """

    root: Path
    layout: Layout
    records: tuple[Record, ...]
    ignored: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the records."""
        return tuple(dict.fromkeys(record.category for record in self.records))

    def normals(self, category: str | None = None, *, split: Split = "train") -> tuple[Record, ...]:
        """Select good images.

        Args:
            category: One category, or None for all.
            split: ``train`` or ``test``.

        Returns:
            The records in order; empty when there are none.
        """
        return tuple(
            record
            for record in self.records
            if record.is_good and record.split == split and category in (None, record.category)
        )

    def defects(self, category: str | None = None, *, defect: str | None = None) -> tuple[Record, ...]:
        """Select defective images, whatever their split.

        Args:
            category: One category, or None for all.
            defect: One defect type, or None for all.

        Returns:
            The records in order; empty when there are none.
        """
        return tuple(
            record
            for record in self.records
            if not record.is_good and category in (None, record.category) and defect in (None, record.defect)
        )

    def defect_types(self, category: str | None = None) -> tuple[str, ...]:
        """Name the defect types of one category (or of all), in the order of the records."""
        return tuple(dict.fromkeys(record.defect for record in self.defects(category)))

    def describe(self) -> str:
        """Say in one line what was found: layout, categories, counts, what was not read."""
        train, test = len(self.normals(split="train")), len(self.normals(split="test"))
        parts = [f"{train} good images to learn from"] if train else []
        parts += [f"{test} good test images"] if test else []
        kinds = Counter(record.defect for record in self.defects())
        if kinds:
            names = ", ".join(f"{name} {count}" for name, count in kinds.items())
            parts.append(f"{kinds.total()} defects with masks ({names})")
        names = ", ".join(self.categories[:8]) + (", ..." if len(self.categories) > 8 else "")
        if deep := sum(record.depth_path is not None for record in self.records):
            parts.append("measured depth for all" if deep == len(self.records) else f"measured depth for {deep} images")
        word = "category" if len(self.categories) == 1 else "categories"
        text = f"{self.root}: {_LAYOUT_NAMES[self.layout]}, {len(self.categories)} {word} ({names}): "
        text += ", ".join(parts)
        return text + (f"; not read: {len(self.ignored)} other files or folders" if self.ignored else "")

"""Folders that users make by hand: files by category and defect type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from anomalyhybrid.data.files import existing_folder, list_folder
from anomalyhybrid.data.records import GOOD
from anomalyhybrid.errors import ConfigError, DataError

MASK_SUFFIX = "_mask"
_FORBIDDEN = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
_LONGEST = 100


def check_defect_name(name: str, what: str) -> None:
    """Refuse names of defects that cannot be the name of a folder, on any system.

    Raises:
        ConfigError: Says what is allowed.
    """
    plain = 0 < len(name) <= _LONGEST and not _FORBIDDEN.search(name)
    if not plain or name[0] in ". " or name[-1] in ". " or name == GOOD:
        raise ConfigError(
            f"{what} is {name!r}, which cannot be a defect's folder; give a name of at most {_LONGEST} characters "
            rf'without / \ : * ? " < > |, not {GOOD!r}, that neither begins nor ends with a dot or blank'
        )


def category_places(flag: str, root: Path, categories: Sequence[str]) -> dict[str, Path]:
    """Find each category's part of a folder: below a folder of its name, or, of a single category, all of it.

    Args:
        flag: What the folder was given as, for messages.
        root: The folder.
        categories: Names of the data's categories.

    Returns:
        The folder of each category that has one.

    Raises:
        DataError: No folder, or of several categories none has a folder, or other things lie beside theirs.
    """
    root = existing_folder(root)
    images, folders, _ = list_folder(root)
    found = {folder.name: folder for folder in folders if folder.name in categories}
    if not found and len(categories) == 1:
        return {categories[0]: root}
    others = [path.name for path in (*images, *folders) if path.name not in found]
    if not found or others:
        beside = f"{', '.join(others[:5])}{' and more' if len(others) > 5 else ''}"
        raise DataError(
            f"{flag} {root} holds {beside or 'nothing'}, which belongs to none of the categories "
            f"{', '.join(categories)}; put all files below folders of these names"
        )
    return {category: found[category] for category in categories if category in found}


def typed_images(flag: str, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Images of a folder by defect type.

    Args:
        flag: For messages.
        folder: Holds images, or folders of images named after defect types, or both.

    Yields:
        The type, empty for the images that lie directly in the folder, and its images, at least one.

    Raises:
        ConfigError: The folder's name cannot be a defect's.
    """
    images, folders, _ = list_folder(folder)
    if images:
        yield "", images
    for inner in folders:
        if found := list_folder(inner)[0]:
            check_defect_name(inner.name, f"{flag} {inner}: the folder's name")
            yield inner.name, found

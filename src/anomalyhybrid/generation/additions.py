"""A set that was added to: what `dataset.json` says of each addition, and which one an image belongs to.

The entries of the file's top level are those of the images made first. ``appended`` lists further ones, each with its
own settings, model and data, with ``first``: {category: {"defects": number, "normals": number}}, where its ids begin
(they end with its settings' counts), and with ``category_folders``: whether categories have folders of their own.
``summary`` counts the whole set and is absent while one of them is unfinished.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyhybrid.generation.manifest import Row

if TYPE_CHECKING:
    from anomalyhybrid.generation.rejected import Rejected

APPENDED = "appended"
FIRST = "first"
FOLDERS = "category_folders"


def descriptions(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a set says of the images made first and of each addition, in order.

    Args:
        about: Content of `dataset.json`.

    Returns:
        At least one; the first holds no others.
    """
    return [{name: value for name, value in about.items() if name != APPENDED}, *about.get(APPENDED, ())]


def description_of(about: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """The description, settings and model among it, that an image was made by.

    Args:
        about: Content of `dataset.json`.
        row: The image's row.
    """
    first, *added = descriptions(about)
    for description in reversed(added):
        begins = first_number(description, row.category, row.label_mask is not None)
        if row.category in description["categories"] and number_of(row) >= begins:
            return description
    return first


def first_number(description: Mapping[str, Any], category: str, is_defect: bool) -> int:
    """Number of a category's first defect or good image under a description."""
    return int(description.get(FIRST, {}).get(category, {}).get("defects" if is_defect else "normals", 0))


def number_of(row: Row | Rejected) -> int:
    """The number that an image's id ends with."""
    found = re.search(r"[0-9]+$", row.id)
    return int(found[0]) if found else -1


def data_root_of(dataset: Path, about: Mapping[str, Any], row: Row) -> Path:
    """The folder that a row's `target` and `reference` are relative to."""
    return dataset / description_of(about, row)["data_root"]


def next_numbers(
    about: Mapping[str, Any], rows: Iterable[Row], left_out: Sequence[Rejected], categories: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Where the ids of an addition begin: after the highest of each category, made, left out or asked for.

    Args:
        about: Content of `dataset.json`.
        rows: The manifest's; read once.
        left_out: Images that the quality gate left out.
        categories: Of the addition.

    Returns:
        As ``first`` of its description.
    """
    highest: Counter[tuple[str, bool]] = Counter()
    for image in chain(rows, left_out):  # images that were left out are defects
        key = image.category, getattr(image, "label_mask", "") is not None
        highest[key] = max(highest[key], number_of(image) + 1)
    numbers = {}
    for category in categories:
        own = [description for description in descriptions(about) if category in description["categories"]]
        numbers[category] = {}
        for name, setting in (("defects", "count"), ("normals", "normals")):
            is_defect = name == "defects"
            asked = [first_number(one, category, is_defect) + one["config"][setting] for one in own]
            numbers[category][name] = max(0, highest[category, is_defect], *asked)
    return numbers

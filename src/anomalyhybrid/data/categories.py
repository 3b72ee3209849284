"""The walk that readers of category folders share: one category or several, what is wrong, what is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anomalyhybrid.data.files import list_folder, raise_problems
from anomalyhybrid.data.records import DataFolder, Layout, Record

Found = tuple[list[Record], list[str], list[Path]]
"""Records of a category, problems to mend, paths that were not read."""


def read_categories(
    root: Path,
    categories: Sequence[Path],
    read_category: Callable[[Path, Path], Found],
    *,
    layout: Layout,
    fault: str,
) -> DataFolder:
    """Read the categories at or directly below a root.

    Args:
        root: Absolute folder; itself the only category, or the parent of all.
        categories: The categories' folders, in order.
        read_category: Reads one, given its folder and the root.
        layout: Of the result.
        fault: What the problems of all categories amount to, and what to do.

    Returns:
        The records in order of the categories.

    Raises:
        DataError: The problems, or what `read_category` raises.
    """
    records: list[Record] = []
    problems: list[str] = []
    ignored: list[Path] = []
    if list(categories) != [root]:
        images, folders, others = list_folder(root)
        ignored += images + others + [folder for folder in folders if folder not in categories]
    for category in categories:
        found, wrong, rest = read_category(category, root)
        records += found
        problems += wrong
        ignored += rest
    raise_problems(f"{root}: {fault}", problems)
    names = tuple(path.relative_to(root).as_posix() for path in ignored)
    return DataFolder(root=root, layout=layout, records=tuple(records), ignored=names)

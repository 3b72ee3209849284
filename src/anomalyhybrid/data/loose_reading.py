"""Reading a data root although files do not pair, so that the rest of it can be checked too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from anomalyhybrid.data import eyecandies, mvtec_3d, mvtec_ad, rgb_depth
from anomalyhybrid.data.categories import Found
from anomalyhybrid.data.depth_pairs import attach_depth
from anomalyhybrid.data.files import existing_folder
from anomalyhybrid.data.reading import read_base_set, read_data
from anomalyhybrid.data.records import DataFolder, Layout, Record
from anomalyhybrid.errors import DataError

_Walk = tuple[Sequence[Path], Callable[[Path, Path], Found], Layout]


def read_loosely(root: Path, *, base_set: bool = False) -> tuple[DataFolder, list[str]]:
    """Read a data root or a base set; what does not pair is returned and not raised.

    Args:
        root: As for ``read_data`` or ``read_base_set``.
        base_set: Whether it is a base set.

    Returns:
        ``(records, problems)``; each problem as the readers word it, ``<path below the root>: <what>``. Records may
        lack the mask or depth that a problem names. Of the two base-set layouts without ``test/`` nothing is read
        loosely: their reader's error stands.

    Raises:
        DataError: The reader's own, for all that is no matter of pairs.
    """
    root = existing_folder(root)
    read = read_base_set if base_set else read_data
    try:
        return read(root), []
    except DataError:
        walk = _walk(root, base_set)
        if walk is None:
            raise
        folders, read_category, layout = walk
        found = [read_category(folder, root) for folder in folders]
        problems = [problem for _, some, _ in found for problem in some]
        if not problems:
            raise
    records: list[Record] = [record for some, _, _ in found for record in some]
    ignored = tuple(path.relative_to(root).as_posix() for _, _, rest in found for path in rest)
    folder = DataFolder(root=root, layout=layout, records=tuple(records), ignored=ignored)
    return (attach_depth(folder) if layout == "mvtec_ad" else folder), problems


def _walk(root: Path, base_set: bool) -> _Walk | None:
    """The category folders of a root and their reader, in the order in which ``read_data`` looks."""
    if folders := mvtec_3d.mvtec_3d_folders(root, defects_alone=base_set):
        return folders, mvtec_3d.read_category, "mvtec_3d"
    if folders := eyecandies.eyecandies_folders(root, defects_alone=base_set):
        return folders, eyecandies.read_category, "eyecandies"
    if folders := rgb_depth.rgb_depth_folders(root):
        return folders, rgb_depth.read_category, "rgb_depth"
    single = mvtec_ad.is_category(root, defects_alone=base_set)
    folders = [root] if single else mvtec_ad.category_folders(root, defects_alone=base_set)
    return (folders, partial(mvtec_ad.read_category, defects_alone=base_set), "mvtec_ad") if folders else None

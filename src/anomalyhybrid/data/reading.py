"""Reading: one entry for every layout of a data root, and the optional base set of real defects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.data.depth_pairs import attach_depth
from anomalyhybrid.data.eyecandies import eyecandies_folders, read_eyecandies
from anomalyhybrid.data.files import existing_folder, list_folder, raise_problems
from anomalyhybrid.data.folder import read_folder
from anomalyhybrid.data.mvtec_3d import mvtec_3d_folders, read_mvtec_3d
from anomalyhybrid.data.mvtec_ad import (
    category_folders,
    is_category,
    pair_masks,
    read_mvtec_ad,
)
from anomalyhybrid.data.records import GOOD, DataFolder, Layout, Record
from anomalyhybrid.data.rgb_depth import read_rgb_depth, rgb_depth_folders
from anomalyhybrid.errors import DataError


def read_data(root: Path) -> DataFolder:
    """Read a data root, recognising its layout; ``describe()`` of the result says what was found.

    Args:
        root: A category folder in MVTec AD, MVTec 3D-AD or Eyecandies layout, a folder of RGB and depth pairs, a
            folder of several of one of these, or a plain folder of good images.

    Returns:
        The records, with paths relative to the root, and with the images' measured depth where there is any.

    Raises:
        DataError: The folder is missing, empty, half in MVTec AD layout, or its masks do not pair with its images.
    """
    root = existing_folder(root)
    if (deep := _read_deep(root, defects_alone=False)) is not None:
        return deep
    if is_category(root) or category_folders(root):
        return attach_depth(read_mvtec_ad(root))
    if (root / "ground_truth").is_dir() or (root / "test" / GOOD).is_dir() or (root / "train").is_dir():
        raise DataError(
            f"{root} looks like MVTec AD layout but has no train/good; put the good images into train/good "
            "(a generated set has them when made with --normals), or give a plain folder that holds good images alone"
        )
    if halves := category_folders(root, defects_alone=True):
        raise DataError(
            f"{root} holds MVTec AD categories without train/good ({', '.join(folder.name for folder in halves)}); "
            "put their good images into train/good (a generated set has them when made with --normals)"
        )
    return read_folder(root)


def _read_deep(root: Path, *, defects_alone: bool) -> DataFolder | None:
    """Read a layout that has depth of its own; None for all others."""
    three_d = mvtec_3d_folders(root, defects_alone=defects_alone)
    candies = eyecandies_folders(root, defects_alone=defects_alone)
    pairs = rgb_depth_folders(root)
    plain = [folder for folder in category_folders(root) if folder not in three_d]
    kinds = {"MVTec 3D-AD": three_d, "Eyecandies": candies, "RGB and depth pairs": pairs, "MVTec AD": plain}
    present = {name: folders for name, folders in kinds.items() if folders}
    if len(present) > 1:
        found = "; ".join(f"{name}: {', '.join(folder.name for folder in some)}" for name, some in present.items())
        raise DataError(f"{root} holds folders of several layouts ({found}); give each of them as a root of its own")
    if three_d:
        return read_mvtec_3d(root, defects_alone=defects_alone)
    if candies:
        return read_eyecandies(root, defects_alone=defects_alone)
    return read_rgb_depth(root) if pairs else None


def read_many(roots: Sequence[Path]) -> DataFolder:
    """Read several data roots as one; each may have its own layout.

    Args:
        roots: One or more folders, none inside another.

    Returns:
        All records, with paths relative to the roots' common parent (to the root itself if it is one alone).

    Raises:
        DataError: No root, one inside another, two categories of one name, or as for ``read_data``.
    """
    if not roots:
        raise DataError("no data folder given; give at least one")
    if len(roots) == 1:
        return read_data(roots[0])
    absolute = [existing_folder(root) for root in roots]
    real = [path.resolve() for path in absolute]
    for i, first in enumerate(real):
        for j, second in enumerate(real):
            if i != j and second.is_relative_to(first):
                raise DataError(f"{absolute[j]} is inside {absolute[i]} or the same; give each folder once")
    try:
        parent = Path(os.path.commonpath(absolute))
    except ValueError as error:
        raise DataError("the data folders lie on different drives; move them to one") from error
    folders = [read_data(root) for root in absolute]
    owners: dict[str, Path] = {}
    for folder in folders:
        for category in folder.categories:
            if category in owners:
                raise DataError(
                    f"category {category!r} is in {owners[category]} and in {folder.root}; rename one folder"
                )
            owners[category] = folder.root
    layouts = {folder.layout for folder in folders}
    return DataFolder(
        root=parent,
        layout=folders[0].layout if len(layouts) == 1 else "mixed",
        records=tuple(_moved(record, parent) for folder in folders for record in folder.records),
        ignored=tuple(
            (folder.root / name).relative_to(parent).as_posix() for folder in folders for name in folder.ignored
        ),
    )


def _moved(record: Record, root: Path) -> Record:
    return replace(record, relative=record.path.relative_to(root).as_posix())


def read_base_set(root: Path, *, category: str | None = None) -> DataFolder:
    """Read a base set: a few real defects with masks that generation may learn from or draw on.

    Layouts: MVTec AD, MVTec 3D-AD or Eyecandies (their defects; good images need not be there), RGB and depth pairs
    (those with a mask), ``<defect>/<image>`` beside ``<defect>/<stem>_mask.png``, or ``images/`` and ``masks/`` with
    equal stems (or ``<stem>_mask``).

    Args:
        root: The folder.
        category: Category of the defects; by default the folder's name, or the category folders'.

    Returns:
        Defect records alone, all with ``split="train"`` and a mask.

    Raises:
        DataError: None of the layouts, no defect, masks that do not pair, a category for several categories.
    """
    root = existing_folder(root)
    folder = _read_deep(root, defects_alone=True)
    if folder is None and (is_category(root, defects_alone=True) or category_folders(root, defects_alone=True)):
        folder = attach_depth(read_mvtec_ad(root, defects_alone=True))
    if folder is not None:
        if not folder.defects():
            where = " below test/" if folder.layout in ("mvtec_ad", "mvtec_3d") else ""
            raise DataError(f"{root} holds no defect image{where}; a base set needs at least one")
        if category is not None and len(folder.categories) > 1:
            raise DataError(
                f"{root} holds several categories ({', '.join(folder.categories)}), which {category!r} "
                "cannot all be; leave the name out or give one category folder"
            )
        records = tuple(replace(record, split="train") for record in folder.defects())
        if category is not None:
            records = tuple(replace(record, category=category) for record in records)
        return replace(folder, records=records)
    name = category or root.name
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return _read_pairs(root, name, "images_masks", {"defect": (root / "images", root / "masks")})
    defects = {folder.name: (folder, folder) for folder in list_folder(root)[1] if list_folder(folder)[0]}
    if not defects or GOOD in defects:
        why = "a folder named good" if defects else "no image in a folder of it"
        raise DataError(
            f"{root} is not a base set ({why}); use MVTec AD layout, <defect>/<stem>.png beside "
            "<defect>/<stem>_mask.png, or images/ and masks/ with equal stems"
        )
    return _read_pairs(root, name, "defect_folders", defects)


def _read_pairs(root: Path, category: str, layout: Layout, places: dict[str, tuple[Path, Path]]) -> DataFolder:
    records: list[Record] = []
    problems: list[str] = []
    ignored: list[Path] = []
    for defect, (image_folder, mask_folder) in places.items():
        images, folders, others = list_folder(image_folder)
        beside = image_folder == mask_folder
        masks = list_folder(mask_folder)[0]
        if beside:
            masks = [path for path in images if path.stem.endswith("_mask")]
            images = [path for path in images if path not in masks]
        pairs, wrong = pair_masks(images, masks, root=root, suffix_only=beside)
        problems += wrong
        ignored += folders + others
        records += [
            Record(
                path=path,
                relative=path.relative_to(root).as_posix(),
                category=category,
                defect=defect,
                mask_path=pairs.get(path),
                split="train",
            )
            for path in images
        ]
    raise_problems(f"{root}: images and masks of the base set do not fit together; mend these:", problems)
    if not records:
        raise DataError(f"{root} holds no defect image; a base set needs at least one")
    names = tuple(path.relative_to(root).as_posix() for path in ignored)
    return DataFolder(root=root, layout=layout, records=tuple(records), ignored=names)

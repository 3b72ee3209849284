"""Reader of the MVTec AD layout: train/good, test/<defect>, ground_truth/<defect>."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from anomalyhybrid.data.categories import Found, read_categories
from anomalyhybrid.data.files import by_stem, existing_folder, list_folder
from anomalyhybrid.data.records import GOOD, DataFolder, Record, Split
from anomalyhybrid.errors import DataError

_MASK_SUFFIX = "_mask"


def is_category(folder: Path, *, defects_alone: bool = False) -> bool:
    """Say whether a folder is one category in MVTec AD layout.

    Args:
        folder: An existing folder.
        defects_alone: Whether ``test`` with ``ground_truth`` is enough, as in a generated set without good images.

    Returns:
        Whether it holds ``train/good``, or the two others where they are enough.
    """
    if (folder / "train" / GOOD).is_dir():
        return True
    return defects_alone and (folder / "test").is_dir() and (folder / "ground_truth").is_dir()


def category_folders(root: Path, *, defects_alone: bool = False) -> list[Path]:
    """List the category folders (see ``is_category``) directly below a root, in natural order."""
    return [folder for folder in list_folder(root)[1] if is_category(folder, defects_alone=defects_alone)]


def pair_masks(
    images: Sequence[Path], masks: Sequence[Path], *, root: Path, suffix_only: bool = False
) -> tuple[dict[Path, Path], list[str]]:
    """Pair images with masks by stem: ``<stem>_mask`` or ``<stem>``, any image ending.

    Args:
        images: Defect images of one folder.
        masks: Candidate masks.
        root: Where the names in the problems start.
        suffix_only: Accept only ``<stem>_mask``, for masks that lie beside their images.

    Returns:
        ``(masks by image, problems)``; a problem for each image without a mask or with several, each mask
        that pairs with nothing, and images that share a stem.
    """
    files = by_stem(masks)

    def name(path: Path) -> str:
        return path.relative_to(root).as_posix()

    pairs: dict[Path, Path] = {}
    problems: list[str] = []
    used: set[Path] = set()
    for stem, sharers in by_stem(images).items():
        found = files.get(stem + _MASK_SUFFIX, []) + ([] if suffix_only else files.get(stem, []))
        used.update(found)
        if len(sharers) > 1:
            problems.append(f"{', '.join(map(name, sharers))}: several images of one stem; rename one")
        elif len(found) > 1:
            problems.append(f"{name(sharers[0])}: several masks ({', '.join(map(name, found))}); keep one")
        elif not found:
            problems.append(f"{name(sharers[0])}: no mask named {stem}{_MASK_SUFFIX}.png")
        else:
            pairs[sharers[0]] = found[0]
    problems += [f"{name(path)}: a mask without an image of its stem" for path in masks if path not in used]
    return pairs, problems


def _good(category: Path, root: Path, split: Split, *, required: bool = False) -> tuple[list[Record], list[Path]]:
    images, folders, others = list_folder(category / split / GOOD)
    if required and not images:
        hint = ""
        if any(folder.name == "rgb" for folder in folders):
            hint = "; it looks like MVTec 3D-AD without its depth: put the xyz/ folder of the same names beside rgb/"
        raise DataError(f"{category / split / GOOD} holds no image{hint}")
    records = [_record(path, root, category.name, GOOD, None, split) for path in images]
    return records, folders + others


def _record(path: Path, root: Path, category: str, defect: str, mask: Path | None, split: Split) -> Record:
    return Record(
        path=path,
        relative=path.relative_to(root).as_posix(),
        category=category,
        defect=defect,
        mask_path=mask,
        split=split,
    )


def read_category(category: Path, root: Path, *, defects_alone: bool) -> Found:
    """Read one category: ``(records, problems, paths left alone)``."""
    records, ignored = _good(category, root, "train", required=not defects_alone)
    more, rest = _good(category, root, "test")
    records += more
    ignored += rest
    problems: list[str] = []
    defects = [folder for folder in list_folder(category / "test")[1] if folder.name != GOOD]
    for folder in defects:
        images, folders, others = list_folder(folder)
        masks, mask_folders, mask_others = list_folder(category / "ground_truth" / folder.name)
        pairs, found = pair_masks(images, masks, root=root)
        problems += found
        ignored += folders + others + mask_folders + mask_others
        records += [_record(path, root, category.name, folder.name, pairs.get(path), "test") for path in images]
    known = {folder.name for folder in defects} | {GOOD}  # some sets keep black masks in ground_truth/good
    for folder in list_folder(category / "ground_truth")[1]:
        if folder.name not in known:
            names = [path.relative_to(root).as_posix() for path in list_folder(folder)[0]]
            problems += [f"{name}: a mask without an image of its stem" for name in names]
    for part, keep in (("train", {GOOD}), ("test", known), ("ground_truth", known - {GOOD}), ("", _PARTS)):
        images, folders, others = list_folder(category / part)
        ignored += images + others + [folder for folder in folders if folder.name not in keep]
    return records, problems, ignored


_PARTS = {"train", "test", "ground_truth"}


def read_mvtec_ad(root: Path, *, defects_alone: bool = False) -> DataFolder:
    """Read one category folder or a root with several.

    Args:
        root: A folder that holds ``train/good``, or whose folders do.
        defects_alone: Accept categories without good images that hold ``test`` and ``ground_truth``.

    Returns:
        The records; masks are paired by stem (``<stem>_mask`` or ``<stem>``). No file is opened:
        ``loading.check_images`` finds images and masks that cannot be used.

    Raises:
        DataError: No ``train/good``, no good image, or a list of problems: defects without masks, masks
            without images, ambiguous names.
    """
    root = existing_folder(root)
    single = is_category(root, defects_alone=defects_alone)
    categories = [root] if single else category_folders(root, defects_alone=defects_alone)
    if not categories:
        raise DataError(f"{root} is not in MVTec AD layout: neither it nor a folder in it holds train/good")
    return read_categories(
        root,
        categories,
        partial(read_category, defects_alone=defects_alone),
        layout="mvtec_ad",
        fault="images and masks do not fit together; mend or remove these:",
    )

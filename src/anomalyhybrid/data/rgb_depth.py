"""Reader of RGB and depth pairs: ``rgb/``, ``depth/`` and ``ground_truth/`` with equal stems."""

from __future__ import annotations

from pathlib import Path

from anomalyhybrid.data.categories import Found, read_categories
from anomalyhybrid.data.depth_pairs import is_black, pair_depth
from anomalyhybrid.data.files import existing_folder, list_folder
from anomalyhybrid.data.mvtec_ad import pair_masks
from anomalyhybrid.data.records import GOOD, DataFolder, Record
from anomalyhybrid.errors import DataError

DEFECT = "defect"
"""Defect name of all images with a mask."""

_IMAGES = ("rgb", "images")
_DEPTHS = ("depth", "disparity")
_MASKS = ("ground_truth", "masks", "label")


def is_rgb_depth(folder: Path) -> bool:
    """Say whether a folder holds images and depth as pairs: ``rgb`` or ``images``, and ``depth`` or ``disparity``."""
    return all(any((folder / name).is_dir() for name in names) for names in (_IMAGES, _DEPTHS))


def rgb_depth_folders(root: Path) -> list[Path]:
    """List the categories at or directly below a root (see ``is_rgb_depth``), in natural order."""
    return [root] if is_rgb_depth(root) else [folder for folder in list_folder(root)[1] if is_rgb_depth(folder)]


def read_rgb_depth(root: Path) -> DataFolder:
    """Read one folder of pairs, or a root with several; each is a category.

    ``rgb/`` (or ``images/``), ``depth/`` (or ``disparity/``) and ``ground_truth/`` (or ``masks/``, ``label/``) hold
    files of equal stems (masks also ``<stem>_mask``); without a folder of masks all images are good. An image
    without mask, or with a black one, is good, so masks are opened. There may be no good image at all.
    Which end is near is not known from the files, not even from the folder's name: say it with the depth's kind.

    Args:
        root: The folder.

    Returns:
        The records with ``depth_path``: good images are ``train``, defects ``test``, as nothing else is known.

    Raises:
        DataError: Not this layout, two folders for one thing, no image, or a list of problems: images without
            depth, depth or masks without images, ambiguous names.
    """
    root = existing_folder(root)
    categories = rgb_depth_folders(root)
    if not categories:
        raise DataError(f"{root} holds no RGB and depth pairs: rgb/ (or images/) beside depth/ (or disparity/)")
    return read_categories(
        root,
        categories,
        read_category,
        layout="rgb_depth",
        fault="images, depth and masks do not fit together; mend or remove these:",
    )


def _one(category: Path, names: tuple[str, ...]) -> Path | None:
    """The one folder that has one of the names; None without any."""
    found = [category / name for name in names if (category / name).is_dir()]
    if len(found) > 1:
        raise DataError(f"{category} holds {' and '.join(path.name for path in found)}; keep one of them")
    return found[0] if found else None


def read_category(category: Path, root: Path) -> Found:
    """Read one category: ``(records, problems, paths left alone)``."""
    places = [_one(category, names) for names in (_IMAGES, _DEPTHS, _MASKS)]
    lists = [([], [], []) if place is None else list_folder(place) for place in places]
    images, depths, masks = (files for files, _, _ in lists)
    if not images:
        raise DataError(f"{places[0]} holds no image")
    ignored = [path for _, folders, others in lists for path in (*folders, *others)]
    loose, folders, others = list_folder(category)
    ignored += loose + others + [folder for folder in folders if folder not in places]
    depth, problems = pair_depth(images, depths, root=root)
    named = {path.stem for path in masks}
    marked = [path for path in images if path.stem in named or f"{path.stem}_mask" in named]
    mask, wrong = pair_masks(marked, masks, root=root)
    black = {path for path, file in mask.items() if is_black(file)}
    records = [
        Record(
            path=path,
            relative=path.relative_to(root).as_posix(),
            category=category.name,
            defect=DEFECT if path in mask and path not in black else GOOD,
            mask_path=None if path in black else mask.get(path),
            split="test" if path in mask and path not in black else "train",
            depth_path=depth.get(path),
        )
        for path in images
    ]
    records.sort(key=lambda record: not record.is_good)  # stable: names stay in order
    return records, problems + wrong, ignored

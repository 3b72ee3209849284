"""Reader of the MVTec 3D-AD layout: train/good, validation/good, test/<defect>, each with rgb/, xyz/ and gt/."""

from __future__ import annotations

from pathlib import Path

from anomalyhybrid.data.categories import Found, read_categories
from anomalyhybrid.data.depth_pairs import pair_depth
from anomalyhybrid.data.files import existing_folder, list_folder
from anomalyhybrid.data.mvtec_ad import pair_masks
from anomalyhybrid.data.records import GOOD, DataFolder, Record, Split
from anomalyhybrid.errors import DataError

_RGB, _XYZ, _GT = "rgb", "xyz", "gt"


def is_mvtec_3d_category(folder: Path, *, defects_alone: bool = False) -> bool:
    """Say whether a folder is one category in MVTec 3D-AD layout.

    Args:
        folder: An existing folder.
        defects_alone: Whether test defects with both folders are enough.

    Returns:
        Whether ``train/good`` (or a folder of ``test``, where that is enough) holds ``rgb`` and ``xyz``.
    """
    places = [folder / "train" / GOOD]
    if defects_alone:
        places += list_folder(folder / "test")[1]
    return any((place / _RGB).is_dir() and (place / _XYZ).is_dir() for place in places)


def mvtec_3d_folders(root: Path, *, defects_alone: bool = False) -> list[Path]:
    """List the categories at or directly below a root (see ``is_mvtec_3d_category``), in natural order."""
    if is_mvtec_3d_category(root, defects_alone=defects_alone):
        return [root]
    return [folder for folder in list_folder(root)[1] if is_mvtec_3d_category(folder, defects_alone=defects_alone)]


def read_mvtec_3d(root: Path, *, defects_alone: bool = False) -> DataFolder:
    """Read one category folder or a root with several.

    Assumed, as the set is published: ``<category>/{train,validation,test}/<defect>/rgb/NNN.png`` with the organised
    cloud of the same pixels in ``xyz/NNN.tiff`` (float32 x, y, z in metres, zeros where nothing was measured) and
    the mask in ``gt/NNN.png``. Masks of good images are black and left alone. The validation images are all good;
    they become ``train`` records, as there is nothing here that needs a third side. ``calibration`` is not read.

    Args:
        root: A folder that holds ``train/good/rgb`` and ``train/good/xyz``, or whose folders do.
        defects_alone: Accept categories without good training images.

    Returns:
        The records with ``depth_path``. No file is opened.

    Raises:
        DataError: Not this layout, no good training image, or a list of problems: images without cloud or mask, clouds
            or masks without image, ambiguous names.
    """
    root = existing_folder(root)
    categories = mvtec_3d_folders(root, defects_alone=defects_alone)
    if not categories:
        raise DataError(
            f"{root} is not in MVTec 3D-AD layout: neither it nor a folder in it holds train/good/rgb and xyz"
        )

    def read(category: Path, root: Path) -> Found:
        found = read_category(category, root)
        if not defects_alone and not any(record.is_good and record.split == "train" for record in found[0]):
            raise DataError(f"{category / 'train' / GOOD / _RGB} holds no image; put the good images there")
        return found

    return read_categories(
        root,
        categories,
        read,
        layout="mvtec_3d",
        fault="images, clouds and masks do not fit together; mend or remove these:",
    )


def read_category(category: Path, root: Path) -> Found:
    """Read one category: ``(records, problems, paths left alone)``."""
    records: list[Record] = []
    problems: list[str] = []
    images, folders, others = list_folder(category)
    sides: dict[str, Split] = {"train": "train", "validation": "train", "test": "test"}
    ignored = images + others + [folder for folder in folders if folder.name not in sides]
    for side, split in sides.items():
        images, folders, others = list_folder(category / side)
        ignored += images + others
        folders.sort(key=lambda folder: folder.name != GOOD)
        for folder in folders:
            if side != "test" and folder.name != GOOD:
                ignored.append(folder)
                continue
            found, wrong, rest = _read_defect(folder, category, root, split)
            records += found
            problems += wrong
            ignored += rest
    return records, problems, ignored


def _read_defect(folder: Path, category: Path, root: Path, split: Split) -> Found:
    """Read the folder of one defect type, or of good images, of one side."""
    images, inner, others = list_folder(folder / _RGB)
    depths, depth_folders, depth_others = list_folder(folder / _XYZ)
    masks: dict[Path, Path] = {}
    depth, problems = pair_depth(images, depths, root=root)
    ignored = inner + others + depth_folders + depth_others
    if folder.name != GOOD:
        files, mask_folders, mask_others = list_folder(folder / _GT)
        masks, wrong = pair_masks(images, files, root=root)
        problems += wrong
        ignored += mask_folders + mask_others
    loose, folders, others = list_folder(folder)
    ignored += loose + others + [one for one in folders if one.name not in (_RGB, _XYZ, _GT)]
    records = [
        Record(
            path=path,
            relative=path.relative_to(root).as_posix(),
            category=category.name,
            defect=folder.name,
            mask_path=masks.get(path),
            split=split,
            depth_path=depth.get(path),
        )
        for path in images
    ]
    return records, problems, ignored

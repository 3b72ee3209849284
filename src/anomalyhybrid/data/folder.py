"""Reader of a plain folder of good images."""

from __future__ import annotations

from pathlib import Path

from anomalyhybrid.data.files import IMAGE_SUFFIXES, existing_folder, walk_images
from anomalyhybrid.data.records import GOOD, DataFolder, Record
from anomalyhybrid.errors import DataError


def read_folder(root: Path) -> DataFolder:
    """Read a folder of good images with any names, nested folders included.

    Args:
        root: The folder; its name is the category. Hidden files, files of other kinds, and generated sets and
            training runs inside it are left alone.

    Returns:
        One ``train`` record for each image, in natural order.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    root = existing_folder(root)
    images, others = walk_images(root)
    if not images:
        outputs = [path.name for path in others if path.is_dir()]
        hint = f"; not read are its generated sets and training runs: {', '.join(outputs)}" if outputs else ""
        raise DataError(f"{root} holds no image; files that are read end in {', '.join(IMAGE_SUFFIXES)}{hint}")
    records = tuple(
        Record(
            path=path,
            relative=path.relative_to(root).as_posix(),
            category=root.name,
            defect=GOOD,
            mask_path=None,
            split="train",
        )
        for path in images
    )
    ignored = tuple(path.relative_to(root).as_posix() for path in others)
    return DataFolder(root=root, layout="folder", records=records, ignored=ignored)

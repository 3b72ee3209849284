"""Pairing images with their depth files, for all readers of 3-D data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.data.decoding import decode
from anomalyhybrid.data.depth_files import DEPTH_SUFFIXES
from anomalyhybrid.data.files import by_stem, list_folder
from anomalyhybrid.data.records import DataFolder
from anomalyhybrid.errors import DataError

DEPTH_FOLDER = "depth"
"""Folder beside ``train`` and ``test`` that repeats their tree with depth files (rendered parts)."""


def pair_depth(images: Sequence[Path], depths: Sequence[Path], *, root: Path) -> tuple[dict[Path, Path], list[str]]:
    """Pair images with depth files by equal stems.

    Args:
        images: Images of one folder.
        depths: Its depth files; names with other endings than ``DEPTH_SUFFIXES`` pair with nothing.
        root: Where the names in the problems start.

    Returns:
        ``(depth by image, problems)``; a problem for each image without depth or with several files, for each depth
        file without an image, and for images that share a stem.
    """
    files = _depth_by_stem(depths)
    sharing = by_stem(images)

    def name(path: Path) -> str:
        return path.relative_to(root).as_posix()

    pairs: dict[Path, Path] = {}
    problems: list[str] = []
    for stem, sharers in sharing.items():
        found = files.get(stem, [])
        if len(sharers) > 1:
            problems.append(f"{', '.join(map(name, sharers))}: several images of one stem; rename one")
        elif not found:
            problems.append(f"{name(sharers[0])}: no depth file of that stem with {', '.join(DEPTH_SUFFIXES)}")
        elif len(found) > 1:
            problems.append(f"{name(sharers[0])}: several depth files ({', '.join(map(name, found))}); keep one")
        else:
            pairs[sharers[0]] = found[0]
    problems += [
        f"{name(path)}: depth without an image of its stem"
        for path in depths
        if path.stem not in sharing or path.suffix.lower() not in DEPTH_SUFFIXES
    ]
    return pairs, problems


def _depth_by_stem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    return by_stem([path for path in paths if path.suffix.lower() in DEPTH_SUFFIXES])


def is_black(path: Path) -> bool:
    """Say whether a mask marks nothing, as sets write them for good images.

    Args:
        path: The mask.

    Returns:
        Whether all its pixels are 0; False for a file that cannot be read, so that ``check_images`` names it.
    """
    try:
        pixels = decode(path)
    except DataError:
        return False
    return not (pixels if pixels.ndim == 2 else pixels[..., :3]).any()


def attach_depth(folder: DataFolder) -> DataFolder:
    """Give records in MVTec AD layout the depth files of ``<category>/depth/<split>/<defect>/<stem>``.

    Args:
        folder: What was read, without depth.

    Returns:
        The same records, with ``depth_path`` where there is a file; a folder named ``depth`` that holds none of
        them stays among those not read.

    Raises:
        DataError: Two depth files for one image.
    """
    used: set[str] = set()
    known: dict[Path, dict[str, list[Path]]] = {}
    records = []
    for record in folder.records:
        category = record.path.parent.parent.parent
        place = category / DEPTH_FOLDER / record.path.parent.relative_to(category)
        if place not in known:
            known[place] = _depth_by_stem(list_folder(place)[0])
        files = known[place].get(record.path.stem, [])
        if len(files) > 1:
            raise DataError(f"{record.path} has more than one depth file: {', '.join(map(str, files))}; keep one")
        if files:
            used.add((category / DEPTH_FOLDER).relative_to(folder.root).as_posix())
            record = replace(record, depth_path=files[0])
        records.append(record)
    return replace(folder, records=tuple(records), ignored=tuple(name for name in folder.ignored if name not in used))

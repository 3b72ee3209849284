"""Reader of the Eyecandies layout: all files of a split in one ``data`` folder, told apart by their endings."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from anomalyhybrid.data.categories import Found, read_categories
from anomalyhybrid.data.depth_pairs import is_black
from anomalyhybrid.data.files import existing_folder, list_folder
from anomalyhybrid.data.records import GOOD, DataFolder, Record, Split
from anomalyhybrid.errors import DataError

SEVERAL = "combined"
"""Defect name of images with defects of more than one kind."""

_IMAGE = re.compile(r"(?P<sample>[0-9]+)_image_(?P<light>[0-9]+)")
_MASK = re.compile(r"(?P<sample>[0-9]+)_(?:(?P<kind>[a-z]+)_)?mask")
_SPLITS: dict[str, Split] = {"train": "train", "val": "train", "test_public": "test", "test_private": "test"}


@dataclass(slots=True)
class _Sample:
    """The files of one sample."""

    images: dict[int, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    depth: Path | None = None
    info: Path | None = None


def is_eyecandies_category(folder: Path, *, defects_alone: bool = False) -> bool:
    """Say whether a folder is one category in Eyecandies layout.

    Args:
        folder: An existing folder.
        defects_alone: Whether a test side is enough.

    Returns:
        Whether ``train/data`` (or, where that is enough, a test side's ``data``) holds ``<number>_image_<light>``.
    """
    sides = _SPLITS if defects_alone else ("train",)
    return any(_IMAGE.fullmatch(path.stem) for side in sides for path in list_folder(folder / side / "data")[0])


def eyecandies_folders(root: Path, *, defects_alone: bool = False) -> list[Path]:
    """List the categories at or directly below a root (see ``is_eyecandies_category``), in natural order."""
    if is_eyecandies_category(root, defects_alone=defects_alone):
        return [root]
    return [folder for folder in list_folder(root)[1] if is_eyecandies_category(folder, defects_alone=defects_alone)]


def read_eyecandies(root: Path, *, defects_alone: bool = False) -> DataFolder:
    """Read one category folder or a root with several.

    Assumed, as the set is published: ``<category>/{train,val,test_public,test_private}/data`` with, for each sample,
    ``NNN_image_K.png`` under six lightings, ``NNN_depth.png`` (16 bits) with its range in metres in
    ``NNN_info_depth.yaml`` (or .yml), ``NNN_mask.png`` and one mask for each kind of defect (``NNN_bumps_mask.png``,
    ``dents``, ``colors``, ``normals``). Of the lightings the highest K that all samples of the category have is taken:
    in the full set K = 5, all lights on. ``train`` and ``val`` are good and become ``train`` records. A test sample
    is good when its mask is black, so the masks of the test sides are opened; else it is named after the one kind
    whose mask is not black, or ``combined``. ``test_private`` as published has no masks and is then not read.

    Args:
        root: A folder that holds ``train/data``, or whose folders do.
        defects_alone: Accept categories without training images.

    Returns:
        The records with ``depth_path``.

    Raises:
        DataError: Not this layout, or a list of problems: samples without image, depth or its range, test samples
            without mask.
    """
    root = existing_folder(root)
    categories = eyecandies_folders(root, defects_alone=defects_alone)
    if not categories:
        raise DataError(
            f"{root} is not in Eyecandies layout: neither it nor a folder in it holds train/data/000_image_0.png"
        )
    return read_categories(
        root,
        categories,
        read_category,
        layout="eyecandies",
        fault="the files of some samples are not complete; mend or remove these:",
    )


def read_category(category: Path, root: Path) -> Found:
    """Read one category: ``(records, problems, paths left alone)``."""
    images, folders, others = list_folder(category)
    ignored = images + others + [folder for folder in folders if folder.name not in _SPLITS]
    sides: dict[str, dict[str, _Sample]] = {}
    for side in _SPLITS:
        samples = _samples(category / side / "data")
        if samples and side == "test_private" and not any(sample.masks for sample in samples.values()):
            ignored.append(category / side)  # published without ground truth
            continue
        sides[side] = samples
    lights = [set(sample.images) for samples in sides.values() for sample in samples.values()]
    common = set.intersection(*lights) if lights else set()
    light = max(common) if common else None
    records: list[Record] = []
    problems: list[str] = []
    for side, samples in sides.items():
        for name, sample in samples.items():
            where = f"{(category / side / 'data').relative_to(root).as_posix()}/{name}"
            problems += [f"{where}{what}" for what in _missing(sample, side, light)]
            if light is not None and light in sample.images:
                records.append(_record(sample, sample.images[light], category, root, _SPLITS[side]))
    # stable, so that the sides and names stay in order
    records.sort(key=lambda record: (record.split != "train", not record.is_good, record.defect))
    return records, problems, ignored


def _samples(folder: Path) -> dict[str, _Sample]:
    """The files of each sample in a ``data`` folder, in natural order."""
    samples: dict[str, _Sample] = defaultdict(_Sample)
    images, _, others = list_folder(folder)
    for path in images:
        if found := _IMAGE.fullmatch(path.stem):
            samples[found["sample"]].images[int(found["light"])] = path
        elif found := _MASK.fullmatch(path.stem):
            samples[found["sample"]].masks[found["kind"] or ""] = path
        elif path.stem.endswith("_depth") and path.suffix.lower() == ".png":
            samples[path.stem.removesuffix("_depth")].depth = path
    for path in others:
        if path.stem.endswith("_info_depth") and path.suffix in (".yaml", ".yml"):
            samples[path.stem.removesuffix("_info_depth")].info = path
    return dict(samples)


def _missing(sample: _Sample, side: str, light: int | None) -> list[str]:
    """What a sample lacks, in words that follow its number."""
    lacks = []
    if light is None or light not in sample.images:
        lacks.append("_image_K.png: no lighting that all samples of the category have")
    if sample.depth is None:
        lacks.append("_depth.png: missing")
    if sample.info is None:
        lacks.append("_info_depth.yaml: missing, so that the unit of the depth is not known")
    if _SPLITS[side] == "test" and "" not in sample.masks:
        lacks.append("_mask.png: missing (black for good images)")
    return lacks


def _record(sample: _Sample, image: Path, category: Path, root: Path, split: Split) -> Record:
    mask = sample.masks.get("") if split == "test" else None
    if mask is not None and is_black(mask):
        mask = None
    defect = GOOD
    if mask is not None:
        kinds = [kind for kind, path in sample.masks.items() if kind and not is_black(path)]
        defect = kinds[0] if len(kinds) == 1 else SEVERAL if kinds else "defect"
    return Record(
        path=image,
        relative=image.relative_to(root).as_posix(),
        category=category.name,
        defect=defect,
        mask_path=mask,
        split=split,
        depth_path=sample.depth,
    )

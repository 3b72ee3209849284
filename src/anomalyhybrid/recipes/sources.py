"""What training and generation both begin with: readable records, extractors, base sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.extractors import make_depth_extractor, make_edge_extractor
from anomalyhybrid.conditions.measured import MEASURED, MeasuredDepth
from anomalyhybrid.data.drawn_masks import DrawnMask
from anomalyhybrid.data.files import existing_folder
from anomalyhybrid.data.loading import check_images
from anomalyhybrid.data.near_duplicates import describe_groups, duplicate_groups
from anomalyhybrid.data.reading import read_base_set, read_many
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.splits import base_split, undivided
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.taxonomy import Entry
from anomalyhybrid.models.weights import cache_folder

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Readable images of a run.

    Attributes:
        root: Folder that every record's `relative` starts from.
        categories: Names in order.
        normals: Good training images, category by category.
        base: Real defects to learn from or draw on, category by category; empty without a base set.
        drawn: Masks drawn for good images, category by category (`recipes.control`).
        taxonomy: Named defects that the images are shared among, likewise.
    """

    root: Path
    categories: tuple[str, ...]
    normals: tuple[Record, ...]
    base: tuple[Record, ...]
    drawn: tuple[DrawnMask, ...] = ()
    taxonomy: tuple[Entry, ...] = ()


def read_sources(
    data: Sequence[Path],
    base_set: Sequence[Path],
    *,
    base_part: Literal["sorted", "random", "all"],
    seed: int,
    skip_unreadable: bool,
    announce: Announce,
) -> Sources:
    """Read and check all images of a run.

    Args:
        data: Data folders.
        base_set: Folders with real defects and masks; may be the data folders themselves.
        base_part: Which part of each defect's images is the base set.
        seed: Of a random split.
        skip_unreadable: Leave unreadable images out, by name, instead of stopping.
        announce: Told what was found and what was left out.

    Raises:
        DataError: No good image, unreadable images, a base set of categories that the data lack.
    """
    folder = read_many(data)
    announce(folder.describe())
    normals = folder.normals()
    if not normals:
        raise DataError(f"{folder.root} holds no good image to learn from; put them in a folder, or below train/good")
    records: list[Record] = []
    for root in base_set:
        records += _base_records(root, folder.categories, announce)

    def on_skip(record: Record, error: DataError) -> None:
        announce(f"skipped {record.relative}: {error}")

    base = list(records)
    if base_part != "all" and records:
        # unreadable images go before the split, as in an evaluation, so that both have the same base set
        readable = check_images(records, skip_unreadable=skip_unreadable, on_skip=on_skip)
        base = _base_part(readable, base_part, seed, announce)
    common = Path(os.path.commonpath([folder.root, *(record.path.parent for record in base)]))
    checked = check_images([*normals, *base], skip_unreadable=skip_unreadable, on_skip=on_skip)
    moved = [replace(record, relative=record.path.relative_to(common).as_posix()) for record in checked]
    order = {name: number for number, name in enumerate(folder.categories)}
    moved.sort(key=lambda record: order[record.category])
    return Sources(
        root=common,
        categories=folder.categories,
        normals=tuple(record for record in moved if record.is_good),
        base=tuple(record for record in moved if not record.is_good),
    )


def _base_part(
    records: Sequence[Record], variant: Literal["sorted", "random"], seed: int, announce: Announce
) -> list[Record]:
    """The base side of the split, near-duplicates kept together."""
    groups = duplicate_groups(records)
    for text in describe_groups(records, groups):
        announce(text)
    if names := undivided(records, groups):
        announce(f"warning: all images show one original, which is on both sides of the split: {', '.join(names)}")
    return list(base_split(records, variant=variant, seed=seed, groups=groups)[0])


def _base_records(root: Path, categories: Sequence[str], announce: Announce) -> list[Record]:
    """Defects of one base-set folder, their category checked against the data's."""
    found = read_base_set(root)
    if len(categories) == 1 and len(found.categories) == 1 and found.categories != tuple(categories):
        found = read_base_set(root, category=categories[0])
    unknown = [name for name in found.categories if name not in categories]
    if unknown:
        raise DataError(
            f"base set {root} has defects of {', '.join(unknown)}, but the data have only {', '.join(categories)}; "
            "name its folders after the data's categories"
        )
    announce(found.describe())
    return list(found.records)


def make_extractors(
    edge: str, depth: str, edge_weights: str, depth_weights: str, device: torch.device
) -> tuple[EdgeExtractor, DepthExtractor | MeasuredDepth]:
    """Make both extractors; empty weight paths look in the usual places.

    For ``measured`` and ``measured_disparity`` the depth path is the folder of depth files; empty, the depth that the
    data set itself has for each image (3-D data).

    Raises:
        ConfigError: Unknown extractor.
        DataError: The folder of depth files is missing.
        WeightsError: Weights not found or not the expected ones.
    """
    edges = make_edge_extractor(edge, weights=Path(edge_weights) if edge_weights else None, device=device)
    if depth in MEASURED:
        folder = existing_folder(depth_weights) if depth_weights else None
        return edges, MeasuredDepth(folder=folder, nearer_is_larger=depth == "measured_disparity")
    return edges, make_depth_extractor(depth, weights=Path(depth_weights) if depth_weights else None, device=device)


def condition_folder(cache: Path | None) -> Path:
    """Where condition maps are kept: the given folder, or one in the user's cache."""
    return cache if cache is not None else cache_folder() / "conditions"


def best_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

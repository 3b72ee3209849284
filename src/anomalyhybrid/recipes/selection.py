"""`anomalyhybrid select`: of a generated set the defects that differ most from each other, as a set of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid import __version__
from anomalyhybrid.data.files import existing_folder, natural_key, raise_problems, resolve_inside
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.new_folder import new_folder
from anomalyhybrid.data.windows import Window
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.export.folder import check_target
from anomalyhybrid.export.items import Groups, Item, Items, copy_file, read_items
from anomalyhybrid.generation.additions import APPENDED, descriptions
from anomalyhybrid.generation.contents import other_files
from anomalyhybrid.generation.depth_rows import DEPTH_ROWS, read_depth_rows, summarise_depth, write_depth_rows
from anomalyhybrid.generation.gate_features import Eyes
from anomalyhybrid.generation.manifest import (
    DATASET,
    MANIFEST,
    SELECTED,
    SUMMARY,
    iter_rows,
    read_dataset,
    read_rows,
    write_rows,
)
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.variety import (
    GROUPS,
    Shares,
    comparable,
    looks,
    most_varied,
    outline,
    quotas,
    unscaled_eyes,
)
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.description import write_description

_NEEDED = ("model", "data_root", "data", "base_set")  # entries of `dataset.json` that are read here
_TOGETHER = 16  # images that are read and described together


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What was chosen.

    Attributes:
        defects: Defect images, of all categories together.
        of: Defect images that they were chosen from.
        good: Good images, which are all kept.
        left_out: Rejected images, which are never chosen.
    """

    defects: int
    of: int
    good: int
    left_out: int


def select(
    dataset: Path,
    out: Path,
    *,
    count: int,
    types: Shares = "set",
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Selected:
    """Write the most varied defects of a finished set, and all its good images, as a set of its own.

    Files are copied. Ids, rows and settings are the set's, so that an image can be made again. The choice depends on
    the set, the number and `types` alone. `out` appears when all is written.

    Args:
        dataset: Folder of the set; not one of hybrids.
        out: Folder of the new set.
        count: Defect images of each category.
        types: ``set`` keeps the proportions of the defect types, ``equal`` takes them equally often as far as their
            numbers allow.
        overwrite: Replace an earlier selection in `out`.
        report: Given images done and in all; each is looked at, and those of the selection are copied.

    Raises:
        ConfigError: A count below 1, or unknown `types`.
        DataError: No set, an unfinished one or one of hybrids, too few defects, missing files, a folder that holds
            other things than a selection, disk full.

    Source: ADR-020.
    """
    if count < 1:
        raise ConfigError(f"count is {count}; select at least one defect")
    if types not in get_args(Shares):
        raise ConfigError(f"types is {types!r}; it must be one of {', '.join(get_args(Shares))}")
    if not dataset.is_dir():
        raise DataError(
            f"{dataset} {'is a file' if dataset.exists() else 'does not exist'}; give the folder of a generated set"
        )
    dataset = existing_folder(dataset)
    about = read_dataset(dataset)
    _check_set(dataset, about)
    _check_out(dataset, out, overwrite)
    groups, _ = read_items(dataset, include_rejected=True)
    places = {category: _sorted_places(items) for category, items in groups.items()}
    _check_numbers(dataset, places, count)
    tick = _ticker(report, sum(map(len, places.values())) + count * len(places) + sum(i.good for i in groups.values()))
    size = int(descriptions(about)[0]["model"]["metadata"]["size"])
    with new_folder(out) as making:
        chosen = {name: _chosen(groups[name], own, count, types, size, tick) for name, own in places.items()}
        _write(dataset, making, groups, chosen, tick)
        entry = {
            "from": dataset.as_posix(),
            "manifest_sha256": sha256_of(dataset / MANIFEST),
            "defects": {name: len(own) for name, own in places.items()},
            "count": count,
            "types": types,
            "compared_by": list(GROUPS),
            "made_by": f"anomalyhybrid {__version__} select",
        }
        write_description(making, _described(dataset, making, about, entry))
        good = sum(items.good for items in groups.values())
        defects = sum(map(len, places.values()))
        left_out = sum(map(len, groups.values())) - good - defects
        return Selected(defects=count * len(places), of=defects, good=good, left_out=left_out)


def _check_set(dataset: Path, about: Mapping[str, Any]) -> None:
    if about.get("kind") == "hybrids":
        raise DataError(f"{dataset} is a set of hybrids, which have no masks to compare; select from a set of defects")
    for one in descriptions(about):
        if missing := [name for name in _NEEDED if name not in one]:
            raise DataError(f"{dataset / DATASET} lacks {', '.join(missing)}; give the folder of a set that is whole")
    if SUMMARY not in about:
        again = "--append --resume" if about.get(APPENDED) else "--resume"
        raise DataError(f"{dataset} is not finished; finish it with generate {again} before selecting from it")


def _check_out(dataset: Path, out: Path, overwrite: bool) -> None:
    check_target(dataset, out, overwrite=overwrite, record=DATASET, what="selection")
    if not (out / DATASET).is_file():
        return
    before = read_dataset(out)
    if SELECTED not in before:
        raise DataError(
            f"{out} holds a set that select did not make, and --overwrite would delete it; give another --out"
        )
    rows = read_rows(out) if (out / MANIFEST).is_file() else []
    raise_problems(
        f"{out} holds files that are not the selection's, and --overwrite would delete them; move them away, or give "
        "another --out:",
        other_files(out, before, rows),
    )


def _sorted_places(items: Items) -> list[int]:
    """Places of the defects that were accepted, in the order of their ids."""
    found = [
        (natural_key(item.row.id), place) for place, item in enumerate(items) if item.row.accepted and not item.is_good
    ]
    return [place for _, place in sorted(found)]


def _check_numbers(dataset: Path, places: Mapping[str, Sequence[int]], count: int) -> None:
    few = [f"{category} has {len(own)}" for category, own in places.items() if len(own) < count]
    raise_problems(
        f"{dataset} does not hold {count} accepted defects of each category; give a lower --count, or add to the set "
        "with generate --append:",
        few,
    )


def _ticker(report: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done, total)

    return tick


def _chosen(
    items: Items, places: Sequence[int], count: int, types: Shares, size: int, tick: Callable[[], None]
) -> set[int]:
    """Places of the chosen defects of a category."""
    eyes, waiting = unscaled_eyes(), items.at(places)
    names: list[str] = []
    origins: list[str | None] = []
    parts: list[tuple[Tensor, ...]] = []
    while batch := list(islice(waiting, _TOGETHER)):
        names += [item.row.defect for item in batch]
        origins += [item.row.structure for item in batch]
        parts.append(_measured(batch, size, eyes))
        for _ in batch:
            tick()
    features = comparable([torch.cat(group) for group in zip(*parts, strict=True)], origins)
    return {places[number] for number in most_varied(features, names, quotas(Counter(names), count, types))}


def _measured(batch: Sequence[Item], size: int, eyes: Eyes) -> tuple[Tensor, ...]:
    """Measures of some defects, a tensor (B, D) for each of `GROUPS` but the last."""
    with ThreadPoolExecutor(at_a_time(item.image for item in batch)) as threads:
        pictures, regions, outlines = zip(*threads.map(lambda item: _seen(item, size), batch), strict=True)
    return (*looks(np.stack(pictures), np.stack(regions), eyes), torch.tensor(outlines))


def _seen(item: Item, size: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Image and label mask as the model sees them, and the measures of the mask at its own size."""
    assert item.label_mask is not None
    pixels = load_image(item.image).pixels
    label_mask = load_mask(item.label_mask, shape=(pixels.shape[0], pixels.shape[1]))
    measures = outline(label_mask)
    if item.row.window is not None:
        window = Window(*item.row.window)
        pixels, label_mask = window.crop(pixels), window.crop(label_mask)
    return to_model_u8(pixels, size), mask_to_model(label_mask, size), measures


def _write(
    dataset: Path, making: Path, groups: Groups, chosen: Mapping[str, set[int]], tick: Callable[[], None]
) -> None:
    """Copy the files of good images and of chosen defects, and write their rows in the set's order."""

    def kept(category: str) -> Iterator[Item]:
        for place, item in enumerate(groups[category]):
            if item.is_good or place in chosen[category]:
                yield item

    for item in chain.from_iterable(map(kept, groups)):
        for relative in (item.row.image, item.row.label_mask):
            if relative is not None:
                copy_file(resolve_inside(dataset, relative), making / relative)
        tick()
    write_rows(making, (item.row for item in chain.from_iterable(map(kept, groups))))
    if (dataset / DEPTH_ROWS).is_file():
        ids = {row.id for row in iter_rows(making)}
        depth = [row for row in read_depth_rows(dataset) if row.id in ids]
        for row in depth:
            for relative in (row.depth, row.preview):
                copy_file(resolve_inside(dataset, relative), making / relative)
        write_depth_rows(making, depth)


def _described(dataset: Path, making: Path, about: Mapping[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """What `dataset.json` says: as the set's, with the choice, and paths inside the set made absolute."""

    def outside(path: str) -> str:
        return Path(os.path.normpath(dataset / path)).as_posix()

    def moved(description: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(description) | {"data_root": outside(description["data_root"])}
        found |= {name: [outside(path) for path in description[name]] for name in ("data", "base_set")}
        for name in ("model", "sister"):
            if name in description and description[name]["run"] != "shipped":
                found[name] = description[name] | {"run": outside(description[name]["run"])}
        return found

    first, *added = map(moved, descriptions(about))
    first |= {APPENDED: added} if added else {}
    summary = summarise(iter_rows(making))
    if (making / DEPTH_ROWS).is_file():
        summary["depth"] = summarise_depth(read_depth_rows(making))
    return first | {SELECTED: [*about.get(SELECTED, ()), entry], SUMMARY: summary}

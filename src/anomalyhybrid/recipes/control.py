"""The user's own snippets, drawn masks and taxonomy in a run: read, checked, and dealt out to the images (ADR-015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalyhybrid.data.drawn_masks import DrawnMask, read_drawn_masks
from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import mask_to_model
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.data.snippets import read_snippets, snippet_records
from anomalyhybrid.data.tiling import usual_side
from anomalyhybrid.data.windows import spread
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import KINDS, GenerateConfig
from anomalyhybrid.generation.pool import CategoryPool, DrawnRegions
from anomalyhybrid.generation.quality import LEAST_AREA
from anomalyhybrid.generation.taxonomy import Entry, Turns, procedural_settings, read_taxonomy
from anomalyhybrid.generation.writer import SetWriter
from anomalyhybrid.recipes.sources import Announce, Sources, condition_folder, read_sources

TAXONOMY = "taxonomy"
"""Entry of `dataset.json` where the images are shared among named defects: what the file says."""


def controlled_sources(
    data: Sequence[Path],
    base_set: Sequence[Path],
    config: GenerateConfig,
    *,
    skip_unreadable: bool,
    cache: Path | None,
    announce: Announce,
) -> Sources:
    """Read the images of a run as its settings say, with the user's snippets, masks and taxonomy.

    Args:
        data: Folders of good images.
        base_set: Folders with real defects and masks.
        config: Settings of the set.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told what was found.

    Raises:
        AnomalyHybridError: As `read_sources` and `with_control`.
    """
    sources = read_sources(
        data,
        base_set,
        base_part=config.base_split,
        seed=config.seed,
        skip_unreadable=skip_unreadable,
        announce=announce,
    )
    return with_control(sources, config, cache, announce)


def with_control(sources: Sources, config: GenerateConfig, cache: Path | None, announce: Announce) -> Sources:
    """Add what `config.snippets`, `config.masks` and `config.taxonomy` name to the sources of a run.

    Args:
        sources: As read from the data and the base set.
        config: Settings of the set.
        cache: Folder of condition maps, below which snippets become pictures; the user's cache by default.
        announce: Told what was found.

    Raises:
        ConfigError: A taxonomy that is none, or that asks for defects of which there are none.
        DataError: Snippets or masks that do not fit.
    """
    if config.snippets:
        snippets = read_snippets(Path(config.snippets), sources.categories)
        records = snippet_records(snippets, sources.normals, condition_folder(cache) / "snippets")
        order = {name: number for number, name in enumerate(sources.categories)}
        base = sorted([*sources.base, *records], key=lambda record: order[record.category])
        sources = replace(sources, base=tuple(base))
        names = ", ".join(dict.fromkeys(snippet.defect for snippet in snippets))
        announce(f"{config.snippets}: {len(snippets)} snippets of defects ({names})")
    if config.masks:
        drawn = read_drawn_masks(Path(config.masks), sources.normals, sources.categories)
        sources = replace(sources, drawn=drawn)
        announce(f"{config.masks}: {len(drawn)} drawn masks, which the images take in turn")
    if config.taxonomy:
        sources = replace(sources, taxonomy=read_taxonomy(Path(config.taxonomy), config))
        announce(f"{config.taxonomy}: {', '.join(entry.name for entry in sources.taxonomy)}")
    _check_names(sources, config)
    return sources


def taxonomy_record(sources: Sources, config: GenerateConfig) -> dict[str, Any]:
    """The entry `TAXONOMY` of `dataset.json`, with the content of its regions; empty without a taxonomy."""
    records = []
    for entry in sources.taxonomy:
        own = entry.config(config)
        areas = read_areas(own.roi, own.forbid, sources.normals)
        records.append(entry.record() | ({"areas_sha256": areas.sha256(sources.normals)} if areas else {}))
    return {TAXONOMY: records} if records else {}


def _types(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.defect for record in records))


def _entries(sources: Sources, category: str, config: GenerateConfig) -> list[Entry]:
    """Entries that a category's images are shared among: the taxonomy's, or those that the masks' folders stand for.

    A folder's name stands for the type of real defects of this name, else for the procedural kind.
    """
    known = _types([record for record in sources.base if record.category == category])
    if sources.taxonomy:
        return [entry for entry in sources.taxonomy if entry.types(known) is not None]
    names = dict.fromkeys(mask.defect for mask in sources.drawn if mask.record.category == category and mask.defect)
    return [
        Entry(name=name)
        if name in known
        else Entry(name=name, reference=(), settings=procedural_settings(config) | {"kinds": (name,)})
        for name in names
    ]


def _check_names(sources: Sources, config: GenerateConfig) -> None:
    """Refuse types and folders that nothing stands for.

    Raises:
        ConfigError: Names them, and those that there are.
    """
    known = _types(sources.base)
    have = f"real defects there are of {', '.join(known)}" if known else "there are no real defects"
    for entry in sources.taxonomy:
        if missing := [name for name in entry.reference or () if name not in known]:
            raise ConfigError(
                f"--taxonomy {config.taxonomy}, entry {entry.name!r}: reference names {', '.join(missing)}, but "
                f"{have}; give --base-set or --snippets, or leave it out"
            )
    for category in sources.categories:
        own = _types([record for record in sources.base if record.category == category])
        entries = [entry.name for entry in _entries(sources, category, config)]
        if sources.taxonomy and not entries:
            raise ConfigError(
                f"--taxonomy {config.taxonomy}: every entry names types of which {category} has no real defects; add "
                "one without reference"
            )
        allowed = entries if sources.taxonomy else [*own, *KINDS]
        for mask in sources.drawn:
            if mask.record.category == category and mask.defect and mask.defect not in allowed:
                raise ConfigError(
                    f"--masks {mask.path}: its folder {mask.defect!r} is none of {', '.join(allowed)}; name it so, put "
                    "the mask outside of it, or describe it in --taxonomy"
                )


def few_masks(sources: Sources, most: int) -> Sources:
    """At most so many drawn masks of each category and folder, evenly spread, and their images alone.

    Sources without masks are returned as they are.
    """
    if not sources.drawn:
        return sources
    groups: dict[tuple[str, str], list[DrawnMask]] = {}
    for mask in sources.drawn:
        groups.setdefault((mask.record.category, mask.defect), []).append(mask)
    kept = [mask for group in groups.values() for mask in spread(group, most)]
    images = {mask.record for mask in kept}
    normals = tuple(record for record in sources.normals if record in images)
    return replace(sources, normals=normals, drawn=tuple(kept))


def with_drawn_targets(seen: Sources) -> Sources:
    """Give drawn masks whose images are looked at in windows windows of their own, which become targets too.

    Args:
        seen: What generation looks at of the images (`in_windows`).
    """
    sides = {
        category: usual_side([record for record in seen.normals if record.category == category])
        for category in seen.categories
    }
    normals, drawn = list(seen.normals), []
    for mask in seen.drawn:
        side = sides[mask.record.category]
        own = mask if side is None or mask.record in normals else mask.in_window(side)
        drawn.append(own)
        if own.record not in normals:
            normals.append(own.record)
    order = {name: number for number, name in enumerate(seen.categories)}
    normals.sort(key=lambda record: order[record.category])
    return replace(seen, normals=tuple(normals), drawn=tuple(drawn))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What some of a category's defect images are made with.

    Attributes:
        config: Settings.
        pool: Images.
        writer: Names and writes them.
    """

    config: GenerateConfig
    pool: CategoryPool
    writer: SetWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Which images of a category are made with what.

    Attributes:
        shares: At least one.
        order: Deals the images out to the first shares.
        drawn: For each drawn mask the share that its folder names; None where it lies in no folder.
    """

    shares: Sequence[Share]
    order: Turns
    drawn: Sequence[int | None] = ()

    def split(self, indices: Sequence[int]) -> list[tuple[Share, list[int]]]:
        """Group images by their shares.

        Which share an image has depends on its number alone. With masks the order of shares moves on by one from round
        to round over the masks, so that every mask meets every share.

        Args:
            indices: Numbers of the images within the category.
        """
        count = len(self.drawn)
        groups: dict[int, list[int]] = {}
        for index in indices:
            own = self.drawn[index % count] if count else None
            turn = index // count + index % count if count else index
            groups.setdefault(self.order[turn] if own is None else own, []).append(index)
        return [(self.shares[number], groups[number]) for number in sorted(groups)]


Elsewhere = Callable[[GenerateConfig], tuple[CategoryPool, SetWriter]]


def divide(seen: Sources, pool: CategoryPool, writer: SetWriter, elsewhere: Elsewhere) -> Division:
    """Say what each image of a category is made with.

    Args:
        seen: What generation looks at of the images.
        pool: Images of the category, as they are without control.
        writer: Of the category, likewise.
        elsewhere: Makes both for settings with other regions of interest.

    Raises:
        DataError: A mask too small for a defect at the model's size, or regions that leave no room.
    """
    config, category = writer.config, writer.category
    drawn = [mask for mask in seen.drawn if mask.record.category == category]
    if drawn:
        pool = replace(pool, drawn=_drawn_regions(drawn, pool, writer), in_turn=False)
        writer = replace(writer, drawn=drawn)
    entries = _entries(seen, category, config)
    shares = []
    for entry in entries:
        own = entry.config(config)
        moved = (own.roi, own.forbid) != (config.roi, config.forbid)
        shares.append(_share(entry, own, *(elsewhere(own) if moved else (pool, writer))))
    order = Turns([entry.share for entry in entries] if seen.taxonomy else [1.0])
    if not seen.taxonomy:  # masks in no folder, and all images where there are none
        shares = [Share(config=config, pool=pool, writer=writer), *shares]
    places = {share.writer.named: number for number, share in enumerate(shares)}
    folders = [places[mask.defect] if mask.defect else None for mask in drawn]
    return Division(shares=shares, order=order, drawn=folders)


def _share(entry: Entry, config: GenerateConfig, pool: CategoryPool, writer: SetWriter) -> Share:
    """What the images of one entry are made with."""
    known = _types(writer.base)
    types = entry.types(known)
    assert types is not None, "such entries are left out"
    chosen = [number for number, record in enumerate(writer.base) if record.defect in types]
    base = [writer.base[number] for number in chosen]
    if pool.base is not None:
        kinds = torch.tensor([types.index(record.defect) for record in base], dtype=torch.long)
        subset = pool.base[torch.tensor(chosen, device=pool.base.color_u8.device)] if chosen else None
        group = None if pool.base_group is None else pool.base_group[torch.tensor(chosen, dtype=torch.long)]
        pool = replace(pool, base=subset, base_kind=kinds if chosen else None, base_group=group)
    return Share(
        config=config,
        pool=replace(pool, in_turn=False),
        writer=replace(writer, base=base, config=config, named=entry.name),
    )


def _drawn_regions(drawn: Sequence[DrawnMask], pool: CategoryPool, writer: SetWriter) -> DrawnRegions:
    """Drawn masks at the model's size.

    Raises:
        DataError: Some are too small.
    """
    size, device = pool.normals.color_u8.shape[-1], pool.normals.color_u8.device
    with ThreadPoolExecutor(at_a_time(mask.path for mask in drawn)) as threads:
        regions = list(threads.map(lambda mask: mask_to_model(mask.load(), size), drawn))
    small = [f"{m.path}: {int(one.sum())}" for m, one in zip(drawn, regions, strict=True) if one.sum() < LEAST_AREA]
    raise_problems(
        f"some masks of --masks have less than {LEAST_AREA} pixels at the model's {size}x{size}, too few for a defect; "
        "draw larger ones, or have smaller parts of the images looked at with --window:",
        small,
    )
    places = {record: number for number, record in enumerate(writer.normals)}
    return DrawnRegions(
        target=torch.tensor([places[mask.record] for mask in drawn], device=device),
        region_u8=torch.from_numpy(np.stack(regions))[:, None].to(torch.uint8).to(device) * 255,
        exact=writer.config.masks_as == "drawn",
    )

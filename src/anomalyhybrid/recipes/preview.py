"""`anomalyhybrid generate --preview`: what a set will look like, on one sheet (ADR-012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.data.windows import spread
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.preview import write_preview
from anomalyhybrid.recipes.control import controlled_sources, few_masks
from anomalyhybrid.recipes.job import load_model, prepare_job
from anomalyhybrid.recipes.sources import Announce

PREVIEW = "preview.png"
"""The sheet that `preview` writes into the folder of the set to come."""
_PREVIEWED = 16  # good images of a category, and real defects of a type, that a preview chooses from
_WINDOWS_PREVIEWED = 48  # windows of large good images of a category


def preview(
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    count: int,
    base_set: Sequence[Path] = (),
    config: GenerateConfig,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Show what a set will look like: candidates at the model's size on one sheet, and no set.

    They are drawn as `generate` draws them, but from at most 16 good images of each category and 16 real defects of
    each type, so that only these need maps: of the same kind as the set's images, not the same images.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: Folders of good images.
        out: Folder that gets `PREVIEW`; made if it is not there, and may hold a set, which is left alone.
        count: Pictures in all, shared among the categories.
        base_set: Folders with real defects and masks.
        config: Settings of the set.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The sheet's path.

    Raises:
        AnomalyHybridError: Something the caller can mend, as for `generate`.
    """
    if count < 1:
        raise ConfigError(f"preview is {count}; ask for at least one picture")
    model = load_model(run)
    sources = controlled_sources(
        data, base_set, config, skip_unreadable=skip_unreadable, cache=cache, announce=announce
    )
    sources = few_masks(sources, _PREVIEWED)
    read_areas(config.roi, config.forbid, sources.normals)  # names every image without a mask, not only those shown
    shown = sources.normals if sources.drawn else _some(sources.normals)
    some = replace(sources, normals=shown, base=_some(sources.base))
    make_folder(out)
    each = -(-count // len(some.categories))
    few = replace(config, count=each, normals=0)
    job = prepare_job(model, some, few, out, cache, most_windows=_WINDOWS_PREVIEWED)
    cells = []
    for category, _, indices in job.chunks():
        wanted = indices[: count - len(cells)]
        if wanted:
            cells += job.preview(category, wanted)
        if report is not None:
            report(len(cells), count)
    return write_preview(out / PREVIEW, cells)


def _some(records: Sequence[Record]) -> tuple[Record, ...]:
    """At most `_PREVIEWED` records of each category and defect, evenly spread over them."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.category, record.defect), []).append(record)
    chosen = set()
    for group in groups.values():
        chosen |= set(spread(group, _PREVIEWED))
    return tuple(record for record in records if record in chosen)

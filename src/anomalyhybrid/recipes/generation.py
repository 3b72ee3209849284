"""`anomalyhybrid generate`: a generator and folders of images to a data set of defects with masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, Row, read_dataset, read_rows, write_rows
from anomalyhybrid.generation.preview import write_preview
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.recipes.description import check_beginning, check_resumed, describe, write_description
from anomalyhybrid.recipes.job import Job, load_model, prepare_job
from anomalyhybrid.recipes.sources import Announce, read_sources

AREAS = "areas_sha256"
"""Entry of `dataset.json` where regions of interest are given: what their files hold."""


def generate(
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    base_set: Sequence[Path] = (),
    config: GenerateConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate a data set.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: Folders of good images.
        out: Folder of the set; must not hold one unless `resume`.
        base_set: Folders with real defects and masks to take references from.
        config: Settings.
        resume: Finish a killed run's set, to the same result.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    check_beginning(out, (MANIFEST, DATASET), resume=resume)
    model = load_model(run)
    sources = read_sources(
        data,
        base_set,
        base_part=config.base_split,
        seed=config.seed,
        skip_unreadable=skip_unreadable,
        announce=announce,
    )
    areas = read_areas(config.roi, config.forbid, sources.normals)
    make_folder(out)
    description = describe(model, sources, config, data, base_set, out)
    if areas:
        description[AREAS] = areas.sha256(sources.normals)
    done: set[str] = set()
    if resume:
        done = _finished(out, description)
    job = prepare_job(model, sources, config, out, cache)
    if not resume:
        write_description(out, description)
    _write_chunks(job, done, report)
    _in_work_order(job)
    summary = summarise(read_rows(out))
    write_description(out, description | {"summary": summary})
    return summary


PREVIEW = "preview.png"
"""The sheet that `preview` writes into the folder of the set to come."""
_PREVIEWED = 16  # good images of a category, and real defects of a type, that a preview chooses from


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
    sources = read_sources(
        data, base_set, base_part=config.base_split, seed=config.seed, skip_unreadable=skip_unreadable,
        announce=announce,
    )  # fmt: skip
    read_areas(config.roi, config.forbid, sources.normals)  # names every image without a mask, not only those shown
    some = replace(sources, normals=_some(sources.normals), base=_some(sources.base))
    make_folder(out)
    each = -(-count // len(some.categories))
    job = prepare_job(model, some, replace(config, count=each, normals=0), out, cache)
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
        most = min(len(group), _PREVIEWED)
        chosen |= {group[number * len(group) // most] for number in range(most)}
    return tuple(record for record in records if record in chosen)


def _write_chunks(job: Job, done: set[str], report: Callable[[int, int], None] | None) -> None:
    """Make all chunks that are not done: one is written in the background while the next is drawn on the device."""
    total = (job.config.count + job.config.normals) * len(job.sources.categories)
    count = 0

    def keep(rows: Sequence[Row], images: int) -> None:
        nonlocal count
        append_rows(job.folder, rows)
        count += images
        if report is not None:
            report(count, total)

    with ThreadPoolExecutor(max_workers=1) as background:
        waiting: tuple[Future[list[Row]], int] | None = None
        for category, is_defect, indices in job.chunks():
            if set(job.ids(category, is_defect, indices)) <= done:
                keep((), len(indices))
                continue
            finish = job.draw(category, is_defect, indices)
            if waiting is not None:
                keep(waiting[0].result(), waiting[1])
            waiting = background.submit(finish), len(indices)
        if waiting is not None:
            keep(waiting[0].result(), waiting[1])


def _finished(out: Path, description: dict) -> set[str]:
    """Ids whose files are all there; rows of others are dropped, and what a killed process half wrote.

    Raises:
        DataError: The set was begun under another configuration, model or data.
    """
    keys = ("config", "model", "categories", "data", "base_set", "data_sha256")
    before = read_dataset(out)
    check_resumed(out, before, description, keys)
    if before.get(AREAS) != description.get(AREAS):
        raise DataError(
            f"{out} was begun with other content of --roi or --forbid; put the same files back or give another --out"
        )
    rows = read_rows(out) if (out / MANIFEST).exists() else []
    kept = [row for row in rows if all((out / path).is_file() for path in (row.image, row.label_mask) if path)]
    write_rows(out, kept)
    return {row.id for row in kept}


def _in_work_order(job: Job) -> None:
    """Sort the manifest by the work list and drop repeated rows of redone chunks."""
    rows = {row.id: row for row in read_rows(job.folder)}
    write_rows(job.folder, [rows[image_id] for chunk in job.chunks() for image_id in job.ids(*chunk)])

"""`anomalyhybrid generate`: a generator and folders of images to a data set of defects with masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.backends.choice import BACKEND
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.data.windows import spread
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.additions import description_of, descriptions
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, Row, read_dataset, read_rows, write_rows
from anomalyhybrid.generation.preview import write_preview
from anomalyhybrid.generation.rejected import read_rejected, summarise_rejected
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.recipes.control import TAXONOMY, controlled_sources, few_masks, taxonomy_record
from anomalyhybrid.recipes.description import (
    addition,
    check_beginning,
    check_resumed,
    describe,
    going_on,
    joined,
    used_backend,
    write_description,
)
from anomalyhybrid.recipes.gating import GATE, fill_up, gate_records, sorted_out, tell_missing
from anomalyhybrid.recipes.job import Job, load_model, prepare_job
from anomalyhybrid.recipes.sources import Announce

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
    append: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate a data set, or add to one.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: Folders of good images.
        out: Folder of the set; must not hold one unless `resume` or `append`.
        base_set: Folders with real defects and masks to take references from.
        config: Settings; with `append` of the new images alone.
        resume: Finish a killed run's set, or what was last added to one, to the same result.
        append: Add to a finished set, of the same or other data, settings and model: ids go on after the highest of
            each category, and so do the random streams. With `resume`, finish such an addition. What is there stays.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps, of the whole set.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    check_beginning(out, (MANIFEST, DATASET), resume=resume, append=append)
    about = read_dataset(out) if resume or append else None
    model = load_model(run)
    sources = controlled_sources(
        data, base_set, config, skip_unreadable=skip_unreadable, cache=cache, announce=announce
    )
    areas = read_areas(config.roi, config.forbid, sources.normals)
    make_folder(out)
    description = describe(model, sources, config, data, base_set, out)
    if areas:
        description[AREAS] = areas.sha256(sources.normals)
    description |= taxonomy_record(sources, config)
    description[BACKEND] = used_backend(config.backend, about if resume else None).record()
    done: set[str] = set()
    if about is not None and resume:
        done, description = _finished(out, about, description)
    elif about is not None:
        description = addition(out, about, read_rows(out), description)
    job = prepare_job(model, sources, config, out, cache, description=description)
    for pool in job.pools.values():
        for text in pool.gate.says if pool.gate else ():
            announce(text)
    description |= gate_records(job)
    about = joined(about, description, resume=resume)
    if not resume:
        write_description(out, about)
    _write_chunks(job, job.chunks(), done, report)
    fill_up(job, lambda chunks: _write_chunks(job, chunks, done, None))
    _in_work_order(job)
    summary = _summary(out, about)
    tell_missing(summary, announce)
    write_description(out, about | {"summary": summary})
    return summary


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


def _summary(out: Path, about: dict) -> dict:
    """Figures of the whole set, with what the quality gate did where some of it was made with one."""
    rows = read_rows(out)
    summary = summarise(rows)
    gated = [one for one in descriptions(about) if GATE in one]
    names = dict.fromkeys(name for one in gated for name in one["categories"])
    asked = {n: sum(one["config"]["count"] for one in descriptions(about) if n in one["categories"]) for n in names}
    for category, entry in summarise_rejected(rows, read_rejected(out), asked).items():
        summary.setdefault(category, {}).update(entry)
    return summary


def _write_chunks(
    job: Job,
    chunks: Iterable[tuple[str, bool, list[int]]],
    done: set[str],
    report: Callable[[int, int], None] | None,
) -> None:
    """Make chunks that are not done: one is written in the background while the next is drawn on the device."""
    total = (job.config.count + job.config.normals) * len(job.sources.categories)
    count = 0

    def keep(rows: Sequence[Row], images: int) -> None:
        nonlocal count
        append_rows(job.folder, sorted_out(job, rows))
        count += images
        if report is not None:
            report(count, total)

    with ThreadPoolExecutor(max_workers=1) as background:
        waiting: tuple[Future[list[Row]], int] | None = None
        for category, is_defect, indices in chunks:
            if set(job.ids(category, is_defect, indices)) <= done:
                keep((), len(indices))
                continue
            finish = job.draw(category, is_defect, indices)
            if waiting is not None:
                keep(waiting[0].result(), waiting[1])
            waiting = background.submit(finish), len(indices)
        if waiting is not None:
            keep(waiting[0].result(), waiting[1])


def _finished(out: Path, about: dict, description: dict) -> tuple[set[str], dict]:
    """Ids whose files are all there; rows of others are dropped, and what a killed process half wrote.

    Of a set that was added to, only the last addition's rows are looked at.

    Returns:
        ``(ids, description)``, the latter with the numbers that ids begin with where it is an addition's.

    Raises:
        DataError: The set was begun under another configuration, model or data.
    """
    keys = ("config", "model", "categories", "data", "base_set", "data_sha256")
    before = descriptions(about)[-1]
    check_resumed(out, before, description, keys)
    if before.get(AREAS) != description.get(AREAS):
        raise DataError(
            f"{out} was begun with other content of --roi or --forbid; put the same files back or give another --out"
        )
    if before.get(TAXONOMY) != description.get(TAXONOMY):
        raise DataError(f"{out} was begun with another --taxonomy; put the same file back or give another --out")
    rows = read_rows(out) if (out / MANIFEST).exists() else []
    left_out = {one.id for one in read_rejected(out)}
    rows = [row for row in rows if row.id not in left_out]
    there = {row.id for row in rows if all((out / path).is_file() for path in (row.image, row.label_mask) if path)}
    earlier = {row.id for row in rows if description_of(about, row) != before}
    write_rows(out, [row for row in rows if row.id in there | earlier])
    return there - earlier | left_out, going_on(before, description)


def _in_work_order(job: Job) -> None:
    """Sort the manifest by the work list, after what was there before, and drop repeated rows of redone chunks."""
    rows = {row.id: row for row in read_rows(job.folder)}
    ids = [image_id for chunk in job.chunks() for image_id in job.ids(*chunk)]
    if job.config.gate == "on":  # images that replace others follow all of the first ones
        spare = (chunk for category in job.sources.categories for chunk in job.spare_chunks(category))
        ids = [name for name in [*ids, *(name for chunk in spare for name in job.ids(*chunk))] if name in rows]
    own = [rows.pop(image_id) for image_id in ids]
    write_rows(job.folder, [*rows.values(), *own])

"""`anomalyhybrid generate`: a generator and folders of images to a data set of defects with masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from anomalyhybrid.backends.choice import BACKEND
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.additions import descriptions
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import (
    DATASET,
    MANIFEST,
    SUMMARY,
    Row,
    iter_rows,
    read_dataset,
    read_rows,
    write_rows,
)
from anomalyhybrid.generation.rejected import read_rejected, summarise_rejected
from anomalyhybrid.generation.shards import Shard
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.work_order import Chunk, WorkOrder, sort_rows
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.recipes.control import controlled_sources, taxonomy_record
from anomalyhybrid.recipes.description import (
    AREAS,
    addition,
    check_beginning,
    check_same_set,
    describe,
    going_on,
    joined,
    remove_half_written,
    used_backend,
    with_used_batch,
    write_description,
)
from anomalyhybrid.recipes.gating import GATE, fill_up, gate_records, sorted_out, tell_missing
from anomalyhybrid.recipes.job import Job, Model, load_model, prepare_job
from anomalyhybrid.recipes.sharding import (
    after_the_first,
    check_shardable,
    held_shard,
    missing_shards,
    put_together,
    read_description,
    take_over,
)
from anomalyhybrid.recipes.sources import Announce, Sources, condition_folder


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
    shard: Shard | None = None,
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
        shard: Make this part alone, beside other processes with the same arguments; the last one to end puts the set
            together, which is byte for byte what one process makes. With `resume`, also a shard that is not begun.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps, of the whole set; empty while other shards are not complete.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    if shard is None:
        check_beginning(out, (MANIFEST, DATASET), resume=resume, append=append)
        if resume or append:
            take_over(out)
        about = read_dataset(out) if resume or append else None
    else:
        check_shardable(config, append=append)
        about = read_description(out)
        if about is not None:
            check_beginning(out, (), resume=True)
    config = with_used_batch(config, about if resume or shard else None)
    model = load_model(run)
    sources = controlled_sources(
        data, base_set, config, skip_unreadable=skip_unreadable, cache=cache, announce=announce
    )
    make_folder(out)
    begun_before = about if resume or shard else None
    description = _described(model, sources, config, data, base_set, out, begun_before)
    if shard is not None:
        return _make_shard(shard, model, sources, config, out, cache, description, resume, announce, report)
    done = None
    if about is not None and resume:
        done, description = _finished(out, about, description, config)
    elif about is not None:
        description = addition(out, about, iter_rows(out), description)
    job = prepare_job(model, sources, config, out, cache, description=description)
    for pool in job.pools.values():
        for text in pool.gate.says if pool.gate else ():
            announce(text)
    description |= gate_records(job)
    about = joined(about, description, resume=resume)
    if not resume:
        write_description(out, about)
    done = bytearray(job.order.places) if done is None else done
    _write_chunks(job, job.chunks(), done, report)
    fill_up(job, lambda chunks: _write_chunks(job, chunks, done, None))
    if (out / MANIFEST).is_file():
        sort_rows(out, job.order)
    summary = _summary(out, about)
    tell_missing(summary, announce)
    write_description(out, about | {SUMMARY: summary})
    return summary


def _described(
    model: Model,
    sources: Sources,
    config: GenerateConfig,
    data: Sequence[Path],
    base_set: Sequence[Path],
    out: Path,
    begun_before: dict | None,
) -> dict:
    """What `dataset.json` says of images; of those that are begun with the runtime that they were begun with."""
    description = describe(model, sources, config, data, base_set, out)
    areas = read_areas(config.roi, config.forbid, sources.normals)
    if areas:
        description[AREAS] = areas.sha256(sources.normals)
    backend = used_backend(config.backend, begun_before)
    return description | taxonomy_record(sources, config) | {BACKEND: backend.record()}


def _make_shard(
    shard: Shard,
    model: Model,
    sources: Sources,
    config: GenerateConfig,
    out: Path,
    cache: Path | None,
    description: dict,
    resume: bool,
    announce: Announce,
    report: Callable[[int, int], None] | None,
) -> dict:
    """Make one part of a set, and of all parts the set where this is the last (ADR-018)."""
    order = WorkOrder(categories=sources.categories, config=config, description=description)
    with held_shard(out, shard, description, resume=resume) as about:
        if SUMMARY in about:
            _check_whole(out, about, description, config)
            announce(f"the set in {out} is finished already, and whole")
            return about[SUMMARY]
        done = _kept_rows(out, order, shard.part)
        job = after_the_first(
            out,
            condition_folder(cache),
            lambda: prepare_job(model, sources, config, out, cache, description=description),
        )
        _write_chunks(job, shard.share(order.chunks()), done, report, shard)
        sort_rows(out, order, shard.part)
        (out / shard.part).replace(out / shard.complete)
    summary = put_together(out, order, shard.of, lambda: _summary(out, about))
    if summary is None:
        missing = missing_shards(out, shard.of)
        others = f"; {missing} of {shard.of} are not yet" if 0 < missing < shard.of else ""  # all: it is put together
        announce(f"shard {shard} is complete{others}")
    return summary or {}


def _summary(out: Path, about: dict) -> dict:
    """Figures of the whole set, with what the quality gate did where some of it was made with one."""
    summary = summarise(iter_rows(out)) if (out / MANIFEST).is_file() else {}
    gated = [one for one in descriptions(about) if GATE in one]
    names = dict.fromkeys(name for one in gated for name in one["categories"])
    if not names:
        return summary
    asked = {n: sum(one["config"]["count"] for one in descriptions(about) if n in one["categories"]) for n in names}
    for category, entry in summarise_rejected(read_rows(out), read_rejected(out), asked).items():
        summary.setdefault(category, {}).update(entry)
    return summary


def _write_chunks(
    job: Job,
    chunks: Iterable[Chunk],
    done: bytearray,
    report: Callable[[int, int], None] | None,
    shard: Shard | None = None,
) -> None:
    """Make chunks that are not done: one is written in the background while the next is drawn on the device."""
    order, count = job.order, 0
    total = order.images if shard is None else sum(len(chunk[2]) for chunk in shard.share(order.chunks()))
    name = MANIFEST if shard is None else shard.part

    def keep(rows: Sequence[Row], images: int) -> None:
        nonlocal count
        append_rows(job.folder, sorted_out(job, rows), name)
        count += images
        if report is not None:
            report(count, total)

    with ThreadPoolExecutor(max_workers=1) as background:
        waiting: tuple[Future[list[Row]], int] | None = None
        for chunk in chunks:
            if order.are_done(chunk, done):
                keep((), len(chunk[2]))
                continue
            finish = job.draw(*chunk)
            if waiting is not None:
                keep(waiting[0].result(), waiting[1])
            waiting = background.submit(finish), len(chunk[2])
        if waiting is not None:
            keep(waiting[0].result(), waiting[1])


def _finished(out: Path, about: dict, description: dict, config: GenerateConfig) -> tuple[bytearray, dict]:
    """Which images are all there; rows of others are dropped, and what a killed process half wrote.

    Of a set that was added to, only the last addition's rows are looked at.

    Returns:
        ``(marks, description)``: 1 at each image's place, and the description with the numbers that ids begin with
        where it is an addition's.

    Raises:
        DataError: The set was begun under another configuration, model or data.
    """
    order, description = _begun_before(out, about, description, config)
    remove_half_written(out)
    return _kept_rows(out, order, MANIFEST), description


def _begun_before(out: Path, about: dict, description: dict, config: GenerateConfig) -> tuple[WorkOrder, dict]:
    """Work list and description of the images that were last begun, which must be the same as now."""
    before = descriptions(about)[-1]
    check_same_set(out, before, description)
    description = going_on(before, description)
    return WorkOrder(categories=description["categories"], config=config, description=description), description


def _check_whole(out: Path, about: dict, description: dict, config: GenerateConfig) -> None:
    """Look at a finished set without changing it.

    Raises:
        DataError: It was made otherwise, or lacks images: several processes would make them again side by side.
    """
    order, _ = _begun_before(out, about, description, config)
    done = bytearray(order.places)
    for _ in _whole_rows(out, order, MANIFEST, done):
        pass
    missing = order.places - sum(done)
    if missing:
        raise DataError(
            f"{out} is finished, but {missing} of {order.places} images lack a file or their row; make them again with "
            "--resume alone"
        )


def _kept_rows(out: Path, order: WorkOrder, name: str) -> bytearray:
    """Drop rows of images that are not all there or were left out, and mark the others in the work list.

    Args:
        out: Folder of the set.
        order: The work list; rows of others stay.
        name: The manifest's path in the folder.
    """
    done, left_out = bytearray(order.places), read_rejected(out)
    gone = {one.id for one in left_out}
    for one in left_out:
        place = order.place_of(one)
        if place >= 0:
            done[place] = 1
    write_rows(out, (row for row in _whole_rows(out, order, name, done) if row.id not in gone), name)
    return done


def _whole_rows(out: Path, order: WorkOrder, name: str, done: bytearray) -> Iterator[Row]:
    """Rows whose files are all there, marked in the work list's `done`, and rows of other images."""
    for row in iter_rows(out, name) if (out / name).is_file() else ():
        place = order.place_of(row)
        if place >= 0:
            if not all((out / path).is_file() for path in (row.image, row.label_mask) if path):
                continue
            done[place] = 1
        yield row

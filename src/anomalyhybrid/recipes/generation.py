"""`anomalyhybrid generate`: a generator and folders of images to a data set of defects with masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, Row, read_dataset, read_rows, write_rows
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.recipes.description import check_beginning, check_resumed, describe, write_description
from anomalyhybrid.recipes.job import Job, load_model, prepare_job
from anomalyhybrid.recipes.sources import Announce, read_sources


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
    make_folder(out)
    description = describe(model, sources, config, data, base_set, out)
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
    check_resumed(out, read_dataset(out), description, keys)
    rows = read_rows(out) if (out / MANIFEST).exists() else []
    kept = [row for row in rows if all((out / path).is_file() for path in (row.image, row.label_mask) if path)]
    write_rows(out, kept)
    return {row.id for row in kept}


def _in_work_order(job: Job) -> None:
    """Sort the manifest by the work list and drop repeated rows of redone chunks."""
    rows = {row.id: row for row in read_rows(job.folder)}
    write_rows(job.folder, [rows[image_id] for chunk in job.chunks() for image_id in job.ids(*chunk)])

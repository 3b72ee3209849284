"""`anomalyhybrid generate --global`: a generator and images of several classes to a set of hybrids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anomalyhybrid.data.class_folders import ClassedImages, read_class_folders
from anomalyhybrid.data.files import make_folder, resolve_inside
from anomalyhybrid.data.heliconius import read_butterflies
from anomalyhybrid.data.loading import check_images
from anomalyhybrid.data.records import GOOD, Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrid_rows import HYBRID, HybridRow, read_hybrid_rows, read_pairs
from anomalyhybrid.generation.hybrids import (
    ListedPair,
    Parents,
    listed_parents,
    pairs_of_classes,
)
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, SUMMARY, read_dataset, write_rows
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.description import check_beginning, check_resumed, describe, write_description
from anomalyhybrid.recipes.hybrid_job import HybridJob, prepare_hybrids
from anomalyhybrid.recipes.job import check_gives_color, load_model
from anomalyhybrid.recipes.sources import Announce, Sources

_CHUNK = 16  # hybrids between two entries in the manifest


def generate_hybrids(
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    pairs: Path | Sequence[ListedPair] | None = None,
    labels: Path | None = None,
    config: HybridConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate hybrids: the reference's appearance on the target's structure, whole images at the target's size.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: One folder: of class folders, or, with `labels`, of images.
        out: Folder of the set; must not hold one unless `resume`.
        pairs: A CSV ``reference,target[,decoder]`` of images or classes, or its lines; None for all ordered pairs of
            classes.
        labels: CSV of the HDR challenge that names the images and their subspecies; its hybrids are left out.
        config: Settings.
        resume: Finish a killed run's set, to the same result.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps: counts by classes and decoders, mean changes from both parents.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    check_beginning(out, (MANIFEST, DATASET), resume=resume)
    model = load_model(run)
    check_gives_color(model)
    images = read_classed(data, labels, skip_unreadable=skip_unreadable, announce=announce)
    listed = read_pairs(pairs) if isinstance(pairs, Path) else pairs
    work = pairs_of_classes(images, config) if listed is None else listed_parents(images, listed, config)
    if not work:
        raise DataError("the pairs give no hybrid: each class has one image and is paired with itself alone")
    _say_what_is_missing(images, work, listed, config, announce)
    job = prepare_hybrids(model, images, work, config, out, cache)
    make_folder(out)
    description = _describe(job, data, labels, listed)
    done = _finished(out, description) if resume else {}
    if not resume:
        write_description(out, description)
    rows = _write_all(job, done, report)
    write_rows(out, rows)
    summary = summarise_hybrids(rows)
    write_description(out, description | {SUMMARY: summary})
    return summary


def read_classed(
    data: Sequence[Path], labels: Path | None, *, skip_unreadable: bool, announce: Announce
) -> ClassedImages:
    """Read and check the images of a global generation.

    Raises:
        DataError: Not one folder, no classes, unreadable images or labels.
    """
    if len(data) != 1:
        raise DataError(f"{len(data)} data folders given; global generation combines the classes of one folder")
    images = read_class_folders(data[0]) if labels is None else read_butterflies(labels, data[0]).images()
    announce(images.describe())

    def on_skip(record: Record, error: DataError) -> None:
        announce(f"skipped {record.relative}: {error}")

    readable = check_images(images.records, skip_unreadable=skip_unreadable, on_skip=on_skip)
    return ClassedImages(root=images.root, records=tuple(readable), class_of=images.class_of)


def _say_what_is_missing(
    images: ClassedImages,
    work: Sequence[Parents],
    listed: Sequence[ListedPair] | None,
    config: HybridConfig,
    announce: Announce,
) -> None:
    """Say which pairs of classes gave fewer hybrids than asked for."""
    announce(f"{len(work)} hybrids to make")
    if listed is not None:
        return
    counts: dict[tuple[str, str], int] = {}
    for one in work:
        pair = images.class_of[one.reference.relative], images.class_of[one.target.relative]
        counts[pair] = counts.get(pair, 0) + 1
    few = [f"{pair[0]} on {pair[1]} {count}" for pair, count in counts.items() if count < config.count]
    if few:
        shown = ", ".join(few[:6]) + (", ..." if len(few) > 6 else "")
        announce(f"{len(few)} pairs of classes have too few images for {config.count} different hybrids: {shown}")


def _describe(
    job: HybridJob, data: Sequence[Path], labels: Path | None, listed: Sequence[ListedPair] | None
) -> dict[str, Any]:
    """What `dataset.json` says, enough to make the set again."""
    images = job.images
    sources = Sources(root=images.root, categories=(job.category,), normals=images.records, base=())
    return describe(job.model, sources, job.config, data, (), job.folder) | {
        "kind": "hybrids",
        "labels_sha256": None if labels is None else sha256_of(labels),
        "pairs": None if listed is None else [[one.reference, one.target, one.decoder] for one in listed],
        "classes": {name: len(images.of_class(name)) for name in images.classes},
    }


def _write_all(
    job: HybridJob, done: dict[str, HybridRow], report: Callable[[int, int], None] | None
) -> list[HybridRow]:
    """Make what is not done, chunk by chunk; all rows in the order of the work list."""
    rows: list[HybridRow] = []
    for start in range(0, len(job.work), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(job.work)))
        missing = [index for index in indices if job.image_id(index) not in done]
        made = job.make(missing) if missing else []
        append_rows(job.folder, made)
        known = done | {row.id: row for row in made}
        rows += [known[job.image_id(index)] for index in indices]
        if report is not None:
            report(len(rows), len(job.work))
    return rows


def _finished(out: Path, description: dict[str, Any]) -> dict[str, HybridRow]:
    """Rows whose images are there, by id; what a killed process half wrote is removed.

    Raises:
        DataError: The set was begun under other settings, pairs, model or data, or is no set of hybrids.
    """
    before = read_dataset(out)
    if before.get("kind") != "hybrids":
        raise DataError(f"{out} holds a set of defects, not of hybrids; give another --out")
    keys = ("config", "model", "data", "data_sha256", "labels_sha256", "pairs", "classes")
    check_resumed(out, before, description, keys)
    rows = read_hybrid_rows(out) if (out / MANIFEST).exists() else []
    kept = {row.id: row for row in rows if resolve_inside(out, row.image).is_file()}
    write_rows(out, list(kept.values()))
    return kept


def summarise_hybrids(rows: Sequence[HybridRow]) -> dict[str, Any]:
    """Figures of a set, from its manifest alone, under its category as for sets of defects."""
    pairs = dict.fromkeys((row.reference_class, row.target_class) for row in rows)
    entry: dict[str, Any] = {
        "hybrids": sum(row.defect == HYBRID for row in rows),
        "redrawn_in_class": sum(row.defect == GOOD for row in rows),
        "pairs_of_classes": len(pairs),
        "not_accepted": sum(not row.accepted for row in rows),
    }
    for decoder in dict.fromkeys(row.decoder for row in rows):
        own = [row for row in rows if row.decoder == decoder]
        for name in ("change_inside", "change_from_reference", "fusion_mask"):
            entry[f"{name}_{decoder}"] = round(sum(getattr(row, name) for row in own) / len(own), 4)
    return {rows[0].category: entry}

"""Two generators and images with measured depth to a data set of defects in colour and depth together (Fig. 2b)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.depth_defects import accepted_pairs
from anomalyhybrid.generation.depth_pool import PairPool, check_pool, real_signs
from anomalyhybrid.generation.depth_rows import (
    DEPTH_ROWS,
    DepthRow,
    append_depth_rows,
    read_depth_rows,
    summarise_depth,
    write_depth_rows,
)
from anomalyhybrid.generation.depth_writer import PairWriter
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, SUMMARY, Row, read_dataset, read_rows, write_rows
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.ops.transfer import to_host, wait_for_host
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.recipes.depth_sets import measured_set, with_readable_depth
from anomalyhybrid.recipes.description import check_beginning, check_resumed, describe, write_description
from anomalyhybrid.recipes.job import Model, category_pool, check_decoders, extractors_of, load_model
from anomalyhybrid.recipes.sources import Announce, Sources, best_device, condition_folder
from anomalyhybrid.training.sister_pool import DepthSet

CLEARANCE = 0.03  # distance that new defects keep from those that the target shows, as a share of the image's side


def generate_depth(
    run: str,
    sister_run: str,
    sources: Sources,
    out: Path,
    *,
    measured: MeasuredDepth,
    unit: str = "unit of the depth files",
    config: DepthDefectConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate aligned pairs: image, label mask, depth in the input's format, shaded preview.

    Args:
        run: AnomalyHybrid: ``shipped``, a run folder, or a generator file.
        sister_run: AnomalyHybrid*: a run folder or a generator file.
        sources: ``normals`` are the targets, every one with depth; they may show defects of their own (with masks),
            which are kept clear of and stay in the label masks. ``base`` are real defects with masks and depth.
        out: Folder of the set; must not hold one unless `resume`.
        measured: Where depth lies, and which way it grows.
        unit: What the depth files count in, for the rows.
        config: Settings.
        resume: Finish a killed run's set, to the same result.
        skip_unreadable: Leave images out, by name, whose depth is missing, unreadable or of another size.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps: of colour as for other sets, and ``depth``.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    check_beginning(out, (MANIFEST, DATASET, DEPTH_ROWS), resume=resume)
    model, sister = _networks(run, sister_run)
    sources = with_readable_depth(sources, measured, skip_unreadable=skip_unreadable, announce=announce)
    heights = () if isinstance(config.height, str) else config.height
    measured.check_units(sources.normals, heights=heights)
    make_folder(out)
    description = _description(model, sister, sources, config, measured, unit, out)
    done = _finished(out, description) if resume else {}
    pools = _pools(model, sister, sources, config, measured, cache)
    if not resume:
        write_description(out, description)
    alone = len(sources.categories) == 1
    total, count = config.count * len(sources.categories), 0
    rows, order = dict(done), []
    for category in sources.categories:
        writer = PairWriter(
            folder=out,
            prefix="" if alone else f"{category}/",
            category=category,
            targets=[record for record in sources.normals if record.category == category],
            base=[record for record in sources.base if record.category == category],
            root=sources.root,
            measured=measured,
            unit=unit,
            config=config,
            model_sha256=model.sha256,
        )
        for start in range(0, config.count, config.batch_size):
            indices = list(range(start, min(start + config.batch_size, config.count)))
            ids = [writer.image_id(index) for index in indices]
            order += ids
            if not set(ids) <= done.keys():
                made = _chunk(model, sister, pools[category], writer, indices)
                _append_rows(out, made)
                rows |= {row.id: (row, depth) for row, depth in made}
            count += len(indices)
            if report is not None:
                report(count, total)
    ordered = [rows[image_id] for image_id in order]
    _write_rows(out, ordered)
    summary = summarise([row for row, _ in ordered]) | {"depth": summarise_depth([row for _, row in ordered])}
    write_description(out, description | {SUMMARY: summary})
    _announce_profiles(summary["depth"], announce)
    return summary


def _chunk(
    model: Model, sister: Model, pool: PairPool, writer: PairWriter, indices: Sequence[int]
) -> list[tuple[Row, DepthRow]]:
    pairs = accepted_pairs(model.generator, sister.generator, pool, writer.config, writer.category, indices)
    images = pool.colour.normals
    colors, objects = (to_host(values[pairs.target_index]) for values in (images.color_u8, images.object_u8))
    on_cpu = mapped(to_host, pairs)
    wait_for_host(images.color_u8.device)
    return writer.write(on_cpu, colors, objects, indices)


def _append_rows(out: Path, rows: Sequence[tuple[Row, DepthRow]]) -> None:
    """Add the rows of finished pairs; depth rows first: an image of the manifest always has one."""
    append_depth_rows(out, [depth for _, depth in rows])
    append_rows(out, [row for row, _ in rows])


def _write_rows(out: Path, rows: Sequence[tuple[Row, DepthRow]]) -> None:
    """Replace all rows, in the same order of files."""
    write_depth_rows(out, [depth for _, depth in rows])
    write_rows(out, [row for row, _ in rows])


def _announce_profiles(summary: dict, announce: Announce) -> None:
    """Say how often the network gave no relief of the asked sign."""
    other = {name: count for name, count in summary["profiles"].items() if name != "network" and count}
    if other:
        words = ", ".join(f"{count} by the {name}" for name, count in other.items())
        announce(f"AnomalyHybrid* saw no relief of the asked sign in some images; their shape was made {words}")
    if summary["without_measurement"]:
        announce(f"{summary['without_measurement']} defects fell where no depth was measured: their depth is unchanged")


def _networks(run: str, sister_run: str) -> tuple[Model, Model]:
    """Both generators on the device, fitting each other.

    Raises:
        WeightsError: One is of the other's kind, or they were trained at different sizes or with different edges.
    """
    model, sister = load_model(run), load_model(sister_run)
    for given, gives, name in ((model, "color", "AnomalyHybrid"), (sister, "maps", "AnomalyHybrid*")):
        if given.generator.config.gives != gives:
            raise WeightsError(f"{given.path} is not {name}: it gives {given.generator.config.gives}, not {gives}")
        given.generator.to(best_device())
    for key in ("size", "edge_name"):
        ours, theirs = model.metadata.get(key), sister.metadata.get(key)
        if ours != theirs:
            raise WeightsError(
                f"{model.path} was trained with {key} {ours}, {sister.path} with {theirs}; train both alike"
            )
    return model, sister


def _description(
    model: Model,
    sister: Model,
    sources: Sources,
    config: DepthDefectConfig,
    measured: MeasuredDepth,
    unit: str,
    out: Path,
) -> dict:
    """What `dataset.json` says: as for other sets, and what belongs to depth."""
    digest = hashlib.sha256()
    for record in (*sources.normals, *sources.base):
        digest.update(sha256_of(measured.path_of(record)).encode())
    base = describe(model, sources, GenerateConfig(count=config.count, seed=config.seed), (), (), out)
    return base | {
        "level": "depth",
        "config": json.loads(json.dumps(asdict(config))),
        "sister": {"sha256": sister.sha256, "metadata": dict(sorted(sister.metadata.items()))},
        "depth": {"nearer_is_larger": measured.nearer_is_larger, "unit": unit, "sha256": digest.hexdigest()},
    }


def _finished(out: Path, description: dict) -> dict[str, tuple[Row, DepthRow]]:
    """Rows of pairs whose files are all there.

    Raises:
        DataError: The set was begun under another configuration, model or data.
    """
    keys = ("config", "model", "sister", "depth", "categories", "data_sha256")
    check_resumed(out, read_dataset(out), description, keys)
    if not (out / MANIFEST).exists():
        return {}
    depth = {row.id: row for row in read_depth_rows(out)}
    found = {}
    for row in read_rows(out):
        own = depth.get(row.id)
        files = (row.image, row.label_mask or "", *((own.depth, own.preview) if own else ("",)))
        if own is not None and all((out / path).is_file() for path in files):
            found[row.id] = row, own
    _write_rows(out, list(found.values()))
    return found


def clear_of_defects(images: ImageSet) -> ImageSet:
    """Take what a target's own defects cover, and a margin, off its product; all of it stays where nothing is left."""
    own = dilate((images.region_u8 > 127).float(), max(1, round(CLEARANCE * images.color_u8.shape[-1])))
    free = torch.where(own > 0, torch.zeros_like(images.object_u8), images.object_u8)
    some = (free > 0).flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return replace(images, object_u8=torch.where(some, free, images.object_u8))


def _pools(
    model: Model,
    sister: Model,
    sources: Sources,
    config: DepthDefectConfig,
    measured: MeasuredDepth,
    cache: Path | None,
) -> dict[str, PairPool]:
    """Images, maps and depth of each category on the device.

    Raises:
        ConfigError: A decoder that AnomalyHybrid lacks, or a sign that the real defects lack.
    """
    check_decoders(model, config.decoders, "depth")
    edge, depth = extractors_of(model, config.edge_weights, config.depth_weights, measured)
    device, size = best_device(), int(model.metadata["size"])
    store = ConditionCache(condition_folder(cache))

    def load(records: Sequence[Record]) -> ImageSet:
        return load_image_set(records, sources.categories, size=size, edge=edge, depth=depth, cache=store)

    pools = {}
    for category in sources.categories:
        targets = [record for record in sources.normals if record.category == category]
        base = [record for record in sources.base if record.category == category]
        if not targets:
            raise DataError(f"{category} has no target image with depth")
        images = load(targets)
        defects = load(base) if base else None
        known = None if defects is None else measured_set(defects, base, measured)
        pools[category] = PairPool(
            colour=category_pool(
                clear_of_defects(images).to(device), None if defects is None else defects.to(device), base
            ),
            depth=measured_set(images, targets, measured).depth.to(device),
            base_depth=None if known is None else known.depth.float().to(device),
            base_sign=None if known is None else _signs(known),
        )
        check_pool(pools[category], config, category)
    return pools


def _signs(defects: DepthSet) -> Tensor:
    region, thing, valid = (
        (values > 127).float() for values in (defects.region_u8, defects.object_u8, defects.valid_u8)
    )
    return real_signs(defects.depth.float(), region, thing, valid)

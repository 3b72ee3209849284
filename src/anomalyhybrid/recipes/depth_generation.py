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
from anomalyhybrid.data.depth_units import check_units, depth_stats
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.depth_defects import accepted_pairs
from anomalyhybrid.generation.depth_pool import PairPool, check_pool, real_signs
from anomalyhybrid.generation.depth_rows import DEPTH_ROWS, DepthRow, read_depth_rows, summarise_depth, write_depth_rows
from anomalyhybrid.generation.depth_writer import PairWriter
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, Row, read_dataset, read_rows, write_rows
from anomalyhybrid.generation.pool import CategoryPool
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.manipulate.symmetry import symmetry_of
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.recipes.depth_sets import measured_set
from anomalyhybrid.recipes.description import describe, write_description
from anomalyhybrid.recipes.job import Model, load_model
from anomalyhybrid.recipes.sources import Announce, Sources, best_device, condition_folder, make_extractors

CHECKED = 32  # depth files whose unit is compared before the work begins
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
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps: of colour as for other sets, and ``depth``.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    if not resume and any((out / name).exists() for name in (MANIFEST, DATASET, DEPTH_ROWS)):
        raise DataError(f"{out} already holds a generated set; finish it with --resume or give another --out")
    if resume and not (out / DATASET).exists():
        raise DataError(f"{out} holds no set to resume; start without --resume")
    model, sister = _networks(run, sister_run)
    _check_depth(sources, measured, config)
    make_folder(out)
    description = _description(model, sister, sources, config, measured, unit, out)
    done = _finished(out, description) if resume else {}
    pools = _pools(model, sister, sources, config, measured, cache)
    if not resume:
        write_description(out, description)
    alone = len(sources.categories) == 1
    total, count = config.count * len(sources.categories), 0
    rows: list[tuple[Row, DepthRow]] = []
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
            if set(ids) <= done.keys():
                rows += [done[image_id] for image_id in ids]
            else:
                rows += _chunk(model, sister, pools[category], writer, indices)
            _write_rows(out, rows)
            count += len(indices)
            if report is not None:
                report(count, total)
    summary = summarise([row for row, _ in rows]) | {"depth": summarise_depth([row for _, row in rows])}
    write_description(out, description | {"summary": summary})
    _announce_profiles(summary["depth"], announce)
    return summary


def _chunk(
    model: Model, sister: Model, pool: PairPool, writer: PairWriter, indices: Sequence[int]
) -> list[tuple[Row, DepthRow]]:
    pairs = accepted_pairs(model.generator, sister.generator, pool, writer.config, writer.category, indices)
    images = pool.colour.normals
    colors, objects = images.color_u8[pairs.target_index].cpu(), images.object_u8[pairs.target_index].cpu()
    return writer.write(pairs.each(Tensor.cpu), colors, objects, indices)


def _write_rows(out: Path, rows: Sequence[tuple[Row, DepthRow]]) -> None:
    """Depth rows first: an image of the manifest always has one."""
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


def _check_depth(sources: Sources, measured: MeasuredDepth, config: DepthDefectConfig) -> None:
    """Every target has depth, in one unit, that the height fits."""
    for record in sources.normals:
        measured.path_of(record)
    step = max(1, len(sources.normals) // CHECKED)
    chosen = sources.normals[::step][:CHECKED]
    stats = {record.relative: depth_stats(measured.load(record)) for record in chosen}
    check_units(stats, height=None if isinstance(config.height, str) else config.height[1])


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
    before = read_dataset(out)
    for key in ("config", "model", "sister", "depth", "categories", "data_sha256"):
        if before.get(key) != description[key]:
            raise DataError(f"{out} was begun with another {key}; resume with the same settings or give another --out")
    for path in out.rglob(".tmp-*"):
        path.unlink(missing_ok=True)
    if not (out / MANIFEST).exists():
        return {}
    depth = {row.id: row for row in read_depth_rows(out)}
    found = {}
    for row in read_rows(out):
        own = depth.get(row.id)
        files = (row.image, row.label_mask or "", *((own.depth, own.preview) if own else ("",)))
        if own is not None and all((out / path).is_file() for path in files):
            found[row.id] = row, own
    return found


def _clear_of_defects(images: ImageSet) -> ImageSet:
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
    missing = [name for name in config.decoders if name not in model.generator.config.decoders]
    if missing:
        raise ConfigError(f"depth.decoders asks for {missing}, but {model.path} has {model.generator.config.decoders}")
    device, metadata = best_device(), model.metadata
    by_files = metadata["depth"] in ("measured", "measured_disparity")
    kind = "lite" if by_files else metadata["depth"]
    edge, extractor = make_extractors(metadata["edge"], kind, config.edge_weights, config.depth_weights, device)
    depth = measured if by_files else extractor
    for used, trained in ((edge.name, metadata["edge_name"]), (depth.name, metadata["depth_name"])):
        if used != trained:
            raise WeightsError(f"{model.path} was trained with maps by {trained}, but these are by {used}")
    size, store = int(metadata["size"]), ConditionCache(condition_folder(cache))

    def load(records: Sequence[Record]) -> ImageSet:
        return load_image_set(records, sources.categories, size=size, edge=edge, depth=depth, cache=store)

    pools = {}
    for category in sources.categories:
        targets = [record for record in sources.normals if record.category == category]
        base = [record for record in sources.base if record.category == category]
        if not targets:
            raise DataError(f"{category} has no target image with depth")
        images = load(targets)
        types = list(dict.fromkeys(record.defect for record in base))
        defects = load(base) if base else None
        base_depth = None if defects is None else measured_set(defects, base, measured).depth.float()
        pools[category] = PairPool(
            colour=CategoryPool(
                normals=_clear_of_defects(images).to(device),
                base=None if defects is None else defects.to(device),
                symmetry=symmetry_of(images.color_u8),
                base_kind=torch.tensor([types.index(record.defect) for record in base]) if base else None,
            ),
            depth=measured_set(images, targets, measured).depth.to(device),
            base_depth=None if base_depth is None else base_depth.to(device),
            base_sign=None if base_depth is None or defects is None else _signs(base_depth, defects),
        )
        check_pool(pools[category], config, category)
    return pools


def _signs(depth: Tensor, defects: ImageSet) -> Tensor:
    region, thing = ((values > 127).float() for values in (defects.region_u8, defects.object_u8))
    return real_signs(depth, region, thing)

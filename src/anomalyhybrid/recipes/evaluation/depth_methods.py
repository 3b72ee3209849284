"""Training images in colour and depth of each method: aligned pairs by two generators, and baselines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.locks import locked
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.depth import (
    DepthImages,
    PerlinDepthConfig,
    crop_paste_depth,
    perlin_depth,
)
from anomalyhybrid.evaluation.baselines.textures import load_textures
from anomalyhybrid.evaluation.config import DEPTH_METHODS, FEW_SHOT, EvaluateConfig
from anomalyhybrid.evaluation.depth_samples import DepthSamples, join_depth, to_u8
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.depth_rows import read_depth_rows
from anomalyhybrid.generation.manifest import DATASET, Row, read_rows
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.depth_generation import generate_depth
from anomalyhybrid.recipes.evaluation.data import CategoryData, with_kinds
from anomalyhybrid.recipes.evaluation.depth_data import DepthCategory, near_map
from anomalyhybrid.recipes.evaluation.methods import Entry, check_training
from anomalyhybrid.recipes.evaluation.pictures import each
from anomalyhybrid.recipes.evaluation.sets import Bench, generator_file, read_samples
from anomalyhybrid.recipes.sources import Sources

OPTIONS = (
    "mode",
    "size",
    "count",
    "base_split",
    "with_base",
    "validation_share",
    "eroded_truth",
    "batch_size",
    "precision",
    "textures",
    "decoders",
    "appearance",
    "generate_batch",
    "nearer_is_larger",
)
"""Settings that decide the figures of every table with depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMade:
    """What a method trains on besides the real good images.

    Attributes:
        own: The method's own defects; `kinds` begins with the category's types.
        train: These, with the real base third before them where it is asked for.
        checkpoint: Of both generators together (`pair_checkpoint`); None for baselines.
        folder: Root of the generated set; None for baselines.
        rows: Its manifest's rows; empty for baselines.
        notes: What a reader of the method's rows has to know.
    """

    own: DepthSamples
    train: DepthSamples
    checkpoint: str | None = None
    folder: Path | None = None
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


def pair_config(config: EvaluateConfig, seed: int) -> DepthDefectConfig:
    """Generation's part of the settings.

    Raises:
        ConfigError: An appearance that aligned pairs cannot have.
    """
    if config.appearance == "reference":
        raise ConfigError("evaluate.appearance is 'reference'; colour and depth pairs take auto, target or blend")
    return DepthDefectConfig(
        count=config.count,
        decoders=config.decoders,
        appearance=config.appearance,
        batch_size=config.generate_batch,
        seed=seed,
        edge_weights=config.edge_weights,
        depth_weights=config.depth_weights,
    )


def pair_checkpoint(run: str, depth_run: str) -> str:
    """One sha256 for both generators: of their files' own, a line each.

    Raises:
        WeightsError: One of them is not there.
    """
    both = "\n".join(sha256_of(generator_file(path)) for path in (run, depth_run))
    return hashlib.sha256(both.encode()).hexdigest()


def depth_samples_of(entry: Entry, deep: DepthCategory, seed: int, bench: Bench) -> DepthMade:
    """Make, or read back, what a method trains on in colour and depth.

    Aligned pairs are written to ``sets/pairs/seed_<seed>/<category>``, at the images' own size, and finished where a
    killed process left them.

    Args:
        entry: The table's line.
        deep: The category with depth.
        seed: Of generation and drawing.
        bench: Where to work.

    Raises:
        ConfigError: A method without depth, or none of AnomalyHybrid* for ours.
        DataError: No base image for a few-shot method, a set that was begun otherwise.
        WeightsError: No generators, or two that do not fit each other.
    """
    config, method, data = entry.config, entry.method, deep.data
    if method in FEW_SHOT and not len(data.base):
        raise DataError(f"{data.category} has no base images, which {entry.label} draws on; leave the method out")
    if method == "base_third":
        return DepthMade(own=deep.base, train=deep.base, notes=data.notes)
    made = _pairs(deep, config, seed, bench) if method == "ours" else _baseline(method, deep, config, seed, bench)
    kinds = tuple(dict.fromkeys((*data.kinds, *made.own.color.kinds)))
    own = numbered(made.own, kinds)
    base_too = config.with_base and method in FEW_SHOT
    train = join_depth(numbered(deep.base, kinds), own) if base_too else own
    return replace(made, own=own, train=train, notes=(*data.notes, *made.notes))


def numbered(samples: DepthSamples, kinds: tuple[str, ...]) -> DepthSamples:
    """The same images with their defect types numbered by other names (`with_kinds`)."""
    return DepthSamples(with_kinds(samples.color, kinds), samples.depth_u8)


def _baseline(method: str, deep: DepthCategory, config: EvaluateConfig, seed: int, bench: Bench) -> DepthMade:
    good, notes = _on(deep.good, bench), ()
    match method:
        case "crop_paste":
            base, kinds = _on(deep.base_images, bench), deep.data.kinds
            kind = deep.data.base.kind.to(bench.device)
            made = crop_paste_depth(good, base, kinds, kind, config.count, seed, deep.value_range)
        case "perlin_values" | "perlin_smooth":
            textures = load_textures(Path(config.textures), config.size) if config.textures else None
            form = PerlinDepthConfig(form="smooth" if method == "perlin_smooth" else "values")
            made = perlin_depth(good, config.count, seed, deep.value_range, textures=textures, config=form)
            notes = (f"textures: {textures.name if textures else 'procedural'}",)
        case _:
            raise ConfigError(f"method {method!r} makes no depth; choose one of {', '.join(DEPTH_METHODS)}")
    made = DepthSamples(made.color.to("cpu"), made.depth_u8.cpu())
    return DepthMade(own=made, train=made, notes=notes)


def _on(images: DepthImages, bench: Bench) -> DepthImages:
    return DepthImages(images.images.to(bench.device), images.near.to(bench.device), images.valid.to(bench.device))


def _pairs(deep: DepthCategory, config: EvaluateConfig, seed: int, bench: Bench) -> DepthMade:
    data = deep.data
    if not config.depth_run:
        raise ConfigError("ours in depth needs evaluate.depth_run, the AnomalyHybrid* that makes depth")
    notes = [check_training(run, data, few_shot=True) for run in (bench.run, config.depth_run)]
    folder = written_pairs(data, config, seed, bench)
    rows = tuple(read_rows(folder))
    kept = tuple(row for row in rows if row.accepted) or rows
    if weak := sum(not row.accepted for row in rows):
        fate = "left out" if kept != rows else "kept, because none was accepted"
        notes.append(f"{weak} of {len(rows)} generated pairs changed too little to be accepted and were {fate}")
    files = {row.id: row.depth for row in read_depth_rows(folder)}

    def read(row: Row) -> tuple[np.ndarray, np.ndarray]:
        return near_map(read_depth(folder / files[row.id], nearer_is_larger=config.nearer_is_larger), config.size)

    near, valid = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*each(read, kept), strict=True))
    own = DepthSamples(read_samples(folder, kept, config.size), to_u8(near, valid, deep.value_range))
    shown = [sha256_of(generator_file(run))[:12] for run in (bench.run, config.depth_run)]
    notes.append(f"pairs by AnomalyHybrid {shown[0]} and AnomalyHybrid* {shown[1]}, made at the images' own size")
    return DepthMade(
        own=own,
        train=own,
        checkpoint=pair_checkpoint(bench.run, config.depth_run),
        folder=folder,
        rows=kept,
        notes=tuple(note for note in dict.fromkeys(notes) if note),
    )


def written_pairs(data: CategoryData, config: EvaluateConfig, seed: int, bench: Bench) -> Path:
    """Write a set of aligned pairs, or what is missing of it; both generators see the good training images and the
    base set alone.

    Returns:
        The folder of the complete set.

    Raises:
        DataError: It was begun with other settings, data or generators.
        WeightsError: No generators, or two that do not fit each other.
    """
    folder = bench.out / "sets" / "pairs" / f"seed_{seed}" / data.category
    if folder in bench.finished:
        return folder
    digest = hashlib.sha256(str(folder.relative_to(bench.out)).encode()).hexdigest()[:16]
    with locked(bench.out / ".locks" / f"set_{digest}"):
        bench.announce(f"{data.category}, seed {seed}: set pairs")
        generate_depth(
            bench.run,
            config.depth_run,
            Sources(
                root=_root(data.good_records[0]),
                categories=(data.category,),
                normals=data.good_records,
                base=data.base_records,
            ),
            folder,
            measured=MeasuredDepth(nearer_is_larger=config.nearer_is_larger),
            config=pair_config(config, seed),
            resume=(folder / DATASET).is_file(),
            cache=bench.cache,
            announce=bench.announce,
            report=lambda done, total: bench.note(f"{data.category}, set pairs: {done} of {total} images"),
        )
    bench.finished.add(folder)
    return folder


def _root(record: Record) -> Path:
    """The data root that a record's relative path starts from."""
    return record.path.parents[len(Path(record.relative).parts) - 1]

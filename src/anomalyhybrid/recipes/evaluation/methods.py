"""Training images of each method: sets by a generator, kept in the output folder, and baselines made anew."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.making import make_baseline
from anomalyhybrid.evaluation.baselines.textures import load_textures
from anomalyhybrid.evaluation.config import (
    DEPTH_METHODS,
    FEW_SHOT,
    GENERATING,
    LABELS,
    METHODS,
    PLUS,
    EvaluateConfig,
)
from anomalyhybrid.evaluation.samples import Samples, join
from anomalyhybrid.generation.manifest import Row, read_rows
from anomalyhybrid.models.weights import safetensors_metadata, sha256_of
from anomalyhybrid.recipes.evaluation.data import CategoryData, with_kinds
from anomalyhybrid.recipes.evaluation.sets import (
    SHIPPED,
    Bench,
    generator_file,
    read_samples,
    redrawn_normals,
    written_set,
)
from anomalyhybrid.recipes.training import BASE_IMAGES

OPTIONS = (
    "mode",
    "size",
    "native",
    "count",
    "base_split",
    "with_base",
    "base_share",
    "types",
    "validation_share",
    "eroded_truth",
    "batch_size",
    "precision",
    "textures",
    "decoders",
    "operations",
    "mixture",
    "remove_real",
    "appearance",
    "procedural",
    "foreign",
    "bend",
    "levelling",
    "gate",
    "generate_batch",
)
"""Settings that decide the figures of every table: the split, a method's images, how networks are trained on them."""
NOT_TRAINED = "shipped generator, not trained on these data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a table.

    Attributes:
        key: Name in file paths.
        label: Name in tables, `Row.method`.
        method: One of `METHODS`.
        config: The evaluation's settings, with this line's decoders and operations.
    """

    key: str
    label: str
    method: str
    config: EvaluateConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSet:
    """What a method trains on besides the real good images.

    Attributes:
        method: One of `METHODS`.
        samples: Defective images, uint8 at the evaluation's size, on the CPU. `kinds` begins with the category's
            types, so that it can be compared with its test set; a zero-shot method's own types follow.
        normals_u8: Generated good images that join the good ones (AnoHybrid+), uint8 (M, 3, S, S), or None.
        checkpoint: sha256 of the generator's file; None for baselines.
        folder: Root of the generated set, which `rows` are relative to; None for baselines.
        rows: Manifest rows of `samples`, in their order, without added base images; empty for baselines.
        real: How many of `samples`, the first, are real base images that joined the method's own (`with_base`).
        notes: What a reader of the method's rows has to know.
    """

    method: str
    samples: Samples
    normals_u8: Tensor | None = None
    checkpoint: str | None = None
    folder: Path | None = None
    rows: tuple[Row, ...] = ()
    real: int = 0
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> Samples:
        """The method's own images, without real base images that joined them."""
        return self.samples.where(torch.arange(self.real, len(self.samples))) if self.real else self.samples


TABLE_7 = (("merge",), ("remove",), ("replace",), ("merge", "remove", "replace"), ("merge", "remove", "replace", "tps"))
"""Operations of the paper's Table 7, line by line."""


def entries(config: EvaluateConfig) -> tuple[Entry, ...]:
    """Lines of the configuration's table.

    Tables 1 and 2 and Table 3's RGB level have a line for each method; Table 5 has ours with each decoder alone and
    with all; Table 7 ours with the paper's combinations of operations, TPS following only where it is one of them.

    Raises:
        ConfigError: Methods for a table that varies ours alone.
    """
    if config.table not in (5, 7):
        usual = tuple(name for name in METHODS if name not in PLUS or _has_plus(config))
        chosen = tuple(name for name in config.methods if name in METHODS) if config.methods else usual
        return tuple(Entry(key=name, label=LABELS[name], method=name, config=config) for name in chosen)
    method = config.methods[0] if len(config.methods) == 1 else "ours"
    if len(config.methods) > 1 or method not in GENERATING:
        raise ConfigError(f"table {config.table} varies one generating method; give one of {', '.join(GENERATING)}")
    if config.table == 7:
        return tuple(_operations_line(config, method, operations) for operations in TABLE_7)
    variants = (
        [*((name,) for name in config.decoders), config.decoders] if len(config.decoders) > 1 else [config.decoders]
    )
    return tuple(
        Entry(
            key=f"{method}_{'_'.join(names)}",
            label=" + ".join(names).upper(),
            method=method,
            config=replace(config, decoders=names),
        )
        for names in variants
    )


def depth_entries(config: EvaluateConfig) -> tuple[Entry, ...]:
    """Lines of Table 4 and of Table 3's depth level: one for each method that makes depth; ours needs `depth_run`."""
    chosen = [name for name in DEPTH_METHODS if not config.methods or name in config.methods]
    return tuple(
        Entry(key=name, label=LABELS[name], method=name, config=config)
        for name in chosen
        if name != "ours" or config.depth_run
    )


def _has_plus(config: EvaluateConfig) -> bool:
    return config.normals > 0 and config.table == 2


def _operations_line(config: EvaluateConfig, method: str, operations: tuple[str, ...]) -> Entry:
    mixture = config.mixture if "tps" in operations else 0.0
    own = replace(config, operations=operations, mixture=mixture, remove_real=True)
    return Entry(key=f"{method}_{'_'.join(operations)}", label=" + ".join(operations), method=method, config=own)


def checkpoint_of(method: str, bench: Bench) -> str | None:
    """The sha256 of the generator behind a method's images; None for baselines.

    Raises:
        WeightsError: There is no such generator.
    """
    return sha256_of(generator_file(bench.run_of(method))) if method in GENERATING else None


def method_samples(entry: Entry, data: CategoryData, seed: int, bench: Bench) -> MadeSet:
    """Make, or read back, what a method trains on.

    Generated sets are written to ``sets/<key>/seed_<seed>/<category>`` and are finished where a killed process left
    them; several processes may ask for one set at once. With `with_base` the real base third joins the images of
    few-shot methods.

    Args:
        entry: The table's line.
        data: The category, split for the seed.
        seed: Of generation and drawing.
        bench: Where to work.

    Returns:
        The images.

    Raises:
        DataError: A set that was begun otherwise; no base images for a few-shot method.
        WeightsError: No generator, or not its extractors.
    """
    config, method = entry.config, entry.method
    if method in FEW_SHOT and not len(data.base):
        raise DataError(f"{data.category} has no base images, which {entry.label} draws on; leave the method out")
    if method == "base_third":
        return MadeSet(method=method, samples=data.base, notes=data.notes)
    made = (
        _generated(entry, data, seed, bench) if method in GENERATING else _baseline(method, data, config, seed, bench)
    )
    kinds = tuple(dict.fromkeys((*data.kinds, *made.samples.kinds)))
    samples = with_kinds(made.samples, kinds)
    if config.with_base and method in FEW_SHOT:
        real = _repeated(with_kinds(data.base, kinds), samples, config.base_share)
        samples = join(real, samples)  # first: a classifier's limit cuts the end
        made = replace(made, real=len(real))
    return replace(made, samples=samples, notes=(*data.notes, *made.notes))


def _repeated(base: Samples, generated: Samples, share: float) -> Samples:
    """The base images, each type so often that it is the share of its images with the generated ones."""
    parts = [base]
    for number in base.kind.unique().tolist():
        own, others = base.where(base.kind == number), int((generated.kind == number).sum())
        wanted = round(share / (1 - share) * others) - len(own)
        if wanted > 0:
            parts.append(own.where(torch.arange(wanted) % len(own)))
    return join(*parts)


def _generated(entry: Entry, data: CategoryData, seed: int, bench: Bench) -> MadeSet:
    config, method = entry.config, entry.method
    few_shot, run = method in FEW_SHOT, bench.run_of(method)
    key = entry.key.replace("+", "")  # with generated good images or without, the defects are the same
    folder = written_set(key, data, config, seed, bench, run=run, few_shot=few_shot, count=config.count)
    rows = tuple(row for row in read_rows(folder) if row.label_mask is not None)
    kept = tuple(row for row in rows if row.accepted) or rows
    notes = [check_training(run, data, few_shot=few_shot)]
    weak = sum(not row.accepted for row in rows)
    if weak:
        fate = "left out" if kept != rows else "kept, because none was accepted"
        notes.append(f"{weak} of {len(rows)} generated images changed too little to be accepted and were {fate}")
    normals = None
    if method in PLUS:
        redrawn = redrawn_normals(data, config, seed, bench, run=run, held=False, normals_as=config.normals_as)
        normals = None if redrawn is None else redrawn.image_u8
    return MadeSet(
        method=method,
        samples=read_samples(folder, kept, config.size),
        normals_u8=normals,
        checkpoint=sha256_of(generator_file(run)),
        folder=folder,
        rows=kept,
        notes=tuple(note for note in notes if note),
    )


def check_training(run: str, data: CategoryData, *, few_shot: bool) -> str:
    """Compare the real defects behind a generator (recorded in its file) with those that it must not know.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: The category, split.
        few_shot: Whether it may know the base set.

    Returns:
        What a reader has to know of the generator's training; may be empty.

    Raises:
        DataError: It has learnt from validation or test images, or, zero-shot, from any defect of the category.
    """
    if run == SHIPPED:
        return NOT_TRAINED
    recorded = safetensors_metadata(generator_file(run)).get(BASE_IMAGES)
    if not recorded:
        return "which real defects the generator was trained on is not recorded in its file"
    secret = {"validation": data.validation_records, "test": data.test_records}
    if not few_shot:
        secret["base"] = data.base_records
    known = set(json.loads(recorded))
    for part, records in secret.items():
        seen = [record.relative for record in records if sha256_of(record.path) in known]
        if seen:
            raise DataError(
                f"{data.category}: the generator {run} was trained on {len(seen)} {part} images, {seen[0]} among them; "
                f"give one that was trained {'on the same base set' if few_shot else 'without real defects'}"
            )
    return ""


def _baseline(method: str, data: CategoryData, config: EvaluateConfig, seed: int, bench: Bench) -> MadeSet:
    good = data.pictures.image_set(data.good_records).to(bench.device)
    notes: tuple[str, ...] = ()
    match method:
        case "crop_paste":
            base = data.pictures.image_set(data.base_records).to(bench.device)
            samples = make_baseline(
                "crop_paste",
                good,
                config.count,
                seed,
                base=base,
                kinds=data.kinds,
                base_kind=data.base.kind,
                types=config.types,
            )
        case "perlin":
            textures = load_textures(Path(config.textures), config.size) if config.textures else None
            samples = make_baseline("perlin", good, config.count, seed, textures=textures)
            notes = (f"textures: {textures.name if textures else 'procedural'}",)
        case "cut_paste" | "nsa":
            samples = make_baseline(method, good, config.count, seed)
        case _:
            raise ConfigError(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    return MadeSet(method=method, samples=samples.to("cpu"), notes=notes)

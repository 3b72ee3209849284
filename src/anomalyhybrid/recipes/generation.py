"""`anomalyhybrid generate`: a generator and folders of images to a data set of defects with masks."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from anomalyhybrid import __version__
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.data.files import make_folder, resolve_inside, write_text_atomic
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import (
    DATASET,
    FORMAT,
    MANIFEST,
    Row,
    read_dataset,
    read_rows,
    write_rows,
)
from anomalyhybrid.generation.pipeline import Candidates, CategoryPool, accepted_candidates, redraw_normals
from anomalyhybrid.generation.writer import SetWriter, append_rows
from anomalyhybrid.manipulate.policy import Plan
from anomalyhybrid.manipulate.symmetry import measure_symmetry
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.weights import sha256_of, shipped
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.recipes.sources import (
    Announce,
    Sources,
    best_device,
    condition_folder,
    make_extractors,
    read_sources,
)
from anomalyhybrid.recipes.training import SHIPPED_GENERATOR
from anomalyhybrid.types import DecoderOutput

SYMMETRY_IMAGES = 16  # good images that a product's symmetry is measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A generator with what it needs to know of its training."""

    generator: Generator
    path: Path
    name: str
    sha256: str
    metadata: dict[str, str]


def load_model(run: str) -> Model:
    """Find a generator: ``shipped``, a run folder, or a .safetensors file.

    Raises:
        WeightsError: There is none.
    """
    path = shipped(SHIPPED_GENERATOR) if run == "shipped" else Path(run)
    if path.is_dir():
        path = path / "generator.safetensors"
    generator, metadata = load_generator(path)
    return Model(generator=generator, path=path, name=run, sha256=sha256_of(path), metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that writing a set needs, ready on the device."""

    model: Model
    sources: Sources
    config: GenerateConfig
    folder: Path
    pools: dict[str, CategoryPool]
    writers: dict[str, SetWriter]

    def chunks(self) -> Iterator[tuple[str, bool, list[int]]]:
        """The work list: category, whether defects (else normals), numbers; fixed by the configuration."""
        for category in self.sources.categories:
            for is_defect, total in ((True, self.config.count), (False, self.config.normals)):
                for start in range(0, total, self.config.batch_size):
                    yield category, is_defect, list(range(start, min(start + self.config.batch_size, total)))

    def ids(self, category: str, is_defect: bool, indices: Sequence[int]) -> list[str]:
        """Ids of a chunk's images."""
        writer = self.writers[category]
        return [writer.defect_id(index) if is_defect else writer.normal_id(index) for index in indices]

    def write(self, category: str, is_defect: bool, indices: Sequence[int], only: str | None = None) -> list[Row]:
        """Generate one chunk and write it, or the one image of it whose id is given."""
        pool, writer = self.pools[category], self.writers[category]
        if not is_defect:
            drawn = redraw_normals(self.model.generator, pool, self.config, category, indices)
            target, reference, decoder, color, output = drawn
            moved = DecoderOutput(*(part.cpu() for part in output))
            return writer.write_normals(
                (target.cpu(), reference.cpu(), decoder.cpu(), color.cpu(), moved), indices, only
            )
        candidates = accepted_candidates(self.model.generator, pool, self.config, category, indices)
        colors = pool.normals.color_u8[candidates.target_index].cpu()
        return writer.write_defects(_to_cpu(candidates), colors, indices, only)


def _to_cpu(candidates: Candidates) -> Candidates:
    plan = Plan(*(getattr(candidates.plan, f.name).cpu() for f in fields(Plan)))
    rest = {f.name: getattr(candidates, f.name).cpu() for f in fields(Candidates) if f.name != "plan"}
    return Candidates(plan=plan, **rest)


def _category_pools(model: Model, sources: Sources, config: GenerateConfig, cache: Path) -> dict[str, CategoryPool]:
    """Load images and maps of each category onto the device."""
    device = best_device()
    metadata = model.metadata
    edge, depth = make_extractors(
        metadata["edge"], metadata["depth"], config.edge_weights, config.depth_weights, device
    )
    for used, trained in ((edge.name, metadata["edge_name"]), (depth.name, metadata["depth_name"])):
        if used != trained:
            raise WeightsError(
                f"{model.path} was trained with maps by {trained}, but these weights are {used}; give those"
            )
    size = int(metadata["size"])

    def load(records: Sequence[Record]) -> ImageSet:
        store = ConditionCache(cache)
        images = load_image_set(records, sources.categories, size=size, edge=edge, depth=depth, cache=store)
        return images.to(device)

    pools = {}
    for category in sources.categories:
        normals = load([record for record in sources.normals if record.category == category])
        base = [record for record in sources.base if record.category == category]
        shown = signed_from_u8(normals.color_u8[:SYMMETRY_IMAGES].cpu())
        if len(shown) == 1:  # what another image of the product would look like: a little elsewhere
            shown = torch.cat([shown, shown.roll((1, 1), (2, 3))])
        pools[category] = CategoryPool(
            normals=normals, base=load(base) if base else None, symmetry=measure_symmetry(shown)
        )
    return pools


def _prepare(model: Model, sources: Sources, config: GenerateConfig, folder: Path, cache: Path | None) -> Job:
    missing = [name for name in config.decoders if name not in model.generator.config.decoders]
    if missing:
        raise ConfigError(
            f"generate.decoders asks for {missing}, but {model.path} has {model.generator.config.decoders}"
        )
    pools = _category_pools(model, sources, config, condition_folder(cache))
    model.generator.to(best_device())
    alone = len(sources.categories) == 1
    writers = {
        category: SetWriter(
            folder=folder,
            prefix="" if alone else f"{category}/",
            category=category,
            normals=[record for record in sources.normals if record.category == category],
            base=[record for record in sources.base if record.category == category],
            config=config,
            model_sha256=model.sha256,
        )
        for category in sources.categories
    }
    return Job(model=model, sources=sources, config=config, folder=folder, pools=pools, writers=writers)


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
    if not resume and ((out / MANIFEST).exists() or (out / DATASET).exists()):
        raise DataError(f"{out} already holds a generated set; finish it with --resume or give another --out")
    if resume and not (out / DATASET).exists():
        raise DataError(f"{out} holds no set to resume; start without --resume")
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
    description = _describe(model, sources, config, data, base_set, out)
    done: set[str] = set()
    if resume:
        done = _finished(out, description)
    job = _prepare(model, sources, config, out, cache)
    if not resume:
        _write_description(out, description)
    total = (config.count + config.normals) * len(sources.categories)
    count = 0
    for category, is_defect, indices in job.chunks():
        if not set(job.ids(category, is_defect, indices)) <= done:
            append_rows(out, job.write(category, is_defect, indices))
        count += len(indices)
        if report is not None:
            report(count, total)
    _in_work_order(job)
    summary = summarise(read_rows(out))
    _write_description(out, description | {"summary": summary})
    return summary


def _finished(out: Path, description: dict) -> set[str]:
    """Ids whose files are all there; rows of others are dropped, and what a killed process half wrote.

    Raises:
        DataError: The set was begun under another configuration, model or data.
    """
    before = read_dataset(out)
    for key in ("config", "model", "categories", "data", "base_set", "data_sha256"):
        if before.get(key) != description[key]:
            what = "content of the data folders" if key == "data_sha256" else key
            raise DataError(f"{out} was begun with another {what}; resume with the same settings or give another --out")
    for path in out.rglob(".tmp-*"):
        path.unlink(missing_ok=True)
    rows = read_rows(out) if (out / MANIFEST).exists() else []
    kept = [row for row in rows if all((out / path).is_file() for path in (row.image, row.label_mask) if path)]
    write_rows(out, kept)
    return {row.id for row in kept}


def _in_work_order(job: Job) -> None:
    """Sort the manifest by the work list and drop repeated rows of redone chunks."""
    rows = {row.id: row for row in read_rows(job.folder)}
    write_rows(job.folder, [rows[image_id] for chunk in job.chunks() for image_id in job.ids(*chunk)])


def _relative(path: Path, folder: Path) -> str:
    """A path as the set's record keeps it: relative where it lies inside the set, else absolute.

    Outside, links keep their names, because a folder's name may be its category's.
    """
    real, folder = path.resolve(), folder.resolve()
    return (
        real.relative_to(folder).as_posix() if real.is_relative_to(folder) else Path(os.path.abspath(path)).as_posix()
    )


def _data_sha256(sources: Sources) -> str:
    """Hash of what the images, masks and defect classes hold, in order; where they lie does not count."""
    records = [*sources.normals, *sources.base]
    with ThreadPoolExecutor() as threads:
        images = threads.map(lambda record: sha256_of(record.path), records)
        masks = threads.map(lambda record: sha256_of(record.mask_path) if record.mask_path else "", records)
        lines = [
            f"{r.category}/{r.defect} {image} {mask}\n" for r, image, mask in zip(records, images, masks, strict=True)
        ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _describe(
    model: Model,
    sources: Sources,
    config: GenerateConfig,
    data: Sequence[Path],
    base_set: Sequence[Path],
    out: Path,
) -> dict:
    """What `dataset.json` says."""
    name = model.name if model.name == "shipped" else _relative(model.path, out)
    return {
        "format": FORMAT,
        "data_root": _relative(sources.root, out),
        "data": [_relative(Path(root), out) for root in data],
        "base_set": [_relative(Path(root), out) for root in base_set],
        "data_sha256": _data_sha256(sources),
        "categories": list(sources.categories),
        "config": json.loads(json.dumps(asdict(config))),
        "model": {"run": name, "sha256": model.sha256, "metadata": dict(sorted(model.metadata.items()))},
        "versions": {
            "anomalyhybrid": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": str(best_device()),
        },
    }


def _write_description(out: Path, description: dict) -> None:
    write_text_atomic(out / DATASET, json.dumps(description, indent=2) + "\n")


def summarise(rows: Sequence[Row]) -> dict:
    """Figures of a set, for each category: counts, contract, visible change, fusion masks."""
    summary = {}
    for category in dict.fromkeys(row.category for row in rows):
        own = [row for row in rows if row.category == category]
        defects = [row for row in own if row.label_mask is not None]
        entry: dict = {"defects": len(defects), "normals": len(own) - len(defects)}
        if defects:
            kinds = dict.fromkeys(row.defect for row in defects)
            entry["by_defect"] = {kind: sum(row.defect == kind for row in defects) for kind in kinds}
            entry["images_changed_outside"] = sum(row.changed_outside > 0 for row in defects)
            entry["share_changed_over_6"] = round(sum(row.change_inside > 6 for row in defects) / len(defects), 4)
            entry["not_accepted"] = sum(not row.accepted for row in defects)
            entry["mean_mask_area"] = round(sum(row.mask_area for row in defects) / len(defects), 1)
            for decoder in dict.fromkeys(row.decoder for row in defects):
                values = [row.fusion_mask for row in defects if row.decoder == decoder]
                entry[f"fusion_mask_{decoder}"] = round(sum(values) / len(values), 4)
        summary[category] = entry
    return summary


def regenerate(dataset: Path, image_id: str, out: Path, *, announce: Announce) -> Path:
    """Make one image of a set again, exactly.

    Args:
        dataset: The set's folder.
        image_id: As in its manifest.
        out: Where image and mask go; a folder that holds no generated set.
        announce: Told in words what happens.

    Returns:
        The image's path.

    Raises:
        DataError: Unknown id, missing or changed data, or `out` holds a set, this one or another.
        WeightsError: The generator is not the one that made the set.
    """
    description = read_dataset(dataset)
    if out.resolve() == dataset.resolve():
        raise DataError(f"{out} is the set itself; give another folder")
    if (out / MANIFEST).exists() or (out / DATASET).exists():
        raise DataError(f"{out} holds a generated set, whose images must not be replaced; give another folder")
    rows = {row.id: row for row in read_rows(dataset)}
    if image_id not in rows:
        raise DataError(f"{dataset} has no image {image_id!r}; its ids run like {next(iter(rows), 'none')!r}")
    config = GenerateConfig.from_json(description["config"])
    run = description["model"]["run"]
    model = load_model(run if run == "shipped" else os.path.join(dataset, run))
    if model.sha256 != description["model"]["sha256"]:
        raise WeightsError(f"{model.path} is not the generator that made {dataset} (its sha256 differs)")
    folders = {name: [dataset / path for path in description[name]] for name in ("data", "base_set")}
    sources = read_sources(
        folders["data"], folders["base_set"], base_part=config.base_split, seed=config.seed, skip_unreadable=True,
        announce=announce,
    )  # fmt: skip
    if description.get("data_sha256") not in (None, _data_sha256(sources)):
        raise DataError(
            f"the images in {', '.join(str(path) for paths in folders.values() for path in paths)} are not those that "
            f"{dataset} was made from (some are missing, new or changed); put the same ones back"
        )
    make_folder(out)
    job = _prepare(model, sources, config, out, None)
    for category, is_defect, indices in job.chunks():
        if image_id in job.ids(category, is_defect, indices):
            (row,) = job.write(category, is_defect, indices, only=image_id)
            if row != rows[image_id]:
                announce(f"warning: the image differs from the set's, made with {description['versions']}")
            return resolve_inside(out, row.image)
    raise DataError(
        f"{dataset} lists {image_id!r}, but its configuration does not make it; the set was changed by hand"
    )

"""A generator, its data and its writers, ready to make a set chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalyhybrid.backends.choice import Backend, choose_backend, recorded_backend
from anomalyhybrid.backends.compiled import CompiledGenerator
from anomalyhybrid.backends.networks import on_backend
from anomalyhybrid.conditions.accelerated import extractor_on_backend
from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.conditions.measured import MEASURED, MeasuredDepth
from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import Areas, allowed_at_model_size, read_areas
from anomalyhybrid.data.tiling import MOST_TARGETS, by_file
from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.generation.additions import FOLDERS
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate import calibrate
from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.normals import redraw_normals
from anomalyhybrid.generation.pool import CategoryPool
from anomalyhybrid.generation.preview import preview_cells
from anomalyhybrid.generation.quality import LEAST_AREA
from anomalyhybrid.generation.several import Defects, draw_defects
from anomalyhybrid.generation.work_order import Chunk, WorkOrder
from anomalyhybrid.generation.writer import SetWriter
from anomalyhybrid.manipulate.symmetry import MEASURED_IMAGES, Symmetry, symmetry_of
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.weights import sha256_of, shipped
from anomalyhybrid.ops.fused import fusing
from anomalyhybrid.ops.transfer import to_host
from anomalyhybrid.recipes.control import Division, Share, divide, with_drawn_targets
from anomalyhybrid.recipes.sources import Sources, best_device, condition_folder, make_extractors
from anomalyhybrid.recipes.training import SHIPPED_GENERATOR
from anomalyhybrid.recipes.windowed import in_windows


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


def check_gives_color(model: Model) -> None:
    """Refuse AnomalyHybrid* where pictures are wanted.

    Raises:
        WeightsError: The generator gives depth and edge maps.
    """
    if model.generator.config.gives != "color":
        raise WeightsError(
            f"{model.path} is AnomalyHybrid* (train-depth): it gives depth and edge maps, not pictures. Give a run of "
            "'train' or 'shipped', and this one as --depth-run"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that writing a set needs, ready on the device."""

    model: Model
    sources: Sources
    config: GenerateConfig
    folder: Path
    pools: dict[str, CategoryPool]
    writers: dict[str, SetWriter]
    divisions: dict[str, Division]
    """What each category's defect images are made with."""
    description: Mapping[str, Any] = field(default_factory=dict)
    """As `prepare_job` takes it."""

    @property
    def order(self) -> WorkOrder:
        """The work list; fixed by the description."""
        return WorkOrder(categories=self.sources.categories, config=self.config, description=self.description)

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of the images asked for."""
        return self.order.chunks()

    def ids(self, category: str, is_defect: bool, indices: Sequence[int]) -> list[str]:
        """Ids of a chunk's images."""
        writer = self.writers[category]
        return [writer.defect_id(index) if is_defect else writer.normal_id(index) for index in indices]

    def draw(
        self, category: str, is_defect: bool, indices: Sequence[int], only: str | None = None
    ) -> Callable[[], list[Row]]:
        """Generate one chunk on the device.

        Args:
            category: Whose images.
            is_defect: Defects, else good images.
            indices: Their numbers within the category.
            only: Id of the one image to write.

        Returns:
            A function that finishes and writes the images, on the CPU, and gives their rows; it may run in a thread.
        """
        pool, writer = self.pools[category], self.writers[category]
        if not is_defect:
            drawn = redraw_normals(self.model.generator, pool, self.config, category, indices).cpu()
            return lambda: writer.write_normals(drawn, indices, only)
        groups = self.divisions[category].split(indices)
        finishes = [self._draw_defects(share, category, some, only) for share, some in groups]
        return lambda: [row for finish in finishes for row in finish()]

    def _draw_defects(
        self, share: Share, category: str, indices: Sequence[int], only: str | None
    ) -> Callable[[], list[Row]]:
        found = self._found(share, category, indices)
        colors = to_host(share.pool.normals.color_u8[found[0].candidates.target_index])
        on_cpu = [defects.cpu() for defects in found]  # waits, for the colours too
        return lambda: share.writer.write_defects(on_cpu, colors, indices, only)

    def _found(self, share: Share, category: str, indices: Sequence[int]) -> list[Defects]:
        """Draw defects on the device."""
        compiled = isinstance(self.model.generator, CompiledGenerator)
        with fusing("any batch" if compiled else None):
            return draw_defects(self.model.generator, share.pool, share.config, category, indices)

    def preview(self, category: str, indices: Sequence[int]) -> list[np.ndarray]:
        """Generate defects at the model's size and show them, uint8 (H, W, 3) each; nothing is written."""
        cells: dict[int, np.ndarray] = {}
        for share, some in self.divisions[category].split(indices):
            found = self._found(share, category, some)
            cells |= zip(some, preview_cells(share.pool, share.writer, found, some), strict=True)
        return [cells[index] for index in indices]


def extractors_of(
    model: Model, edge_weights: str, depth_weights: str, measured: MeasuredDepth | None = None
) -> tuple[EdgeExtractor, DepthExtractor | MeasuredDepth]:
    """The extractors that a generator was trained with, on the device.

    Args:
        model: The generator.
        edge_weights: Weight file of the edge extractor, where it is not shipped.
        depth_weights: Weight file or folder of the depth extractor, likewise.
        measured: Where measured depth lies, for a generator that was trained with it; None as `depth_weights` says.

    Raises:
        WeightsError: The weights are not those that it was trained with.
    """
    metadata = model.metadata
    if measured is not None and metadata["depth"] in MEASURED:
        edge, _ = make_extractors(metadata["edge"], metadata["depth"], edge_weights, "", best_device())
        depth = measured
    else:
        edge, depth = make_extractors(metadata["edge"], metadata["depth"], edge_weights, depth_weights, best_device())
    for used, trained in ((edge.name, metadata["edge_name"]), (depth.name, metadata["depth_name"])):
        if used != trained:
            raise WeightsError(
                f"{model.path} was trained with maps by {trained}, but these weights are {used}; give those"
            )
    return edge, depth


def check_decoders(model: Model, asked: Sequence[str], settings: str) -> None:
    """Refuse decoders that a generator lacks.

    Raises:
        ConfigError: Names them, and those that it has.
    """
    missing = [name for name in asked if name not in model.generator.config.decoders]
    if missing:
        raise ConfigError(
            f"{settings}.decoders asks for {missing}, but {model.path} has {model.generator.config.decoders}"
        )


def category_pool(
    normals: ImageSet, base: ImageSet | None, records: Sequence[Record], *, in_windows: bool = False
) -> CategoryPool:
    """Images of one category, with what generation has to know of them.

    Args:
        normals: Good images.
        base: Real defects, if there are any.
        records: Of the real defects, in their order.
        in_windows: Whether good images are windows of images: see `symmetry_in_windows`.
    """
    types = list(dict.fromkeys(record.defect for record in records))
    kinds = torch.tensor([types.index(record.defect) for record in records]) if records else None
    symmetry = symmetry_in_windows(normals) if in_windows else symmetry_of(normals.color_u8)
    return CategoryPool(normals=normals, base=base, symmetry=symmetry, base_kind=kinds)


def symmetry_in_windows(normals: ImageSet) -> Symmetry:
    """The moves that real references may make in windows of images.

    A window of a product has no symmetry of the product, and what surrounds a defect (a rim, the light, the way it was
    machined) is turned in each window otherwise: there references keep their orientation and only move. A texture,
    which fills every window, has no place: there they may turn as far as its windows look alike turned, so not on
    brushed or woven ones.

    Args:
        normals: Windows of good images of one category.

    Source: ADR-013.
    """
    if bool((normals.object_u8 > 127).all()):
        return symmetry_of(normals.color_u8[:: max(1, len(normals) // MEASURED_IMAGES)])
    return Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)


def with_areas(pool: CategoryPool, areas: Areas, records: Sequence[Record]) -> CategoryPool:
    """Say where each good image of a pool may change.

    Args:
        pool: Images of one category.
        areas: Where defects may fall.
        records: Of the good images or windows, in their order.

    Raises:
        DataError: A mask does not fit its image, or an image is left with no room for a defect.
    """
    if not areas:
        return pool
    size = pool.normals.color_u8.shape[-1]

    def load(of_one_file: list[Record]) -> list[tuple[np.ndarray, int, int]]:
        shape = load_image(of_one_file[0].path).pixels.shape
        found = [areas.allowed(record, (shape[0], shape[1])) for record in of_one_file]
        return [(allowed_at_model_size(allowed, size), int(allowed.sum()), allowed.size) for allowed in found]

    with ThreadPoolExecutor(at_a_time(record.path for record in records)) as threads:
        loaded = [one for group in threads.map(load, by_file(records)) for one in group]
    squeezed = torch.from_numpy(np.stack([one for one, _, _ in loaded]))[:, None]
    allowed_u8 = squeezed.to(torch.uint8).to(pool.normals.color_u8.device) * 255
    rooms = ((pool.normals.object_u8 > 127) & (allowed_u8 > 127)).sum(dim=(1, 2, 3)).tolist()
    raise_problems(
        f"--roi and --forbid leave {sum(room < LEAST_AREA for room in rooms)} of {len(records)} images no room for a "
        f"defect; widen them, or leave these images out. At the model's {size}x{size} a defect needs {LEAST_AREA} "
        "whole pixels on the product:",
        [
            f"{record.relative}: {native} of {whole} pixels are allowed, {room} on the product at the model's size"
            for record, (_, native, whole), room in zip(records, loaded, rooms, strict=True)
            if room < LEAST_AREA
        ],
    )
    return replace(pool, allowed_u8=allowed_u8)


def _category_pools(
    model: Model, sources: Sources, config: GenerateConfig, cache: Path, areas: Areas, backend: Backend
) -> dict[str, CategoryPool]:
    """Load images and maps of each category onto the device."""
    extractors = extractors_of(model, config.edge_weights, config.depth_weights)
    edge, depth = extractor_on_backend(extractors[0], backend), extractor_on_backend(extractors[1], backend)
    size = int(model.metadata["size"])

    def load(records: Sequence[Record]) -> ImageSet:
        store = ConditionCache(cache)
        images = load_image_set(records, sources.categories, size=size, edge=edge, depth=depth, cache=store)
        return images.to(best_device())

    pools = {}
    for category in sources.categories:
        good = [record for record in sources.normals if record.category == category]
        base = [record for record in sources.base if record.category == category]
        in_parts = any(record.window is not None for record in good)
        pool = category_pool(load(good), load(base) if base else None, base, in_windows=in_parts)
        pools[category] = with_gate(with_areas(pool, areas, good), config, category, base)
    return pools


def with_gate(pool: CategoryPool, config: GenerateConfig, category: str, records: Sequence[Record]) -> CategoryPool:
    """Calibrate the quality gate of a pool where the settings ask for one.

    Args:
        pool: Images of the category.
        config: Settings.
        category: Its name.
        records: Of the real defects, in their order.
    """
    if config.gate == "off":
        return pool
    groups = duplicate_groups(records)
    pool = replace(pool, base_group=torch.tensor([groups[record.path] for record in records], dtype=torch.long))
    return replace(pool, gate=calibrate(pool, config, category))


def prepare_job(
    model: Model,
    sources: Sources,
    config: GenerateConfig,
    folder: Path,
    cache: Path | None,
    *,
    description: Mapping[str, Any] | None = None,
    most_windows: int = MOST_TARGETS,
) -> Job:
    """Load everything onto the device.

    Args:
        model: The generator.
        sources: Its images.
        config: Settings.
        folder: Where images are written.
        cache: Folder of condition maps; the user's cache by default.
        description: Of the images in `dataset.json`; says where ids begin when they are added to a set, and whether
            categories have folders. None for a new set.
        most_windows: Of a category's good images, where these are large; each image keeps one.

    Raises:
        ConfigError: The generator lacks a decoder that is asked for, polygons are none, whole images with windows
            are to be redrawn, or the runtime that is asked for is not installed.
        DataError: Regions of interest do not fit the images, or leave one no room.
        WeightsError: The generator gives no pictures, or the extractors are not those that it was trained with.
    """
    check_gives_color(model)
    check_decoders(model, config.decoders, "generate")
    device = best_device().type
    config = config.with_batch(device)
    backend = recorded_backend(description, device) if description else choose_backend(config.backend, device)
    description = description or {}
    alone = not description.get(FOLDERS, len(sources.categories) > 1)

    @lru_cache
    def looked_at(config: GenerateConfig) -> tuple[Sources, dict[str, CategoryPool], dict[str, SetWriter]]:
        areas = read_areas(config.roi, config.forbid, sources.normals)
        seen = in_windows(sources, config, size=int(model.metadata["size"]), areas=areas, most=most_windows)
        seen = with_drawn_targets(seen)
        pools = _category_pools(model, seen, config, condition_folder(cache), areas, backend)
        writers = {
            category: SetWriter(
                folder=folder,
                prefix="" if alone else f"{category}/",
                category=category,
                normals=[record for record in seen.normals if record.category == category],
                base=[record for record in seen.base if record.category == category],
                config=config,
                model_sha256=model.sha256,
                areas=areas,
            )
            for category in sources.categories
        }
        return seen, pools, writers

    seen, pools, writers = looked_at(config)
    model = replace(model, generator=on_backend(model.generator.to(best_device()), backend))

    def divided(category: str) -> Division:
        def elsewhere(own: GenerateConfig) -> tuple[CategoryPool, SetWriter]:
            _, others, writers = looked_at(replace(config, roi=own.roi, forbid=own.forbid))
            return others[category], writers[category]

        return divide(seen, pools[category], writers[category], elsewhere)

    return Job(
        model=model,
        sources=sources,
        config=config,
        folder=folder,
        pools=pools,
        writers=writers,
        divisions={category: divided(category) for category in sources.categories},
        description=description,
    )

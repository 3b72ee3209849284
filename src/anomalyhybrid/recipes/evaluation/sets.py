"""Generated sets of an evaluation: written once into the output folder, finished where they were left, read back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.locks import locked
from anomalyhybrid.errors import WeightsError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, Row, read_dataset, read_rows
from anomalyhybrid.models.weights import sha256_of, shipped
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.pictures import each
from anomalyhybrid.recipes.evaluation.views import write_view
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.training import SHIPPED_GENERATOR

SHIPPED = "shipped"


def _quiet(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where an evaluation works, and with which generators.

    Attributes:
        out: Its output folder; generated sets are in ``sets``.
        run: Generator of the few-shot methods: ``shipped``, a run folder, or a generator file.
        zero_run: Generator of the zero-shot method, trained without real defects; alike.
        cache: Folder of condition maps; None for the user's.
        device: Where networks run.
        announce: Told in words what happens.
        note: Told now and then how far the work at hand is.
        finished: Sets that this process has found complete; it is filled in.
    """

    out: Path
    run: str = SHIPPED
    zero_run: str = SHIPPED
    cache: Path | None = None
    device: torch.device
    announce: Callable[[str], None]
    note: Callable[[str], None] = _quiet
    finished: set[Path] = field(default_factory=set)

    def run_of(self, method: str) -> str:
        """The generator whose images a method uses, or whose redrawn good images it is tested on."""
        return self.zero_run if method in ("ours_zero", "ours_zero+") else self.run


def generator_file(run: str) -> Path:
    """Find a generator's file without loading it.

    Raises:
        WeightsError: There is none.
    """
    path = shipped(SHIPPED_GENERATOR) if run == SHIPPED else Path(run)
    path = path / "generator.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give a run's folder, a generator file, or 'shipped'")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrawn:
    """Good images that a generator redrew, on the CPU.

    Attributes:
        image_u8: uint8 (N, 3, S, S).
        target_u8: The real images that they were made from, uint8 (N, 3, S, S).
    """

    image_u8: Tensor
    target_u8: Tensor

    @property
    def region_u8(self) -> Tensor:
        """Where they differ from the real images, uint8 (N, 1, S, S), 0 or 255."""
        return (self.image_u8 != self.target_u8).any(dim=1, keepdim=True).to(torch.uint8) * 255


def redrawn_normals(
    data: CategoryData,
    config: EvaluateConfig,
    seed: int,
    bench: Bench,
    *,
    run: str,
    held: bool,
    normals_as: Literal["full", "patch", "both"],
) -> Redrawn | None:
    """Good images that a generator redraws.

    Args:
        data: The category.
        config: `normals` says how many.
        seed: Of generation.
        bench: Where to work.
        run: The generator.
        held: Redraw the held-out good images (for the false-alarm guard), not those that are trained on
            (AnoHybrid+).
        normals_as: Redraw them whole, in patches, or both in turn.

    Returns:
        The images; None if none are asked for or none are held out.

    Raises:
        DataError: A set that was begun otherwise.
        WeightsError: No generator, or not its extractors.
    """
    if not config.normals or not (data.held_records if held else data.good_records):
        return None
    name = f"{'held' if held else 'good'}_{normals_as}_{sha256_of(generator_file(run))[:12]}"
    folder = written_set(
        name, data, config, seed, bench, run=run, few_shot=False, count=0, held=held, normals_as=normals_as
    )
    rows = tuple(read_rows(folder))
    image_u8 = read_samples(folder, rows, config.size).image_u8
    return Redrawn(image_u8=image_u8, target_u8=_targets(folder, rows, config.size))


def _targets(folder: Path, rows: tuple[Row, ...], size: int) -> Tensor:
    """The images that a set's images were made from, squeezed, uint8 (N, 3, S, S)."""
    root = folder / read_dataset(folder)["data_root"]  # of a view, which may hold links to files elsewhere
    names = tuple(dict.fromkeys(row.target for row in rows))
    pixels = each(lambda name: to_model_u8(load_image(root / name).pixels, size), names)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return stacked[torch.tensor([names.index(row.target) for row in rows])].contiguous()


def written_set(
    name: str,
    data: CategoryData,
    config: EvaluateConfig,
    seed: int,
    bench: Bench,
    *,
    run: str,
    few_shot: bool,
    count: int,
    held: bool = False,
    normals_as: Literal["full", "patch", "both"] = "full",
) -> Path:
    """Write a generated set, or what is missing of it.

    Args:
        name: Its name below ``sets``.
        data: The category, split.
        config: Generation's part of the settings.
        seed: Of generation.
        bench: Where to work.
        run: The generator.
        few_shot: Draw on the base set.
        count: Defects; 0 makes ``config.normals`` good images in their place.
        held: Redraw the held-out good images.
        normals_as: How good images are redrawn.

    Returns:
        The folder of the complete set.

    Raises:
        DataError: It was begun with other settings, data or generator.
        WeightsError: No generator, or not its extractors.
    """
    folder = bench.out / "sets" / name / f"seed_{seed}" / data.category
    if folder in bench.finished:
        return folder
    digest = hashlib.sha256(str(folder.relative_to(bench.out)).encode()).hexdigest()[:16]
    with locked(bench.out / ".locks" / f"set_{digest}"):
        view = write_view(data, config, bench.out, held=held)
        settings = GenerateConfig(
            count=count,
            normals=0 if count else config.normals,
            normals_as=normals_as,
            decoders=config.decoders,
            operations=config.operations,
            mixture=config.mixture,
            remove_real=config.remove_real,
            appearance=config.appearance,
            procedural=config.procedural,
            foreign=config.foreign,
            bend=config.bend,
            levelling=config.levelling,
            types=config.types,
            gate=config.gate,
            window="whole",
            batch_size=config.generate_batch,
            seed=seed,
            edge_weights=config.edge_weights,
            depth_weights=config.depth_weights,
        )
        bench.announce(f"{data.category}, seed {seed}: set {name}")
        generate(
            run,
            [view],
            folder,
            base_set=[view] if few_shot else (),
            config=settings,
            resume=(folder / DATASET).is_file(),
            cache=bench.cache,
            announce=_quiet,  # reading the views would say the same for every set
            report=lambda done, total: bench.note(f"{data.category}, set {name}: {done} of {total} images"),
        )
    bench.finished.add(folder)
    return folder


def read_samples(folder: Path, rows: tuple[Row, ...], size: int) -> Samples:
    """Read images and masks of a generated set, squeezed, in the order of the rows.

    Args:
        folder: The set.
        rows: At least one of its manifest's rows.
        size: Side in pixels.

    Returns:
        Samples on the CPU; `kinds` are the rows' defect types by name.

    Raises:
        DataError: A file is missing or unreadable.
    """

    def read(row: Row) -> tuple[np.ndarray, np.ndarray]:
        pixels = load_image(folder / row.image).pixels
        mask = np.zeros((size, size), bool)
        if row.label_mask is not None:
            native = load_mask(folder / row.label_mask, shape=(pixels.shape[0], pixels.shape[1]))
            mask = mask_to_model(native, size)
        return to_model_u8(pixels, size), mask

    read_pairs = each(read, rows)
    kinds = tuple(sorted({row.defect for row in rows if row.label_mask is not None}))
    kind = [GOOD_KIND if row.label_mask is None else kinds.index(row.defect) for row in rows]
    return Samples(
        image_u8=torch.from_numpy(np.stack([color for color, _ in read_pairs])).permute(0, 3, 1, 2).contiguous(),
        mask_u8=torch.from_numpy(np.stack([mask for _, mask in read_pairs]))[:, None].to(torch.uint8) * 255,
        kind=torch.tensor(kind, dtype=torch.long),
        kinds=kinds,
    )

"""A generator, classed images and a work list, ready to make a set of hybrids chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.class_folders import ClassedImages
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.loading import from_rgb_float, load_image, save_png, to_rgb_u8
from anomalyhybrid.data.records import GOOD
from anomalyhybrid.generation.compose import native_region, native_tensor, resized
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrid_rows import HYBRID, HybridRow
from anomalyhybrid.generation.hybrids import Parents, draw_hybrid, hybrid_at_native_size
from anomalyhybrid.generation.pool import mask_of
from anomalyhybrid.ops.ranges import u8_from_signed, unit_from_signed
from anomalyhybrid.recipes.job import Model, check_decoders, extractors_of
from anomalyhybrid.recipes.sources import best_device, condition_folder
from anomalyhybrid.types import DecoderOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridJob:
    """Everything that writing a set of hybrids needs.

    Attributes:
        model: The generator, on the device.
        images: Readable images with their classes.
        work: The work list.
        config: Settings.
        folder: Root of the set.
        edge: Edge extractor that the generator was trained with.
        depth: Likewise.
        cache: Folder of condition maps.
    """

    model: Model
    images: ClassedImages
    work: Sequence[Parents]
    config: HybridConfig
    folder: Path
    edge: EdgeExtractor
    depth: DepthExtractor | MeasuredDepth
    cache: Path

    @property
    def category(self) -> str:
        """Name of the product."""
        return self.images.records[0].category

    def image_id(self, index: int) -> str:
        """Id of a hybrid."""
        return f"{self.category}_h{index:06d}"

    def make(self, indices: Sequence[int]) -> list[HybridRow]:
        """Draw hybrids on the device, then finish and write them in threads."""
        parents = [self.work[index] for index in indices]
        needed = list(dict.fromkeys(record for one in parents for record in (one.reference, one.target)))
        maps = load_image_set(
            needed,
            (self.category,),
            size=int(self.model.metadata["size"]),
            edge=self.edge,
            depth=self.depth,
            cache=ConditionCache(self.cache),
        )
        on_device = maps.to(best_device())
        place = {record.relative: number for number, record in enumerate(needed)}
        outputs = [
            draw_hybrid(
                self.model.generator,
                on_device,
                place[one.reference.relative],
                place[one.target.relative],
                one.decoder,
                self.config.target_depth,
            )
            for one in parents
        ]
        silhouettes = [mask_of(maps.object_u8, torch.tensor([place[one.target.relative]])) for one in parents]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            return list(threads.map(self._write, indices, parents, outputs, silhouettes))

    def _write(self, index: int, parents: Parents, output: DecoderOutput, silhouette: Tensor) -> HybridRow:
        target = load_image(parents.target.path).pixels
        reference, own = native_tensor(load_image(parents.reference.path).pixels), native_tensor(target)
        region = native_region(silhouette, own.shape[-2], own.shape[-1])
        hybrid = hybrid_at_native_size(output, reference, own, region, self.config)
        pixels = from_rgb_float(unit_from_signed(hybrid)[0].permute(1, 2, 0).contiguous().numpy(), target)
        inside = region[0, 0].numpy() > 0
        if self.config.background == "target":  # bit for bit, 16-bit targets too
            pixels = np.where(inside if target.ndim == 2 else inside[:, :, None], pixels, target)
        differs = (pixels != target).reshape(*inside.shape, -1).any(axis=2)
        changes = [_change(pixels, parent, inside) for parent in (own, reference)]
        classes = [self.images.class_of[record.relative] for record in (parents.reference, parents.target)]
        defect = GOOD if classes[0] == classes[1] else HYBRID
        image = f"{'train' if defect == GOOD else 'test'}/{defect}/{self.image_id(index)}.png"
        make_folder((self.folder / image).parent)
        save_png(self.folder / image, pixels)
        return HybridRow(
            id=self.image_id(index),
            image=image,
            label_mask=None,
            category=self.category,
            defect=defect,
            target=parents.target.relative,
            reference=parents.reference.relative,
            reference_class=classes[0],
            target_class=classes[1],
            decoder=parents.decoder,
            operation="none",
            appearance="reference",
            composition="full",
            seed=parents.seed,
            model_sha256=self.model.sha256,
            changed_outside=int((differs & ~inside).sum()),
            mask_area=0,
            change_inside=changes[0],
            change_from_reference=changes[1],
            structure=parents.target.relative,
            fusion_mask=round(float(output.fusion_mask.mean()), 4),
            attempt=0,
            accepted=min(changes) >= self.config.min_change,
        )


def _change(pixels: np.ndarray, parent: Tensor, inside: np.ndarray) -> float:
    """Mean absolute difference from a parent inside a mask, in 1/255; the parent is squeezed to the same size."""
    parent_u8 = u8_from_signed(resized(parent, *pixels.shape[:2]))[0].permute(1, 2, 0).numpy()
    difference = np.abs(to_rgb_u8(pixels).astype(np.int16) - parent_u8).mean(axis=2)
    return round(float(difference[inside].mean()), 3)


def prepare_hybrids(
    model: Model, images: ClassedImages, work: Sequence[Parents], config: HybridConfig, out: Path, cache: Path | None
) -> HybridJob:
    """Load what drawing needs onto the device.

    Raises:
        ConfigError: The generator lacks a decoder that is asked for.
        WeightsError: The extractors are not those that the generator was trained with.
    """
    check_decoders(model, sorted({one.decoder for one in work}), "hybrids")
    edge, depth = extractors_of(model, config.edge_weights, config.depth_weights)
    model.generator.to(best_device())
    return HybridJob(
        model=model,
        images=images,
        work=work,
        config=config,
        folder=out,
        edge=edge,
        depth=depth,
        cache=condition_folder(cache),
    )

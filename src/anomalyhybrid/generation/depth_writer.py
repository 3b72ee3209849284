"""Writes aligned pairs: image, label mask, depth in its input's format, shaded preview, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.conditions.relief import object_relief
from anomalyhybrid.data.depth_files import DepthImage, info_path, write_depth
from anomalyhybrid.data.depth_preview import shaded, slope_scale
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.loading import load_image, load_mask, save_png
from anomalyhybrid.data.records import Record
from anomalyhybrid.generation.compose import Composed, at_native_size, carried, compose, native_tensor, pasted
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig
from anomalyhybrid.generation.depth_defects import Pairs
from anomalyhybrid.generation.depth_pool import DENT, FLAT, HOLE
from anomalyhybrid.generation.depth_profile import SOURCES, apply_relief, native_relief, nearness, peak_of
from anomalyhybrid.generation.depth_rows import DepthRow
from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.threads import writing_threads
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.ops.structures import KINDS
from anomalyhybrid.ops.warp import bent_grid, sample
from anomalyhybrid.seeding import derive
from anomalyhybrid.types import DecoderOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWriter:
    """Writes the pairs of one category.

    Attributes:
        folder: Root of the generated set.
        prefix: Folder of the category inside it, empty for a set of one category.
        category: Its name.
        targets: Records of the target images, in the pool's order; defects that they show stay in the label masks.
        base: Records of the real defects, in the pool's order.
        root: Folder that the records' relative paths start from.
        measured: Where the targets' depth lies.
        unit: What the depth files count in.
        config: Settings of the set.
        model_sha256: Of AnomalyHybrid's file.
        threads: The most that run at one time; what PyTorch may use where the writer is made.
    """

    folder: Path
    prefix: str
    category: str
    targets: Sequence[Record]
    base: Sequence[Record]
    root: Path
    measured: MeasuredDepth
    unit: str
    config: DepthDefectConfig
    model_sha256: str
    threads: int = field(default_factory=torch.get_num_threads)

    def image_id(self, index: int) -> str:
        """Id of a pair."""
        return f"{self.category}_{index:06d}"

    def write(
        self, pairs: Pairs, colors_u8: Tensor, objects_u8: Tensor, indices: Sequence[int]
    ) -> list[tuple[Row, DepthRow]]:
        """Finish and write a batch, in threads.

        Args:
            pairs: On the CPU.
            colors_u8: Targets at the model's size, uint8 (B, 3, S, S).
            objects_u8: Their products, uint8 (B, 1, S, S).
            indices: Numbers of the images within the category.

        Raises:
            DataError: A target or its depth cannot be read, or a file not be written.
        """

        def finish(place: int) -> tuple[Row, DepthRow]:
            return self._write(pairs, colors_u8[place], objects_u8[place, 0], place, indices[place])

        paths = [self.targets[int(target)].path for target in pairs.target_index]
        with writing_threads(paths, self.threads) as threads:
            return list(threads.map(finish, range(len(indices))))

    def _write(self, pairs: Pairs, color_u8: Tensor, object_u8: Tensor, place: int, index: int) -> tuple[Row, DepthRow]:
        target = self.targets[int(pairs.target_index[place])]
        donor = self.base[int(pairs.reference_index[place])] if bool(pairs.uses_base[place]) else None
        defect = donor.defect if donor is not None else KINDS[int(pairs.kind[place])]
        pixels = load_image(target.path).pixels
        donor_pixels = None if donor is None else load_image(donor.path).pixels
        composed = compose_pair(pairs, place, color_u8, pixels, donor_pixels)
        truth = self._truth(composed.label_mask, target)
        depth = self.measured.load(target, shape=(pixels.shape[0], pixels.shape[1]))
        image_id = self.image_id(index)
        suffix = ".png" if depth.kind == "png16" else ".tiff"
        paths = {
            "image": f"{self.prefix}test/{defect}/{image_id}.png",
            "label": f"{self.prefix}ground_truth/{defect}/{image_id}_mask.png",
            "depth": f"{self.prefix}depth/test/{defect}/{image_id}{suffix}",
            "preview": f"{self.prefix}preview/{defect}/{image_id}.png",
        }
        for path in paths.values():
            make_folder((self.folder / path).parent)
        try:
            row = self._depth_row(pairs, place, depth, composed, object_u8, paths, target, image_id)
            save_png(self.folder / paths["label"], truth)
            save_png(self.folder / paths["image"], composed.pixels)
        except BaseException:
            for path in (*paths.values(), info_path(Path(paths["depth"]))):
                (self.folder / path).unlink(missing_ok=True)
            raise
        return self._row(pairs, place, composed, int(truth.sum()), target, donor, defect, paths, image_id, index), row

    def _height(self, depth: DepthImage, object_u8: Tensor, place_in_range: float) -> float:
        """The requested height in the file's unit."""
        if not isinstance(self.config.height, str):
            low, high = self.config.height
            return low + place_in_range * (high - low)
        low, high = self.config.auto_share
        size = (depth.valid.shape[1], depth.valid.shape[0])
        product = cv2.resize(object_u8.numpy(), size, interpolation=cv2.INTER_NEAREST) > 127
        relief = object_relief(depth.values.astype(np.float32), depth.valid, product)
        return (low + place_in_range * (high - low)) * relief

    def _depth_row(
        self,
        pairs: Pairs,
        place: int,
        depth: DepthImage,
        composed: Composed,
        object_u8: Tensor,
        paths: dict[str, str],
        target: Record,
        image_id: str,
    ) -> DepthRow:
        """Write depth and preview; what the written file says."""
        sign, label = int(pairs.sign[place]), composed.label_mask
        toward = -1 if sign in (DENT, HOLE) else 1
        raised = apply_relief(
            depth.values,
            depth.valid,
            label,
            native_relief(pairs.relief[place : place + 1], label),
            sign=toward,
            height=self._height(depth, object_u8, float(pairs.height[place])),
            nearer_is_larger=depth.nearer_is_larger,
            to_background=sign == HOLE,
            flat_share=self.config.flat_share if sign == FLAT else None,
        )
        written = write_depth(self.folder / paths["depth"], depth, raised.values, label)
        scale = slope_scale(depth, written)
        save_png(self.folder / paths["preview"], shaded(written, scale=scale))
        before, after = (nearness(d.values, nearer_is_larger=d.nearer_is_larger) for d in (depth, written))
        differs = (written.raw != depth.raw) & ~((written.raw != written.raw) & (depth.raw != depth.raw))
        differs = differs.reshape(*label.shape, -1).any(axis=2)
        path = self.measured.path_of(target)
        inside = path.is_relative_to(self.root)
        return DepthRow(
            id=image_id,
            depth=paths["depth"],
            preview=paths["preview"],
            source=path.relative_to(self.root).as_posix() if inside else path.as_posix(),
            kind=depth.kind,
            nearer_is_larger=depth.nearer_is_larger,
            unit=self.unit,
            sign=SIGNS[sign],
            requested_height=float(f"{raised.requested:.6g}"),
            generated_height=float(f"{peak_of((after - before)[label & depth.valid], toward):.6g}"),
            profile=SOURCES[int(pairs.profile[place])],
            valid_share=round(raised.valid_share, 4),
            changed_outside=int((differs & ~label).sum()),
        )

    @staticmethod
    def _truth(label_mask: np.ndarray, target: Record) -> np.ndarray:
        """The label mask, with the defects that the target showed before."""
        if target.mask_path is None:
            return label_mask
        return label_mask | load_mask(target.mask_path, shape=(label_mask.shape[0], label_mask.shape[1]))

    def _row(
        self,
        pairs: Pairs,
        place: int,
        composed: Composed,
        mask_area: int,
        target: Record,
        donor: Record | None,
        defect: str,
        paths: dict[str, str],
        image_id: str,
        index: int,
    ) -> Row:
        blend = bool(pairs.blend[place])
        attempt = int(pairs.attempt[place])
        return Row(
            id=image_id,
            image=paths["image"],
            label_mask=paths["label"],
            category=self.category,
            defect=defect,
            target=target.relative,
            reference=donor.relative if donor is not None and blend else target.relative,
            decoder=self.config.decoders[int(pairs.decoder[place])],
            operation="remove" if int(pairs.sign[place]) == HOLE else "replace",
            appearance="blend" if blend else "target",
            composition="region",
            seed=derive(self.config.seed, "pair", self.category, index, attempt),
            model_sha256=self.model_sha256,
            changed_outside=composed.changed_outside,
            mask_area=mask_area,
            change_inside=round(composed.change_inside, 3),
            structure=donor.relative if donor is not None else f"procedural:{KINDS[int(pairs.kind[place])]}",
            fusion_mask=round(float(pairs.fusion_mask[place].mean()), 4),
            attempt=attempt,
            accepted=composed.change_inside >= self.config.min_change and bool(pairs.accepted[place]),
        )


def compose_pair(
    pairs: Pairs, place: int, color_u8: Tensor, target: np.ndarray, donor: np.ndarray | None = None
) -> Composed:
    """Compose the colour image of one pair at its target's own size, as `generate` composes a defect.

    Args:
        pairs: On the CPU.
        place: Which of them.
        color_u8: Its target at the model's size, uint8 (3, S, S).
        target: Native pixels of the target.
        donor: Native pixels of the real defect, where `pairs.uses_base`; None for procedural structure.

    Source: ADR-004, ADR-010.
    """
    one, blend = slice(place, place + 1), bool(pairs.blend[place])
    native = native_tensor(target)
    height, width = native.shape[-2:]
    content = native
    if blend and donor is not None:
        warped = sample(native_tensor(donor), bent_grid(pairs.matrix[one], pairs.bend[one], height, width))
        content = pasted(native, warped, pairs.reference_region[one], float(pairs.level[place]))
    elif blend:  # painted at the model's size: carry the change over
        content = carried(native, pairs.content[one], signed_from_u8(color_u8[None]))
    output = DecoderOutput(pairs.source[one], pairs.fusion_mask[one], pairs.fused[one])
    generated = at_native_size(output, content, pairs.content[one])
    return compose(target, generated, pairs.region_mask[one], "region", under=content if blend else None)

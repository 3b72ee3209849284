"""Writes accepted candidates as an MVTec AD tree: images and masks in threads, one manifest row each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.drawn_masks import DrawnMask
from anomalyhybrid.data.files import append_text, make_folder
from anomalyhybrid.data.loading import KeptImages, save_png
from anomalyhybrid.data.records import GOOD, Record
from anomalyhybrid.data.regions_of_interest import Areas
from anomalyhybrid.data.tiling import reference_pixels
from anomalyhybrid.data.windows import Borders
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.compose import (
    Composed,
    Part,
    at_native_size,
    carried,
    filled,
    joined,
    native_tensor,
    pasted,
    placed,
    put_back,
)
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate import gate_entry
from anomalyhybrid.generation.manifest import MANIFEST, Row, to_line
from anomalyhybrid.generation.normals import RedrawnNormals, normal_seed
from anomalyhybrid.generation.pipeline import Candidates, defect_seed
from anomalyhybrid.generation.several import Defects, asked_defects
from anomalyhybrid.generation.threads import writing_threads
from anomalyhybrid.manipulate.operations import OPERATIONS
from anomalyhybrid.manipulate.policy import APPEARANCES, FOREIGN, procedural_name
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.ops.structures import KINDS
from anomalyhybrid.ops.warp import bent_grid, sample
from anomalyhybrid.types import DecoderOutput

COMBINED = "combined"
"""Name of an image's defects where they are of several types."""
NO_LIMIT = Areas()
KEPT = KeptImages(1 << 26)
"""Good images of all writers of a process, which are drawn again and again; of 256 x 256 pixels, 341 in colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWriter:
    """Writes the images of one category.

    Attributes:
        folder: Root of the generated set.
        prefix: Folder of the category inside it, empty for a set of one category.
        category: Its name.
        normals: Records of the good images, in the pool's order.
        base: Records of the real defects, in the pool's order.
        config: Settings of the set.
        model_sha256: Of the generator's file.
        areas: Where defects may fall.
        named: What all defects are called (taxonomy); empty for the names of what they are drawn from.
        drawn: Masks that the images take in turn; none where regions are drawn at random.
        threads: The most that run at one time; what PyTorch may use where the writer is made.
    """

    folder: Path
    prefix: str
    category: str
    normals: Sequence[Record]
    base: Sequence[Record]
    config: GenerateConfig
    model_sha256: str
    areas: Areas = NO_LIMIT
    named: str = ""
    drawn: Sequence[DrawnMask] = ()
    threads: int = field(default_factory=torch.get_num_threads)
    _made: set[str] = field(default_factory=set, init=False, repr=False, compare=False)  # folders, below `folder`

    def defect_id(self, index: int) -> str:
        """Id of a defect image."""
        return f"{self.category}_{index:06d}"

    def normal_id(self, index: int) -> str:
        """Id of a generated good image; no category's defect has it, since those end in digits alone."""
        return f"{self.category}_n{index:06d}"

    def write_defects(
        self, found: Sequence[Defects], colors_u8: Tensor, indices: Sequence[int], only: str | None = None
    ) -> list[Row]:
        """Finish and write candidates, or those of the one image whose id is given.

        Args:
            found: First, second, ... defects of the images, on the CPU.
            colors_u8: Targets at the model's size, uint8 (B, 3, S, S).
            indices: Numbers of the images within the category.
            only: Id of the one image to write.

        Raises:
            DataError: A region of interest is too thin for a defect at the image's own size; a file cannot be written.
        """
        positions = [p for p, index in enumerate(indices) if only in (None, self.defect_id(index))]

        def finish(position: int) -> Row:
            return self._write_defect(found, colors_u8[position : position + 1], position, indices[position])

        with self._threads([found[0].candidates.target_index[position] for position in positions]) as threads:
            return list(threads.map(finish, positions))

    def _write_defect(self, found: Sequence[Defects], color_u8: Tensor, position: int, index: int) -> Row:
        target = self.normals[int(found[0].candidates.target_index[position])]
        image, profile = KEPT.load(target.path)
        pixels = image if target.window is None else target.window.crop(image)
        allowed = self.areas.allowed(target, image.shape[:2]) if self.areas else None
        drawn = self.drawn[index % len(self.drawn)].load() if self.drawn else None
        if self.config.masks_as == "visible":
            allowed, drawn = drawn, None
        inner = None if target.window is None else target.window.inner_borders(image.shape)
        finished: list[tuple[Composed, dict[str, Any]]] = []
        for defects in found:
            if position not in defects.positions:
                continue
            place = defects.positions.index(position)
            composed = self._composed(defects.candidates, color_u8, place, pixels, allowed, drawn, inner)
            if composed.label_mask.any():  # else no room is left for it at the image's own size
                finished.append((composed, self.about(defects, place, index, target, composed)))
                allowed = ~composed.label_mask if allowed is None else allowed & ~composed.label_mask
        if not finished:
            raise DataError(f"the allowed region of {target.relative} is too thin for a defect; give a larger one")
        whole, parts = joined(pixels, [part for part, _ in finished]), [about for _, about in finished]
        if target.window is not None:
            whole = put_back(image, target.window, whole)
        names = {about["defect"] for about in parts}
        defect = names.pop() if len(names) == 1 else COMBINED
        image_id = self.defect_id(index)
        path, label = self._paths(image_id, f"test/{defect}", f"ground_truth/{defect}/{image_id}_mask.png")
        del image, pixels  # large ones would double what saving takes
        self._save_pair(self.folder / path, self.folder / cast(str, label), whole, profile)
        own = parts[0] | {
            "defect": defect,
            "mask_area": int(whole.label_mask.sum()),
            "change_inside": round(whole.change_inside, 3),
            "accepted": all(about["accepted"] for about in parts),
        }
        if self.config.has_parts:
            own |= {"severity": None, "parts": parts, "defects_asked": asked_defects(self.config, self.category, index)}
        return Row(
            id=image_id,
            image=path,
            label_mask=label,
            category=self.category,
            target=target.relative,
            composition=self.config.composition,
            model_sha256=self.model_sha256,
            changed_outside=whole.changed_outside,
            window=None if target.window is None else target.window.as_list(),
            **own,
        )

    def _composed(
        self,
        candidates: Candidates,
        color_u8: Tensor,
        position: int,
        pixels: np.ndarray,
        allowed: np.ndarray | None,
        drawn: np.ndarray | None,
        inner: Borders | None,
    ) -> Composed:
        """One defect at the target's own size, on the target alone."""
        one = slice(position, position + 1)
        appearance = APPEARANCES[int(candidates.plan.appearance[position])]
        place = placed(
            pixels.shape,
            candidates.region_mask[one],
            self.config.composition,
            allowed=allowed,
            drawn=drawn,
            inner=inner,
        )
        content = self._native_content(candidates, color_u8, position, pixels, place.part, inner is not None)
        output = DecoderOutput(candidates.source[one], candidates.fusion_mask[one], candidates.fused[one])
        return filled(
            pixels,
            place,
            at_native_size(output, content, candidates.content[one], place.part),
            under=content if appearance == "blend" else None,
            opacity=float(candidates.opacity[position]),
        )

    def _donor(self, candidates: Candidates, position: int) -> Record:
        """The image that the reference is taken from."""
        donors = self.base if bool(candidates.plan.uses_base[position]) else self.normals
        return donors[int(candidates.reference_index[position])]

    def about(self, defects: Defects, position: int, index: int, target: Record, composed: Composed) -> dict[str, Any]:
        """A row's entries that belong to one defect."""
        candidates, plan = defects.candidates, defects.candidates.plan
        uses_base, foreign = bool(plan.uses_base[position]), bool(plan.foreign[position])
        donor = self._donor(candidates, position)
        operation = OPERATIONS[int(plan.operation[position])]
        appearance = APPEARANCES[int(plan.appearance[position])]
        kind = int(plan.kind[position])
        named = FOREIGN if foreign else procedural_name(kind, operation, appearance)
        from_donor = uses_base or foreign or appearance == "reference"
        attempt = int(candidates.attempt[position])
        about: dict[str, Any] = {
            "defect": self.named or (donor.defect if uses_base else named),
            "reference": donor.relative if from_donor and appearance != "target" else target.relative,
            "decoder": self.config.decoders[int(plan.decoder[position])],
            "operation": operation + ("+tps" if bool(plan.then_tps[position]) and operation != "tps" else ""),
            "appearance": appearance,
            "seed": defect_seed(self.config.seed, self.category, index, attempt, defects.number),
            "mask_area": int(composed.label_mask.sum()),
            "change_inside": round(composed.change_inside, 3),
            "structure": donor.relative if uses_base or foreign else f"procedural:{KINDS[kind]}",
            "fusion_mask": round(float(candidates.fusion_mask[position].mean()), 4),
            "attempt": attempt,
            "accepted": composed.change_inside >= self.config.min_change and bool(candidates.accepted[position]),
        }
        if candidates.scores.shape[1]:
            about["gate"] = gate_entry(candidates.scores[position], candidates.rejected[position])
        if self.config.severity != (1.0, 1.0):
            strength = candidates.opacity if uses_base or foreign else candidates.severity
            about["severity"] = round(float(strength[position]), 4)
        return about

    def about_small(self, defects: Defects, position: int, index: int) -> dict[str, Any]:
        """As `about`, of a defect that is measured at the model's size, because nothing is written."""
        drawn = defects.candidates
        mask = drawn.region_mask[position, 0].cpu().numpy() > 0
        small = Composed(np.empty(0), mask, 0, float(drawn.change[position]))
        return self.about(defects, position, index, self.normals[int(drawn.target_index[position])], small)

    @staticmethod
    def _save_pair(image: Path, label: Path, composed: Composed, profile: bytes | None = None) -> None:
        """Write mask and image, both or none."""
        try:
            save_png(label, composed.label_mask)
            save_png(image, composed.pixels, profile=profile)
        except BaseException:
            for path in (image, label):
                path.unlink(missing_ok=True)
            raise

    def _native_content(
        self,
        candidates: Candidates,
        color_u8: Tensor,
        position: int,
        pixels: np.ndarray,
        part: Part,
        in_window: bool,
    ) -> Tensor:
        """A part of C_r at the target's own size, float (1, 3, h, w): native pixels wherever a file has them."""
        one = slice(position, position + 1)
        appearance = APPEARANCES[int(candidates.plan.appearance[position])]
        uses_base = bool(candidates.plan.uses_base[position])
        if appearance == "target":
            return native_tensor(pixels[part.rows, part.columns])
        if not uses_base and appearance == "blend":  # painted at the model's size: carry the change over
            native = native_tensor(pixels[part.rows, part.columns])
            return carried(native, candidates.content[one], signed_from_u8(color_u8), part)
        reference = native_tensor(reference_pixels(self._donor(candidates, position), max(part.height, part.width)))
        if not uses_base:
            return part.of(reference)
        grid = bent_grid(candidates.matrix[one], candidates.bend[one], part.height, part.width)
        warped = sample(reference, grid)
        if appearance == "reference":
            return part.cut(warped)
        level = float(candidates.level[position])
        region_mask = candidates.reference_region[one]
        return part.cut(pasted(native_tensor(pixels), warped, region_mask, level, in_window=in_window))

    def write_normals(self, drawn: RedrawnNormals, indices: Sequence[int], only: str | None = None) -> list[Row]:
        """Finish and write redrawn good images (on the CPU), or the one whose id is given."""
        positions = [p for p, index in enumerate(indices) if only in (None, self.normal_id(index))]
        with self._threads([drawn.target_index[position] for position in positions]) as threads:
            return list(threads.map(lambda p: self._write_normal(drawn, p, indices[p]), positions))

    def _threads(self, targets: Sequence[Tensor]) -> AbstractContextManager[ThreadPoolExecutor]:
        """Threads that write images made of these targets."""
        return writing_threads([self.normals[int(target)].path for target in targets], self.threads)

    def _write_normal(self, drawn: RedrawnNormals, position: int, index: int) -> Row:
        target = self.normals[int(drawn.target_index[position])]
        reference = self.normals[int(drawn.reference_index[position])]
        patched = bool(drawn.patched[position])
        composition = "region" if patched else "full"
        one = slice(position, position + 1)
        image, profile = KEPT.load(target.path)
        pixels = image if target.window is None else target.window.crop(image)
        shown = pixels if patched else KEPT.load(reference.path)[0]
        inner = None if target.window is None else target.window.inner_borders(image.shape)
        place = placed(pixels.shape, drawn.region_mask[one], composition, inner=inner)
        content = place.part.of(native_tensor(shown))
        generated = at_native_size(drawn.output(position), content, drawn.content[one], place.part)
        composed = filled(pixels, place, generated)
        if target.window is not None:
            composed = put_back(image, target.window, composed)
        image_id = self.normal_id(index)
        path, _ = self._paths(image_id, f"train/{GOOD}", None)
        del image, pixels, shown
        save_png(self.folder / path, composed.pixels, profile=profile)
        return Row(
            id=image_id,
            image=path,
            label_mask=None,
            category=self.category,
            defect=GOOD,
            target=target.relative,
            reference=reference.relative,
            decoder=self.config.decoders[int(drawn.decoder[position])],
            operation="none",
            appearance="target" if patched else "reference",
            composition=composition,
            seed=normal_seed(self.config, self.category, index),
            model_sha256=self.model_sha256,
            changed_outside=composed.changed_outside,
            mask_area=0,
            change_inside=round(composed.change_inside, 3),
            structure=target.relative,
            fusion_mask=round(float(drawn.fusion_mask[position].mean()), 4),
            attempt=0,
            accepted=True,
            window=None if target.window is None else target.window.as_list(),
        )

    def _paths(self, image_id: str, folder: str, label: str | None) -> tuple[str, str | None]:
        """Relative paths of image and label mask; their folders are made, each once."""
        paths = [f"{self.prefix}{folder}/{image_id}.png", None if label is None else f"{self.prefix}{label}"]
        for path in paths:
            parent = None if path is None else os.path.dirname(path)
            if parent is not None and parent not in self._made:
                make_folder(self.folder / parent)
                self._made.add(parent)
        return cast(str, paths[0]), paths[1]


def append_rows(folder: Path, rows: Sequence[Row], name: str = MANIFEST) -> None:
    """Add the rows of finished images to a manifest.

    Args:
        folder: Of the set.
        rows: The rows.
        name: The manifest's path in it.
    """
    append_text(folder / name, "".join(to_line(row) for row in rows))

"""Generated good images: redrawn whole, or in patches that carry the generator's fingerprint without a defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pipeline import own_detail, redraw
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of
from anomalyhybrid.generation.references import place_structure
from anomalyhybrid.manipulate.placement import lit_part
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.ops.structures import KINDS, draw_region
from anomalyhybrid.ops.transfer import to_host, wait_for_host
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import derive, stream
from anomalyhybrid.types import Conditions, DecoderOutput

MOST_PATCHES = 3  # outlines in one image; one to so many, in equal shares


@dataclass(frozen=True, slots=True)
class RedrawnNormals:
    """Redrawn good images of one batch, at the model's size.

    Attributes:
        patched: Whether only the region was redrawn, from the target itself, bool (B,).
        target_index: Into the pool's normals, long (B,).
        reference_index: Likewise, the image that gave the appearance; the target's where patched.
        decoder: Index into the configuration's decoders, long (B,).
        content: C_r, float (B, 3, S, S).
        source: A_gen, float (B, 3, S, S).
        fusion_mask: M_gen, float (B, 1, S, S); 1 where patched, so that the source branch alone draws.
        fused: A_out, float (B, 3, S, S).
        region_mask: Where the image is redrawn, binary float (B, 1, S, S); 1 everywhere unless patched.
    """

    patched: Tensor
    target_index: Tensor
    reference_index: Tensor
    decoder: Tensor
    content: Tensor
    source: Tensor
    fusion_mask: Tensor
    fused: Tensor
    region_mask: Tensor

    def cpu(self) -> RedrawnNormals:
        """The same on the CPU."""
        moved = mapped(to_host, self)
        wait_for_host(self.target_index.device)
        return moved

    def output(self, position: int) -> DecoderOutput:
        """The decoder's output for one image, float (1, ., S, S)."""
        one = slice(position, position + 1)
        return DecoderOutput(self.source[one], self.fusion_mask[one], self.fused[one])


def is_patched(config: GenerateConfig, index: int) -> bool:
    """Whether a generated good image is redrawn in patches: none, all, or those of odd number."""
    return config.normals_as == "patch" or (config.normals_as == "both" and index % 2 == 1)


@torch.inference_mode()
def redraw_normals(
    model: Generator, pool: CategoryPool, config: GenerateConfig, category: str, indices: Sequence[int]
) -> RedrawnNormals:
    """Redraw good images with unedited maps, whole or in patches as the configuration says.

    Args:
        model: Generator in evaluation mode, on the pool's device.
        pool: Images of the category.
        config: Settings of the set.
        category: Its name, part of each image's random stream.
        indices: Numbers of the images within the category.

    Returns:
        The images, in the order of `indices`.
    """
    whole = [place for place, index in enumerate(indices) if not is_patched(config, index)]
    patched = [place for place, index in enumerate(indices) if is_patched(config, index)]
    parts = [
        make(model, pool, config, category, [indices[place] for place in places])
        for make, places in ((_redraw_whole, whole), (_redraw_patches, patched))
        if places
    ]
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor([*whole, *patched], device=parts[0].target_index.device).argsort()
    return mapped(lambda *same: torch.cat(same)[order], *parts)


def _redraw_whole(
    model: Generator, pool: CategoryPool, config: GenerateConfig, category: str, indices: Sequence[int]
) -> RedrawnNormals:
    """Redraw whole images with the appearance of another good image (the paper's generated normals)."""
    streams = [stream(config.seed, "normal", category, index) for index in indices]
    draws = Draws.from_streams(streams, columns=64).to(pool.normals.color_u8.device)
    target, reference = draws.index(len(pool.normals)), draws.index(len(pool.normals))
    decoder = draws.choice([1.0] * len(config.decoders))
    color, _, _ = maps_of(pool.normals, reference)
    _, depth, edge = maps_of(pool.normals, target)
    output = redraw(model, Conditions(color=color, depth=depth, edge=edge), config.decoders, decoder)
    return RedrawnNormals(
        patched=torch.zeros_like(target, dtype=torch.bool),
        target_index=target,
        reference_index=reference,
        decoder=decoder,
        content=color,
        source=output.source,
        fusion_mask=output.fusion_mask,
        fused=output.fused,
        region_mask=torch.ones_like(output.fusion_mask),
    )


def _redraw_patches(
    model: Generator, pool: CategoryPool, config: GenerateConfig, category: str, indices: Sequence[int]
) -> RedrawnNormals:
    """Redraw images from themselves by the source branch alone, to be shown inside procedural outlines only.

    Half of them keep the image's own fine detail, as defects do whose appearance is not the target's.
    """
    streams = [stream(config.seed, "patch", category, index) for index in indices]
    draws = Draws.from_streams(streams, columns=1024).to(pool.normals.color_u8.device)
    target = draws.index(len(pool.normals))
    decoder = draws.choice([1.0] * len(config.decoders))
    color, depth, edge = maps_of(pool.normals, target)
    region = _outlines(draws, config, color, mask_of(pool.normals.object_u8, target))
    output = redraw(model, Conditions(color=color, depth=depth, edge=edge), config.decoders, decoder)
    source = own_detail(output.source, color, draws.happens(0.5))
    return RedrawnNormals(
        patched=torch.ones_like(target, dtype=torch.bool),
        target_index=target,
        reference_index=target,
        decoder=decoder,
        content=color,
        source=source,
        fusion_mask=torch.ones_like(output.fusion_mask),
        fused=source,
        region_mask=region,
    )


def _outlines(draws: Draws, config: GenerateConfig, color: Tensor, object_mask: Tensor) -> Tensor:
    """Draw outlines on each object as procedural defects have them, binary float (B, 1, S, S)."""
    more = draws.choice([1.0] * MOST_PATCHES)
    region, lit = torch.zeros_like(object_mask), lit_part(color, object_mask)
    for number in range(MOST_PATCHES):
        kind = draws.choice([1.0] * len(KINDS))
        center, extent = place_structure(draws, config, lit)
        outline = dilate(draw_region(draws, kind, center, extent, *object_mask.shape[-2:]), 1)
        region = torch.where((number <= more).view(-1, 1, 1, 1), torch.maximum(region, outline), region)
    return region * dilate(object_mask, 1)


def normal_seed(config: GenerateConfig, category: str, index: int) -> int:
    """Seed of the stream that a generated good image came from, as the manifest records it."""
    return derive(config.seed, "patch" if is_patched(config, index) else "normal", category, index)

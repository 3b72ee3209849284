"""Global generation: which images are combined, and the reference's appearance on the target's structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.data.class_folders import ClassedImages
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.compose import resized
from anomalyhybrid.generation.hybrid_config import HybridConfig, TargetDepth
from anomalyhybrid.generation.pipeline import redraw
from anomalyhybrid.generation.pool import maps_of, mask_of
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.regions import erode, masked_mean, soft_alpha
from anomalyhybrid.seeding import derive, stream
from anomalyhybrid.types import Conditions, Decoder, DecoderOutput

RIM = 6 / 256  # of the side: the border of a silhouette where its depth map is soft
_FEATHER = 1 / 128  # of the image's shorter side: how softly the silhouette's edge is joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """One hybrid of the work list.

    Attributes:
        reference: Gives the appearance.
        target: Gives depth and edges.
        decoder: Decoder group that draws it.
        seed: Of the stream that drew the two images; the set's seed where a list named them.
    """

    reference: Record
    target: Record
    decoder: Decoder
    seed: int


@dataclass(frozen=True, slots=True)
class ListedPair:
    """One line of a pair list: two images or two classes, and a decoder, or None for all."""

    reference: str
    target: str
    decoder: Decoder | None = None


def pairs_of_classes(images: ClassedImages, config: HybridConfig) -> list[Parents]:
    """Combine all ordered pairs of classes, ``config.count`` hybrids each.

    Two classes draw the same pairs of images for both directions and all decoders, so that what differs between
    those hybrids is direction and decoder alone. No pair of images is drawn twice; small classes give fewer hybrids.

    Args:
        images: The images; ``config.classes`` of them are used.
        config: Settings.

    Returns:
        The work list: classes in their order, both directions of two classes after one another.

    Raises:
        DataError: An unknown class, or fewer than two.
    """
    chosen = images.only(config.classes) if config.classes else images
    if len(chosen.classes) < 2:
        raise DataError(f"{images.root} holds {len(chosen.classes)} class; hybrids need at least two")
    return [
        parents
        for first, second in combinations(chosen.classes, 2)
        for pair in ((first, second), (second, first))
        for parents in _of_pair(chosen, pair, config)
    ]


def _of_pair(images: ClassedImages, pair: tuple[str, str], config: HybridConfig) -> list[Parents]:
    """Hybrids of one ordered pair of classes, or of images within one class."""
    low, high = sorted(pair)
    one, two = images.of_class(low), images.of_class(high)
    seed = derive(config.seed, "hybrid", low, high)
    order = torch.randperm(len(one) * len(two), generator=stream(config.seed, "hybrid", low, high)).tolist()
    drawn = [(one[number // len(two)], two[number % len(two)]) for number in order]
    drawn = [both for both in drawn if both[0] != both[1]]
    if pair[0] != low:
        drawn = [(second, first) for first, second in drawn]
    made = [
        Parents(reference=reference, target=target, decoder=decoder, seed=seed)
        for reference, target in drawn[: -(-config.count // len(config.decoders))]
        for decoder in config.decoders
    ]
    return made[: config.count]


def listed_parents(images: ClassedImages, listed: Sequence[ListedPair], config: HybridConfig) -> list[Parents]:
    """Turn a pair list into the work list.

    A line of two images gives one hybrid for each of its decoders, a line of two classes ``config.count`` hybrids;
    two classes may be the same one, which gives redrawn images that are no hybrids.

    Args:
        images: The images.
        listed: The lines.
        config: Settings.

    Returns:
        The work list, in the list's order.

    Raises:
        DataError: A name that is neither an image nor a class, one of each, an image with itself, or a decoder that
            is not among the settings'.
    """
    records = {record.relative: record for record in images.records}
    work: list[Parents] = []
    for number, line in enumerate(listed, 1):
        if line.decoder is not None and line.decoder not in config.decoders:
            raise DataError(
                f"pair {number} asks for decoder {line.decoder!r}; the set is made by {', '.join(config.decoders)}"
            )
        names = (line.reference, line.target)
        decoders = config.decoders if line.decoder is None else (line.decoder,)
        if all(name in records for name in names):
            if names[0] == names[1]:
                raise DataError(f"pair {number} combines {names[0]} with itself; name two images")
            reference, target = (records[name] for name in names)
            made = [Parents(reference=reference, target=target, decoder=each, seed=config.seed) for each in decoders]
        elif all(name in images.classes for name in names):
            made = [one for one in _of_pair(images, names, config) if one.decoder in decoders]
        else:
            wrong = next((name for name in names if name not in records and name not in images.classes), names[1])
            raise DataError(
                f"pair {number} names {wrong!r}, which is no image below {images.root} and no class, or not of the "
                f"kind of the other; classes are {', '.join(images.classes)}"
            )
        work += made
    return work


def silhouette_depth(depth: Tensor, object_mask: Tensor) -> Tensor:
    """Depth of a flat specimen: level inside its silhouette, as it was outside.

    Args:
        depth: float (B, 1, S, S) in [-1, 1].
        object_mask: Silhouette, binary float (B, 1, S, S).

    Returns:
        float (B, 1, S, S); the level is the mean away from the border, where depth maps are soft.

    Source: ADR-011.
    """
    inner = erode(object_mask, max(1, round(RIM * depth.shape[-1])))
    inner = torch.where(inner.sum(dim=(2, 3), keepdim=True) > 0, inner, object_mask)
    cut_out = object_mask.amin(dim=(2, 3), keepdim=True) == 0  # without background there is no silhouette
    return torch.where((object_mask > 0) & cut_out, masked_mean(depth, inner), depth)


@torch.inference_mode()
def draw_hybrid(
    model: Generator,
    maps: ImageSet,
    reference: int,
    target: int,
    decoder: Decoder,
    target_depth: TargetDepth = "estimated",
) -> DecoderOutput:
    """Redraw the target's unedited structure with the reference's appearance.

    One image passes the network at a time, so that its pixels do not depend on a batch.

    Args:
        model: Generator in evaluation mode, on the maps' device.
        maps: Images with their maps.
        reference: Index of the image that gives C_r.
        target: Index of the image that gives C_d and C_e.
        decoder: Decoder group.
        target_depth: C_d as it is, or level inside the target's silhouette.

    Returns:
        The decoder's output, float (1, ., S, S), on the CPU.

    Source: Paper 3.5 (global anomalies: no manipulation).
    """
    device = maps.color_u8.device
    color, _, _ = maps_of(maps, torch.tensor([reference], device=device))
    _, depth, edge = maps_of(maps, torch.tensor([target], device=device))
    if target_depth == "silhouette":
        depth = silhouette_depth(depth, mask_of(maps.object_u8, torch.tensor([target], device=device)))
    conditions = Conditions(color=color, depth=depth, edge=edge)
    output = redraw(model, conditions, (decoder,), torch.zeros(1, dtype=torch.long, device=device))
    return DecoderOutput(*(part.cpu() for part in output))


def hybrid_at_native_size(
    output: DecoderOutput, reference: Tensor, target: Tensor, silhouette: Tensor, config: HybridConfig
) -> Tensor:
    """Evaluate Eq. 1 at the target's own size.

    The reference's fine detail is not added to the source, unlike in local generation: it lies where the reference
    has it, not where the target does.

    Args:
        output: Of the decoder, float (1, ., S, S).
        reference: The reference's own pixels, float (1, 3, h, w) in [-1, 1].
        target: The target's own pixels, float (1, 3, H, W) in [-1, 1].
        silhouette: Of the target, binary float (1, 1, H, W).
        config: What is shown outside the silhouette.

    Returns:
        Float (1, 3, H, W) in [-1, 1].

    Source: Paper Eq. 1.
    """
    height, width = target.shape[-2:]
    content = resized(reference, height, width)
    source, opacity = resized(output.source, height, width), resized(output.fusion_mask, height, width)
    hybrid = fuse(content, source, opacity).clamp(-1, 1)
    if config.background == "generated":
        return hybrid
    return torch.lerp(target, hybrid, soft_alpha(silhouette, max(1, round(_FEATHER * min(height, width)))))

"""From the model's square back to the image's own size and mode, with the mask contract (ADR-004)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.data.loading import from_rgb_float, strips, to_rgb_u8
from anomalyhybrid.data.windows import Borders, Window
from anomalyhybrid.manipulate.reference import FEATHER, Reference, blended, levelled
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.ranges import signed_from_u8, unit_from_signed
from anomalyhybrid.ops.regions import blur, soft_alpha
from anomalyhybrid.types import DecoderOutput

Composition = Literal["region", "full"]

ROUND = 0.6  # sigma in model pixels that rounds the outlines of regions in windows
FADE = 16  # a window's side over this: pixels over which what its border cuts fades out, if it is 4 times as long
LEAST_FADED = 0.1  # share of the change below which a pixel is left out there


@dataclass(frozen=True, slots=True)
class Composed:
    """One finished image.

    Attributes:
        pixels: Native pixels, shape and dtype of the target.
        label_mask: bool (H, W), the pixels that may differ from the target.
        changed_outside: Pixels outside `label_mask` that differ from the target.
        change_inside: Mean absolute change inside `label_mask`, in 1/255.
    """

    pixels: np.ndarray
    label_mask: np.ndarray
    changed_outside: int
    change_inside: float


class Part(NamedTuple):
    """The part of an image that is worked on; as much is made of the rest as resizing asks for.

    Attributes:
        height: Rows of the whole image.
        width: Columns of the whole image.
        rows: Of the part.
        columns: Of the part.
    """

    height: int
    width: int
    rows: slice = slice(None)
    columns: slice = slice(None)

    def cut(self, image: Tensor) -> Tensor:
        """This part of float (B, C, H, W), a view."""
        return image[..., self.rows, self.columns]

    def of(self, image: Tensor) -> Tensor:
        """This part of float (B, C, h, w) of another size."""
        return self.cut(resized(image, self.height, self.width))

    def made(self, pointwise: Callable[..., Tensor], *images: Tensor) -> Tensor:
        """This part of what a pointwise function makes of images (B, C, h, w) of one size."""
        if images[0].shape[-2:] == (self.height, self.width):  # nothing is resized: what lies beyond is not needed
            return pointwise(*map(self.cut, images))
        return self.of(pointwise(*images))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a generated image goes in its target.

    Attributes:
        region: At the target's size, binary float (1, 1, H, W).
        label_mask: The pixels that may differ from the target, bool (H, W).
        shown: Share of the change, float (H, W) where it fades towards a window's borders; else 1, of no dimension.
        feather: Pixels over which the change fades in inside the region; None where the whole image is generated.
        part: What the finished image needs of the generated one.
    """

    region: Tensor
    label_mask: np.ndarray
    shown: Tensor
    feather: int | None
    part: Part


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resize float (B, C, H, W): anti-aliased bilinear; the image itself where the size already fits."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)


def native_tensor(pixels: np.ndarray) -> Tensor:
    """Native pixels as the model sees colour, float (1, 3, H, W) in [-1, 1], at their own size."""
    return signed_from_u8(torch.tensor(to_rgb_u8(pixels)).permute(2, 0, 1)[None])


def at_native_size(output: DecoderOutput, content: Tensor, content_small: Tensor, part: Part | None = None) -> Tensor:
    """Evaluate Eq. 1 at the content's own size, with the content's fine detail kept where the source allows it.

    Args:
        output: One decoder's output, float (1, ., S, S).
        content: C_in at native size, float (1, 3, H, W), or a part of it.
        content_small: C_in as the network saw it, float (1, 3, S, S).
        part: Which part of the image `content` is; None for all of it.

    Returns:
        A_out, in [-1, 1], shape of `content`; a part is bit for bit the whole's.

    Source: Paper Eq. 1; detail by ADR-004.
    """
    part = part or Part(content.shape[-2], content.shape[-1])
    source = part.of(output.source)
    detail = content - part.of(content_small)
    brightness = unit_from_signed(source).mean(1, keepdim=True) / unit_from_signed(content).mean(
        1, keepdim=True
    ).clamp_min(0.05)
    source = source + detail * brightness.clamp(0, 1)
    return fuse(content, source, part.of(output.fusion_mask)).clamp(-1, 1)


def carried(native: Tensor, painted: Tensor, color: Tensor, part: Part | None = None) -> Tensor:
    """Carry what was painted at the model's size over to a target's native pixels, in [-1, 1], shape of `native`.

    Args:
        native: The target's own pixels, float (1, 3, H, W) in [-1, 1], or a part of them.
        painted: With the structure, float (1, 3, S, S).
        color: Without it, likewise.
        part: Which part of the image `native` is; None for all of it.
    """
    part = part or Part(native.shape[-2], native.shape[-1])
    return (native + part.made(torch.sub, painted, color)).clamp(-1, 1)


def pasted(
    native: Tensor, warped: Tensor, region_mask: Tensor, level: float = 1.0, *, in_window: bool = False
) -> Tensor:
    """Blend a reference's native pixels into a target's, float (1, 3, H, W) in [-1, 1] (appearance ``blend``).

    Args:
        native: The target's own pixels, float (1, 3, H, W) in [-1, 1].
        warped: The reference's, in the target's frame, likewise.
        region_mask: The reference's region at the model's size, float (1, 1, S, S).
        level: Part of the difference in level that is taken off, in [0, 1].
        in_window: Round the region's outline, and fade in over half a model pixel in place of one native pixel.
    """
    height, width = native.shape[-2:]
    region = native_region(region_mask, height, width, rounded=in_window)
    if in_window:
        feather = max(1, round(0.5 * min(height, width) / region_mask.shape[-1]))
        shown = levelled(warped, native, region, 0.25, level).clamp(-1, 1)
        return torch.lerp(native, shown, soft_alpha(region, feather))
    nothing = torch.zeros_like(region)
    return blended(native, Reference(color=warped, depth=nothing, edge=nothing, region_mask=region), level)


def native_region(
    region_mask: Tensor, height: int, width: int, allowed: np.ndarray | None = None, *, rounded: bool = False
) -> Tensor:
    """Bring a region to an image's own size, binary float (1, 1, H, W); one too thin for it keeps its best pixels.

    Args:
        region_mask: Binary float (1, 1, S, S).
        height: Rows.
        width: Columns.
        allowed: Pixels that it may cover, bool (H, W); None for all.
        rounded: Smooth the steps that the model's pixels leave in its outline.
    """
    coverage = resized(region_mask, height, width)
    if rounded:
        coverage = blur(coverage, ROUND * min(height, width) / region_mask.shape[-1])
    if allowed is not None:
        coverage = coverage * torch.from_numpy(allowed)
    return (coverage > (0.5 * coverage.amax()).clamp_max(0.5)).float()


def compose(
    target: np.ndarray,
    generated: Tensor,
    region_mask: Tensor,
    composition: Composition,
    *,
    under: Tensor | None = None,
    allowed: np.ndarray | None = None,
    opacity: float = 1.0,
    inner: Borders | None = None,
) -> Composed:
    """Put a generated image into its target; `placed` and `filled` in one.

    Args:
        target: Native pixels.
        generated: A_out at native size, float (1, 3, H, W) in [-1, 1].
        region_mask: Region at the model's size, binary float (1, 1, S, S).
        composition: As for `placed`.
        under: As for `filled`, float (1, 3, H, W).
        allowed, inner: As for `placed`.
        opacity: As for `filled`.

    Returns:
        The finished image; its `label_mask` is the region at native size.
    """
    place = placed(target.shape, region_mask, composition, allowed=allowed, inner=inner)
    below = None if under is None else place.part.cut(under)
    return filled(target, place, place.part.cut(generated), under=below, opacity=opacity)


def placed(
    shape: tuple[int, ...],
    region_mask: Tensor,
    composition: Composition,
    *,
    allowed: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
    inner: Borders | None = None,
) -> Place:
    """Find where a generated image goes in its target, before it is made at the target's size.

    Args:
        shape: Of the target, (H, W) or (H, W, C).
        region_mask: Region at the model's size, binary float (1, 1, S, S).
        composition: ``region`` keeps the target outside the region bit for bit, ``full`` takes the whole image.
        allowed: Pixels that may change, bool (H, W); the label mask never leaves them. None for all. Only for
            ``region``.
        drawn: The label mask where the user drew it, bool (H, W), in place of the region and `allowed`.
        inner: Of a window, which of its borders lie inside the image: a region that they cut fades out towards them.
            None for a whole image.
    """
    height, width = shape[:2]
    if drawn is not None:
        region = torch.from_numpy(drawn)[None, None].float()
    elif region_mask.shape[-2:] == (height, width) and allowed is None and inner is None:
        region = region_mask  # it fits as it is
    else:
        region = native_region(region_mask, height, width, allowed, rounded=inner is not None)
    label_mask, shown = region[0, 0].numpy() > 0, torch.ones(())
    if inner is not None and drawn is None:
        shown = _faded(region, inner)
        label_mask &= (shown > LEAST_FADED).numpy()
    if composition == "full":
        return Place(region, label_mask, shown, None, Part(height, width))
    feather = max(1, round(FEATHER * min(height, width) / region_mask.shape[-1]))
    box = _box(label_mask, feather + 1)  # nothing changes elsewhere, nor depends on what lies beyond
    return Place(region, label_mask, shown, feather, Part(height, width, *box))


def filled(
    target: np.ndarray, place: Place, generated: Tensor, *, under: Tensor | None = None, opacity: float = 1.0
) -> Composed:
    """Put a generated image in its place.

    Args:
        target: Native pixels.
        place: As `placed` finds it.
        generated: `place.part` of A_out at native size, float (1, 3, h, w) in [-1, 1].
        under: What the generated image is faded in over, likewise: C_in where it shows the target around the region
            (`blend`), so that what was pasted is not faded twice; None for the target. Only for ``region``.
        opacity: Of the whole change over the target, in (0, 1] (`severity`); likewise.
    """
    if place.feather is None:
        return _measured(target, from_rgb_float(_as_rgb(generated), target), place.label_mask)
    where, part = (place.part.rows, place.part.columns), place.part
    below = native_tensor(target[where])
    alpha = soft_alpha(part.cut(place.region), place.feather)
    mixed = torch.lerp(below if under is None else under, generated, alpha)
    if opacity < 1 or place.shown.ndim:
        mixed = torch.lerp(below, mixed, opacity * (part.cut(place.shown) if place.shown.ndim else place.shown))
    pixels = target.copy()
    new = from_rgb_float(_as_rgb(mixed), target[where])
    np.copyto(pixels[where], new, where=_expand(place.label_mask[where], target))
    return _measured(target, pixels, place.label_mask)


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask, bool (H, W), and a margin; the first ones where it is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows = slice(max(0, top - margin), top + max(1, height) + margin)
    return rows, slice(max(0, left - margin), left + max(1, width) + margin)


def _faded(region: Tensor, inner: Borders) -> Tensor:
    """Share of the change, float (H, W), that falls to 0 at those inner borders of a window that cut the region."""
    cut = region[0, 0] > 0
    rows = _ramps(cut.any(dim=1), inner.top, inner.bottom)
    columns = _ramps(cut.any(dim=0), inner.left, inner.right)
    return rows[:, None] * columns


def _ramps(cut: Tensor, first: bool, last: bool) -> Tensor:
    """The share along one axis, float (N,), of what covers some of its pixels, bool (N,); short defects fade fast."""
    share = torch.ones(len(cut))
    depth = max(1, min(len(cut) // FADE, int(cut.sum()) // 4))
    ramp = (torch.arange(depth) + 0.5) / depth
    ramp = ramp.square() * (3 - 2 * ramp)
    if first and bool(cut[0]):
        share[:depth] *= ramp
    if last and bool(cut[-1]):
        share[-depth:] *= ramp.flip(0)
    return share


def joined(target: np.ndarray, parts: Sequence[Composed]) -> Composed:
    """Put several finished defects of one target into one image; their label masks do not overlap.

    Args:
        target: Native pixels.
        parts: Each composed into the target alone; at least one.
    """
    if len(parts) == 1:
        return parts[0]
    pixels, label_mask = parts[0].pixels, parts[0].label_mask
    for part in parts[1:]:
        assert not (label_mask & part.label_mask).any(), "defects of one image keep their distance"
        pixels = np.where(_expand(part.label_mask, target), part.pixels, pixels)
        label_mask = label_mask | part.label_mask
    return _measured(target, pixels, label_mask)


def _measured(target: np.ndarray, pixels: np.ndarray, label_mask: np.ndarray) -> Composed:
    where = _box(label_mask, 0)
    inside = label_mask[where]
    new, old = (to_rgb_u8(image[where])[inside].astype(np.int16) for image in (pixels, target))
    change = np.abs(new - old).mean(axis=1)
    return Composed(
        pixels=pixels,
        label_mask=label_mask,
        changed_outside=_changed_outside(target, pixels, label_mask),
        change_inside=float(change.mean()) if change.size else 0.0,
    )


def _changed_outside(target: np.ndarray, pixels: np.ndarray, label_mask: np.ndarray) -> int:
    """Count pixels outside a mask that differ, a few rows at a time."""
    count = 0
    for rows in strips(len(target)):
        unequal = cv2.split((pixels[rows] != target[rows]).view(np.uint8))  # channels
        count += cv2.countNonZero(functools.reduce(cv2.bitwise_or, unequal) & ~label_mask[rows])
    return count


def put_back(image: np.ndarray, window: Window, part: Composed) -> Composed:
    """Put a finished window back into its image.

    Args:
        image: Native pixels of the whole image.
        window: Inside it.
        part: The window's finished pixels.

    Returns:
        The whole image, its label mask at its size; `changed_outside` is counted over all of it.

    Source: ADR-013.
    """
    pixels, label_mask = image.copy(), np.zeros(image.shape[:2], bool)
    pixels[window.where], label_mask[window.where] = part.pixels, part.label_mask
    return Composed(
        pixels=pixels,
        label_mask=label_mask,
        changed_outside=_changed_outside(image, pixels, label_mask),
        change_inside=part.change_inside,
    )


def _as_rgb(image: Tensor) -> np.ndarray:
    return unit_from_signed(image)[0].permute(1, 2, 0).contiguous().numpy()


def _expand(label_mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    return label_mask if like.ndim == 2 else label_mask[:, :, None]

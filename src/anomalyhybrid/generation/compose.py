"""From the model's square back to the image's own size and mode, with the mask contract (ADR-004)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resize float (B, C, H, W): anti-aliased bilinear; the image itself where the size already fits."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)


def native_tensor(pixels: np.ndarray) -> Tensor:
    """Native pixels as the model sees colour, float (1, 3, H, W) in [-1, 1], at their own size."""
    return signed_from_u8(torch.tensor(to_rgb_u8(pixels)).permute(2, 0, 1)[None])


def at_native_size(output: DecoderOutput, content: Tensor, content_small: Tensor) -> Tensor:
    """Evaluate Eq. 1 at the content's own size, with the content's fine detail kept where the source allows it.

    Args:
        output: One decoder's output, float (1, ., S, S).
        content: C_in at native size, float (1, 3, H, W).
        content_small: C_in as the network saw it, float (1, 3, S, S).

    Returns:
        A_out, float (1, 3, H, W) in [-1, 1].

    Source: Paper Eq. 1; detail by ADR-004.
    """
    height, width = content.shape[-2:]
    source = resized(output.source, height, width)
    detail = content - resized(content_small, height, width)
    brightness = unit_from_signed(source).mean(1, keepdim=True) / unit_from_signed(content).mean(
        1, keepdim=True
    ).clamp_min(0.05)
    source = source + detail * brightness.clamp(0, 1)
    return fuse(content, source, resized(output.fusion_mask, height, width)).clamp(-1, 1)


def carried(native: Tensor, painted: Tensor, color: Tensor) -> Tensor:
    """Carry what was painted at the model's size over to a target's native pixels, float (1, 3, H, W) in [-1, 1].

    Args:
        native: The target's own pixels, float (1, 3, H, W) in [-1, 1].
        painted: With the structure, float (1, 3, S, S).
        color: Without it, likewise.
    """
    return (native + resized(painted - color, *native.shape[-2:])).clamp(-1, 1)


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
    drawn: np.ndarray | None = None,
    inner: Borders | None = None,
) -> Composed:
    """Put a generated image into its target.

    Args:
        target: Native pixels.
        generated: A_out at native size, float (1, 3, H, W) in [-1, 1].
        region_mask: Region at the model's size, float (1, 1, S, S).
        composition: ``region`` keeps the target outside the region bit for bit, ``full`` takes the whole image.
        under: What the generated image is faded in over, float (1, 3, H, W): C_in where it shows the target around
            the region (`blend`), so that what was pasted is not faded twice; None for the target.
        allowed: Pixels that may change, bool (H, W); the label mask never leaves them. None for all. Only for
            ``region``.
        opacity: Of the whole change over the target, in (0, 1] (`severity`).
        drawn: The label mask where the user drew it, bool (H, W), in place of the region and `allowed`.
        inner: Of a window, which of its borders lie inside the image: a region that they cut fades out towards them.
            None for a whole image.

    Returns:
        The finished image; its `label_mask` is the region at native size.
    """
    height, width = target.shape[:2]
    if drawn is None:
        region = native_region(region_mask, height, width, allowed, rounded=inner is not None)
    else:
        region = torch.from_numpy(drawn)[None, None].float()
    shown = torch.ones(()) if inner is None or drawn is not None else _faded(region, inner)
    label_mask = (region[0, 0] * (shown > LEAST_FADED)).numpy() > 0
    if composition == "full":
        return _measured(target, from_rgb_float(_as_rgb(generated), target), label_mask)
    feather = max(1, round(FEATHER * min(height, width) / region_mask.shape[-1]))
    rows, columns = _box(label_mask, feather + 1)  # nothing changes elsewhere, nor depends on what lies beyond
    below = native_tensor(target[rows, columns])
    mixed = torch.lerp(
        below if under is None else under[..., rows, columns],
        generated[..., rows, columns],
        soft_alpha(region[..., rows, columns], feather),
    )
    if opacity < 1 or shown.ndim:
        mixed = torch.lerp(below, mixed, opacity * (shown[rows, columns] if shown.ndim else shown))
    pixels = target.copy()
    part = from_rgb_float(_as_rgb(mixed), target[rows, columns])
    np.copyto(pixels[rows, columns], part, where=_expand(label_mask[rows, columns], target))
    return _measured(target, pixels, label_mask)


def _box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask, bool (H, W), and a margin; the first ones where it is empty."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
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
    change = np.abs(to_rgb_u8(pixels[where]).astype(np.int16) - to_rgb_u8(target[where])).mean(axis=2)
    return Composed(
        pixels=pixels,
        label_mask=label_mask,
        changed_outside=_changed_outside(target, pixels, label_mask),
        change_inside=float(change[inside].mean()) if inside.any() else 0.0,
    )


def _changed_outside(target: np.ndarray, pixels: np.ndarray, label_mask: np.ndarray) -> int:
    """Count pixels outside a mask that differ, a few rows at a time."""
    count = 0
    for rows in strips(len(target)):
        unequal = pixels[rows] != target[rows]
        differs = unequal if unequal.ndim == 2 else np.logical_or.reduce([*np.moveaxis(unequal, 2, 0)])
        count += int((differs & ~label_mask[rows]).sum())
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

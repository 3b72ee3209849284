"""The relief of a defect: from the networks' answer to a signed height in the data's own unit (ADR-010)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.ops.regions import blur, soft_alpha

Source = Literal["network", "manipulation", "outline"]
SOURCES: tuple[Source, ...] = ("network", "manipulation", "outline")
PEAK = 0.95  # quantile of a region's pixels that counts as the peak of its relief
SUPPORT = 0.15  # least relief anywhere in the region, against the peak: depth changes where colour does
CONSISTENT = 0.5  # least mean relief against the mean of its size: three quarters have the asked sign
FEATHER = 0.008  # width over which the relief rises at the region's border, as a share of the image's side


class Profile(NamedTuple):
    """Shapes of the defects of one batch.

    Attributes:
        relief: float (B, 1, S, S) in [0, 1], 0 outside the region, at least `SUPPORT` inside it.
        source: Index into `SOURCES`, long (B,).
    """

    relief: Tensor
    source: Tensor


def _peak(values: Tensor, region_mask: Tensor) -> Tensor:
    """The `PEAK` quantile of each sample's values inside its region, float (B,); 0 for an empty region."""
    inside = torch.where(region_mask > 0, values, torch.full_like(values, torch.nan)).flatten(1)
    return torch.nanquantile(inside, PEAK, dim=1).nan_to_num(0.0)


def fit_profile(
    network: Tensor, manipulation: Tensor, region_mask: Tensor, sign_B: Tensor, *, least: float, smooth: float
) -> Profile:
    """Choose and scale each defect's shape.

    The network's relief is taken where it has the asked sign, three quarters of it at least, and a peak of at least
    `least`. Else the manipulation's by the same rule (any peak), else a bowl in the region's outline. Which
    one it was is part of the answer.

    Args:
        network: Predicted depth of the generated image minus that of the target, float (B, 1, S, S), 1 nearer.
        manipulation: Edited depth minus the target's, same shape.
        region_mask: Binary float (B, 1, S, S).
        sign_B: 1 for nearer, -1 for farther, float (B,).
        least: Smallest peak of the network's relief, in units of the maps (their range is 2).
        smooth: Deviation of the Gaussian over the shape, in pixels.

    Source: ADR-010.
    """
    area = region_mask.sum(dim=(1, 2, 3)).clamp_min(1.0)
    sign = sign_B.view(-1, 1, 1, 1)
    side = region_mask.shape[-1]
    shapes, usable = [], []
    for values, threshold in ((network, least), (manipulation, 1e-4)):
        toward = values.float() * sign
        peak = _peak(toward, region_mask)
        mean = (toward * region_mask).sum(dim=(1, 2, 3)) / area
        size = (toward.abs() * region_mask).sum(dim=(1, 2, 3)) / area
        usable.append((peak > threshold) & (mean > CONSISTENT * size))
        shapes.append((toward / peak.clamp_min(1e-6).view(-1, 1, 1, 1)).clamp(0, 1))
    shapes.append(soft_alpha(region_mask, max(2, side // 16)))
    source = torch.where(usable[0], 0, torch.where(usable[1], 1, 2))
    picked = source.view(-1, 1, 1, 1)
    shape = torch.where(picked == 0, shapes[0], torch.where(picked == 1, shapes[1], shapes[2])) * region_mask
    calm = blur(shape, smooth) / blur(region_mask, smooth).clamp_min(1e-4)
    calm = calm / _peak(calm, region_mask).clamp_min(1e-6).view(-1, 1, 1, 1)
    return Profile(calm.clamp(SUPPORT, 1) * region_mask, source)


def native_relief(relief: Tensor, label_mask: np.ndarray) -> np.ndarray:
    """Bring one shape to an image's own size and label mask.

    Args:
        relief: float (1, 1, S, S) of `Profile`.
        label_mask: bool (H, W), as written for the colour image.

    Returns:
        float64 (H, W) in [0, 1]: 0 outside the mask, above 0 everywhere in it, 1 at its peak; it rises from the
        mask's border.
    """
    height, width = label_mask.shape
    label = torch.from_numpy(label_mask).float()[None, None]
    if not label_mask.any():
        return np.zeros(label_mask.shape)
    large = F.interpolate(relief.double(), (height, width), mode="bilinear", align_corners=False).clamp_min(SUPPORT)
    feather = max(1, round(FEATHER * min(height, width)))
    shaped = (large * soft_alpha(label, feather).double())[0, 0].numpy()
    return shaped / shaped.max()


def nearness(values: np.ndarray, *, nearer_is_larger: bool) -> np.ndarray:
    """Values that grow toward the camera, float64, in the same unit."""
    return values.astype(np.float64) * (1.0 if nearer_is_larger else -1.0)


def background_level(values: np.ndarray, valid: np.ndarray, *, nearer_is_larger: bool) -> float:
    """Nearness of the scene's back: that of its farthest hundredth.

    Raises:
        DataError: No valid pixel.
    """
    if not valid.any():
        raise DataError("no pixel of the depth map holds a measurement; leave this image out")
    return float(np.percentile(nearness(values, nearer_is_larger=nearer_is_larger)[valid], 1.0))


class Raised(NamedTuple):
    """New depth of one image.

    Attributes:
        values: float64 (H, W) in the file's unit; equal to the old ones outside the mask and where invalid.
        requested: Signed height asked for, in the file's unit, positive toward the camera.
        peak: Signed height reached at the peak over valid pixels; 0 where no pixel of the mask was measured.
        valid_share: Share of the mask's pixels that were measured.
    """

    values: np.ndarray
    requested: float
    peak: float
    valid_share: float


def apply_relief(
    values: np.ndarray,
    valid: np.ndarray,
    label_mask: np.ndarray,
    relief: np.ndarray,
    *,
    sign: Literal[-1, 1],
    height: float,
    nearer_is_larger: bool,
    to_background: bool = False,
    flat_share: float | None = None,
) -> Raised:
    """Move the measured depth of one image by a shape.

    Args:
        values: (H, W) in the file's unit.
        valid: bool (H, W).
        label_mask: bool (H, W).
        relief: `native_relief`.
        sign: 1 toward the camera, -1 away from it.
        height: Height at the peak, > 0, in the file's unit.
        nearer_is_larger: Whether values grow toward the camera: false for distances.
        to_background: A hole: every pixel goes down to the scene's back in proportion to the shape, and by `height`
            where the scene has nothing behind it.
        flat_share: Of a flat defect: its height is this share of `height`.

    Raises:
        ConfigError: A height that is not above 0.
        DataError: Shapes that differ, or no valid pixel.

    Source: ADR-010.
    """
    if not height > 0:
        raise ConfigError(f"the height is {height}; it must be above 0, in the unit of the depth files")
    if not values.shape == valid.shape == label_mask.shape == relief.shape:
        raise DataError(
            f"depth {values.shape}, validity {valid.shape}, mask {label_mask.shape} and relief {relief.shape} differ"
        )
    near = nearness(values, nearer_is_larger=nearer_is_larger)
    moved = label_mask & valid
    step = sign * height * (1.0 if flat_share is None else flat_share)
    change = step * relief
    requested = step
    if to_background:
        back = background_level(values, valid, nearer_is_larger=nearer_is_larger)
        drop = np.maximum(near - back, height)
        change = -np.clip(1.5 * relief, 0, 1) * drop  # a flat bottom and steep walls
        requested = -float(drop[moved].max()) if moved.any() else -height
    target = np.where(moved, near + change, near)
    if not nearer_is_larger:  # a distance stays in front of the camera
        target = np.where(moved, np.minimum(target, 0.1 * near), target)
    new = np.where(moved, target * (1.0 if nearer_is_larger else -1.0), values)
    difference = (target - near)[moved]
    return Raised(
        values=new,
        requested=float(requested),
        peak=peak_of(difference, -1 if to_background else sign),
        valid_share=float(moved.sum() / max(1, label_mask.sum())),
    )


def peak_of(difference: np.ndarray, sign: int) -> float:
    """Signed change that is largest in the asked direction, 0 where nothing changed; in the unit of the change."""
    if not difference.size:
        return 0.0
    return float(difference.max() if sign > 0 else difference.min())

"""Region masks: procedural shapes, growth, soft borders, and local means.

Masks are float (B, 1, H, W) in [0, 1]; all functions are batched and run on the mask's device.
"""

from __future__ import annotations

import functools

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.ops.fused import fused, fused_at_one_shape
from anomalyhybrid.ops.warp import identity_grid

WIDE = 5
"""Radius from which a blur on a GPU is two products with banded matrices: PyTorch's own depthwise convolution there
takes time in proportion to the filter's length (docs/log.md, eighth session)."""


@fused_at_one_shape
def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask, values >= 0, by `radius` pixels (square structuring element); 0 returns it unchanged."""
    if radius <= 0:
        return mask
    if mask.is_cuda:  # few kernels to start there; on a CPU pooling takes 30 times as long as shifted copies
        rows = F.max_pool2d(mask, (2 * radius + 1, 1), stride=1, padding=(radius, 0))  # a square is rows, then columns
        return F.max_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    padded = F.pad(mask, (radius,) * 4)
    return _running_maximum(_running_maximum(padded, 2 * radius + 1, -2), 2 * radius + 1, -1)


def _running_maximum(values: Tensor, length: int, dim: int) -> Tensor:
    """Largest of each `length` values in a row, by copies shifted twice as far each time."""
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        kept = values.shape[dim] - step
        values = torch.maximum(values.narrow(dim, 0, kept), values.narrow(dim, step, kept))
        covered += step
    return values


def erode(mask: Tensor, radius: int) -> Tensor:
    """Shrink a mask by `radius` pixels; pixels beyond the image's border count as inside."""
    return 1.0 - dilate(1.0 - mask, radius)


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with replicated borders; sigma in pixels, 0 returns the image unchanged."""
    if sigma <= 0 or not image.numel():
        return image
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (kernel / kernel.sum()).to(image.dtype)
    if image.is_cuda and radius >= WIDE:
        height, width = image.shape[-2:]
        return _banded(kernel, height) @ (image @ _banded(kernel, width).T)
    if _is_plain(image):
        return _filtered_by_opencv(image, kernel)
    return _filtered(F.pad(image, (radius,) * 4, mode="replicate"), kernel)


def _is_plain(image: Tensor) -> bool:
    """Whether another library may work on an image: on the CPU, nothing compiled or differentiated."""
    compiling = torch.compiler.is_compiling()
    return not compiling and image.device.type == "cpu" and image.dtype == torch.float32 and not image.requires_grad


def _filtered_by_opencv(image: Tensor, kernel: Tensor) -> Tensor:
    """A symmetric filter along both sides, borders replicated, each channel for itself, which stays in a core's cache.

    On one thread OpenCV takes a sixth to three quarters of what PyTorch's convolution does (log, tenth session).
    """
    planes, weights = image.reshape(-1, *image.shape[-2:]).numpy(), kernel.numpy()
    found = torch.empty_like(image, memory_format=torch.contiguous_format)
    for plane, result in zip(planes, found.view(-1, *image.shape[-2:]).numpy(), strict=True):
        cv2.sepFilter2D(plane, -1, weights, weights, dst=result, borderType=cv2.BORDER_REPLICATE)
    return found


@fused_at_one_shape
def _filtered(padded: Tensor, kernel: Tensor) -> Tensor:
    """A symmetric filter along both sides, float (B, C, H + 2 radius, W + 2 radius) to (B, C, H, W), by PyTorch."""
    if torch.compiler.is_compiling():  # a compiler makes one kernel of sums, and calls PyTorch's for convolutions
        for dim in (-1, -2):
            length = padded.shape[dim] - len(kernel) + 1
            shifted = [weight * padded.narrow(dim, place, length) for place, weight in enumerate(kernel.unbind())]
            padded = functools.reduce(torch.add, shifted)
        return padded
    planes = padded.shape[0] * padded.shape[1]
    row = kernel.view(1, 1, 1, -1).expand(planes, 1, 1, -1)
    column = kernel.view(1, 1, -1, 1).expand(planes, 1, -1, 1)
    together = padded.reshape(1, planes, *padded.shape[-2:])  # one image of many channels: 10 times as fast on a CPU
    found = F.conv2d(F.conv2d(together, row, groups=planes), column, groups=planes)
    return found.view(*padded.shape[:2], *found.shape[-2:])


def _banded(kernel: Tensor, length: int) -> Tensor:
    """A symmetric filter along one side with replicated borders as a matrix, (length, length), rows to what they give.

    Sums are taken in a fixed order, so that equal inputs give equal bits.
    """
    radius = len(kernel) // 2
    places = torch.arange(length, device=kernel.device)
    offsets = places - places[:, None]
    matrix = kernel[(offsets + radius).clamp(0, 2 * radius)] * (offsets.abs() <= radius)
    beyond = F.pad(kernel.cumsum(0)[:radius].flip(0), (0, length))[:length]  # weight that falls before the first place
    matrix[:, 0] += beyond
    matrix[:, -1] += beyond.flip(0)
    return matrix


@fused_at_one_shape
def soft_alpha(mask: Tensor, width: int) -> Tensor:
    """Opacity that is 0 outside a binary mask and rises to 1 within `width` pixels of its border inside.

    Args:
        mask: float (B, 1, H, W), 0 or 1.
        width: Ramp in pixels, >= 0; 0 gives the mask itself.

    Returns:
        float (B, 1, H, W) in [0, 1]; never above 0 where the mask is 0, above 0 wherever it is 1.

    Source: ADR-004 (mask contract).
    """
    if width <= 0:
        return mask
    padded = F.pad(mask, (width,) * 4, mode="replicate")  # a mask cut by the image's border has no ramp there
    total, current = padded.clone(), padded
    for _ in range(width):
        current = erode(current, 1)
        total = total + current
    return total[..., width:-width, width:-width] / (width + 1)


def masked_mean(image: Tensor, mask: Tensor) -> Tensor:
    """Mean of each channel over a mask, float (B, C, 1, 1); 0 where the mask is empty."""
    total = (image * mask).sum(dim=(2, 3), keepdim=True)
    return total / mask.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)


def spread(values: Tensor, known: Tensor) -> Tensor:
    """Continue values smoothly from where they are known to everywhere (push-pull over a pyramid of halved sizes).

    Args:
        values: float (B, C, H, W).
        known: Where, float (B, 1, H, W) in [0, 1]; where it is 1 the values are kept.

    Returns:
        float (B, C, H, W); between known places a smooth membrane, 0 everywhere where nothing is known.
    """
    height, width = values.shape[-2:]
    if min(height, width) <= 2:
        return masked_mean(values, known).expand_as(values)
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(values * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = spread(mean, (4 * weight).clamp_max(1.0))
    return torch.lerp(F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False), values, known)


@fused_at_one_shape
def smooth_noise(draws_BCKK: Tensor, height: int, width: int) -> Tensor:
    """Upsample coarse standard-normal draws to a smooth field of about unit deviation, float (B, C, H, W)."""
    return F.interpolate(draws_BCKK, (height, width), mode="bicubic", align_corners=False) * 1.3


@fused
def blob(center_B2: Tensor, radii_B2: Tensor, angle_B: Tensor, noise_BHW: Tensor, roughness_B: Tensor) -> Tensor:
    """Irregular ellipses.

    Args:
        center_B2: Centres (x, y) in grid units.
        radii_B2: Half axes in grid units.
        angle_B: Rotation in radians.
        noise_BHW: Smooth unit noise that bends the outline.
        roughness_B: Strength of the bend, 0 (an ellipse) to about 0.5.

    Returns:
        Binary float (B, 1, H, W).
    """
    batch, height, width = noise_BHW.shape
    offset = identity_grid(batch, height, width, noise_BHW.device) - center_B2[:, None, None]
    cosine, sine = torch.cos(angle_B)[:, None, None], torch.sin(angle_B)[:, None, None]
    along = offset[..., 0] * cosine + offset[..., 1] * sine
    across = offset[..., 1] * cosine - offset[..., 0] * sine
    radius = torch.sqrt((along / radii_B2[:, 0, None, None]) ** 2 + (across / radii_B2[:, 1, None, None]) ** 2)
    return (radius + roughness_B[:, None, None] * noise_BHW < 1.0).float()[:, None]


def segment_distance(grid_BHW2: Tensor, start_BK2: Tensor, end_BK2: Tensor) -> Tensor:
    """Distance of every grid point to the nearest of K >= 1 segments, float (B, H, W), in grid units."""
    squares: list[Tensor] = []
    for start, end in zip(start_BK2.unbind(1), end_BK2.unbind(1), strict=True):
        offset = grid_BHW2 - start[:, None, None]
        x, y = offset.unbind(-1)  # apart: six times as fast as sums over pairs
        along_x, along_y = (end - start)[:, :, None, None].unbind(1)
        length = (along_x.square() + along_y.square()).clamp_min(1e-9)
        share = ((x * along_x + y * along_y) / length).clamp_(0, 1)
        square = (x - share * along_x).square_().add_((y - share * along_y).square_())
        squares.append(torch.minimum(squares.pop(), square) if squares else square)
    return squares[0].sqrt_()


@fused
def stroke(vertices_BK2: Tensor, width_B: Tensor, noise_BHW: Tensor, roughness_B: Tensor) -> Tensor:
    """Poly-lines of varying width, for scratches, cracks and fibres; binary float (B, 1, H, W).

    Args:
        vertices_BK2: K >= 2 vertices (x, y) in grid units.
        width_B: Half width in grid units.
        noise_BHW: Smooth unit noise that varies the width.
        roughness_B: Strength of that variation.
    """
    batch, height, width = noise_BHW.shape
    grid = identity_grid(batch, height, width, noise_BHW.device)
    distance = segment_distance(grid, vertices_BK2[:, :-1], vertices_BK2[:, 1:])
    limit = width_B[:, None, None] * (1.0 + roughness_B[:, None, None] * noise_BHW).clamp_min(0.35)
    return (distance < limit).float()[:, None]


@fused
def polygon(vertices_BK2: Tensor, height: int, width: int) -> Tensor:
    """Filled polygons by the even-odd rule; binary float (B, 1, H, W).

    Args:
        vertices_BK2: K >= 3 vertices (x, y) in grid units, in order.
        height: Rows.
        width: Columns.
    """
    batch = vertices_BK2.shape[0]
    grid = identity_grid(batch, height, width, vertices_BK2.device)
    inside = torch.zeros(grid.shape[:3], dtype=torch.bool, device=grid.device)
    following = torch.roll(vertices_BK2, -1, dims=1)
    for index in range(vertices_BK2.shape[1]):
        start, end = vertices_BK2[:, index, None, None], following[:, index, None, None]
        crosses = (start[..., 1] > grid[..., 1]) != (end[..., 1] > grid[..., 1])
        rise = end[..., 1] - start[..., 1]
        slope = (end[..., 0] - start[..., 0]) / torch.where(rise.abs() < 1e-9, torch.full_like(rise, 1e-9), rise)
        inside ^= crosses & (grid[..., 0] < slope * (grid[..., 1] - start[..., 1]) + start[..., 0])
    return inside.float()[:, None]

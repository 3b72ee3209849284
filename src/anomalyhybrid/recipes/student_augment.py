"""Augmentation of the students' training pictures, batched on the device.

Parameters are drawn on the CPU from a keyed stream; only per-pixel noise is drawn on the device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from anomalyhybrid.seeding import derive, stream


def uniform(generator: Generator, shape: tuple[int, ...], low: float, high: float, device: torch.device) -> Tensor:
    """Draw float32 values in [low, high) on the CPU and move them to the device."""
    return (torch.rand(shape, generator=generator) * (high - low) + low).to(device)


def textures(count: int, size: int, *, generator: Generator, device: torch.device) -> Tensor:
    """Draw procedural textures: coloured noise of several octaves with random weights, some striped or
    stepped.

    Args:
        count: How many.
        size: Side in pixels.
        generator: CPU generator.
        device: Where the result lives.

    Returns:
        float (count, 3, size, size) in [0, 1].
    """
    field = torch.zeros(count, 1, size, size, device=device)
    cells = 2
    while cells <= size // 2:
        noise = torch.randn(count, 1, cells, cells, generator=generator).to(device)
        weight = uniform(generator, (count, 1, 1, 1), 0.0, 1.0, device).pow(3)
        field += weight * F.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)
        cells *= 2
    line = torch.linspace(0, 1, size, device=device)
    angle = uniform(generator, (count, 1, 1, 1), 0.0, math.pi, device)
    waves = uniform(generator, (count, 1, 1, 1), 2.0, 40.0, device)
    along = line.view(1, 1, 1, -1) * angle.cos() + line.view(1, 1, -1, 1) * angle.sin()
    striped = uniform(generator, (count, 1, 1, 1), 0.0, 1.0, device) < 0.3
    field = torch.where(striped, field * 0.3 + (along * waves * 2 * math.pi).sin(), field)
    stepped = uniform(generator, (count, 1, 1, 1), 0.0, 1.0, device) < 0.25
    field = torch.where(stepped, (field * 4).clamp(-1, 1), field)
    base = uniform(generator, (count, 3, 1, 1), 0.05, 0.95, device)
    swing = uniform(generator, (count, 3, 1, 1), -0.3, 0.3, device)
    chroma = uniform(generator, (count, 1, 1, 1), 0.0, 1.0, device)
    base, swing = (m.mean(dim=1, keepdim=True) * (1 - chroma) + m * chroma for m in (base, swing))
    return (base + swing * field).clamp(0, 1)


def warp_batch(maps_BCHW: Tensor, *, generator: Generator) -> Tensor:
    """Flip, turn, stretch and crop each sample with one sampling grid for all of its channels.

    Args:
        maps_BCHW: float (B, C, H, W), for example image, edge and depth concatenated.
        generator: CPU generator.

    Returns:
        float (B, C, H, W); outside is filled by reflection.
    """
    batch, device = maps_BCHW.shape[0], maps_BCHW.device
    turn = uniform(generator, (batch,), -0.3, 0.3, device)
    turn = turn + torch.randint(0, 4, (batch,), generator=generator).to(device) * (math.pi / 2)
    zoom = uniform(generator, (batch, 1), math.log(0.65), math.log(1.25), device).exp()
    zoom = zoom * uniform(generator, (batch, 2), math.log(0.85), math.log(1.18), device).exp()
    flip = torch.where(uniform(generator, (batch,), 0, 1, device) < 0.5, -1.0, 1.0)
    room = (1.0 - zoom).clamp_min(0.0) + 0.05
    centre = uniform(generator, (batch, 2), -1, 1, device) * room
    rows = torch.stack(
        [
            torch.stack([turn.cos() * zoom[:, 0] * flip, -turn.sin() * zoom[:, 1], centre[:, 0]], dim=1),
            torch.stack([turn.sin() * zoom[:, 0] * flip, turn.cos() * zoom[:, 1], centre[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(maps_BCHW.shape), align_corners=False)
    return F.grid_sample(maps_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def gaussian_blur(x_BCHW: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of ``sigma`` pixels, float (B, C, H, W), edges replicated."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=x_BCHW.device, dtype=x_BCHW.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = x_BCHW.shape[1]
    x = F.pad(x_BCHW, (radius, radius, radius, radius), mode="replicate")
    x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def jpeg_like(image_B3HW: Tensor, step_B: Tensor) -> Tensor:
    """Quantise the 8x8 cosine coefficients, as JPEG does.

    Args:
        image_B3HW: float in [0, 1].
        step_B: Quantisation step of the lowest frequency for each sample, in units of 1/255 grey levels.

    Returns:
        float (B, 3, H, W) in [0, 1].
    """
    height, width = image_B3HW.shape[-2:]
    device = image_B3HW.device
    x = F.pad(image_B3HW, (0, -width % 8, 0, -height % 8), mode="replicate")
    order = torch.arange(8, device=device, dtype=torch.float32)
    basis = torch.cos((order[None, :] + 0.5) * order[:, None] * math.pi / 8) * 0.5
    basis[0] *= math.sqrt(0.5)
    steps = (1.0 + order[None, :] + order[:, None]) * 0.5 / 255.0
    blocks = x.unflatten(2, (-1, 8)).unflatten(4, (-1, 8))  # B 3 h 8 w 8
    coefficients = torch.einsum("bchiwj,ki,lj->bchwkl", blocks, basis, basis)
    scale = steps * step_B.view(-1, 1, 1, 1, 1, 1)
    rounded = (coefficients / scale).round() * scale
    back = torch.einsum("bchwkl,ki,lj->bchiwj", rounded, basis, basis)
    return back.flatten(4, 5).flatten(2, 3)[..., :height, :width].clamp(0, 1)


def photometric(image_B3HW: Tensor, *, seed: int, step: int) -> Tensor:
    """Change how each picture was lit and taken: light, colour, blur, noise, compression.

    Args:
        image_B3HW: float in [0, 1].
        seed: Root seed.
        step: Training step, the key of the stream.

    Returns:
        float (B, 3, H, W) in [0, 1].
    """
    batch, device = image_B3HW.shape[0], image_B3HW.device
    generator = stream(seed, "students", "photometric", step)
    one = (batch, 1, 1, 1)

    def chance(share: float) -> Tensor:
        return uniform(generator, one, 0, 1, device) < share

    x = image_B3HW
    grey = x.mean(dim=1, keepdim=True)
    saturation = torch.where(chance(0.2), torch.zeros(one, device=device), uniform(generator, one, 0.4, 1.5, device))
    x = grey + (x - grey) * saturation
    mix = torch.eye(3, device=device) + uniform(generator, (batch, 3, 3), -0.2, 0.2, device) * chance(0.5)[:, 0]
    x = torch.einsum("bij,bjhw->bihw", mix, x).clamp(0, 1)
    light = uniform(generator, (batch, 1, 3, 3), 0.5, 1.5, device)
    field = F.interpolate(light, size=x.shape[-2:], mode="bicubic", align_corners=False)
    x = torch.where(chance(0.4), x * field, x).clamp(1e-4, 1)
    x = x.pow(uniform(generator, one, math.log(0.5), math.log(2.0), device).exp())
    contrast = uniform(generator, one, math.log(0.35), math.log(1.5), device).exp()
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = ((x - middle) * contrast + middle + uniform(generator, one, -0.2, 0.2, device)).clamp(0, 1)
    sharp = x
    for sigma in (0.8, 1.6):
        x = torch.where(chance(0.2), gaussian_blur(sharp, sigma), x)
    on_device = torch.Generator(device=device).manual_seed(derive(seed, "students", "noise", step))
    noise = torch.randn(x.shape, generator=on_device, device=device)
    level = uniform(generator, one, 0.0, 1.0, device).pow(3) * 0.09
    x = (x + noise * torch.where(chance(0.7), level, torch.zeros(one, device=device))).clamp(0, 1)
    quality = uniform(generator, (batch,), 2.0, 24.0, device)
    return torch.where(chance(0.3), jpeg_like(x, quality), x)

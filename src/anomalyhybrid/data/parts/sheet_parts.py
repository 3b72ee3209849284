"""Parts that fill the picture: `plate`, `fabric`, `tread`."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts import noise, texture
from anomalyhybrid.data.parts.background import background
from anomalyhybrid.data.parts.canvas import (
    Canvas,
    Frame,
    bounded_root,
    pick,
    smoothstep,
    triangle,
    uniform,
)
from anomalyhybrid.data.parts.surface import Material, Surface

_RANGE = (-0.32, 0.22)


def _full(canvas: Canvas, material: Material) -> Surface:
    surface = Surface.flat(canvas.n, material, _RANGE)
    surface.solid[:] = True
    return surface


def _pose(canvas: Canvas, i: np.random.Generator, base: float = 0.0) -> Frame:
    shift = (uniform(i, -1, 1), uniform(i, -1, 1))
    return canvas.frame(angle=base + uniform(i, -0.035, 0.035), shift=shift, scale=uniform(i, 0.98, 1.02))


def plate(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a textured plate; the variant is drawn by `p`."""
    build = pick(p, (_brushed, _cast, _leather, _wood, _tile))
    return build(canvas, p, i)


def _brushed(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i, uniform(p, -np.pi / 2, np.pi / 2))
    surface = _full(canvas, pick(p, (texture.STEEL, texture.ALUMINIUM, texture.BRASS, texture.COPPER)))
    surface.micro += texture.brushed(i, frame, uniform(p, 0.8, 1.5)) + texture.wavy(i, frame, 0.25)
    lines = noise.attached(i, frame, 1.0, 110.0) + noise.attached(i, frame, 2.0, 50.0)
    surface.tint(1.0 + 0.06 * lines)
    texture.soil(i, surface, frame, 0.5)
    return surface


def _cast(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i)
    painted = Material(color=pick(p, ((0.09, 0.11, 0.12), (0.12, 0.14, 0.11), (0.05, 0.05, 0.055))), roughness=0.4)
    surface = _full(canvas, pick(p, (texture.CAST_IRON, texture.ALUMINIUM, painted)))
    relief = noise.fractal(i, canvas.n, 9, 4, 0.5) * np.float32(0.004)
    surface.height += relief
    surface.micro += texture.cast(i, frame, uniform(p, 0.9, 1.6))
    texture.soil(i, surface, frame, 2.0)
    return surface


def _leather(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i)
    tones = (
        (0.20, 0.085, 0.035),
        (0.03, 0.025, 0.022),
        (0.33, 0.20, 0.10),
        (0.10, 0.03, 0.022),
        (0.42, 0.36, 0.28),
    )
    surface = _full(canvas, Material(color=pick(p, tones), roughness=uniform(p, 0.42, 0.58)))
    count = int(p.integers(900, 1900))
    far, value = noise.cells(i, canvas.n, count)
    far = noise.warped(far, i, 26, 0.006)
    far_small, _ = noise.cells(i, canvas.n, count * 3)
    pebble = 1.0 - smoothstep(0.30, 0.72, far) - 0.25 * smoothstep(0.35, 0.7, far_small)
    surface.height += pebble * np.float32(0.006) + noise.fractal(i, canvas.n, 5, 3) * np.float32(0.003)
    surface.micro += noise.fractal(i, canvas.n, 110, 2, 0.8) * np.float32(0.0006)
    surface.tint(0.80 + 0.22 * pebble + 0.06 * (value - 0.5))
    surface.roughness += np.float32(0.12) * (1 - pebble)
    texture.soil(i, surface, frame, 1.2)
    return surface


def _wood(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i, pick(p, (0.0, np.pi / 2)) + uniform(p, -0.1, 0.1))
    light = pick(p, ((0.46, 0.27, 0.12), (0.55, 0.38, 0.20), (0.28, 0.14, 0.065), (0.40, 0.20, 0.09)))
    surface = _full(canvas, Material(color=light, roughness=uniform(p, 0.38, 0.6)))
    u, v = frame.u, frame.v
    bend = noise.attached(i, frame, 0.6, 0.9) * np.float32(0.07) + noise.smooth(i, canvas.n, 4) * np.float32(0.012)
    growth = (v + bend) * np.float32(uniform(p, 9, 15))
    growth += noise.along(i, growth * np.float32(0.6), u * np.float32(0.5)) * np.float32(0.5)
    saw = growth - np.floor(growth)
    late = saw * smoothstep(1.0, 0.72, saw) * np.float32(1.5)
    late = late * (0.45 + 0.55 * smoothstep(-1, 1, noise.along(i, np.floor(growth) * 1.0, u * np.float32(0.4))))
    fibre = noise.attached(i, frame, 3.5, 120.0)
    streak = noise.attached(i, frame, 0.8, 26.0)
    pores = smoothstep(1.2, 1.9, noise.attached(i, frame, 7.0, 190.0))
    tone = 1.0 - 0.46 * late + 0.08 * fibre + 0.07 * streak - 0.42 * pores
    surface.tint(tone.astype(np.float32))
    surface.albedo[..., 2] *= np.clip(1.0 - 0.3 * late, 0.2, 1)
    surface.height += (0.002 * noise.smooth(i, canvas.n, 6)).astype(np.float32)
    surface.micro += (fibre * 0.00035 - 0.0014 * pores).astype(np.float32)
    return surface


def _tile(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i)
    base = pick(p, ((0.55, 0.53, 0.49), (0.20, 0.20, 0.20), (0.42, 0.33, 0.25)))
    surface = _full(canvas, Material(color=base, roughness=uniform(p, 0.2, 0.45)))
    for count, share in ((int(p.integers(500, 900)), 0.55), (int(p.integers(2500, 5000)), 0.5)):
        far, value = noise.cells(i, canvas.n, count)
        grain = smoothstep(0.52, 0.40, noise.warped(far, i, 40, 0.004)) * (value < share)
        shade = (value / share) ** 1.5 * uniform(p, 1.1, 1.7) + 0.25
        surface.tint(1.0 + grain * (shade - 1.0))
        hue = np.stack([value * 7 % 1, value * 13 % 1, value * 29 % 1], axis=-1) - 0.5
        surface.albedo *= 1.0 + grain[..., None] * hue * np.float32(uniform(p, 0.05, 0.4))
    surface.tint(1.0 + 0.05 * noise.fractal(i, canvas.n, 30, 4, 0.7))
    np.clip(surface.albedo, 0.01, 0.95, out=surface.albedo)
    surface.micro += texture.wavy(i, frame, 0.8) + texture.moulded(i, frame, 0.25)
    pits = smoothstep(2.3, 2.8, noise.smooth(i, canvas.n, 80))
    surface.micro -= pits * np.float32(0.006)
    surface.tint(1.0 - 0.4 * pits)
    return surface


def fabric(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a textile; the variant is drawn by `p`."""
    build = pick(p, (_woven, _carpet, _mesh, _woven))
    return build(canvas, p, i)


_YARNS = (
    (0.10, 0.12, 0.17),
    (0.48, 0.44, 0.36),
    (0.30, 0.30, 0.30),
    (0.24, 0.07, 0.06),
    (0.08, 0.14, 0.10),
    (0.60, 0.58, 0.54),
    (0.36, 0.25, 0.13),
)


def _woven(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i, pick(p, (0.0, 0.0, np.pi / 4)))
    first, second = (_YARNS[k] for k in p.permutation(len(_YARNS))[:2])
    if pick(p, (True, False)):
        second = tuple(c * 0.85 for c in first)
    surface = _full(canvas, Material(color=first, roughness=0.85))
    surface.depth_range = (-0.25, 0.2)
    n, count = canvas.n, uniform(p, 11, 20)
    twill = pick(p, (0, 1, 2))
    drift_u = noise.smooth(i, n, 3) * np.float32(0.10) + noise.attached(i, frame, 24, 1.2) * np.float32(0.05)
    drift_v = noise.smooth(i, n, 3) * np.float32(0.10) + noise.attached(i, frame, 1.2, 24) * np.float32(0.05)
    a, b = frame.u * np.float32(count) + drift_u, frame.v * np.float32(count) + drift_v
    col, row = np.floor(a), np.floor(b)
    across_a, across_b = 2 * (a - col) - 1, 2 * (b - row) - 1
    period = 2 if twill == 0 else 3
    order = (col + row if twill < 2 else col * 2 + row) % period
    warp_top = order == 0 if twill == 0 else order < 1.5
    bulge_a, bulge_b = bounded_root(1 - 0.97 * across_a**2), bounded_root(1 - 0.97 * across_b**2)
    dive_a, dive_b = (0.5 + 0.5 * np.cos(across * np.float32(0.92 * np.pi)) for across in (across_a, across_b))
    over = np.where(warp_top, bulge_a * (0.58 + 0.42 * dive_b**0.7), bulge_b * (0.58 + 0.42 * dive_a**0.7))
    surface.height += ((over - 0.8) * (0.5 / count)).astype(np.float32)
    ply = np.where(warp_top, np.sin(12 * across_a + 16 * b), np.sin(12 * across_b + 16 * a))
    fuzz = noise.grain(i, n, 1.1)
    surface.micro += (ply * 0.0012 + fuzz * 0.0016).astype(np.float32)
    surface.albedo[:] = np.where(warp_top[..., None], np.array(first), np.array(second))
    yarn = np.where(warp_top, noise.along(i, col * 1.0, b * 0.22), noise.along(i, a * 0.22, row * 1.0))
    surface.tint((0.34 + 0.74 * over + 0.10 * yarn + 0.09 * ply + 0.07 * fuzz).astype(np.float32))
    return surface


def _carpet(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i)
    surface = _full(canvas, Material(color=pick(p, _YARNS), roughness=0.95))
    surface.depth_range = (-0.25, 0.2)
    n = canvas.n
    far, value = noise.cells(i, n, int(p.integers(1200, 2600)))
    tuft = 1.0 - smoothstep(0.1, 0.75, noise.warped(far, i, 60, 0.006))
    flecks = value > uniform(p, 0.55, 0.95)
    second = np.array(pick(p, _YARNS), np.float32)
    surface.albedo += flecks[..., None] * (second - surface.albedo)
    hair = noise.fractal(i, n, 120, 2, 0.9)
    row = np.sin(frame.v * np.float32(np.pi * uniform(p, 16, 26))) * pick(p, (0.0, 0.12, 0.25))
    surface.height += ((tuft - 0.5) * 0.022 + row * 0.01 + noise.fractal(i, n, 7, 3) * 0.004).astype(np.float32)
    surface.micro += hair * np.float32(0.0026)
    surface.tint((0.45 + 0.65 * tuft + 0.16 * hair + row * 0.5 + 0.2 * (value - 0.5)).astype(np.float32))
    return surface


def _mesh(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, i, pick(p, (0.0, np.pi / 4)))
    surface = background(canvas, p, i, kinds=("table", "cloth", "bench"), depth_range=(-0.18, 0.32))
    surface.under = surface.copy()
    n, count = canvas.n, uniform(p, 4.5, 8.5)
    metal = pick(p, (texture.STEEL, texture.ZINC, Material(color=(0.55, 0.54, 0.5), roughness=0.5)))
    sway = noise.smooth(i, n, 3) * np.float32(0.05)
    a, b = frame.u * np.float32(count) + sway, frame.v * np.float32(count) - sway
    radius = uniform(p, 0.16, 0.24)
    near_a, near_b = a - np.round(a), b - np.round(b)
    parity = np.where((np.round(a) + np.round(b)) % 2 < 0.5, 1.0, -1.0)
    rise_a = parity * np.cos(np.pi * near_b)
    rise_b = -parity * np.cos(np.pi * near_a)
    unit = np.float32(1 / count)
    wire_a = (0.10 + unit * (bounded_root(radius**2 - near_a**2) + radius * 0.9 * rise_a)).astype(np.float32)
    wire_b = (0.10 + unit * (bounded_root(radius**2 - near_b**2) + radius * 0.9 * rise_b)).astype(np.float32)
    on_a, on_b = (
        frame.inside((np.abs(near_a) - radius) * unit),
        frame.inside((np.abs(near_b) - radius) * unit),
    )
    first = wire_a > wire_b
    micro = texture.moulded(i, frame, 1.0) + texture.wavy(i, frame, 0.5)
    surface.paint(np.where(first, on_b, on_a), metal, height=np.where(first, wire_b, wire_a), micro=micro)
    surface.paint(np.where(first, on_a, on_b), metal, height=np.where(first, wire_a, wire_b), micro=micro)
    texture.soil(i, surface, frame)
    return surface


def tread(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a tyre tread: ribs, zigzag grooves, slanted blocks and sipes in rubber."""
    frame = canvas.frame(
        angle=pick(p, (0.0, np.pi / 2)) + uniform(i, -0.03, 0.03),
        shift=(uniform(i, -0.03, 0.03), uniform(i, -1, 1)),
        scale=uniform(i, 0.985, 1.015),
    )
    u, v, n = frame.u, frame.v, canvas.n
    tone = uniform(p, 0.018, 0.035)
    surface = _full(canvas, Material(color=(tone, tone, tone * 1.06), roughness=uniform(p, 0.5, 0.65)))
    surface.depth_range = (-0.42, 0.16)
    columns, pitch = int(p.integers(3, 6)), uniform(p, 0.24, 0.42)
    wide = 2.1 / columns
    zig = uniform(p, 0.0, 0.07) * (triangle(v / np.float32(pitch)) - 0.5)
    place = (u + 1.05 + zig) / np.float32(wide)
    column = np.floor(place)
    inside = (0.5 - np.abs(place - column - 0.5)) * np.float32(wide)
    slant = uniform(p, -0.5, 0.5) * np.where(column % 2 < 0.5, 1.0, -1.0)
    step = v + u * slant + column * np.float32(pitch * uniform(p, 0.2, 0.6))
    lateral = np.abs(step / np.float32(pitch) - np.round(step / np.float32(pitch))) * np.float32(pitch)
    groove, cross = uniform(p, 0.035, 0.055), uniform(p, 0.018, 0.032)
    gap = np.minimum(inside - groove, lateral - cross)
    rib = (column == columns // 2) & bool(pick(p, (True, False)))
    gap = np.where(rib, inside - groove, gap)
    depth = uniform(p, 0.16, 0.24)
    height = -depth * smoothstep(0.004, -0.022, gap) + 0.012 * smoothstep(0.0, 0.05, gap)
    sipe = np.abs(np.mod(step / pitch + 0.5, 1.0) - 0.5 + 0.018 * np.sin(u * 75)) * pitch - 0.5 * pitch
    sipes = smoothstep(0.009, 0.004, np.abs(sipe + pitch * 0.26)) * smoothstep(0.02, 0.05, inside - groove)
    height -= 0.05 * sipes * (gap > 0.02)
    surface.height += height.astype(np.float32)
    top = smoothstep(-0.02, 0.0, gap)
    surface.region[gap < -0.012] = 1
    scuff = noise.attached(i, frame, 60.0, 4.0)
    surface.micro += texture.cast(i, frame, 0.16) * top + texture.moulded(i, frame, 1.1)
    dust = noise.fractal(i, n, 14, 6, 0.75)
    surface.albedo += (np.maximum(dust + 0.4, 0) * np.float32(uniform(p, 0.001, 0.010)))[..., None] * np.array(
        (1.0, 0.93, 0.82), np.float32
    )
    surface.tint((1.0 + top * (0.15 + 0.07 * scuff) + 0.08 * dust).astype(np.float32))
    surface.roughness += (0.06 * dust - 0.06 * top).astype(np.float32)
    return surface

"""Foreign matter on a part: stains, particles, fibres, drops."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Array, Canvas, pick, smoothstep, uniform
from anomalyhybrid.data.parts.shapes import anchor, blob, line_distance, walk
from anomalyhybrid.data.parts.surface import Surface, blend, tone


def contamination(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    """Put a stain, particles, a fibre or a drop on the object; arguments as `apply_defect`."""
    make = pick(rng, (_stain, _stain, _particles, _fibre, _drop))
    return make(canvas, surface, rng, strength)


def _stain(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    radius = uniform(rng, 0.08, 0.2)
    centre = anchor(surface, rng, radius * 0.6)
    shape = blob(canvas, rng, centre, radius, stretch=2.0, ragged=0.3, freq=0.9)
    changed = (shape < 1.0) & surface.solid
    cloud = np.clip(0.75 + 0.35 * noise.fractal(rng, canvas.n, 3 / radius, 4, 0.6), 0.1, 1.2)
    body = smoothstep(1.0, 0.8, shape) * (0.55 + 0.45 * np.exp(-(((shape - 0.86) / 0.12) ** 2)) * 1.2)
    amount = np.clip(changed * body * cloud * np.float32(0.95 * strength**0.5), 0, 1)
    dark = ((0.10, 0.055, 0.025), (0.02, 0.02, 0.022), (0.20, 0.075, 0.02), (0.05, 0.05, 0.03))
    light = ((0.62, 0.60, 0.55), (0.50, 0.36, 0.16), (0.45, 0.5, 0.52))
    color = pick(rng, light if tone(surface, changed) < 0.11 else dark)
    surface.albedo += amount[..., None] * (np.array(color, np.float32) - surface.albedo)
    wet = pick(rng, (0.12, 0.85))
    blend(surface.roughness, amount, wet)
    blend(surface.metallic, amount, surface.metallic * np.float32(0.05))
    surface.emission *= 1.0 - amount * np.float32(0.85)
    surface.height += amount * np.float32(0.0006)
    surface.region[changed & (amount > 0.25)] = surface.region.max() + 1
    return changed


def _particles(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    dirt = ((0.02, 0.02, 0.02), (0.30, 0.13, 0.04), (0.60, 0.58, 0.54), (0.10, 0.16, 0.34))
    middle = anchor(surface, rng, 0.08)
    changed = np.zeros_like(surface.solid)
    for k in range(int(rng.integers(1, 6))):
        spread = 0.0 if k == 0 else 0.11
        spot = (middle[0] + float(rng.normal(0, spread)), middle[1] + float(rng.normal(0, spread)))
        radius = uniform(rng, 0.022, 0.05) * strength**0.4 * (1.2 if k == 0 else 0.7)
        shape = blob(canvas, rng, spot, radius, stretch=2.2, ragged=0.22, freq=0.8)
        inside = (shape < 1.0) & surface.solid
        color = np.array(pick(rng, dirt[2:] if tone(surface, inside) < 0.11 else dirt), np.float32)
        on = inside.astype(np.float32)
        facet = 1.0 + 0.25 * noise.fractal(rng, canvas.n, 2 / radius, 2)
        surface.height += on * np.sqrt(np.clip(1 - shape * shape, 0, 1)) * facet * np.float32(radius * 0.9)
        surface.micro *= 1.0 - on
        surface.albedo += on[..., None] * (color - surface.albedo)
        blend(surface.roughness, on, uniform(rng, 0.25, 0.7))
        blend(surface.metallic, on, 0.0)
        surface.emission *= 1.0 - on
        surface.region[inside] = surface.region.max() + 1
        changed |= inside
    return changed


def _fibre(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    centre = anchor(surface, rng, 0.12)
    path = walk(rng, centre, uniform(rng, 0, 2 * np.pi), uniform(rng, 0.5, 1.0), bend=1.1, kink=0.0)
    back = walk(rng, centre, uniform(rng, 0, 2 * np.pi), uniform(rng, 0.1, 0.3), bend=1.1, kink=0.0)
    far = line_distance(canvas, [path, back])
    width = max(uniform(rng, 0.005, 0.010) * min(strength, 1.6) ** 0.5, 1.8 / canvas.n)
    changed = (far < width) & surface.solid
    on = changed.astype(np.float32)
    dyes = ((0.03, 0.03, 0.04), (0.28, 0.03, 0.03), (0.04, 0.10, 0.30))
    light = ((0.72, 0.70, 0.66), (0.60, 0.14, 0.10), (0.55, 0.50, 0.25))
    color = np.array(pick(rng, light if tone(surface, changed) < 0.11 else dyes), np.float32)
    round_ = np.sqrt(np.clip(1 - (far / np.float32(width)) ** 2, 0, 1))
    surface.height += on * (round_ + 0.6) * np.float32(width * 1.1)
    surface.micro *= 1.0 - on
    surface.albedo += on[..., None] * (color * (0.7 + 0.3 * round_[..., None]) - surface.albedo)
    blend(surface.roughness, on, 0.7)
    blend(surface.metallic, on, 0.0)
    surface.emission *= 1.0 - on
    surface.region[changed] = surface.region.max() + 1
    return changed


def _drop(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    radius = uniform(rng, 0.06, 0.12)
    centre = anchor(surface, rng, radius * 0.8)
    shape = blob(canvas, rng, centre, radius, stretch=1.8, ragged=0.16, freq=0.7)
    changed = (shape < 1.0) & surface.solid
    on = changed.astype(np.float32)
    dome = np.sqrt(np.clip(1 - shape * shape, 0, 1))
    surface.height += on * dome * np.float32(radius * 0.32)
    surface.micro *= 1.0 - on * np.float32(0.9)
    tint = np.array(pick(rng, ((0.62, 0.45, 0.16), (0.35, 0.22, 0.08), (0.16, 0.16, 0.17))), np.float32)
    amount = np.float32(min(0.7 * strength, 1.0))
    surface.albedo *= 1.0 - (on * smoothstep(0.0, 0.5, dome) * amount)[..., None] * (1.0 - tint)
    blend(surface.roughness, on, 0.06)
    surface.emission *= 1.0 - on * np.float32(0.4)
    surface.region[changed] = surface.region.max() + 1
    return changed

"""What lies under an object: light table, dark cloth, grey conveyor, painted bench."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Canvas, pick, smoothstep, uniform
from anomalyhybrid.data.parts.surface import Material, Surface


def background(
    canvas: Canvas,
    p: np.random.Generator,
    i: np.random.Generator,
    *,
    kinds: tuple[str, ...] = ("table", "cloth", "conveyor", "bench"),
    depth_range: tuple[float, float] = (-0.12, 0.6),
) -> Surface:
    """Make an empty scene; its kind is drawn by the product generator `p`."""
    kind = pick(p, kinds)
    angle = uniform(p, -0.3, 0.3) + uniform(i, -0.02, 0.02)
    frame = canvas.frame(angle=angle, shift=(uniform(i, -1, 1), uniform(i, -1, 1)))
    if kind == "table":
        shade = uniform(p, 0.70, 0.86)
        surface = Surface.flat(canvas.n, Material(color=(shade, shade, shade), roughness=0.8), depth_range)
        surface.emission += np.float32(uniform(p, 0.4, 0.9))
        surface.micro += noise.smooth(i, canvas.n, 140) * np.float32(0.0003)
        surface.tint(1.0 + noise.fractal(i, canvas.n, 2, 2) * np.float32(0.012))
    elif kind == "cloth":
        tone = uniform(p, 0.012, 0.05)
        tint = pick(p, ((1, 1, 1.06), (0.85, 0.95, 1.35), (1, 1, 1)))
        color = (tone * tint[0], tone * tint[1], tone * tint[2])
        surface = Surface.flat(canvas.n, Material(color=color, roughness=0.95), depth_range)
        freq = uniform(p, 36, 52)
        weave = np.sin(frame.u * freq * np.pi) * np.sin(frame.v * freq * np.pi)
        surface.micro += (weave * 0.0022 + noise.grain(i, canvas.n, 0.8) * 0.0012).astype(np.float32)
        surface.tint(1.0 + 0.22 * weave + 0.2 * noise.fractal(i, canvas.n, 60, 2, 0.8))
        lint = smoothstep(2.5, 3.0, noise.smooth(i, canvas.n, 110))
        surface.albedo += (lint * np.float32(0.10))[..., None]
    elif kind == "conveyor":
        tone = uniform(p, 0.10, 0.26)
        color = (tone, tone * 1.01, tone * uniform(p, 0.98, 1.08))
        surface = Surface.flat(canvas.n, Material(color=color, roughness=0.62), depth_range)
        streak = noise.attached(i, frame, 1.2, 26.0)
        surface.micro += noise.fractal(i, canvas.n, 130, 2, 0.8) * np.float32(0.0007)
        surface.tint(1.0 + streak * np.float32(0.025) + noise.fractal(i, canvas.n, 4, 6, 0.7) * np.float32(0.04))
    else:
        base = pick(p, ((0.13, 0.17, 0.20), (0.17, 0.19, 0.17), (0.30, 0.29, 0.27), (0.045, 0.05, 0.055)))
        surface = Surface.flat(canvas.n, Material(color=base, roughness=0.45), depth_range)
        surface.micro += noise.fractal(i, canvas.n, 90, 2, 0.7) * np.float32(0.0005)
        surface.tint(1.0 + noise.fractal(i, canvas.n, 5, 6, 0.7) * np.float32(0.035))
    return surface

"""Defects: changes of height and material inside an irregular shape on the object.

Every function edits a surface in place and returns where it did so, a bool field (N, N).
"""

from __future__ import annotations

import cv2
import numpy as np

from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Array, Canvas, pick, smoothstep, uniform
from anomalyhybrid.data.parts.foreign import contamination
from anomalyhybrid.data.parts.shapes import anchor, blob, line_distance, rim_anchor, walk
from anomalyhybrid.data.parts.surface import Surface, blend, tone

DEFECTS: tuple[str, ...] = ("scratch", "dent", "bump", "hole", "crack", "contamination", "missing")


def apply_defect(canvas: Canvas, surface: Surface, defect: str, rng: np.random.Generator, strength: float) -> Array:
    """Put one defect of a known kind on the object.

    Args:
        canvas: The grid.
        surface: Edited in place.
        defect: One of `DEFECTS`.
        rng: Source of place, shape and severity.
        strength: Factor on depth and contrast; 1 is usual.

    Returns:
        Where height or material changed, bool (N, N).
    """
    makers = (_scratch, _dent, _bump, _hole, _crack, contamination, _missing)
    return makers[DEFECTS.index(defect)](canvas, surface, rng, strength)


def _scratch(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    centre, heading = anchor(surface, rng, 0.12), uniform(rng, 0, np.pi)
    length = uniform(rng, 0.25, 0.75)
    width = max(uniform(rng, 0.006, 0.014) * strength**0.5, 2.2 / canvas.n)
    lines = []
    for k in range(int(rng.integers(1, 4))):
        offset = np.array([-np.sin(heading), np.cos(heading)]) * uniform(rng, -0.06, 0.06) * (k > 0)
        back = np.array([np.cos(heading), np.sin(heading)]) * length * uniform(rng, 0.3, 0.6)
        start = np.array(centre) + offset - back
        path = walk(rng, (start[0], start[1]), heading + uniform(rng, -0.08, 0.08), length, bend=0.12, kink=0.012)
        lines.append(path[: int(rng.integers(14, 30)) if k else None])
    far = line_distance(canvas, lines)
    pressure = np.clip(0.75 + 0.4 * noise.smooth(rng, canvas.n, 9), 0.15, 1.3)
    local = np.maximum(width * pressure, 1.2 / canvas.n)
    groove = np.exp(-((far / local) ** 2))
    burr = np.exp(-(((far - 1.9 * local) / (0.7 * local)) ** 2))
    changed = (far < 2.9 * local) & surface.solid
    on = changed.astype(np.float32)
    surface.height += on * (0.55 * burr - 1.0 * groove) * np.float32(width * uniform(rng, 0.7, 1.3) * strength)
    surface.micro *= 1.0 - on * groove * np.float32(0.8)
    bright = tone(surface, changed)
    core = on * smoothstep(0.25, 0.8, groove)
    if bright < 0.12:
        raw = surface.albedo * 1.5 + np.float32(min(0.06 * strength, 0.2))
    else:
        raw = surface.albedo * np.float32(1.25 if rng.random() < 0.4 else max(0.62 - 0.15 * strength, 0.3))
    surface.albedo += (core * np.float32(0.85))[..., None] * (np.minimum(raw, 0.95) - surface.albedo)
    blend(surface.roughness, core, np.clip(surface.roughness + 0.12, 0, 0.9))
    return changed


def _dent(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    radius = uniform(rng, 0.08, 0.2)
    centre = anchor(surface, rng, radius)
    shape = blob(canvas, rng, centre, radius, stretch=2.2, ragged=0.10, freq=0.5)
    bowl = np.clip(1.0 - shape * shape, 0.0, 1.0) ** 1.5
    lip = np.exp(-(((shape - 1.05) / 0.16) ** 2)) * (shape < 1.4)
    changed = (shape < 1.0) & surface.solid
    near = ((shape < 1.4) & surface.solid).astype(np.float32)
    depth = radius * uniform(rng, 0.32, 0.6) * strength
    surface.height += near * (0.06 * lip - bowl) * np.float32(depth)
    crush = changed * smoothstep(0.0, 0.5, bowl)
    surface.micro *= 1.0 - np.float32(0.5) * crush
    surface.micro += crush * noise.fractal(rng, canvas.n, 60, 3, 0.7) * np.float32(0.0008)
    scuff = smoothstep(0.2, 1.2, noise.fractal(rng, canvas.n, 40, 3, 0.7)) * smoothstep(1.0, 0.75, shape) * near
    surface.tint(1.0 - scuff * np.float32(min(0.22 * strength, 0.5)) - crush * np.float32(min(0.10 * strength, 0.3)))
    return near > 0


def _bump(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    radius = uniform(rng, 0.07, 0.17)
    centre = anchor(surface, rng, radius)
    shape = blob(canvas, rng, centre, radius, stretch=1.7, ragged=0.10, freq=0.6)
    hill = np.clip(1.0 - shape * shape, 0.0, 1.0)
    hill = hill**1.2 if rng.random() < 0.5 else np.sqrt(hill) * smoothstep(0.0, 0.4, hill)
    changed = (shape < 1.0) & surface.solid
    on = changed.astype(np.float32)
    lump = 1.0 + 0.12 * noise.fractal(rng, canvas.n, 2.2 / radius, 3)
    surface.height += on * hill * lump * np.float32(radius * uniform(rng, 0.38, 0.7) * strength)
    surface.micro *= 1.0 - on * hill * np.float32(0.5)
    surface.roughness -= on * hill * surface.roughness * np.float32(0.3)
    surface.tint(1.0 + on * hill * np.float32(0.10 * strength * pick(rng, (-1.0, 1.0))))
    return changed


def _hole(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    radius = uniform(rng, 0.035, 0.085) * strength**0.4
    centre = anchor(surface, rng, radius * 1.6)
    shape = blob(canvas, rng, centre, radius, stretch=1.5, ragged=0.16, freq=0.9)
    changed = (shape < 1.3) & surface.solid
    on = changed.astype(np.float32)
    before = surface.height.copy()
    sunk = smoothstep(1.25, 0.95, shape)
    floor = float(surface.height[changed].min() if changed.any() else 0.0) - 0.16
    rough = noise.fractal(rng, canvas.n, 40, 3, 0.6)
    bottom = floor + 0.012 * rough + 0.05 * shape
    if surface.under is not None:
        through = surface.under.height
        bottom = np.where(shape < 0.9, np.minimum(through, bottom), bottom)
    blend(surface.height, on * smoothstep(1.05, 0.92, shape), bottom.astype(np.float32))
    surface.height -= on * sunk * np.float32(0.015)
    np.minimum(surface.height, before, out=surface.height)
    wall = on * smoothstep(1.15, 0.85, shape)
    surface.tint(1.0 - wall * np.float32(0.72) + on * 0.12 * rough * (1 - wall))
    blend(surface.roughness, wall, 0.8)
    blend(surface.metallic, wall, surface.metallic * np.float32(0.5))
    surface.micro += on * rough * np.float32(0.0015)
    if surface.under is not None:
        open_ = (shape < 0.82) & surface.solid
        surface.replace(surface.under, open_)
        surface.tint(np.where(open_, np.float32(0.6), np.float32(1.0)))
    else:
        surface.region[(shape < 1.0) & surface.solid] = surface.region.max() + 1
    return changed


def _crack(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    centre, heading = anchor(surface, rng, 0.10), uniform(rng, 0, 2 * np.pi)
    length = uniform(rng, 0.3, 0.8)
    trunk = walk(rng, centre, heading, length * 0.6, bend=0.22, kink=0.36)
    other = walk(rng, centre, heading + np.pi, length * 0.5, bend=0.22, kink=0.36)
    lines = [trunk, other]
    for _ in range(int(rng.integers(0, 4))):
        root = pick(rng, (trunk, other))[int(rng.integers(4, 24))]
        side = heading + pick(rng, (-1, 1)) * uniform(rng, 0.5, 1.2)
        lines.append(walk(rng, (root[0], root[1]), side, length * uniform(rng, 0.1, 0.35), bend=0.3, kink=0.36))
    far = line_distance(canvas, lines)
    reach = np.hypot(canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1]))
    taper = np.clip(1.1 - reach / np.float32(length * 0.75), 0.25, 1.0)
    ragged = np.clip(1.0 + 0.45 * noise.fractal(rng, canvas.n, 45, 2, 0.7), 0.3, 2.0)
    width = max(uniform(rng, 0.005, 0.011) * strength**0.5, 2.0 / canvas.n) * taper * ragged
    width = np.maximum(width, 1.3 / canvas.n)
    gap = smoothstep(1.2, 0.5, far / width)
    edge = smoothstep(3.2, 1.0, far / width)
    changed = (far < 3.2 * width) & surface.solid
    on = changed.astype(np.float32)
    surface.height -= on * (gap * np.float32(0.055 * strength) + edge * np.float32(0.004))
    surface.tint(1.0 - on * gap * np.float32(min(0.72 + 0.1 * strength, 0.93)))
    blend(surface.roughness, on * gap, 0.9)
    blend(surface.metallic, on * gap, 0.1)
    if tone(surface, changed) < 0.06:
        surface.albedo += (on * edge * (1 - gap) * np.float32(0.05 * strength))[..., None]
    surface.emission *= 1.0 - on * gap * np.float32(0.8)
    surface.region[(gap > 0.5) & surface.solid] = surface.region.max() + 1
    return changed


def _missing(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    if surface.component is not None and surface.loose is not None and rng.random() < 0.8:
        present = np.bincount(surface.component.ravel())
        present[0] = 0
        large = np.flatnonzero(present > surface.component.size * 0.0008)
        if large.size:
            lost = surface.component == int(pick(rng, large.tolist()))
            changed = cv2.dilate(lost.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            surface.replace(surface.loose, changed)
            return changed
    if surface.under is None:
        return _spall(canvas, surface, rng, strength)
    return _broken_edge(canvas, surface, rng, strength)


def _broken_edge(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    under = surface.under
    radius = uniform(rng, 0.10, 0.2) * strength**0.3
    shape = blob(canvas, rng, rim_anchor(surface, rng), radius, stretch=2.0, ragged=0.2, freq=0.8)
    changed = (shape < 1.22) & surface.solid
    gone = (shape < 1.0) & surface.solid
    slope = changed & ~gone
    rough = noise.fractal(rng, canvas.n, 34, 4, 0.65)
    broken = smoothstep(1.22, 1.0, shape) * (0.7 + 0.3 * rough)
    drop = np.maximum(surface.height - (under.height if under is not None else 0.0), 0.02)
    surface.height -= slope * broken * drop * np.float32(0.55)
    surface.micro += slope * rough * np.float32(0.004)
    surface.tint(1.0 + slope * (0.35 * rough - 0.15) * np.float32(strength**0.5))
    blend(surface.roughness, slope.astype(np.float32), 0.75)
    surface.region[slope] = surface.region.max() + 1
    if under is not None:
        surface.replace(under, gone)
    return changed


def _spall(canvas: Canvas, surface: Surface, rng: np.random.Generator, strength: float) -> Array:
    """Break a flake out of a part that fills the picture."""
    radius = uniform(rng, 0.10, 0.19)
    shape = blob(canvas, rng, anchor(surface, rng, 0.1), radius, stretch=1.9, ragged=0.24, freq=0.9)
    changed = (shape < 1.0) & surface.solid
    rough = noise.fractal(rng, canvas.n, 26, 5, 0.62)
    on = changed.astype(np.float32)
    sunk = smoothstep(1.0, 0.86, shape) * on
    surface.height -= sunk * (0.055 + 0.014 * rough) * np.float32(strength)
    surface.micro *= 1.0 - sunk * np.float32(0.8)
    surface.micro += sunk * rough * np.float32(0.003)
    fresh = 0.62 if tone(surface, changed) > 0.10 else 1.9
    surface.tint(1.0 + sunk * ((fresh - 1.0) * np.float32(strength**0.5) + 0.25 * rough))
    blend(surface.roughness, sunk, 0.85)
    blend(surface.metallic, sunk, surface.metallic * np.float32(0.4))
    surface.region[changed] = surface.region.max() + 1
    return changed

"""Irregular shapes for defects: where they sit, ragged blobs, wandering lines."""

from __future__ import annotations

import cv2
import numpy as np

from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Array, Canvas, uniform
from anomalyhybrid.data.parts.surface import Surface


def anchor(surface: Surface, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """Draw a point on the object, `margin` scene units from its border where the object is wide enough."""
    side = 64
    n = surface.solid.shape[0]
    small = cv2.resize(surface.solid.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_AREA)
    padded = cv2.copyMakeBorder((small > 200).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1] * np.float32(2 / side)
    axis = np.abs(np.linspace(-1, 1, side))
    depth[(axis[:, None] > 0.86) | (axis[None, :] > 0.86)] = 0
    if depth.max() <= 0:
        return 0.0, 0.0
    wanted = min(margin, float(depth.max()) * 0.85)
    rows, cols = np.nonzero(depth >= wanted)
    k = int(rng.integers(len(rows)))
    jitter = rng.uniform(-0.3, 0.3, 2)
    unit = 2 / min(side, n)
    return float((cols[k] + 0.5 + jitter[0]) * unit - 1), float((rows[k] + 0.5 + jitter[1]) * unit - 1)


def rim_anchor(surface: Surface, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point on the outline of the object, inside the picture."""
    side = 96
    small = cv2.resize(surface.solid.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_AREA)
    core = (small > 127).astype(np.uint8)
    outline = core - cv2.erode(core, np.ones((3, 3), np.uint8), borderValue=1)
    outline[:6], outline[-6:], outline[:, :6], outline[:, -6:] = 0, 0, 0, 0
    rows, cols = np.nonzero(outline)
    if not len(rows):
        return anchor(surface, rng, 0.1)
    k = int(rng.integers(len(rows)))
    return float((cols[k] + 0.5) * 2 / side - 1), float((rows[k] + 0.5) * 2 / side - 1)


def blob(
    canvas: Canvas,
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    *,
    stretch: float = 1.5,
    ragged: float = 0.2,
    freq: float = 0.9,
) -> Array:
    """Measure distance from a ragged ellipse: 0 at the centre, 1 on its border, float32 (N, N).

    Args:
        canvas: The grid.
        rng: Source of the shape.
        centre: Middle in scene units.
        radius: Mean radius in scene units.
        stretch: Greatest ratio of the axes.
        ragged: Spread of the border as a share of the radius.
        freq: Waves of the border for each radius.
    """
    ratio, turn = uniform(rng, 1.0, stretch) ** 0.5, uniform(rng, 0, np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    a = (dx * cos + dy * sin) * np.float32(1 / (radius * ratio))
    b = (dy * cos - dx * sin) * np.float32(ratio / radius)
    shape = np.sqrt(a * a + b * b)
    wave = noise.fractal(rng, canvas.n, 2 * freq / radius, 4, 0.45)
    return shape * np.maximum(1.0 + wave * np.float32(ragged), 0.35)


def walk(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    *,
    bend: float,
    kink: float,
) -> Array:
    """Wander from a point: `bend` turns smoothly, `kink` turns at each step; object points (K, 2)."""
    steps = 36
    curve = np.interp(np.linspace(0, 6, steps), np.arange(7), rng.normal(0, bend, 7))
    drift = np.cumsum(curve) * (6.0 / steps)
    jag = np.repeat(rng.normal(0, kink, steps // 4 + 1), 4)[:steps] + rng.normal(0, 0.6 * kink, steps)
    turns = heading + drift + jag
    stride = length / steps * rng.uniform(0.6, 1.4, steps)
    move = np.stack([np.cos(turns), np.sin(turns)], axis=1) * stride[:, None]
    return np.vstack([np.array(start), np.array(start) + np.cumsum(move, axis=0)])


def line_distance(canvas: Canvas, lines: list[Array]) -> Array:
    """Distance in scene units to the nearest of some polylines, float32 (N, N)."""
    drawn = np.full((canvas.n, canvas.n), 255, np.uint8)
    for points in lines:
        fixed = np.round((points + 1.0) * (canvas.n / 2) * 16 - 8).astype(np.int32)
        cv2.polylines(drawn, [fixed], False, 0, 1, cv2.LINE_8, shift=4)
    return cv2.distanceTransform(drawn, cv2.DIST_L2, 5) * np.float32(2 / canvas.n)

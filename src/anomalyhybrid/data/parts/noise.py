"""Smooth and grainy random fields, all float32 (N, N), about zero mean and unit spread."""

from __future__ import annotations

import cv2
import numpy as np

from anomalyhybrid.data.parts.canvas import Array, Frame


def smooth(rng: np.random.Generator, n: int, freq: float, freq_y: float | None = None) -> Array:
    """Value noise with about `freq` cells across the picture (`freq_y` down it)."""
    cells_x = int(np.clip(round(freq), 1, n))
    cells_y = int(np.clip(round(freq if freq_y is None else freq_y), 1, n))
    grid = rng.standard_normal((cells_y + 2, cells_x + 2), dtype=np.float32)
    wide = (int(np.ceil(n * (cells_x + 2) / cells_x)), int(np.ceil(n * (cells_y + 2) / cells_y)))
    big = cv2.resize(grid, wide, interpolation=cv2.INTER_CUBIC)
    top, left = (wide[1] - n) // 2, (wide[0] - n) // 2
    return np.ascontiguousarray(big[top : top + n, left : left + n])


def fractal(rng: np.random.Generator, n: int, freq: float, octaves: int = 4, gain: float = 0.5) -> Array:
    """Sum of octaves of smooth noise, normalised to unit spread by construction."""
    total = smooth(rng, n, freq)
    weight, power = 1.0, 1.0
    for _ in range(octaves - 1):
        freq, weight = freq * 2, weight * gain
        if freq > n:
            break
        total += smooth(rng, n, freq) * np.float32(weight)
        power += weight * weight
    return total * np.float32(1.3 / power**0.5)


def grain(rng: np.random.Generator, n: int, blur: float = 0.0) -> Array:
    """White noise, blurred by `blur` pixels and brought back to unit spread."""
    field = rng.standard_normal((n, n), dtype=np.float32)
    if blur <= 0:
        return field
    field = cv2.GaussianBlur(field, (0, 0), blur)
    return field * np.float32(max(1.0, 3.545 * blur * 0.97))


def attached(rng: np.random.Generator, frame: Frame, freq_u: float, freq_v: float) -> Array:
    """Noise fixed to an object frame, `freq_u` and `freq_v` cells for each scene unit."""
    return along(rng, frame.u * np.float32(freq_u), frame.v * np.float32(freq_v))


def along(rng: np.random.Generator, first: Array, second: Array) -> Array:
    """Noise over any two coordinate fields, one cell for each unit, repeating after 256."""
    lattice = rng.standard_normal((256, 256), dtype=np.float32)
    return cv2.remap(lattice, first, second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) * np.float32(1.3)


def cells(rng: np.random.Generator, n: int, count: int) -> tuple[Array, Array]:
    """Voronoi cells of `count` random seeds.

    Returns:
        The distance to the nearest seed in units of the mean spacing, and one random value in [0, 1)
        for each cell, both float32 (N, N).
    """
    seeds = np.full((n, n), 255, np.uint8)
    side = max(1, round(count**0.5))
    rows, cols = np.mgrid[0:side, 0:side]
    jitter = rng.uniform(0.05, 0.95, (2, side, side))
    seeds[((rows + jitter[0]) * n / side).astype(int), ((cols + jitter[1]) * n / side).astype(int)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    values = rng.random(side * side + 1, dtype=np.float32)
    return distance * np.float32(side / n), values[np.minimum(label, side * side)]


def warped(field: Array, rng: np.random.Generator, freq: float, amount: float) -> Array:
    """Displace a field by smooth noise of `amount` (fraction of the picture) to break regularity."""
    n = field.shape[0]
    axis = np.arange(n, dtype=np.float32)
    shift = np.float32(amount * n)
    map_x = axis[None, :] + smooth(rng, n, freq) * shift
    map_y = axis[:, None] + smooth(rng, n, freq) * shift
    return cv2.remap(field, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

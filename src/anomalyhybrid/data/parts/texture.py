"""Fine relief of common substances, and their materials."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Array, Frame, pick, smoothstep, uniform
from anomalyhybrid.data.parts.surface import Material, Surface

STEEL = Material(color=(0.56, 0.56, 0.55), metallic=1.0, roughness=0.30)
ZINC = Material(color=(0.66, 0.69, 0.73), metallic=1.0, roughness=0.38)
BRASS = Material(color=(0.82, 0.60, 0.27), metallic=1.0, roughness=0.30)
COPPER = Material(color=(0.86, 0.48, 0.33), metallic=1.0, roughness=0.35)
YELLOW_ZINC = Material(color=(0.72, 0.58, 0.30), metallic=1.0, roughness=0.42)
BLACK_OXIDE = Material(color=(0.10, 0.10, 0.11), metallic=0.8, roughness=0.40)
CAST_IRON = Material(color=(0.24, 0.235, 0.23), metallic=0.55, roughness=0.62)
ALUMINIUM = Material(color=(0.72, 0.73, 0.74), metallic=1.0, roughness=0.42)
RUBBER = Material(color=(0.022, 0.022, 0.024), roughness=0.62)
METALS = (STEEL, ZINC, BRASS, YELLOW_ZINC, BLACK_OXIDE, ALUMINIUM)


def brushed(rng: np.random.Generator, frame: Frame, amount: float = 1.0) -> Array:
    """Straight grinding lines along u."""
    fine = noise.attached(rng, frame, 3.0, 115.0)
    long = noise.attached(rng, frame, 0.7, 70.0)
    return (fine * 0.00034 + long * 0.00026) * np.float32(amount)


def turned(rng: np.random.Generator, frame: Frame, amount: float = 1.0) -> Array:
    """Concentric lathe lines about the frame's origin."""
    radius = np.hypot(frame.u, frame.v)
    turn = np.abs(np.arctan2(frame.v, frame.u))  # mirrored, so that no seam shows
    fine = noise.along(rng, radius * np.float32(105.0), turn * np.float32(1.3))
    wide = noise.along(rng, radius * np.float32(28.0), turn * np.float32(0.5))
    return (fine * 0.00042 + wide * 0.0007) * np.float32(amount)


def cast(rng: np.random.Generator, frame: Frame, amount: float = 1.0) -> Array:
    """Pebbly skin of sand castings: lumps with small pits."""
    lumps = noise.fractal(rng, frame.n, 46, 3, 0.6)
    pits = np.minimum(noise.smooth(rng, frame.n, 70) + 1.1, 0.0)
    return (lumps * 0.0019 + pits * 0.0035) * np.float32(amount)


def moulded(rng: np.random.Generator, frame: Frame, amount: float = 1.0) -> Array:
    """Spark-eroded skin of moulded plastic or rubber."""
    return noise.fractal(rng, frame.n, 100, 2, 0.8) * np.float32(0.00075 * amount)


def wavy(rng: np.random.Generator, frame: Frame, amount: float = 1.0) -> Array:
    """Slow unevenness of smooth parts, which bends reflections."""
    return noise.fractal(rng, frame.n, 7, 3, 0.45) * np.float32(0.0016 * amount)


def finish(rng: np.random.Generator, image: np.random.Generator, frame: Frame, metal: Material) -> Array:
    """Draw a surface finish for a metal part; its kind by the product generator `rng`."""
    make = pick(rng, (turned, brushed, cast, moulded))
    amount = uniform(rng, 0.5, 1.2) * (0.35 if make is cast and metal.metallic > 0.9 else 1.0)
    return make(image, frame, amount) + wavy(image, frame, 0.6)


def soil(rng: np.random.Generator, surface: Surface, frame: Frame, amount: float = 1.0) -> None:
    """Uneven colour and gloss of real parts: blotches, specks, handling marks."""
    blotch = noise.fractal(rng, frame.n, 5, 5, 0.6)
    surface.tint(1.0 + blotch * np.float32(0.045 * amount))
    surface.roughness += blotch * np.float32(0.035 * amount)
    specks = smoothstep(2.35, 3.0, noise.smooth(rng, frame.n, 120))
    surface.tint(1.0 - specks * np.float32(min(0.35 * amount, 0.6)))
    surface.roughness += noise.smooth(rng, frame.n, 60) * np.float32(0.02 * amount)
    np.clip(surface.roughness, 0.03, 1.0, out=surface.roughness)


def wear_edges(surface: Surface, image: np.random.Generator, gleam: float) -> None:
    """Brighten worn convex edges a little, as on handled metal."""
    import cv2

    n = surface.height.shape[0]
    around = cv2.GaussianBlur(surface.height, (0, 0), n * 0.008)
    convex = smoothstep(0.004, 0.02, surface.height - around) * surface.solid
    rub = smoothstep(-0.4, 1.2, noise.smooth(image, n, 30))
    surface.tint(1.0 + convex * rub * np.float32(gleam))

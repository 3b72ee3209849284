"""Light: from height field and materials to linear radiance.

Reflections look up a sphere of light seen from above, indexed by the normal (a mirror ball under
the lamps); blurred copies stand for rougher surfaces. Diffuse light is a soft key lamp with a shadow,
plus a dome dimmed by ambient occlusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anomalyhybrid.data.parts.canvas import Array, Canvas, pick, smoothstep, uniform
from anomalyhybrid.data.parts.surface import Surface

_BALL = 128
_BLURS = (0.012, 0.05, 0.13, 0.30)
_LEVELS = (0.0, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One lighting set-up.

    Attributes:
        azimuth: Direction of the key lamp in the picture plane, radians.
        elevation: Its height over the plane, radians.
        key: Strength of the key lamp.
        dome: Strength of the light from all sides.
        softness: Width of the shadow border as a slope.
        balls: The light sphere at growing roughness, each float32 (128, 128).
        tilt: Offset of the view in normal space (camera not quite overhead).
        falloff: Change of the key lamp across the picture, in x and y.
        tint: RGB of the light.
    """

    azimuth: float
    elevation: float
    key: float
    dome: float
    softness: float
    balls: tuple[Array, ...]
    tilt: tuple[float, float]
    falloff: tuple[float, float]
    tint: tuple[float, float, float]


def light_setup(p: np.random.Generator, i: np.random.Generator) -> Light:
    """Draw the lamps: the kind by the product generator `p`, small changes by the image generator `i`."""
    azimuth = uniform(p, -np.pi, np.pi) + uniform(i, -0.12, 0.12)
    elevation = uniform(p, 0.6, 1.05) + uniform(i, -0.04, 0.04)
    key, dome = uniform(p, 0.8, 1.6) * uniform(i, 0.9, 1.1), uniform(p, 0.45, 0.9)
    axis = (np.arange(_BALL, dtype=np.float32) + 0.5) * np.float32(2 / _BALL) - 1
    bx, by = np.meshgrid(axis, axis)
    r = np.hypot(bx, by)
    ball = 0.14 + 0.34 * smoothstep(0.62, 0.0, r) + 0.22 * (bx * np.cos(azimuth) + by * np.sin(azimuth))
    ball *= smoothstep(0.98, 0.62, r) * 0.85 + 0.15
    reach = float(np.sin((np.pi / 2 - elevation) / 2))
    ball += _lamp(bx, by, azimuth, reach, uniform(p, 0.10, 0.2), uniform(p, 0.05, 0.12)) * uniform(p, 6, 11) * key
    setting = pick(p, ("bars", "ring", "window", "single"))
    if setting == "bars":
        ball += _lamp(bx, by, azimuth + np.pi * 0.93, reach * 1.1, 0.30, 0.05) * uniform(p, 1.5, 3)
    elif setting == "ring":
        ball += np.exp(-(((r - uniform(p, 0.3, 0.5)) / 0.05) ** 2)) * uniform(p, 1.2, 2.6)
    elif setting == "window":
        ball += _lamp(bx, by, azimuth + 2.0, 0.45, 0.16, 0.16) * uniform(p, 1.0, 2.4)
    ball += smoothstep(0.2, 0.02, np.hypot(bx - 0.05, by + 0.03)) * -0.12
    ball = np.maximum(ball, 0.02).astype(np.float32)
    balls = tuple(cv2.GaussianBlur(ball, (0, 0), s * _BALL / 2, borderType=cv2.BORDER_REPLICATE) for s in _BLURS)
    warm = uniform(p, -0.06, 0.06) + uniform(i, -0.01, 0.01)
    return Light(
        azimuth=azimuth,
        elevation=elevation,
        key=key,
        dome=dome,
        softness=uniform(p, 0.25, 0.6),
        balls=balls,
        tilt=(uniform(p, -0.06, 0.06) + uniform(i, -0.015, 0.015), uniform(p, -0.06, 0.06)),
        falloff=(uniform(p, -0.16, 0.16) + uniform(i, -0.04, 0.04), uniform(p, -0.16, 0.16)),
        tint=(1.0 + warm, 1.0, 1.0 - warm),
    )


def _lamp(bx: Array, by: Array, azimuth: float, reach: float, wide: float, deep: float) -> Array:
    """Draw a soft-edged rectangular lamp on the sphere, centred at `reach` from the pole."""
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    along = bx * cos + by * sin - reach
    across = by * cos - bx * sin
    return smoothstep(deep, deep * 0.6, np.abs(along)) * smoothstep(wide, wide * 0.7, np.abs(across))


def radiance(canvas: Canvas, surface: Surface, light: Light) -> Array:
    """Shade a surface.

    Returns:
        Linear RGB, float32 (N, N, 3), open-ended above.
    """
    nx, ny, nz = _normals(canvas, surface)
    occlusion, shadow = _visibility(canvas, surface.height, light)
    cos_e, sin_e = np.cos(light.elevation), np.sin(light.elevation)
    lx, ly = np.float32(np.cos(light.azimuth) * cos_e), np.float32(np.sin(light.azimuth) * cos_e)
    lambert = np.maximum(nx * lx + ny * ly + nz * np.float32(sin_e), 0.0)
    field = 1.0 + canvas.x * np.float32(light.falloff[0]) + canvas.y * np.float32(light.falloff[1])
    shape = lambert * shadow * (field * np.float32(light.key / sin_e * 0.75))
    shape += occlusion * (nz * np.float32(0.4 * light.dome) + np.float32(0.6 * light.dome))
    shape *= 1.0 - surface.metallic
    shape += surface.emission
    mirror = _reflection(canvas, light, nx, ny, surface.roughness)
    mirror *= field * (0.35 + 0.65 * occlusion) * (0.6 + 0.4 * shadow)
    grazing = (1.0 - nz) ** 4 * (1.0 - surface.roughness * 0.8)
    base = 0.060 * (1.0 - surface.metallic) + grazing * 0.5
    out = surface.albedo * (shape + mirror * surface.metallic)[..., None]
    out += (base * mirror)[..., None]
    out *= np.array(light.tint, np.float32)
    return out


def _normals(canvas: Canvas, surface: Surface) -> tuple[Array, Array, Array]:
    total = surface.height + surface.micro
    scale = canvas.n / 4.0
    sx = cv2.Sobel(total, cv2.CV_32F, 1, 0, ksize=1, scale=scale, borderType=cv2.BORDER_REPLICATE)
    sy = cv2.Sobel(total, cv2.CV_32F, 0, 1, ksize=1, scale=scale, borderType=cv2.BORDER_REPLICATE)
    steep = sx * sx + sy * sy
    limit = 1.0 / np.sqrt(1.0 + steep * np.float32(1 / 9.0))
    nz = 1.0 / np.sqrt(1.0 + steep * limit * limit)
    scale_xy = -limit * nz
    return sx * scale_xy, sy * scale_xy, nz


def _visibility(canvas: Canvas, height: Array, light: Light) -> tuple[Array, Array]:
    """Ambient occlusion and key-lamp shadow, both float32 (N, N) in [0, 1], worked out at half scale."""
    n = max(canvas.n // 2, 16)
    low = cv2.resize(height, (n, n), interpolation=cv2.INTER_AREA)
    occlusion = np.ones_like(low)
    for sigma, weight in ((0.012, 0.5), (0.035, 0.6), (0.10, 0.55)):
        around = cv2.GaussianBlur(low, (0, 0), sigma * n / 2 + 0.3, borderType=cv2.BORDER_REPLICATE)
        occlusion -= np.clip((around - low) * np.float32(weight / (sigma * 2.2)), -0.06, 0.42)
    occlusion = np.clip(occlusion, 0.12, 1.06)
    rise = np.float32(np.tan(light.elevation))
    blocked = np.zeros_like(low)
    dx, dy = np.cos(light.azimuth), np.sin(light.azimuth)
    reach = 0.015
    while reach < 0.75:
        step = reach * n / 2
        shift = np.array([[1, 0, dx * step], [0, 1, dy * step]], np.float32)
        seen = cv2.warpAffine(
            low, shift, (n, n), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        over = (seen - low) * np.float32(1 / reach) - rise
        np.maximum(blocked, over * np.float32(1 / light.softness) + 0.5, out=blocked)
        reach *= 1.32
    shadow = 1.0 - 0.9 * smoothstep(0.0, 1.0, blocked)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.006 * n + 0.3)
    both = (canvas.n, canvas.n)
    return cv2.resize(occlusion, both), cv2.resize(shadow, both)


def _reflection(canvas: Canvas, light: Light, nx: Array, ny: Array, roughness: Array) -> Array:
    """Look the light sphere up by normal, between its blurred copies by roughness."""
    half = np.float32(_BALL / 2)
    map_x = (nx + canvas.x * np.float32(-0.16) + np.float32(light.tilt[0])) * half + (half - 0.5)
    map_y = (ny + canvas.y * np.float32(-0.16) + np.float32(light.tilt[1])) * half + (half - 0.5)
    out = np.zeros_like(nx)
    for k, ball in enumerate(light.balls):
        weight = np.interp(_TABLE, _LEVELS, np.eye(len(_LEVELS), dtype=np.float32)[k]).astype(np.float32)
        index = (roughness * 255.0).astype(np.uint8)
        share = cv2.LUT(index, weight)
        seen = cv2.remap(ball, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out += seen * share
    return out


_TABLE = np.linspace(0.0, 1.0, 256)

"""Pictures of parts with their true depth, contours, and defects with exact label masks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import cv2
import numpy as np

from anomalyhybrid.data.parts.camera import Camera, develop, expose
from anomalyhybrid.data.parts.canvas import Array, Canvas, smoothstep
from anomalyhybrid.data.parts.defects import DEFECTS, apply_defect
from anomalyhybrid.data.parts.products import PRODUCTS, build
from anomalyhybrid.data.parts.shading import Light, light_setup, radiance
from anomalyhybrid.data.parts.surface import Surface
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.seeding import derive

_SUPERSAMPLE = 2
_SMALLEST = 32
_LARGEST = 2048
_VISIBLE = 12.0
_TRIES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPart:
    """One picture of a part with everything that is known about it.

    Attributes:
        image_u8: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 in [0, 1], 1 nearest to the camera; the scale is fixed for each product.
        contours: (H, W) float32 in [0, 1], true contours: depth steps, material borders, strong creases.
        object_mask: (H, W) bool, the part.
        defect: "good" or a defect kind.
        label_mask: (H, W) bool, the pixels that the defect changed; all False when good.
    """

    image_u8: np.ndarray
    depth: np.ndarray
    contours: np.ndarray
    object_mask: np.ndarray
    defect: str
    label_mask: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A good scene, ready to be photographed."""

    canvas: Canvas
    surface: Surface
    light: Light
    camera: Camera
    size: int
    good: RenderedPart


def render(
    product: str,
    *,
    product_seed: int,
    image_seed: int,
    size: int = 256,
    defect: str = "good",
    defect_seed: int = 0,
) -> RenderedPart:
    """Render one picture of a part.

    Args:
        product: One of `PRODUCTS`.
        product_seed: Fixes what all pictures of one category share: variant, material, lamps, camera.
        image_seed: Varies pose, light, texture and noise a little.
        size: Side of the picture in pixels, 32 to 2048.
        defect: "good" or one of `DEFECTS`.
        defect_seed: Varies place, shape and severity of the defect.

    Returns:
        The picture with depth, contours and masks.

    Raises:
        ConfigError: The product, defect or size is not known.
    """
    _check(product, defect, size, good_allowed=True)
    scene = _scene(product, product_seed, image_seed, size)
    if defect == "good":
        return scene.good
    return _with_defect(scene, defect, defect_seed)


def render_pair(
    product: str, *, product_seed: int, image_seed: int, defect: str, defect_seed: int = 0, size: int = 256
) -> tuple[RenderedPart, RenderedPart]:
    """Render a good picture and its defective twin; outside the label mask they are equal bit for bit.

    Args:
        product: One of `PRODUCTS`.
        product_seed: Fixes what all pictures of one category share.
        image_seed: Varies pose, light, texture and noise a little.
        defect: One of `DEFECTS`.
        defect_seed: Varies place, shape and severity of the defect.
        size: Side of the picture in pixels, 32 to 2048.

    Returns:
        The good and the defective picture.

    Raises:
        ConfigError: The product, defect or size is not known.
    """
    _check(product, defect, size, good_allowed=False)
    scene = _scene(product, product_seed, image_seed, size)
    return scene.good, _with_defect(scene, defect, defect_seed)


def _check(product: str, defect: str, size: int, *, good_allowed: bool) -> None:
    check_name("product", product, PRODUCTS)
    check_name("defect", defect, ("good", *DEFECTS) if good_allowed else DEFECTS)
    if not _SMALLEST <= size <= _LARGEST:
        nearest = min(max(size, _SMALLEST), _LARGEST)
        raise ConfigError(f"size is {size}; allowed are {_SMALLEST} to {_LARGEST} pixels; the nearest is {nearest}")


def check_name(what: str, name: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError with the nearest allowed name unless `name` is one of `allowed`."""
    if name not in allowed:
        close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.0)
        raise ConfigError(f"unknown {what} {name!r}; did you mean {close[0]!r}? Allowed are: {', '.join(allowed)}")


def _scene(product: str, product_seed: int, image_seed: int, size: int) -> _Scene:
    """Build, light and photograph a good scene; every stage has its own random streams."""
    canvas = Canvas.square(size * _SUPERSAMPLE)

    def streams(stage: str) -> tuple[np.random.Generator, np.random.Generator]:
        lasting = derive(product_seed, "parts", product, stage)
        changing = derive(image_seed, "parts", product, product_seed, stage)
        return np.random.default_rng(lasting), np.random.default_rng(changing)

    surface = build(canvas, product, *streams("surface"))
    light = light_setup(*streams("light"))
    linear = radiance(canvas, surface, light)
    camera = expose(linear, size, *streams("camera"))
    good = RenderedPart(
        image_u8=develop(linear, camera),
        depth=_depth(surface, surface.depth_range, size),
        contours=_contours(canvas, surface, size),
        object_mask=_shrink(surface.solid, size) > 0.5,
        defect="good",
        label_mask=np.zeros((size, size), bool),
    )
    return _Scene(canvas=canvas, surface=surface, light=light, camera=camera, size=size, good=good)


def _with_defect(scene: _Scene, defect: str, defect_seed: int) -> RenderedPart:
    """Add a defect, stronger or elsewhere until it can be seen."""
    best, best_change = None, -1.0
    for attempt in range(_TRIES):
        rng = np.random.default_rng(derive(defect_seed, "parts", "defect", defect, attempt))
        surface = scene.surface.copy()
        severity = float(rng.uniform(0.7, 1.25)) * 1.35**attempt
        changed = apply_defect(scene.canvas, surface, defect, rng, severity)
        if not changed.any():
            continue
        part = _compose(scene, surface, changed, defect)
        difference = np.abs(part.image_u8.astype(np.int16) - scene.good.image_u8)
        change = float(difference[part.label_mask].mean()) if part.label_mask.any() else 0.0
        if change > best_change:
            best, best_change = part, change
        if change >= _VISIBLE:
            break
    assert best is not None, "a defect always finds the object"
    return best


def _compose(scene: _Scene, surface: Surface, changed: Array, defect: str) -> RenderedPart:
    """Photograph the edited surface and keep the good picture wherever nothing visible changed."""
    size, good = scene.size, scene.good
    taken = develop(radiance(scene.canvas, surface, scene.light), scene.camera)
    core = _shrink(changed, size) > 0.25
    reach = max(2.5, size * 0.032)
    away = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    share = smoothstep(reach, 1.5, away)[..., None]
    mixed = good.image_u8 + share * (taken.astype(np.float32) - good.image_u8)
    image = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    moved = np.abs(image.astype(np.int16) - good.image_u8).max(axis=2) > 3
    moved = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0
    label = core | (moved & (away < reach))
    depth = _depth(surface, surface.depth_range, size)
    contours = _contours(scene.canvas, surface, size)
    return RenderedPart(
        image_u8=np.where(label[..., None], image, good.image_u8),
        depth=np.where(label, depth, good.depth),
        contours=np.where(label, contours, good.contours),
        object_mask=good.object_mask,
        defect=defect,
        label_mask=label,
    )


def _shrink(field: Array, size: int) -> Array:
    return cv2.resize(field.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)


def _depth(surface: Surface, depth_range: tuple[float, float], size: int) -> Array:
    low, high = depth_range
    return np.clip((_shrink(surface.height, size) - low) * np.float32(1 / (high - low)), 0.0, 1.0)


def _contours(canvas: Canvas, surface: Surface, size: int) -> Array:
    """Lines where height steps, the substance changes, colour jumps or the slope breaks."""
    n = canvas.n
    around = np.ones((3, 3), np.uint8)
    region = surface.region
    border = np.zeros((n, n), bool)
    border[:, 1:] |= region[:, 1:] != region[:, :-1]
    border[1:] |= region[1:] != region[:-1]
    step = cv2.morphologyEx(surface.height, cv2.MORPH_GRADIENT, around)
    line = smoothstep(0.016, 0.045, step * np.float32(n / 512))
    calm = cv2.GaussianBlur(surface.height, (0, 0), n * 0.002 + 0.5)
    wide = cv2.GaussianBlur(calm, (0, 0), n * 0.005 + 0.5)
    np.maximum(line, 0.8 * smoothstep(0.0022, 0.008, np.abs(calm - wide)), out=line)
    luma = cv2.GaussianBlur(np.sqrt(surface.albedo.mean(axis=2)), (0, 0), n * 0.0025 + 0.4)
    jump = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, around) * np.float32(n / 512)
    np.maximum(line, 0.8 * smoothstep(0.055, 0.14, jump), out=line)
    line[border] = 1.0
    soft = cv2.GaussianBlur(_thin(line), (0, 0), 1.0)
    return np.clip(_shrink(soft, size) * 2.6, 0.0, 1.0)


def _thin(line: Array) -> Array:
    """Keep the ridges of a response, about 1 pixel wide, at their strength."""
    smooth = cv2.GaussianBlur(line, (0, 0), 1.3)
    bend_x = cv2.Sobel(smooth, cv2.CV_32F, 2, 0, ksize=3)
    bend_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 2, ksize=3)
    ridge_x = (smooth >= cv2.dilate(smooth, np.ones((1, 5), np.uint8))) & (bend_x <= bend_y)
    ridge_y = (smooth >= cv2.dilate(smooth, np.ones((5, 1), np.uint8))) & (bend_y <= bend_x)
    return np.where((ridge_x | ridge_y) & (np.minimum(bend_x, bend_y) < -0.02), cv2.dilate(line, np.ones((3, 3))), 0.0)

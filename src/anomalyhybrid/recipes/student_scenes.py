"""Pictures that train the lite students: rendered parts and 'leaves' (stacked random shapes), both with true
depth.

Nothing here comes from a data set with a restrictive licence, so weights trained on it may be shipped
(DESIGN: shipped weights). This module imports no torch: it runs in worker processes.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyhybrid.seeding import derive

LEAVES = "leaves"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneKey:
    """What determines one picture."""

    product: str
    """A product of ``data.parts``, or ``"leaves"``."""
    defect: str
    """A defect of ``data.parts``, or ``"good"``."""
    seed: int
    """Seed of the picture."""
    size: int
    """Side in pixels."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture and its truth.

    Attributes:
        image_u8: RGB, uint8 (S, S, 3).
        depth: float16 (S, S) in [0, 1], 1 is nearest.
        contours_u8: True contours, uint8 (S, S), 255 on a contour.
        object_mask: bool (S, S), where the object is.
    """

    image_u8: NDArray[np.uint8]
    depth: NDArray[np.float16]
    contours_u8: NDArray[np.uint8]
    object_mask: NDArray[np.bool_]


def plan_scenes(count: int, products: Sequence[str], *, seed: int, stream: str, size: int) -> list[SceneKey]:
    """List pictures of parts: products in turn, every second one with a defect.

    Args:
        count: How many.
        products: Product names of ``data.parts``.
        seed: Root seed.
        stream: Name of the random stream, so that train and test pictures differ.
        size: Side in pixels.

    Returns:
        ``count`` keys.
    """
    from anomalyhybrid.data.parts import DEFECTS

    defects = [defect for defect in DEFECTS if defect != "good"]
    keys = []
    for index in range(count):
        own = derive(seed, stream, index)
        turn = index // len(products)
        defect = defects[(turn // 2) % len(defects)] if turn % 2 else "good"
        product = products[index % len(products)]
        keys.append(SceneKey(product=product, defect=defect, seed=own, size=size))
    return keys


def make_scene(key: SceneKey) -> Scene:
    """Draw one picture.

    Args:
        key: What to draw.

    Returns:
        The picture and its truth.
    """
    if key.product == LEAVES:
        return draw_leaves(key.seed, key.size)
    from anomalyhybrid.data.parts import render

    part = render(
        key.product,
        product_seed=derive(key.seed, "product"),
        image_seed=derive(key.seed, "image"),
        size=key.size,
        defect=key.defect,
        defect_seed=derive(key.seed, "defect"),
    )
    contours_u8 = np.clip(part.contours * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return Scene(part.image_u8, part.depth.astype(np.float16), contours_u8, part.object_mask.astype(bool))


def _texture(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Draw a grey texture, float32 (S, S), mean about 0: noise at a random scale, perhaps striped."""
    cells = int(rng.integers(4, max(5, size // 2)))
    noise = rng.standard_normal((cells, cells)).astype(np.float32)
    texture = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, size / 4)
        ys, xs = np.mgrid[:size, :size].astype(np.float32)
        texture = 0.4 * texture + np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * (2 * np.pi / period))
    return texture.astype(np.float32)


def _shape(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one filled shape, uint8 (S, S), antialiased: an ellipse, a polygon or a rounded box."""
    mask = np.zeros((size, size), np.uint8)
    radius = size * float(np.clip(0.06 + 0.1 * rng.pareto(2.0), 0.06, 0.45))
    centre = rng.uniform(0, size, 2)
    angle = float(rng.uniform(0, 360))
    kind = rng.integers(3)
    if kind == 0:
        axes = (int(radius), max(2, int(radius * rng.uniform(0.3, 1.0))))
        cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, angle, 0, 360, 255, -1, cv2.LINE_AA)
        return mask
    if kind == 1:
        turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        reach = radius * rng.uniform(0.5, 1.2, turns.size)
        points = centre + np.stack([np.cos(turns), np.sin(turns)], 1) * reach[:, None]
    else:
        sides = (2 * radius, 2 * radius * rng.uniform(0.2, 1.0))
        points = cv2.boxPoints(((float(centre[0]), float(centre[1])), sides, angle))
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA)
    return mask


def draw_leaves(seed: int, size: int) -> Scene:
    """Draw stacked shapes, each nearer than what it covers, with shading and a shadow ('dead leaves').

    They teach the students that covering means nearer and that texture is not depth, on colours and textures
    that rendered parts lack.

    Args:
        seed: Seed of the picture.
        size: Side in pixels.

    Returns:
        The picture and its truth; ``object_mask`` is where any shape is.
    """
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    image = np.full((size, size, 3), rng.uniform(0.1, 0.9, 3), np.float32)
    image += rng.uniform(0, 0.15) * _texture(rng, size)[..., None]
    depth = (0.1 * (xs * rng.uniform(-1, 1) + ys * rng.uniform(-1, 1))).astype(np.float32)
    contours = np.zeros((size, size), np.uint8)
    covered = np.zeros((size, size), bool)
    light = rng.uniform(-1, 1, 2)
    heights = np.sort(rng.uniform(0.1, 1.0, int(rng.integers(3, 28))))
    for height in heights:
        mask_u8 = _shape(rng, size)
        alpha = mask_u8.astype(np.float32)[..., None] / 255.0
        shift = np.array([[1, 0, light[0] * 0.04 * size], [0, 1, light[1] * 0.04 * size]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(mask_u8, shift, (size, size)), (0, 0), 0.012 * size)
        image *= 1.0 - rng.uniform(0.1, 0.6) * shadow.astype(np.float32)[..., None] / 255.0
        tilt = xs * rng.uniform(-1, 1) + ys * rng.uniform(-1, 1)
        inside = cv2.distanceTransform((mask_u8 > 127).astype(np.uint8), cv2.DIST_L2, 3) / (0.1 * size)
        dome = np.sqrt(np.clip(inside, 0, 1)) * (0.15 if rng.random() < 0.5 else 0.0)
        lit = 1.0 + tilt * 0.4 + cv2.Sobel(dome, cv2.CV_32F, 1, 0) * light[0] * 2.0
        lit = lit + cv2.Sobel(dome, cv2.CV_32F, 0, 1) * light[1] * 2.0
        colour = rng.uniform(0.03, 0.97, 3).astype(np.float32) * lit[..., None].astype(np.float32)
        colour += rng.uniform(0, 0.15) * _texture(rng, size)[..., None]
        image = image * (1 - alpha) + colour * alpha
        solid = mask_u8 > 127
        depth[solid] = (height + 0.1 * tilt + dome)[solid]
        covered |= solid
        contours[solid] = 0
        outline, _ = cv2.findContours(solid.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(contours, outline, -1, 255, 1)
    contours[[0, -1]] = 0  # the picture's frame is no contour
    contours[:, [0, -1]] = 0
    depth = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)
    image_u8 = np.clip(image * 255.0, 0, 255).astype(np.uint8)
    return Scene(image_u8, depth.astype(np.float16), contours, covered)


def make_scenes(keys: Sequence[SceneKey], *, workers: int) -> Iterator[Scene]:
    """Draw pictures, in the order of the keys, in worker processes.

    Args:
        keys: What to draw.
        workers: Number of processes; 0 draws in this one. The pictures do not depend on it.

    Yields:
        One scene for each key.
    """
    if workers == 0:
        yield from map(make_scene, keys)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(make_scene, keys, chunksize=4)


def _one_thread() -> None:
    """Keep a worker to one thread."""
    cv2.setNumThreads(0)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)

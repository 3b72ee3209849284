"""Foreground: the product's outline on smooth backgrounds, everything on textures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, to_model_u8
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import DataError

SIZE = 256
Y, X = np.mgrid[:SIZE, :SIZE]
RADIUS = np.hypot(Y - 128, X - 120)


def _photo(level: np.ndarray, noise: float = 2.0, seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, noise, level.shape)
    return np.clip(level + cv2.GaussianBlur(grain, (0, 0), 0.7), 0, 255).astype(np.uint8)


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return np.count_nonzero(first & second) / np.count_nonzero(first | second)


def _scene(background: tuple[int, int, int], colour: tuple[int, int, int], shape: np.ndarray) -> np.ndarray:
    return np.where(shape[..., None], np.array(colour, float), np.array(background, float))


def test_dark_disc_on_white_includes_its_centre() -> None:
    level = _scene((255, 255, 255), (90, 80, 70), RADIUS < 90)
    level[RADIUS < 40] = (20, 18, 30)
    assert _iou(object_mask(_photo(level, noise=0)), RADIUS < 90) > 0.97


def test_background_seen_through_a_hole_is_not_the_product() -> None:
    ring = (RADIUS < 90) & (RADIUS > 40)
    assert _iou(object_mask(_photo(_scene((200, 200, 205), (60, 60, 60), ring))), ring) > 0.93


def test_small_holes_are_filled() -> None:
    spotted = (RADIUS < 90) & (np.hypot(Y - 128, X - 100) > 4)
    assert object_mask(_photo(_scene((200, 200, 205), (60, 60, 60), spotted)))[128, 100]


def test_dark_on_dark() -> None:
    level = _scene((10, 13, 18), (9, 8, 4), RADIUS < 70)
    level[(RADIUS < 60) & (X > 120)] = (40, 38, 30)
    assert _iou(object_mask(_photo(level, noise=1)), RADIUS < 70) > 0.9


def test_uneven_light() -> None:
    light = 150 + 40 * (X / SIZE) + 20 * (Y / SIZE) ** 2
    level = np.where(RADIUS < 80, 60, light)[..., None].repeat(3, -1)
    assert _iou(object_mask(_photo(level)), RADIUS < 80) > 0.95


def test_object_that_touches_the_border() -> None:
    bar = (Y > 90) & (Y < 160) & (X > 60)
    assert _iou(object_mask(_photo(_scene((220, 220, 220), (40, 60, 90), bar))), bar) > 0.95


@pytest.mark.parametrize(
    "level",
    [
        np.full((SIZE, SIZE, 3), 128.0),
        np.full((SIZE, SIZE, 3), 0.0),
        (128 + 60 * np.sin(X / 3) * np.sin(Y / 4))[..., None].repeat(3, -1),
        (90 + 50 * np.sin(X / 40))[..., None].repeat(3, -1),
        (120 - 0.004 * RADIUS**2)[..., None].repeat(3, -1),
        _scene((130, 130, 130), (30, 30, 30), RADIUS < 20),
        _scene((130, 130, 130), (10, 10, 10), (X < 12) | (X > 246)),
    ],
    ids=["plain", "black", "weave", "waves", "vignette", "spot below 3 %", "dark margins"],
)
def test_textures_are_all_product(level: np.ndarray) -> None:
    assert object_mask(_photo(level)).all()


def test_noise_is_all_product() -> None:
    assert object_mask(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).all()


@pytest.mark.parametrize("size", [16, 64, 200, 512])
def test_sizes(size: int) -> None:
    image = cv2.resize(_photo(_scene((230, 230, 230), (50, 70, 60), RADIUS < 90)), (size, size))
    found = object_mask(image)
    assert (found.shape, found.dtype) == ((size, size), bool)
    assert abs(found.mean() - (RADIUS < 90).mean()) < (0.2 if size < 64 else 0.05)


def test_bad_input() -> None:
    for pixels in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(DataError, match="object_mask needs uint8 RGB"):
            object_mask(pixels)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mvtec_ad_bottle", 0.62, 0.68),
        ("mvtec_3d_tire", 0.31, 0.37),
        ("magnetic_tile", 0.88, 1.0),
        ("heliconius", 0.49, 0.66),
    ],
)
def test_shared_sets(shared_dir: Path, name: str, low: float, high: float) -> None:
    records = read_data(shared_dir / "data" / name).records[::9]
    shares = [object_mask(to_model_u8(load_image(r.path).pixels, SIZE)).mean() for r in records]
    assert low <= min(shares) <= max(shares) <= high

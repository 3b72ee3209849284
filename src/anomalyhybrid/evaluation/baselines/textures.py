"""What DRAEM's anomalies are filled with: images of any folder, or procedural textures of many kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.files import existing_folder, walk_images
from anomalyhybrid.data.loading import load_image, to_model_u8
from anomalyhybrid.data.parts import noise
from anomalyhybrid.data.parts.canvas import Array
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.seeding import derive

PROCEDURAL = 128  # textures made where no folder is given


@dataclass(frozen=True, slots=True)
class Textures:
    """A bank of textures.

    Attributes:
        image_u8: uint8 (N, 3, S, S), RGB.
        name: Where they come from, to be named in results.
    """

    image_u8: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.image_u8)


def load_textures(folder: Path, size: int) -> Textures:
    """Load all images of a folder and its subfolders (DRAEM's are the Describable Textures), squeezed to a square.

    Args:
        folder: The folder.
        size: Side in pixels.

    Raises:
        DataError: The folder is missing or holds no image, or an image is unreadable.
    """
    root = existing_folder(folder)
    paths, _ = walk_images(root)
    if not paths:
        raise DataError(f"{root} holds no image; give a folder of texture images, or none for procedural textures")
    pixels = np.stack([to_model_u8(load_image(root / path).pixels, size) for path in paths])
    image_u8 = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Textures(image_u8=image_u8, name=f"folder {root.name} ({len(paths)} images)")


def procedural_textures(count: int, size: int, seed: int) -> Textures:
    """Draw textures; number i is the same whatever `count` is.

    Args:
        count: Number of textures, at least 1.
        size: Side in pixels.
        seed: Root seed.

    Raises:
        ConfigError: `count` or `size` below 1.
    """
    if count < 1 or size < 1:
        raise ConfigError(f"{count} textures of {size} pixels are asked for; both must be at least 1")
    pixels = np.stack([_texture(np.random.default_rng(derive(seed, "texture", i)), size, i) for i in range(count)])
    image_u8 = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Textures(image_u8=image_u8, name=f"procedural ({count} textures)")


def _plane(rng: np.random.Generator, n: int, freq: float) -> tuple[Array, Array]:
    """Turned coordinates with `freq` units across the picture, slightly warped."""
    axis = np.arange(n, dtype=np.float32) / n
    angle = rng.uniform(0, np.pi)
    u = (np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]) * freq
    v = (np.cos(angle) * axis[:, None] - np.sin(angle) * axis[None]) * freq
    bend = rng.choice([0.0, 0.15, 0.6])
    shifts = [noise.smooth(rng, n, rng.uniform(2, 6)) * np.float32(bend) for _ in range(2)]
    return (u + shifts[0]).astype(np.float32), (v + shifts[1]).astype(np.float32)


def _banded(rng: np.random.Generator, n: int) -> Array:
    u, _ = _plane(rng, n, rng.uniform(4, 30))
    return np.tanh(np.sin(2 * np.pi * u) * rng.uniform(0.8, 6))


def _checked(rng: np.random.Generator, n: int) -> Array:
    u, v = _plane(rng, n, rng.uniform(3, 16))
    return np.tanh(np.sin(np.pi * u) * np.sin(np.pi * v) * rng.uniform(2, 20))


def _dotted(rng: np.random.Generator, n: int) -> Array:
    u, v = _plane(rng, n, rng.uniform(4, 20))
    distance = np.hypot(u - np.round(u), v - np.round(v))
    return np.tanh((rng.uniform(0.15, 0.4) - distance) * rng.uniform(8, 40))


def _woven(rng: np.random.Generator, n: int) -> Array:
    u, v = _plane(rng, n, rng.uniform(6, 24))
    over = (np.floor(u) + np.floor(v)) % 2
    return np.where(over > 0, np.sin(np.pi * (u % 1)), np.sin(np.pi * (v % 1)) - 0.6)


def _marbled(rng: np.random.Generator, n: int) -> Array:
    u, _ = _plane(rng, n, rng.uniform(2, 8))
    return np.abs(np.sin(np.pi * u + noise.fractal(rng, n, rng.uniform(3, 6), 5) * rng.uniform(1, 3))) ** 0.5


def _blotched(rng: np.random.Generator, n: int) -> Array:
    return noise.fractal(rng, n, rng.uniform(3, 20), 5, rng.uniform(0.4, 0.8))


def _brushed(rng: np.random.Generator, n: int) -> Array:
    long, fine = rng.uniform(2, 8), rng.uniform(30, 120)
    field = noise.smooth(rng, n, fine, long) + 0.5 * noise.smooth(rng, n, fine / 3, long)
    return field if rng.random() < 0.5 else field.T


def _speckled(rng: np.random.Generator, n: int) -> Array:
    return np.tanh((noise.grain(rng, n, rng.uniform(0.5, 3)) - rng.uniform(0, 1.5)) * rng.uniform(1, 6))


def _pebbled(rng: np.random.Generator, n: int) -> Array:
    distance, value = noise.cells(rng, n, int(rng.integers(30, 600)))
    field = value - rng.uniform(0, 1.5) * distance
    return noise.warped(field.astype(np.float32), rng, 8, rng.choice([0.0, 0.015]))


def _cracked(rng: np.random.Generator, n: int) -> Array:
    distance, _ = noise.cells(rng, n, int(rng.integers(20, 300)))
    field = noise.warped(distance, rng, rng.uniform(4, 12), 0.02)
    return np.tanh((field - rng.uniform(0.4, 0.7)) * 8) + 0.3 * noise.fractal(rng, n, 16, 3)


KINDS = (_banded, _checked, _dotted, _woven, _marbled, _blotched, _brushed, _speckled, _pebbled, _cracked)


def _texture(rng: np.random.Generator, n: int, number: int) -> Array:
    """One texture, uint8 (n, n, 3): a field of a kind, sometimes grained or mixed with another, in 2 to 4 colours."""
    field = _unit(KINDS[number % len(KINDS)](rng, n))
    if rng.random() < 0.3:
        other = _unit(KINDS[int(rng.integers(len(KINDS)))](rng, n))
        field = _unit(field + rng.uniform(0.2, 1.0) * other)
    stops = np.linspace(0, 1, int(rng.integers(2, 5)))
    muted = rng.random() < 0.5  # most real textures have one hue
    colours = rng.uniform(0, 1, (len(stops), 3))
    if muted:
        colours = rng.uniform(0.05, 1, (len(stops), 1)) * rng.uniform(0.5, 1, (1, 3))
    rgb = np.stack([np.interp(field, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    light = 1 + 0.12 * noise.fractal(rng, n, 4, 3) + rng.uniform(0, 0.15) * noise.grain(rng, n, 0.6)
    return np.clip(np.rint(rgb * light[..., None] * 255), 0, 255).astype(np.uint8)


def _unit(field: Array) -> Array:
    """Stretch to [0, 1], outliers cut."""
    low, high = np.percentile(field, [1, 99])
    return np.clip((field - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)

"""From linear radiance on the supersampled grid to the camera's 8-bit picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anomalyhybrid.data.parts.canvas import Array, uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What the camera adds to the scene; one value serves a good picture and its defective twin.

    Attributes:
        gain: Exposure factor.
        blur: Lens blur in output pixels.
        gather: Vignette, float32 (H, W).
        noise: Unit noise, float32 (H, W, 3).
        shot: Strength of the noise that grows with light.
        read: Strength of the noise that does not.
        contrast: Exponent about middle grey.
    """

    gain: float
    blur: float
    gather: Array
    noise: Array
    shot: float
    read: float
    contrast: float


def expose(linear: Array, size: int, p: np.random.Generator, i: np.random.Generator) -> Camera:
    """Draw a camera and set its exposure on the good scene.

    Args:
        linear: Radiance of the good scene, float32 (N, N, 3).
        size: Side of the output picture.
        p: Generator of the product: camera type and set-up.
        i: Generator of the image: noise and small exposure changes.
    """
    luma = linear[::4, ::4, 1]
    bright = float(np.percentile(luma, 97)) + 1e-4
    middle = float(luma.mean()) + 1e-4
    target = uniform(p, 0.62, 0.85) * uniform(i, 0.95, 1.05)
    gain = min(target / bright, 0.36 / middle) ** 0.7
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    gather = 1.0 - np.float32(uniform(p, 0.02, 0.14)) * (axis[None, :] ** 2 + axis[:, None] ** 2)
    noise = i.standard_normal((size, size, 3), dtype=np.float32)
    noise = 0.75 * noise + 0.55 * cv2.GaussianBlur(noise, (0, 0), 0.7) * 1.8
    return Camera(
        gain=gain,
        blur=uniform(p, 0.3, 0.65),
        gather=gather,
        noise=noise,
        shot=uniform(p, 0.006, 0.014),
        read=uniform(p, 0.0015, 0.004),
        contrast=uniform(p, 1.05, 1.30),
    )


def develop(linear: Array, camera: Camera) -> Array:
    """Turn linear radiance (N, N, 3) into the picture, uint8 (H, W, 3)."""
    size = camera.gather.shape[0]
    small = cv2.resize(np.minimum(linear, 12.0 / camera.gain), (size, size), interpolation=cv2.INTER_AREA)
    small *= np.float32(camera.gain)
    small = cv2.GaussianBlur(small, (0, 0), camera.blur * size / 256 + 0.25)
    glow = cv2.GaussianBlur(np.maximum(small - 0.9, 0.0), (0, 0), size * 0.012 + 0.3)
    small += 0.10 * glow
    small *= camera.gather[..., None]
    knee = 0.72
    over = np.maximum(small - knee, 0.0)
    small = np.minimum(small, knee) + (1 - knee) * (1.0 - np.exp(-over * (1 / (1 - knee) * 0.8)))
    small += camera.noise * np.sqrt(small * np.float32(camera.shot**2) + np.float32(camera.read**2))
    code = np.clip(small, 0.0, 1.0)
    code = np.where(code < 0.0031308, code * 12.92, 1.055 * code ** (1 / 2.4) - 0.055)
    if camera.contrast != 1.0:
        code = code + (camera.contrast - 1.0) * (code - 0.5) * 4.0 * code * (1.0 - code)
    return np.clip(code * 255.0 + 0.5, 0, 255).astype(np.uint8)

"""The pixel grid of a scene, object frames with a pose, and small drawing helpers.

Lengths are in scene units: the picture spans [-1, 1] in x (right) and y (down); heights use the same unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high` (falls when `low` > `high`)."""
    t = np.clip((x - low) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def triangle(x: Array) -> Array:
    """Triangle wave of period 1 and range [0, 1], 0 at integers."""
    return 1.0 - np.abs(2.0 * (x - np.floor(x)) - 1.0)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw one Python float from [low, high)."""
    return float(rng.uniform(low, high))


def pick(rng: np.random.Generator, options: Sequence):
    """Draw one of `options`, each as likely."""
    return options[int(rng.integers(len(options)))]


def bounded_root(x: Array) -> Array:
    """Square root with negative values taken as 0."""
    return np.sqrt(np.maximum(x, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Object coordinates on the grid for one pose.

    Attributes:
        u: Object x, float32 (N, N).
        v: Object y, float32 (N, N).
        to_pixel: Affine (2, 3) from object units to pixels of the grid.
        pixel: Size of one grid pixel in object units.
    """

    u: Array
    v: Array
    to_pixel: Array
    pixel: float

    @property
    def n(self) -> int:
        """Side of the grid in pixels."""
        return self.u.shape[0]

    def inside(self, distance: Array) -> Array:
        """Turn a signed distance (negative inside) into soft coverage in [0, 1]."""
        return np.clip(0.5 - distance * np.float32(1.0 / self.pixel), 0.0, 1.0)

    def points(self, corners: Array) -> Array:
        """Map object points (K, 2) to pixels (K, 2)."""
        return corners @ self.to_pixel[:, :2].T + self.to_pixel[:, 2]

    def polygons(self, shapes: Sequence[Array], levels: Sequence[float] | None = None) -> Array:
        """Fill object-space polygons, float32 (N, N); `levels` gives each its value (default 1)."""
        out = np.zeros((self.n, self.n), np.float32)
        for index, corners in enumerate(shapes):
            level = 1.0 if levels is None else levels[index]
            fixed = np.round(self.points(corners) * 16).astype(np.int32)
            cv2.fillPoly(out, [fixed], level, lineType=cv2.LINE_8, shift=4)
        return out

    def strokes(self, lines: Sequence[Array], width: float) -> Array:
        """Draw object-space polylines of one width as coverage in [0, 1], float32 (N, N)."""
        out = np.zeros((self.n, self.n), np.uint8)
        thickness = max(1, round(width / self.pixel))
        for corners in lines:
            fixed = np.round(self.points(corners) * 16).astype(np.int32)
            cv2.polylines(out, [fixed], False, 255, thickness, cv2.LINE_AA, shift=4)
        return out.astype(np.float32) * np.float32(1 / 255)

    def text(self, words: str, *, at: tuple[float, float], height: float, angle: float = 0.0) -> Array:
        """Print text centred at an object point, letters `height` tall, as coverage float32 (N, N)."""
        stamp = np.zeros((96, 48 * max(len(words), 1) + 48), np.uint8)
        cv2.putText(stamp, words, (24, 68), cv2.FONT_HERSHEY_DUPLEX, 1.9, 255, 4, cv2.LINE_AA)
        ink = np.flatnonzero(stamp.any(axis=0))
        mid = float(ink.mean()) if ink.size else stamp.shape[1] / 2
        scale, cos, sin = 42.0 / height, np.cos(angle), np.sin(angle)
        out = np.zeros((self.n, self.n), np.float32)
        reach = 0.5 * stamp.shape[1] / scale + height
        centre, far = self.points(np.array([at]))[0], reach / self.pixel
        left, top = (int(np.clip(c - far, 0, self.n - 1)) for c in centre)
        right, bottom = (int(np.clip(c + far, 1, self.n)) for c in centre)
        crop = np.s_[top : max(bottom, top + 1), left : max(right, left + 1)]
        du, dv = self.u[crop] - at[0], self.v[crop] - at[1]
        map_x = ((du * cos + dv * sin) * scale + mid).astype(np.float32)
        map_y = ((dv * cos - du * sin) * scale + 47.0).astype(np.float32)
        out[crop] = cv2.remap(stamp, map_x, map_y, cv2.INTER_LINEAR).astype(np.float32) * np.float32(1 / 255)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Square grid of a scene.

    Attributes:
        n: Side in pixels (already supersampled).
        x: float32 (N, N) in [-1, 1], right.
        y: float32 (N, N) in [-1, 1], down.
    """

    n: int
    x: Array
    y: Array

    @classmethod
    def square(cls, n: int) -> Canvas:
        """Make the grid of side `n`."""
        axis = ((np.arange(n, dtype=np.float32) + 0.5) * np.float32(2.0 / n)) - 1.0
        return cls(n=n, x=np.tile(axis, (n, 1)), y=np.tile(axis[:, None], (1, n)))

    def frame(self, *, angle: float, shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> Frame:
        """Place an object: rotate by `angle` (radians), scale, then shift in scene units."""
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        dx, dy = self.x - np.float32(shift[0]), self.y - np.float32(shift[1])
        u = (dx * np.float32(cos) + dy * np.float32(sin)) * np.float32(1 / scale)
        v = (dy * np.float32(cos) - dx * np.float32(sin)) * np.float32(1 / scale)
        half = self.n / 2
        linear = np.array([[cos, -sin], [sin, cos]]) * scale * half
        offset = (np.array(shift) + 1.0) * half - 0.5
        return Frame(u=u, v=v, to_pixel=np.column_stack([linear, offset]), pixel=2.0 / self.n / scale)

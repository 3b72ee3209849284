"""Foreground: where in an image the product is, told from the border without any network."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from anomalyhybrid.errors import DataError

_BORDER_SHARE = 0.03  # width of the border strip
_NOISE_TIMES = 3.0
_LEAST_DISTANCE = 0.022  # of the full range, on a grey background; below it JPEG and sensor noise rule
_SAME_LIGHT = 0.12  # how far uneven light takes the border from its median
_MOST_NOISE = 0.03  # a border noisier than this after smoothing is a texture, not a background
_LEAST_BORDER = 0.5  # of the border strip must be background
_LEAST_SHARE = 0.03
_CONTRAST_SHARES = (0.13, 0.25, 0.4, 0.55)  # thresholds to try, of the product's typical distance
_CRISPER = 1.1  # how much crisper a higher threshold's outline must be
_LEAST_CRISPNESS = 2.5  # distance just inside the outline over distance just outside
_LEAST_CONTRAST = 2.8  # typical distance of the product over that of the noisiest tenth of the background
_SMALL_HOLE = 0.004
_RIDGE = np.diag(
    np.array([0, 1, 1, 4, 4, 4], np.float32)
)  # keeps the surface tame where the border is hidden


def object_mask(rgb_u8: np.ndarray) -> np.ndarray:
    """Find where the product is: what differs from a smooth background that is seen along the border.

    The background is a quadratic surface fitted robustly to the border strip, so uneven light is allowed.
    Holes stay open when they have the background's colour and are not small. A border that is no smooth
    background, an object below 3 % of the image or one without a crisp outline mean a texture: all of it is
    the product.

    Args:
        rgb_u8: uint8 (S, S, 3), RGB, side 16 or more.

    Returns:
        Bool (S, S), True on the product.

    Raises:
        DataError: Another shape or type.
    """
    if rgb_u8.ndim != 3 or rgb_u8.shape[2] != 3 or rgb_u8.dtype != np.uint8 or min(rgb_u8.shape[:2]) < 16:
        raise DataError(f"object_mask needs uint8 RGB of 16x16 or more, not {rgb_u8.shape} of {rgb_u8.dtype}")
    distance, threshold = _background_distance(rgb_u8)
    if distance is None:
        return np.ones(rgb_u8.shape[:2], bool)
    found = _cleaned(distance, _crispest(distance, threshold))
    crisp, contrast = _outline(found, distance)
    if crisp < _LEAST_CRISPNESS or contrast < _LEAST_CONTRAST:
        return np.ones(rgb_u8.shape[:2], bool)
    return found


def _crispest(distance: np.ndarray, threshold: float) -> float:
    """Raise the threshold above soft shadows as far as that makes the outline crisper; told at half size."""
    above = distance[distance > threshold]
    if not above.size:
        return threshold
    strength = float(np.median(above))
    levels = sorted({max(threshold, share * strength) for share in _CONTRAST_SHARES})
    if min(distance.shape) >= 128:
        distance = cv2.resize(distance, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    outlines = [_outline(_cleaned(distance, level), distance)[0] for level in levels]
    best, crispest = levels[0], outlines[0]
    for level, crisp in zip(levels[1:], outlines[1:], strict=True):
        if crisp > _CRISPER * crispest:
            best, crispest = level, crisp
    return best


@lru_cache(maxsize=8)
def _strip(height: int, width: int, share: float = _BORDER_SHARE) -> np.ndarray:
    """Bool (H, W), True on the border strip."""
    strip = np.ones((height, width), bool)
    edge = max(2, round(share * min(height, width)))
    strip[edge:-edge, edge:-edge] = False
    strip.setflags(write=False)
    return strip


@lru_cache(maxsize=8)
def _terms(height: int, width: int) -> np.ndarray:
    """Float32 (H * W, 6): the terms of a quadratic surface."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1).reshape(-1, 6).astype(np.float32)
    terms.setflags(write=False)
    return terms


def _spread(difference: np.ndarray) -> np.ndarray:
    """Distance (N,) of colour differences (N, 3): the largest change of a channel or between two channels."""
    red, green, blue = difference[:, 0], difference[:, 1], difference[:, 2]
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    return np.maximum(high, 0) - np.minimum(low, 0)


def _background_distance(rgb_u8: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Measure each pixel's distance from the background, (H, W) in [0, 1]; None if there is no background."""
    height, width = rgb_u8.shape[:2]
    sigma = max(0.6, min(height, width) / 200)
    smooth = cv2.GaussianBlur(rgb_u8, (0, 0), sigma).astype(np.float32) / 255
    strip = _strip(height, width).reshape(-1)
    terms, pixels = _terms(height, width), smooth.reshape(-1, 3)
    border_terms, border = terms[strip], pixels[strip]
    centre = np.median(border, axis=0)
    keep = _spread(border - centre) <= _SAME_LIGHT
    least = _LEAST_DISTANCE * (0.5 + float(centre.max()))  # dark backgrounds are less noisy than bright ones
    surface = np.zeros((6, 3), np.float32)
    noise = 0.0
    for _ in range(3):
        if keep.mean() < _LEAST_BORDER:
            return None, 0.0
        chosen = border_terms[keep]
        surface = np.linalg.solve(chosen.T @ chosen + 1e-3 * len(chosen) * _RIDGE, chosen.T @ border[keep])
        residual = _spread(border - border_terms @ surface)
        noise = float(np.median(residual[keep])) * 1.2
        keep = residual <= max(_NOISE_TIMES * noise, least)
    if noise > _MOST_NOISE:
        return None, 0.0
    distance = _spread(pixels - terms @ surface).reshape(height, width)
    return distance, max(_NOISE_TIMES * noise, least)


def _disc(side: float) -> np.ndarray:
    size = 2 * max(1, round(side)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _cleaned(distance: np.ndarray, threshold: float) -> np.ndarray:
    """Threshold, close gaps, fill small holes, drop specks."""
    height, width = distance.shape
    side = min(height, width)
    raw = (distance > threshold).astype(np.uint8)
    raw = cv2.morphologyEx(raw, cv2.MORPH_OPEN, _disc(side / 256))
    gap = _disc(side / 80)
    pad = gap.shape[0]
    raw = cv2.copyMakeBorder(raw, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    raw = cv2.morphologyEx(raw, cv2.MORPH_CLOSE, gap)[pad:-pad, pad:-pad]
    labels, areas = _components(1 - raw, connectivity=4)
    raw[(areas < _SMALL_HOLE * raw.size)[labels] & (raw == 0)] = 1
    labels, areas = _components(raw, connectivity=8)
    kept = areas >= max(0.05 * areas[1:].max(initial=0), 0.0005 * raw.size)
    kept[0] = False
    return kept[labels]


def _components(solid: np.ndarray, *, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Label components: labels (H, W), 0 outside, and the area of each label."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=connectivity)
    return np.asarray(labels, np.int32), stats[:, cv2.CC_STAT_AREA].astype(np.int64)


def _outline(found: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Measure ``(crispness, contrast)``: a product ends abruptly, the uneven light of a texture does not.

    Both are 0 for what cannot be a product: below 3 % of the image, most of the border, or margins alone.
    """
    if found.mean() < _LEAST_SHARE or found[_strip(*found.shape)].mean() > 1 - _LEAST_BORDER:
        return 0.0, 0.0
    if np.count_nonzero(found & _strip(*found.shape, 0.1)) > 0.7 * np.count_nonzero(found):
        return 0.0, 0.0
    kernel = _disc(min(found.shape) / 64)
    solid = found.astype(np.uint8)
    inner = found & (cv2.erode(solid, kernel) == 0)
    outer = ~found & (cv2.dilate(solid, kernel) > 0)
    background = ~found & ~outer
    if not (inner.any() and outer.any() and background.any()):
        return 0.0, 0.0
    crisp = np.median(distance[inner]) / (np.median(distance[outer]) + 1e-3)
    contrast = np.median(distance[found]) / (np.percentile(distance[background], 90) + 1e-3)
    return float(crisp), float(contrast)

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
_CONTRAST_SHARES = (0.13, 0.28, 0.5)  # thresholds to try, of the product's typical distance
_CRISPER = 1.1  # how much crisper a higher threshold's outline must be
_LEAST_CRISPNESS = 2.5  # distance just inside the outline over distance just outside
_LEAST_CONTRAST = 2.8  # typical distance of the product over that of the noisiest tenth of the background
_SMALL_HOLE = 0.004
_GRID = 64  # points a side on which the background is computed
_LEAST_SHADOW = 0.01  # of the image; less is not worth a second look
_DARKEST_SHADED = 0.09  # squared colour of the darkest background on which shadows are told apart
_TINT = 0.14  # how far a shadow's colour may leave the background's, times its darkness
_SOFT = 0.02  # change a pixel of the full range, at 256 px: shadows are softer, edges are steeper
_STEEPER = 2.0
_MOST_RIM = 0.85  # of a product lies within 1/64 of the image's side from its outline
_RIDGE = np.diag(np.array([0, 1, 1, 4, 4, 4], np.float32))  # keeps the surface tame where the border is hidden


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
    height, width = rgb_u8.shape[:2]
    sigma = max(0.6, min(height, width) / 200)
    smooth = cv2.GaussianBlur(rgb_u8, (0, 0), sigma).astype(np.float32) / 255
    fitted = _fit_background(smooth)
    everything = np.ones((height, width), bool)
    if fitted is None:
        return everything
    background, threshold = fitted
    distance = _spread(smooth - background)
    slope = _slope(smooth)
    shadow = _cast_shadow(smooth, background, distance <= threshold, slope, threshold)
    if np.count_nonzero(shadow & (distance > threshold)) > _LEAST_SHADOW * shadow.size:
        lit = np.where(shadow, np.minimum(distance, threshold / 2), distance)
        found = _product(lit, threshold)
        if found is not None and _has_edge(found, slope):
            return found
    found = _product(distance, threshold)
    return everything if found is None else found


def _product(distance: np.ndarray, threshold: float) -> np.ndarray | None:
    """Outline what lies above the threshold or a higher, crisper one; None if that is no product."""
    found = _cleaned(distance, _crispest(distance, threshold))
    crisp, contrast = _outline(found, distance)
    return found if crisp >= _LEAST_CRISPNESS and contrast >= _LEAST_CONTRAST else None


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


def _terms(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Float32 (N, 6): the terms of a quadratic surface at N points."""
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1).astype(np.float32)


def _surface(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """Evaluate a quadratic surface (6, 3) on all pixels, float32 (H, W, 3), by way of a coarse grid."""
    centres = (np.arange(_GRID, dtype=np.float32) + 0.5) * (2 / _GRID) - 1
    y, x = np.meshgrid(centres, centres, indexing="ij")
    coarse = np.einsum("nt,tc->nc", _terms(y.ravel(), x.ravel()), weights.astype(np.float32))
    return cv2.resize(coarse.reshape(_GRID, _GRID, 3), (width, height), interpolation=cv2.INTER_LINEAR)


def _spread(difference: np.ndarray) -> np.ndarray:
    """Distance (...) of colour differences (..., 3): the largest change of a channel, or between two."""
    red, green, blue = difference[..., 0], difference[..., 1], difference[..., 2]
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    return np.maximum(high, 0) - np.minimum(low, 0)


def _fit_background(smooth: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Fit the background to the border strip.

    Args:
        smooth: Float32 (H, W, 3) in [0, 1], blurred against noise.

    Returns:
        The background (H, W, 3) and the distance that its noise does not exceed; None when less than half
        of the border agrees or the noise is a texture's.
    """
    height, width = smooth.shape[:2]
    strip = _strip(height, width)
    rows, columns = (index[:: 1 + strip.size // 32768] for index in np.nonzero(strip))
    border = smooth[rows, columns]
    border_terms = _terms((rows + 0.5) * (2 / height) - 1, (columns + 0.5) * (2 / width) - 1)
    centre = np.median(border, axis=0)
    keep = _spread(border - centre) <= _SAME_LIGHT
    least = _LEAST_DISTANCE * (0.5 + float(centre.max()))  # dark backgrounds are less noisy than bright ones
    surface = np.zeros((6, 3), np.float32)
    noise = 0.0
    for _ in range(3):
        if keep.mean() < _LEAST_BORDER:
            return None
        chosen = border_terms[keep]
        surface = np.linalg.solve(chosen.T @ chosen + 1e-3 * len(chosen) * _RIDGE, chosen.T @ border[keep])
        residual = _spread(border - border_terms @ surface)
        noise = float(np.median(residual[keep])) * 1.2
        keep = residual <= max(_NOISE_TIMES * noise, least)
    if noise > _MOST_NOISE:
        return None
    return _surface(surface, height, width), max(_NOISE_TIMES * noise, least)


def _slope(smooth: np.ndarray) -> np.ndarray:
    """Steepest change (H, W) of any channel, for each pixel."""
    across = np.abs(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125))
    down = np.abs(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125))
    steepest = np.maximum(across, down)
    return np.maximum(np.maximum(steepest[..., 0], steepest[..., 1]), steepest[..., 2])


def _cast_shadow(
    smooth: np.ndarray, background: np.ndarray, bare: np.ndarray, slope: np.ndarray, threshold: float
) -> np.ndarray:
    """Find background that is bare or in soft shadow, (H, W) bool.

    Shadow is a darker tone of the background's own colour that fades without an edge and is reached from the
    border. None is looked for on dark backgrounds, where every dark colour is such a tone.
    """
    height, width = bare.shape
    level = np.einsum("hwc,hwc->hw", background, background)
    if float(np.median(level)) < _DARKEST_SHADED:
        return np.zeros_like(bare)
    shade = np.einsum("hwc,hwc->hw", smooth, background) / np.maximum(level, 1e-4)
    tint = _spread(smooth - shade[..., None] * background)
    allowed = np.maximum(threshold, _TINT * (1 - shade) * np.sqrt(level))
    soft = slope < _SOFT * 256 / max(min(height, width), 256)
    dim = (shade > 0.3) & (shade < 1) & (tint < allowed) & soft
    labels, areas = _components((dim | bare).astype(np.uint8), connectivity=4)
    reached = np.zeros(len(areas), bool)
    reached[np.unique(labels[_strip(height, width) & bare])] = True
    reached[0] = False
    return reached[labels]


def _has_edge(found: np.ndarray, slope: np.ndarray) -> bool:
    """Whether most of the outline is steeper than the background's own grain."""
    kernel = np.ones((3, 3), np.uint8)
    solid = found.astype(np.uint8)
    edge = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, kernel) > 0
    edge[:4], edge[-4:], edge[:, :4], edge[:, -4:] = False, False, False, False
    ground = cv2.dilate(solid, _disc(min(found.shape) / 64)) == 0
    if not (edge.any() and ground.any()):
        return False
    steep = cv2.dilate(slope, kernel)
    return bool(np.percentile(steep[edge], 25) > _STEEPER * np.percentile(steep[ground], 75))


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

    Both are 0 for what cannot be a product: below 3 % of the image, most of the border, margins alone, or the
    mere lines that are left of a product in the background's own colour.
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
    if np.count_nonzero(inner) > _MOST_RIM * np.count_nonzero(found) or not (outer.any() and background.any()):
        return 0.0, 0.0
    crisp = np.median(distance[inner][::2]) / (np.median(distance[outer][::2]) + 1e-3)
    contrast = np.median(distance[found][::4]) / (np.percentile(distance[background][::4], 90) + 1e-3)
    return float(crisp), float(contrast)

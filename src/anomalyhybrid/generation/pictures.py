"""Pictures of pages: shrunk, outlined, enlarged around a mask, and as data URIs."""

from __future__ import annotations

import base64

import cv2
import numpy as np

SIDE = 192
"""Longest side of a page's pictures, in pixels."""
_OUTLINE = (255, 0, 200)


def shrunk(image_u8: np.ndarray, side: int) -> np.ndarray:
    """Shrink an image so that its longest side is at most ``side`` pixels.

    Args:
        image_u8: uint8 (H, W, 3) or (H, W).
        side: In pixels.

    Returns:
        uint8, the input itself where it is small enough.
    """
    height, width = image_u8.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image_u8
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image_u8, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def outlined(image_u8: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """Draw a mask's outline on a shrunk image, one pixel wide, outside the mask so that it hides no defect.

    Args:
        image_u8: uint8 (H, W, 3).
        mask: Bool (H, W).
        side: Longest side of the result in pixels.

    Returns:
        uint8 (h, w, 3), a copy.
    """
    picture = shrunk(image_u8, side).copy()
    small = shrunk(mask.astype(np.uint8) * 255, side) > 0
    ring = cv2.dilate(small.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~small
    picture[ring] = _OUTLINE
    return picture


def zoomed(image_u8: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask's neighbourhood, a square of 1.5 times its extent, scaled to `SIDE` pixels."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = int(min(max(1.5 * extent, 48), height, width))
    top = int(np.clip((rows.min() + rows.max() + 1 - side) // 2, 0, height - side))
    left = int(np.clip((columns.min() + columns.max() + 1 - side) // 2, 0, width - side))
    crop = image_u8[top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return cv2.resize(crop, (SIDE, SIDE), interpolation=way).astype(np.uint8, copy=False)


def uri(image_u8: np.ndarray, quality: int | None = None) -> str:
    """Encode a picture, uint8 (H, W, 3), as a data URI: JPEG of a quality without chroma subsampling, or PNG."""
    kind, settings = "png", []
    if quality is not None:
        kind, settings = "jpeg", [cv2.IMWRITE_JPEG_QUALITY, quality]
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, encoded = cv2.imencode(f".{kind}", np.ascontiguousarray(image_u8[..., ::-1]), settings)
    assert done
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"

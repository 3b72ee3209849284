"""Pictures of depth: shaded by its normals, so that dents and bumps can be seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.errors import ConfigError, DataError

HOLE_COLOR_U8 = (24, 30, 62)
"""Colour of pixels without a measurement, RGB; the shading itself is grey."""

_LIGHT = np.array([-1.0, -1.0, 1.4]) / np.linalg.norm([-1.0, -1.0, 1.4])  # x right, y down, z to the viewer
_STEEP = 90.0  # percentile of the slopes that is shown at 45 degrees


def slope_scale(*depths: DepthImage, smoothing: float = 1.0) -> float:
    """Find the scale that shows the slopes of all given maps well; use it for maps that are to be compared.

    Args:
        *depths: One or more maps in one unit, for example before and after.
        smoothing: As for ``shaded``.

    Returns:
        The slope, in the file's unit for each pixel, to be shown at 45 degrees: the 90th percentile of the slopes
        that are not 0; 1 for flat maps.

    Raises:
        DataError: No map.
    """
    if not depths:
        raise DataError("no depth map given; at least one is needed for a scale")
    found = []
    for depth in depths:
        across, down = _slopes(depth, smoothing)
        steepness = np.hypot(across, down)
        found.append(steepness[depth.valid & (steepness > 0)])
    slopes = np.concatenate(found)
    return float(np.percentile(slopes, _STEEP)) if slopes.size else 1.0


def shaded(depth: DepthImage, *, scale: float | None = None, smoothing: float = 1.0) -> NDArray[np.uint8]:
    """Shade a depth map as a grey relief, lit from the upper left.

    Args:
        depth: The depth; distances and disparities both rise toward the viewer.
        scale: Slope shown at 45 degrees (``slope_scale``); None takes the map's own.
        smoothing: Deviation in pixels of a Gaussian over the valid pixels, against sensor noise; 0 for none.

    Returns:
        uint8 (H, W, 3); pixels without a measurement in ``HOLE_COLOR_U8``.

    Raises:
        ConfigError: A scale that is not positive or smoothing below 0.
    """
    if scale is None:
        scale = slope_scale(depth, smoothing=smoothing)
    if not scale > 0 or not smoothing >= 0:
        raise ConfigError(f"scale={scale}, smoothing={smoothing}: the scale must be above 0, smoothing 0 or more")
    across, down = (slope / scale for slope in _slopes(depth, smoothing))
    facing = -across * _LIGHT[0] - down * _LIGHT[1] + _LIGHT[2]
    light = np.clip(facing / np.sqrt(across**2 + down**2 + 1), 0, 1)
    grey = np.rint(20 + 235 * light).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[~depth.valid] = HOLE_COLOR_U8
    return picture


def _slopes(depth: DepthImage, smoothing: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rise toward the viewer for each pixel to the right and down; (H, W) each, 0 without a valid neighbour."""
    height = depth.values.astype(np.float64) * depth.nearer_sign
    known = depth.valid.astype(np.float64)
    if smoothing > 0:
        centre = np.median(height[depth.valid])  # keeps sums small, so that rounding makes no relief
        total = cv2.GaussianBlur((height - centre) * known, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE)
        weight = cv2.GaussianBlur(known, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE)
        height = np.where(depth.valid, total / np.maximum(weight, 1e-9), 0.0)
    return _difference(height, depth.valid, axis=1), _difference(height, depth.valid, axis=0)


def _difference(height: NDArray[Any], valid: NDArray[np.bool_], *, axis: int) -> NDArray[Any]:
    """Mean of the differences to the valid neighbours on both sides."""
    step = np.diff(height, axis=axis)
    known = valid[:, 1:] & valid[:, :-1] if axis else valid[1:] & valid[:-1]
    step = np.where(known, step, 0.0)
    first = [(0, 0), (0, 0)]
    last = [(0, 0), (0, 0)]
    first[axis], last[axis] = (1, 0), (0, 1)
    total = np.pad(step, first) + np.pad(step, last)
    count = np.pad(known, first).astype(np.float64) + np.pad(known, last)
    return total / np.maximum(count, 1)

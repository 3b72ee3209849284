"""Measured depth as AnomalyHybrid* sees it: linear in the data's unit, 1 nearest, holes filled (ADR-010)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalyhybrid.errors import DataError

TAILS = (0.5, 99.5)  # percentiles of the valid values that map to -1 and 1: single wild points do not count
RELIEF_TAILS = (5.0, 95.0)  # percentiles between which an object's relief is taken
LEAST_SHARE = 1e-6  # of the values' size: a smaller range is none

Values = NDArray[np.float32]
Valid = NDArray[np.bool_]


def check_depth(values: Values, valid: Valid) -> None:
    """Check one depth map and its validity.

    Raises:
        DataError: Other shapes than one (H, W), no valid pixel, or valid values that are not finite.
    """
    if values.ndim != 2 or valid.shape != values.shape or valid.dtype != bool:
        raise DataError(f"depth is {values.shape} and its validity {valid.dtype} {valid.shape}; both must be (H, W)")
    if not valid.any():
        raise DataError("no pixel of the depth map holds a measurement; leave this image out")
    if not np.isfinite(values[valid]).all():
        raise DataError("valid depth holds NaN or infinite values; mark those pixels invalid")


def filled(values: Values, valid: Valid) -> Values:
    """Give every invalid pixel the value of the valid one that is nearest to it.

    Args:
        values: (H, W), any unit.
        valid: bool (H, W), at least one True.

    Returns:
        float32 (H, W); valid pixels keep theirs.

    Raises:
        DataError: As `check_depth`.
    """
    check_depth(values, valid)
    if valid.all():
        return values.astype(np.float32)
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(labels).astype(np.int64)
    by_label = np.zeros(int(nearest.max()) + 1, np.float32)
    by_label[nearest[valid]] = values[valid]
    return np.where(valid, values, by_label[nearest]).astype(np.float32)


def depth_range(values: Values, valid: Valid) -> tuple[float, float]:
    """Lowest and highest value of a map, its outliers left out; equal for a flat map.

    Raises:
        DataError: As `check_depth`.
    """
    check_depth(values, valid)
    low, high = np.percentile(values[valid].astype(np.float64), TAILS)
    return float(low), float(high)


def signed_depth(values: Values, valid: Valid, size: int, *, nearer_is_larger: bool) -> tuple[Values, Valid]:
    """Bring a depth map to the model's square and range.

    Unlike `measured.normalised` it is linear in the file's unit, so that a difference of the network's output is a
    height in that unit up to one factor.

    Args:
        values: (H, W), any unit.
        valid: bool (H, W).
        size: Side in pixels.
        nearer_is_larger: Whether values grow toward the camera.

    Returns:
        float32 (S, S) in [-1, 1], 1 nearest, invalid pixels filled, 0 for a flat map; and bool (S, S), True where
        at least half of the pixel was measured.

    Raises:
        DataError: As `check_depth`.
    """
    low, high = depth_range(values, valid)
    whole = cv2.resize(filled(values, valid), (size, size), interpolation=cv2.INTER_AREA)
    share = cv2.resize(valid.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    if high - low <= LEAST_SHARE * max(abs(low), abs(high)):
        return np.zeros((size, size), np.float32), share >= 0.5
    unit = ((whole.astype(np.float64) - low) / (high - low)).clip(0, 1)
    toward = unit if nearer_is_larger else 1.0 - unit
    return (toward * 2 - 1).astype(np.float32), share >= 0.5


def object_relief(values: Values, valid: Valid, object_mask: Valid) -> float:
    """Range of the valid depth on an object, its tails left out, in the file's unit.

    Args:
        values: (H, W).
        valid: bool (H, W).
        object_mask: bool (H, W); where it holds no valid pixel, the whole map counts.

    Raises:
        DataError: As `check_depth`, or a flat map: there is no relief to take a share of.
    """
    check_depth(values, valid)
    on_object = valid & object_mask
    chosen = values[on_object if on_object.any() else valid].astype(np.float64)
    low, high = np.percentile(chosen, RELIEF_TAILS)
    if high - low <= LEAST_SHARE * max(abs(low), abs(high)):
        low, high = np.percentile(values[valid].astype(np.float64), TAILS)
    if high - low <= LEAST_SHARE * max(abs(low), abs(high)):
        raise DataError("the depth map is flat: give the height in its unit instead of 'auto'")
    return float(high - low)

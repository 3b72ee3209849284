"""Checks that all metrics share: what comes in is an array of the right shape, not empty, and finite."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.errors import DataError

Array: TypeAlias = np.ndarray | Tensor


def as_numpy(values: Array) -> np.ndarray:
    """Give a tensor or array as a NumPy array on the CPU; half-precision tensors as float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype in (torch.float16, torch.bfloat16) else values).numpy()
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def finite(values: Array, name: str, *, ndim: int) -> np.ndarray:
    """Check numbers that a metric is computed from.

    Args:
        values: Numbers of any real dtype, ``ndim`` dimensions.
        name: What they are, for the message.
        ndim: Number of dimensions.

    Returns:
        The values on the CPU; integers and bools as float64, floats in their own precision.

    Raises:
        DataError: Another number of dimensions, no values, or values that are NaN or infinite.
    """
    array = as_numpy(values)
    if array.ndim != ndim:
        raise DataError(f"{name} have shape {array.shape}; give an array of {ndim} dimension(s)")
    if array.size == 0:
        raise DataError(f"{name} are empty (shape {array.shape}); give at least one")
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(f"{bad} of {array.size} {name} are NaN or infinite; a metric of them means nothing")
    return array


def binary(values: Array, name: str) -> np.ndarray:
    """Check labels or a mask.

    Args:
        values: Bool, or numbers that are all 0 or 1; any shape.
        name: What they are, for the message.

    Returns:
        Bool, the same shape.

    Raises:
        DataError: Other values (0 and 255, or a soft mask): binarise first, so that the rule is in sight.
    """
    array = as_numpy(values)
    if array.dtype == np.bool_:
        return array
    truth = array == 1
    if not np.all(truth | (array == 0)):
        raise DataError(
            f"{name} hold values other than 0 and 1 (from {array.min()} to {array.max()}); "
            "binarise them first, for example with > 0"
        )
    return truth


def feature_pair(first: Array, second: Array) -> tuple[np.ndarray, np.ndarray]:
    """Check the features of two image sets that are compared as distributions.

    Args:
        first: (N, D), any real dtype.
        second: (M, D).

    Returns:
        Both as float64.

    Raises:
        DataError: Fewer than two images on a side, another D, or values that are not finite.
    """
    one, two = finite(first, "first features", ndim=2), finite(second, "second features", ndim=2)
    if one.shape[1] != two.shape[1]:
        raise DataError(f"features have {one.shape[1]} and {two.shape[1]} dimensions; use one network for both sets")
    if min(len(one), len(two)) < 2:
        raise DataError(f"there are {len(one)} and {len(two)} images; both sets need at least 2")
    return one.astype(np.float64), two.astype(np.float64)

"""Units of depth: relief, noise, and whether a set's files and a requested height can be in one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.errors import ConfigError, DataError

_OTHER_UNIT = 100.0  # metres and millimetres differ by 1000; scenes of one set by far less
_SIGMA = 1.4826 / 6.0**0.5  # median |second difference| of white noise to its deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthStats:
    """What one depth map's numbers look like, in the file's unit.

    Attributes:
        median: Median of the valid values.
        relief: Span of the valid values without the outermost percent at either end.
        extent: Span of all valid values.
        resolution: The smallest height that can be told from noise and rounding (see ``resolution``).
    """

    median: float
    relief: float
    extent: float
    resolution: float


def height_range(depth: DepthImage, region: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Robust range of the measured values.

    Args:
        depth: The depth.
        region: Bool (H, W) to look at, for example the object; None is everywhere.

    Returns:
        The 1st and the 99th percentile, in the file's unit.

    Raises:
        DataError: No valid value in the region.
    """
    valid = depth.valid if region is None else depth.valid & region
    if not valid.any():
        raise DataError("no measured depth in the region; choose another region or leave the image out")
    low, high = np.percentile(depth.values[valid], (1, 99))
    return float(low), float(high)


def resolution(depth: DepthImage) -> float:
    """Estimate the noise of the values, no less than the step between two stored numbers.

    The noise is taken from second differences of neighbours in rows and columns (their median absolute value,
    scaled to a deviation), so that a tilted plane has none.

    Args:
        depth: The depth.

    Returns:
        Standard deviation or step, in the file's unit, above 0.
    """
    step = _step(depth)
    differences: list[NDArray[Any]] = []
    for values, valid in ((depth.values, depth.valid), (depth.values.T, depth.valid.T)):
        known = valid[2:] & valid[1:-1] & valid[:-2]
        wide = values.astype(np.float64)
        differences.append(np.abs(wide[2:] - 2 * wide[1:-1] + wide[:-2])[known])
    found = np.concatenate(differences)
    return max(step, float(np.median(found)) * _SIGMA) if found.size else step


def _step(depth: DepthImage) -> float:
    """Difference of two neighbouring stored numbers at the median."""
    if depth.raw.dtype.kind == "f":
        median = np.median(depth.values[depth.valid])
        return float(np.spacing(depth.raw.dtype.type(abs(median))))
    if depth.stored_range is None:
        return 1.0
    return (depth.stored_range[1] - depth.stored_range[0]) / float(np.iinfo(depth.raw.dtype).max)


def depth_stats(depth: DepthImage) -> DepthStats:
    """Summarise one depth map; keep these in place of the maps of a large set."""
    known = depth.values[depth.valid]
    low, high = height_range(depth)
    return DepthStats(
        median=float(np.median(known)),
        relief=high - low,
        extent=float(np.ptp(known)),
        resolution=resolution(depth),
    )


def check_units(stats: Mapping[str, DepthStats], *, heights: Sequence[float] = ()) -> None:
    """Refuse depth files of different units, and heights that cannot be in theirs.

    Metres against millimetres differ by 1000; medians that differ by more than 100 are taken for two units.

    Args:
        stats: Summary of each depth map by its name for messages, at least one.
        heights: Requested heights of defects, in the data's unit, of either sign: both ends of a range; none checks
            the files alone.

    Raises:
        DataError: The medians of two files differ by more than a factor of 100.
        ConfigError: A height is not finite or 0, exceeds the whole range of every map, or is below the resolution
            of every map.
    """
    if not stats:
        raise DataError("no depth map given; at least one is needed to know the unit")
    ordered = sorted(stats, key=lambda name: abs(stats[name].median))
    small, large = ordered[0], ordered[-1]
    first, last = abs(stats[small].median), abs(stats[large].median)
    if last > first * _OTHER_UNIT:
        factor = f"factor {last / first:.3g}" if first else "the other is 0"
        raise DataError(
            f"depth of different units: the median is {first:.6g} in {small} and {last:.6g} in {large} ({factor}); "
            "some files seem to be in metres and others in millimetres, bring all to one unit"
        )
    for height in heights:
        _check_height(stats, height)


def _check_height(stats: Mapping[str, DepthStats], height: float) -> None:
    if not np.isfinite(height) or height == 0:
        raise ConfigError(f"height {height:g}: give a number other than 0, in the unit of the depth files")
    extent = max(one.extent for one in stats.values())
    least = min(one.resolution for one in stats.values())
    if abs(height) > extent:
        raise ConfigError(
            f"height {height:g} is more than the whole depth range of the data ({extent:.4g}); "
            + _other_unit(height, height / 1000, "millimetres", "metres", least, extent)
        )
    if abs(height) < least:
        raise ConfigError(
            f"height {height:g} is below what the depth files can show ({least:.4g}, their noise or step); "
            + _other_unit(height, height * 1000, "metres", "millimetres", least, extent)
        )


def _other_unit(height: float, converted: float, given: str, held: str, least: float, extent: float) -> str:
    """Advice: the unit that the height seems to be in, or the range that is possible."""
    if least <= abs(converted) <= extent:
        return f"it seems to be in {given} and the data in {held}: give {converted:g}"
    return f"give a height from {least:.4g} to {extent:.4g}, in the unit of the depth files"

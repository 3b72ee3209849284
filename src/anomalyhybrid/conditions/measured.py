"""Depth that was measured (3-D sensors): read from files that are paired with the images by relative stem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from anomalyhybrid.errors import DataError

_SUFFIXES = (".png", ".tiff", ".tif")
_LEAST_RANGE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDepth:
    """A folder of depth maps: 16-bit PNG or float TIFF, one channel, or x, y, z of which z is read."""

    folder: Path
    """Holds ``<relative path of the image without suffix>.png`` (or .tif, .tiff)."""
    nearer_is_larger: bool = False
    """True for disparity-like values; False for distances, which are turned round."""

    @property
    def name(self) -> str:
        """Id for manifests and generator files; the files themselves are not part of it."""
        return "measured_disparity" if self.nearer_is_larger else "measured"

    def path_for(self, relative: Path) -> Path:
        """Find the depth file of an image.

        Args:
            relative: The image's path relative to the image folder; its suffix does not count. Leading folders may
                be missing from the depth folder as long as the image's own folder is there.

        Returns:
            The one file with that stem.

        Raises:
            DataError: If there is none or more than one.
        """
        stem = self.folder / relative.with_suffix("")
        tails = [relative.parts[start:] for start in range(max(1, len(relative.parts) - 1))]
        for tail in tails:  # a second data folder or a base set puts folders before the path: look without them too
            near = self.folder.joinpath(*tail).with_suffix("")
            found = [path for suffix in _SUFFIXES if (path := near.with_name(near.name + suffix)).is_file()]
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise DataError(f"more than one depth file for {relative} in {self.folder}: {names}. Keep one.")
            if found:
                return found[0]
        raise DataError(
            f"no depth file for {relative}: expected {stem} with one of {', '.join(_SUFFIXES)}. Add the "
            "file, or choose another depth extractor."
        )

    def read(self, relative: Path, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Read one depth map in the project's convention.

        Zeros, NaN and infinities are no measurement; they become the farthest valid value.

        Args:
            relative: The image's path relative to the image folder.
            shape: Height and width of the image; the depth map must have the same.

        Returns:
            float32 (H, W) in [0, 1], 1 nearest; zeros where the valid depth is constant.

        Raises:
            DataError: If the file is missing or unreadable, has another size, or holds no valid value.
        """
        path = self.path_for(relative)
        values = read_depth_file(path)
        if values.shape != tuple(shape):
            raise DataError(
                f"{path} is {values.shape[0]}x{values.shape[1]} but its image is {shape[0]}x{shape[1]}: "
                "resize one of them so that both agree."
            )
        try:
            return normalised(values, nearer_is_larger=self.nearer_is_larger)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def read_depth_file(path: Path) -> NDArray[np.float32]:
    """Read a depth map's raw values.

    Args:
        path: 16-bit PNG (8-bit too) or TIFF; of three TIFF channels the third (z) is taken.

    Returns:
        float32 (H, W).

    Raises:
        DataError: If the file cannot be read as one depth map.
    """
    try:
        if path.suffix.lower() == ".png":
            raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        else:
            raw = _read_tiff(path)
    except (OSError, ValueError, cv2.error, tifffile.TiffFileError) as error:
        raise DataError(f"cannot read depth {path}: {error}. Give a 16-bit PNG or a float TIFF.") from error
    if raw is None:
        raise DataError(f"cannot read depth {path}: no image inside. Give a 16-bit PNG or a float TIFF.")
    if raw.ndim == 3 and raw.shape[2] == 3 and path.suffix.lower() != ".png":
        raw = raw[..., 2]
    if raw.ndim != 2:
        raise DataError(f"depth {path} has shape {raw.shape}: one channel is needed, or x, y, z in a TIFF.")
    return raw.astype(np.float32)


def _read_tiff(path: Path) -> NDArray[np.generic] | None:
    """Read a TIFF with tifffile; what it cannot decode (LZW), with OpenCV, x, y, z turned back."""
    try:
        return tifffile.imread(path)
    except ValueError:
        raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        return raw[..., ::-1] if raw is not None and raw.ndim == 3 else raw


def normalised(values: NDArray[np.float32], *, nearer_is_larger: bool) -> NDArray[np.float32]:
    """Bring measured values to [0, 1], 1 nearest; inverse depth for distances, so that extractors agree.

    Args:
        values: (H, W); zeros and values that are not finite are no measurement.
        nearer_is_larger: Whether values grow toward the camera.

    Returns:
        float32 (H, W); unmeasured pixels are 0, the farthest.

    Raises:
        DataError: If no value is valid, or a distance is negative.
    """
    valid = np.isfinite(values) & (values != 0)
    if not valid.any():
        raise DataError("no pixel holds a measurement (all are zero, NaN or infinite). Leave this image out.")
    known = values[valid].astype(np.float64)
    if not nearer_is_larger:
        if known.min() < 0:
            raise DataError(
                f"distances must be positive, the smallest is {known.min():.6g}. If larger values are "
                "nearer, set nearer_is_larger."
            )
        known = 1.0 / known
    low, span = known.min(), float(np.ptp(known))
    result = np.zeros(values.shape, np.float32)
    if span > _LEAST_RANGE * max(abs(low), 1.0):
        result[valid] = ((known - low) / span).astype(np.float32)
    return result

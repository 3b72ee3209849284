"""Depth files: 16-bit PNG, one-channel TIFF, organised x, y, z clouds; read, and written back in their own format."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray

from anomalyhybrid.data.decoding import decode, image_format, read_bytes
from anomalyhybrid.data.files import write_bytes_atomic, write_text_atomic
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.errors import DataError

DEPTH_SUFFIXES = (".png", ".tiff", ".tif")
"""Endings of depth files."""

DepthKind = Literal["png16", "tiff", "xyz"]

_TIFF_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, struct.error, tifffile.TiffFileError)
_ADVICE = "Give a 16-bit PNG, a one-channel TIFF, or a float TIFF of x, y, z."
_INFO = "_info_depth"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthImage:
    """The measured depth of one image, with everything that is needed to write it back.

    Attributes:
        values: float32 or float64 (H, W) in the file's unit: the depth, of a cloud z; 0 where not valid.
        valid: Bool (H, W), False where nothing was measured: zero, NaN, infinite.
        raw: The numbers as stored, (H, W), of a cloud (H, W, 3) in the order x, y, z.
        kind: ``png16`` a one-channel PNG (8 bits too), ``tiff`` one channel, ``xyz`` an organised point cloud.
        nearer_is_larger: True for disparities and heights; False for distances from the camera.
        stored_range: The depths that 0 and the largest integer of a PNG stand for (Eyecandies); None: the numbers
            are the depths.
    """

    values: NDArray[np.floating[Any]]
    valid: NDArray[np.bool_]
    raw: NDArray[Any]
    kind: DepthKind
    nearer_is_larger: bool
    stored_range: tuple[float, float] | None = None

    @property
    def nearer_sign(self) -> int:
        """What a step toward the camera does to the values: +1 or -1."""
        return 1 if self.nearer_is_larger else -1


def info_path(path: Path) -> Path:
    """Name the file that holds a PNG's depth range: ``000_info_depth.yaml`` for ``000_depth.png`` (Eyecandies)."""
    return path.with_name(f"{path.stem.removesuffix('_depth')}{_INFO}.yaml")


def read_depth(path: Path, *, shape: tuple[int, int] | None = None, nearer_is_larger: bool = False) -> DepthImage:
    """Read one depth map; the content decides, not the file's ending.

    Beside a PNG, ``<stem>_info_depth.yaml`` (or .yml) with ``normalization: {min, max}`` gives the depths that 0 and
    65535 stand for; there 0 is a measurement like any other.

    Args:
        path: PNG of one channel, TIFF of one channel, or TIFF of x, y, z (numbers with a sign or floats).
        shape: Height and width of the image; the map must have the same. None takes any.
        nearer_is_larger: Whether values grow toward the camera.

    Returns:
        The depth. Zeros, NaN and infinities are no measurement.

    Raises:
        DataError: Unreadable, of another size than its image, of two channels or a colour picture, without a single
            valid value, or with negative distances.
    """
    raw, kind = _decode(Path(path))
    if shape is not None and raw.shape[:2] != tuple(shape[:2]):
        raise DataError(
            f"depth {path} is {raw.shape[0]}x{raw.shape[1]} but its image is {shape[0]}x{shape[1]}: "
            "resize one of them so that both agree."
        )
    stored_range = _stored_range(Path(path)) if kind == "png16" else None
    depth = _depth_image(raw, kind, stored_range, nearer_is_larger)
    if not depth.valid.any():
        raise DataError(
            f"depth {path}: no pixel holds a measurement (all are zero, NaN or infinite). Leave this image out."
        )
    lowest = float(depth.values[depth.valid].min())
    if lowest < 0 and not nearer_is_larger:
        raise DataError(
            f"depth {path}: distances must be positive, the smallest is {lowest:.6g}. If larger values are nearer, "
            "set nearer_is_larger (depth 'measured_disparity')."
        )
    return depth


def write_depth(
    path: Path, original: DepthImage, values: NDArray[np.floating[Any]], changed: NDArray[np.bool_]
) -> DepthImage:
    """Write changed depth in the format and number type of the file it came from, all or nothing.

    Outside ``changed`` every stored number stays bit for bit; unmeasured pixels stay as they are inside it too. Of a
    cloud z alone changes, so it stays organised: the point moves along the optical axis. Integers are rounded and
    clipped to their range, off 0, which means no measurement. A PNG with a stored range gets its
    ``<stem>_info_depth.yaml``.

    Args:
        path: File to write, ``.png`` or ``.tif``/``.tiff`` as the original's kind; its folder must exist.
        original: The depth as read.
        values: (H, W) new depth in the file's unit; read where ``changed`` and ``original.valid``.
        changed: Bool (H, W).

    Returns:
        The depth as a reader of the new file sees it, after rounding and clipping.

    Raises:
        DataError: Another shape or ending, new depth that is not finite or lies behind the camera, or the file cannot
            be written.
    """
    path = Path(path)
    allowed = (".png",) if original.kind == "png16" else (".tif", ".tiff")
    if path.suffix.lower() not in allowed:
        raise DataError(f"{path} must end in {' or '.join(allowed)}, the format of its original")
    size = original.valid.shape
    if values.shape != size or changed.shape != size or changed.dtype != np.bool_:
        raise DataError(
            f"new depth {values.shape} and changed {changed.dtype} {changed.shape} for {path}; both must be {size}, "
            "changed bool"
        )
    moved = changed & original.valid
    raw = original.raw.copy()
    plane = raw[..., 2] if original.kind == "xyz" else raw
    plane[moved] = _stored(np.asarray(values)[moved], original, path)
    if original.kind == "png16":
        if original.stored_range is not None:
            low, high = original.stored_range
            write_text_atomic(info_path(path), f"normalization:\n  max: {high!r}\n  min: {low!r}\n")
        save_png(path, raw)
    else:
        write_bytes_atomic(path, _encode_tiff(raw))
    return _depth_image(raw, original.kind, original.stored_range, original.nearer_is_larger)


def _depth_image(
    raw: NDArray[Any], kind: DepthKind, stored_range: tuple[float, float] | None, nearer_is_larger: bool
) -> DepthImage:
    plane = raw[..., 2] if kind == "xyz" else raw
    exact = plane.dtype.itemsize <= 2 or plane.dtype == np.float32  # float32 holds these numbers exactly
    values = plane.astype(np.float32 if exact and stored_range is None else np.float64)
    if stored_range is not None:
        low, high = stored_range
        values = low + values * ((high - low) / np.iinfo(plane.dtype).max)
    valid = np.isfinite(values) & (values != 0)
    if kind == "xyz":
        valid &= np.isfinite(raw).all(axis=2)
    values[~valid] = 0
    return DepthImage(
        values=values,
        valid=valid,
        raw=raw,
        kind=kind,
        nearer_is_larger=nearer_is_larger,
        stored_range=stored_range,
    )


def _stored(values: NDArray[Any], original: DepthImage, path: Path) -> NDArray[Any]:
    """The numbers that stand for new depths in the original's type."""
    if not np.isfinite(values).all():
        raise DataError(f"new depth for {path} holds values that are not finite; the weights or the input are damaged")
    dtype = original.raw.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large for the type is infinite then, and refused
            stored = values.astype(dtype)
        if not np.isfinite(stored).all() or (not original.nearer_is_larger and (stored <= 0).any()):
            raise DataError(
                f"new depth for {path} goes from {values.min():.6g} to {values.max():.6g}, behind the camera or out "
                f"of {dtype}; ask for a smaller height, in the unit of the file"
            )
        stored[stored == 0] = np.finfo(dtype).tiny
        return stored
    top = np.iinfo(dtype).max
    numbers = values.astype(np.float64)
    hole: float | None = 0.0
    if original.stored_range is not None:
        low, high = original.stored_range
        numbers = (numbers - low) * (top / (high - low))
        hole = 0.0 if low == 0 else None  # a stored range from 0 keeps 0 for no measurement
    least = 1 if hole is not None and not original.nearer_is_larger else int(np.iinfo(dtype).min)
    numbers = np.clip(np.rint(numbers), least, top)
    if hole is not None:
        numbers[numbers == hole] = 1
    return numbers.astype(dtype)


def _stored_range(path: Path) -> tuple[float, float] | None:
    """The range in the file beside a PNG; None without such a file."""
    info = next((name for name in (info_path(path), info_path(path).with_suffix(".yml")) if name.is_file()), None)
    if info is None:
        return None
    try:
        content = yaml.safe_load(read_bytes(info))
        low, high = (float(content["normalization"][key]) for key in ("min", "max"))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{info} gives no depth range: it must hold normalization: with numbers min and max") from error
    if not 0 <= low < high < np.inf:
        raise DataError(f"{info} gives the depth range {low:g} to {high:g}; 0 <= min < max is needed")
    return low, high


def _decode(path: Path) -> tuple[NDArray[Any], DepthKind]:
    try:
        content = read_bytes(path)
        form = image_format(content)
        if form not in ("png", "tiff"):
            raise DataError("its content is neither PNG nor TIFF")
        raw = decode(path) if form == "png" else _decode_tiff(content)
    except (*_TIFF_ERRORS, DataError, cv2.error) as error:
        raise DataError(f"cannot read depth {path}: {error}. {_ADVICE}") from error
    if raw.ndim == 2 and raw.size and raw.dtype.kind in "uif":
        return np.ascontiguousarray(raw), "png16" if form == "png" else "tiff"
    if raw.ndim == 3 and raw.shape[2] == 2:
        raise DataError(f"depth {path} has two channels {raw.shape}: a point cloud needs x, y and z. {_ADVICE}")
    if form == "png" or raw.ndim != 3 or raw.shape[2] != 3 or raw.dtype.kind not in "if" or not raw.size:
        raise DataError(
            f"depth {path} has shape {raw.shape} of {raw.dtype}: one channel is needed, or x, y, z in a float TIFF, "
            f"no colour picture. {_ADVICE}"
        )
    return np.ascontiguousarray(raw), "xyz"


def _decode_tiff(content: bytes) -> NDArray[Any]:
    """Decode with tifffile; what it cannot (LZW), with OpenCV, x, y, z turned back. Channels come last."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        series = tiff.series[0]
        axes = series.axes
        try:
            raw = series.asarray()
        except ValueError as error:
            raw = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            if raw is None:
                raise DataError(f"no codec for it ({error})") from error
            axes = "YXS"[: raw.ndim]
            raw = raw[..., ::-1] if raw.ndim == 3 else raw
    if raw.ndim == 3 and (axes[0] == "S" or (raw.shape[0] <= 3 and axes[-1] != "S" and raw.shape[2] > 3)):
        raw = np.moveaxis(raw, 0, -1)  # planes or pages of x, y and z
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[..., 0]
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)


def _encode_tiff(raw: NDArray[Any]) -> bytes:
    """Uncompressed; of clouds the three numbers of a pixel lie together, as in MVTec 3D-AD."""
    buffer = io.BytesIO()
    if raw.ndim == 3:
        tifffile.imwrite(buffer, raw, photometric="rgb", planarconfig="contig", metadata=None)
    else:
        tifffile.imwrite(buffer, raw, photometric="minisblack", metadata=None)
    return buffer.getvalue()

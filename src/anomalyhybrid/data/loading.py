"""Loading and saving: native pixels, masks, the 8-bit RGB view of them, and the way back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from anomalyhybrid.data.decoding import decode, unreadable
from anomalyhybrid.data.files import raise_problems, write_bytes_atomic
from anomalyhybrid.data.headers import at_a_time, colour_profile, file_state, with_profile
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError

MIN_SIDE = 16
"""Least height and width of an image, in pixels."""

Mode = Literal["grey8", "grey16", "rgb8", "rgb16", "rgba8", "rgba16"]

_MODES: dict[tuple[int, str, int], Mode] = {  # channels, kind of number, bytes of each
    (1, "u", 1): "grey8",
    (1, "u", 2): "grey16",
    (3, "u", 1): "rgb8",
    (3, "u", 2): "rgb16",
    (4, "u", 1): "rgba8",
    (4, "u", 2): "rgba16",
}
# How PNG are compressed: a little faster and mostly smaller than by default; a compression level makes it 1.7x slower.
_FOR_IMAGES = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
_FOR_MASKS = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
_STRIP = 256  # rows worked on at a time
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """An image as its file holds it.

    Attributes:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB order, EXIF orientation applied.
        mode: Channels and depth in words.
    """

    pixels: np.ndarray
    mode: Mode


def pixel_mode(pixels: np.ndarray) -> Mode:
    """Name the mode of native pixels.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.

    Returns:
        One of the six modes.

    Raises:
        DataError: Another shape or type.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2] if pixels.ndim == 3 else 0
    dtype = pixels.dtype
    mode = _MODES.get((channels, dtype.kind, dtype.itemsize)) if pixels.ndim == 2 or channels > 1 else None
    if mode is None or not pixels.size:
        raise DataError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}; "
            "allowed are (H, W), (H, W, 3) and (H, W, 4) of uint8 or uint16"
        )
    return mode


def load_image(path: Path) -> LoadedImage:
    """Load an image in its own mode; of several frames the first.

    Palettes become rgb8 (rgba8 when they hold transparency), CMYK rgb8, one-bit images grey8, grey with alpha
    rgba; float TIFF in [0, 1] becomes 16 bits, other floats are refused.

    Args:
        path: PNG, JPEG, BMP, TIFF or WebP; the content decides, not the ending.

    Returns:
        The pixels and their mode.

    Raises:
        DataError: Names the file: missing, empty, no image, truncated, damaged, below 16 px a side.
    """
    pixels = decode(path)
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{path} is a {width}x{height} image; the least allowed is {MIN_SIDE}x{MIN_SIDE} pixels, "
            "so give a larger one or remove it"
        )
    return LoadedImage(pixels=pixels, mode=pixel_mode(pixels))


class KeptImages:
    """The images used last, decoded and with their colour profiles; for use by several threads."""

    def __init__(self, most_bytes: int) -> None:
        """Keep nothing yet.

        Args:
            most_bytes: That the kept images may take together; a larger one is never kept.
        """
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, path: Path) -> tuple[np.ndarray, bytes | None]:
        """Load an image as `load_image` does, again only where its file has another time or size than before.

        Args:
            path: As for `load_image`.

        Returns:
            Its pixels, read-only, and its profile as `headers.colour_profile` gives it.

        Raises:
            DataError: As for `load_image`.
        """
        try:
            state = file_state(path)
        except OSError as error:
            raise unreadable(path, error) from error
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept.state == state:
                self._kept.move_to_end(path)
                return kept.pixels, kept.profile
        pixels = load_image(path).pixels
        pixels.flags.writeable = False
        new = _Kept(state, pixels, colour_profile(path, pixels))
        with self._lock:
            self._keep(path, new)
        return new.pixels, new.profile

    def _keep(self, path: Path, new: _Kept) -> None:
        """Take an image in, and let go of those that were not used for longest."""
        old = self._kept.pop(path, None)
        self.held_bytes -= 0 if old is None else old.nbytes
        if new.nbytes > self.most_bytes:
            return
        self._kept[path] = new
        self.held_bytes += new.nbytes
        while self.held_bytes > self.most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.held_bytes -= oldest.nbytes


class _Kept(NamedTuple):
    """An image, and the state that its file was in."""

    state: tuple[int, int]
    pixels: np.ndarray
    profile: bytes | None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + len(self.profile or b"")


def load_mask(path: Path, *, shape: tuple[int, int]) -> np.ndarray:
    """Load a ground-truth mask.

    Masks whose values are 0 and 1 alone mark the defect with 1; in all others it is whatever lies above half
    of the range (127 of 255, 32767 of 65535). In colour masks the brightest channel counts, alpha does not.

    Args:
        path: PNG, BMP, TIFF, WebP or JPEG.
        shape: ``(height, width)`` of the image the mask belongs to.

    Returns:
        Bool (H, W), True on the defect, at least one pixel True.

    Raises:
        DataError: Unreadable, of another size than the image, or empty.
    """
    pixels = decode(path)
    if pixels.shape[:2] != tuple(shape[:2]):
        have, need = pixels.shape, shape
        raise DataError(
            f"{path} is a mask of {have[1]}x{have[0]} pixels but its image has {need[1]}x{need[0]}; "
            "make both the same size"
        )
    values = pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)
    highest = int(values.max())
    if highest == 0:
        raise DataError(f"{path} is an empty mask (all 0); mark the defect in it or remove the image")
    mask = values > (0 if highest == 1 else np.iinfo(values.dtype).max // 2)
    if not mask.any():
        raise DataError(f"{path} is a mask with values up to {highest} that marks nothing; use 0 and 1, or 0 and 255")
    return mask


def to_rgb_u8(pixels: np.ndarray) -> np.ndarray:
    """Show native pixels as 8-bit RGB: 16 bits divided by 257, grey replicated, alpha ignored.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.

    Returns:
        uint8 (H, W, 3), contiguous; the input itself when it already is that.

    Raises:
        DataError: Another shape or type.
    """
    pixel_mode(pixels)
    rgb = pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels
    if rgb.dtype == np.uint16:
        small = np.empty(rgb.shape, np.uint8)
        for rows in strips(len(rgb)):
            small[rows] = (rgb[rows].astype(np.uint32) + 128) // 257
        rgb = small
    if rgb.ndim == 2:
        rgb = np.repeat(rgb[..., None], 3, axis=2)
    return np.ascontiguousarray(rgb)


def strips(height: int) -> list[slice]:
    """Rows of an image in parts, for work whose memory shall not grow with the image."""
    return [slice(top, top + _STRIP) for top in range(0, height, _STRIP)]


def _resize(values: np.ndarray, size: int) -> np.ndarray:
    """Squeeze to (size, size): the axes that shrink by area averaging, those that grow bilinearly."""
    height, width = values.shape[:2]
    if max(height, width) > size:
        values = cv2.resize(values, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    if min(height, width) < size:
        values = cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR)
    return values


def to_model_u8(pixels: np.ndarray, size: int) -> np.ndarray:
    """Squeeze native pixels to the model's square, aspect ignored as the field does.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16.
        size: Side in pixels, at least 1.

    Returns:
        uint8 (size, size, 3).

    Raises:
        DataError: Another shape or type.
    """
    return _resize(to_rgb_u8(pixels), size)


def mask_to_model(mask: np.ndarray, size: int) -> np.ndarray:
    """Squeeze a mask to the model's square so that thin parts do not vanish and thick ones do not grow.

    A pixel is kept when more than a quarter of it is covered, and also when less is covered but none of its
    eight neighbours is kept by the first rule: so every covered pixel has a kept one within one pixel.

    Args:
        mask: Bool (H, W).
        size: Side in pixels, at least 1.

    Returns:
        Bool (size, size); not empty unless the mask is.
    """
    coverage = _resize(mask.astype(np.float32), size)
    kept = coverage > 0.25
    near = cv2.dilate(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return kept | ((coverage > 1e-6) & ~near)


def from_rgb_float(rgb: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Bring generated RGB to the mode of the image it replaces: grey by Rec. 601 luminance, alpha copied.

    Args:
        rgb: Float (H, W, 3) in [0, 1]; values outside are clipped.
        like: Native pixels of the same height and width.

    Returns:
        Pixels with the shape and dtype of ``like``.

    Raises:
        DataError: Sizes differ, values that are not finite, or ``like`` is not native pixels.
    """
    pixel_mode(like)
    if rgb.ndim != 3 or rgb.shape != (*like.shape[:2], 3):
        raise DataError(f"generated pixels of shape {rgb.shape} do not fit an image of shape {like.shape}")
    if not np.isfinite(rgb).all():
        raise DataError("generated pixels hold values that are not finite; the weights or the input are damaged")
    levels = rgb @ _LUMINANCE if like.ndim == 2 else rgb
    top = np.iinfo(like.dtype).max
    colour = np.rint(np.clip(levels, 0, 1) * top).astype(like.dtype)
    if like.ndim == 3 and like.shape[2] == 4:
        return np.concatenate([colour, like[..., 3:]], axis=2)
    return colour


def save_png(path: Path, pixels: np.ndarray, *, profile: bytes | None = None) -> None:
    """Save pixels or a mask as PNG without loss, all or nothing.

    Args:
        path: File that ends in ``.png``; its folder must exist. An existing file is replaced.
        pixels: Native pixels in RGB order, or a bool (H, W) mask, which is written as 0 and 255.
        profile: ICC profile of the pixels' colour space, see `headers.colour_profile`.

    Raises:
        DataError: Another shape or type, another ending, disk full, folder read-only or missing.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"{path} must end in .png: images and masks are saved without loss")
    settings = _FOR_IMAGES
    if pixels.dtype == bool:
        pixels, settings = pixels.astype(np.uint8) * 255, _FOR_MASKS
    pixel_mode(pixels)
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)
    done, encoded = cv2.imencode(".png", pixels, settings)
    if not done:
        raise DataError(f"{path} cannot be encoded as PNG: pixels of shape {pixels.shape}")
    content = encoded.tobytes()
    del pixels, encoded  # of large images each takes as much as the image
    write_bytes_atomic(path, content if profile is None else with_profile(content, profile))


def _problem(record: Record) -> DataError | None:
    try:
        shape = load_image(record.path).pixels.shape
        if record.mask_path is not None:
            load_mask(record.mask_path, shape=(shape[0], shape[1]))
    except DataError as error:
        return error
    return None


def check_images(
    records: Sequence[Record],
    *,
    skip_unreadable: bool,
    on_skip: Callable[[Record, DataError], None] | None = None,
) -> list[Record]:
    """Load every image and mask once, so that a long run does not stop in its middle.

    Args:
        records: What to check.
        skip_unreadable: Leave out records that fail instead of raising.
        on_skip: Called for each record left out, in order, with the reason.

    Returns:
        The records that can be loaded, in order.

    Raises:
        DataError: Lists the files that fail (unless they are skipped), or says that none is left.
    """
    with ThreadPoolExecutor(at_a_time((record.path for record in records), 32)) as pool:
        problems = list(pool.map(_problem, records))
    if not skip_unreadable:
        summary = "some images cannot be used; mend or remove them, or skip unreadable images:"
        raise_problems(summary, [str(problem) for problem in problems if problem is not None])
    readable: list[Record] = []
    for record, problem in zip(records, problems, strict=True):
        if problem is None:
            readable.append(record)
        elif on_skip is not None:
            on_skip(record, problem)
    if records and not readable:
        raise_problems("no image is left; all fail:", [str(problem) for problem in problems])
    return readable

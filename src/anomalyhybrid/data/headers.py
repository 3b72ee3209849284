"""What an image file says about itself without its pixels being decoded: its sides and its colour profile."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from anomalyhybrid.data.decoding import image_format
from anomalyhybrid.errors import DataError

_PIXELS_AT_A_TIME = 2**26  # that are decoded at one time: one image of 8192 x 8192, five of 4000 x 3000
_TIFF_PROFILE = 34675
_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"RGB "}
_HEADER = 33  # bytes of a PNG's signature and IHDR, after which a profile stands


def image_sides(path: Path) -> tuple[int, int]:
    """Read the shorter and the longer side of an image, which its orientation does not change.

    Raises:
        DataError: The file cannot be read or is no image.
    """
    try:
        sides = _sides(path, file_state(path))
    except Exception as error:  # headers can be damaged in any way
        raise DataError(f"{path} cannot be read as an image: {error}; copy or export it again") from error
    return min(sides), max(sides)


def file_state(path: Path) -> tuple[int, int]:
    """When a file was changed, in ns, and its bytes: what is kept of a file holds as long as this does.

    Raises:
        OSError: The file is missing or may not be looked at.
    """
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(4096)
def _sides(path: Path, state: tuple[int, int]) -> tuple[int, int]:
    """Width and height that a file in this state has in its header."""
    if _is_tiff(path):
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            return page.imagewidth, page.imagelength
    with Image.open(path) as image:
        return image.size


def at_a_time(paths: Iterable[Path], most: int | None = None) -> int:
    """How many of some images may be decoded at one time, so that large ones do not fill the memory.

    Args:
        paths: The images; those without a readable header do not count.
        most: The most threads; one for each processor by default.

    Returns:
        At least 1.
    """
    return fitting(most_pixels(paths), most or os.cpu_count() or 1)


def fitting(pixels: int, most: int) -> int:
    """How many images of so many pixels may be decoded at one time, from 1 to `most`."""
    return max(1, min(most, _PIXELS_AT_A_TIME // pixels))


def most_pixels(paths: Iterable[Path]) -> int:
    """Pixels of the largest of some images, at least 1; those without a readable header do not count."""
    largest = 1
    for path in dict.fromkeys(paths):
        try:
            shorter, longer = image_sides(path)
        except DataError:
            continue
        largest = max(largest, shorter * longer)
    return largest


def colour_profile(path: Path, pixels: np.ndarray) -> bytes | None:
    """Read the ICC profile embedded in an image.

    Args:
        path: PNG, JPEG, TIFF or WebP.
        pixels: What it was decoded to.

    Returns:
        The profile; None without one, and where it describes another colour space than the pixels have: a CMYK
        profile of pixels that became RGB, a grey one of grey with alpha, which became RGBA.
    """
    try:
        if _is_tiff(path):
            with tifffile.TiffFile(path) as tiff:
                tag = tiff.pages.first.tags.get(_TIFF_PROFILE)
                profile = None if tag is None else tag.value
        else:
            with Image.open(path) as image:
                profile = image.info.get("icc_profile")
    except Exception:  # the pixels were decoded: a damaged profile is none
        return None
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    known = bytes(profile or b"")
    return known if len(known) >= 128 and known[16:20] == _SPACES[channels] else None


def with_profile(png: bytes, profile: bytes) -> bytes:
    """Embed an ICC profile in a PNG file that has none.

    Args:
        png: The file.
        profile: The profile, of the file's colour space.
    """
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    return png[:_HEADER] + chunk + png[_HEADER:]


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return image_format(file.read(16)) == "tiff"

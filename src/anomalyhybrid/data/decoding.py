"""Decoding: PNG, JPEG, BMP, TIFF or WebP to a native array; the content decides, not the file's ending."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from anomalyhybrid.errors import DataError

_ORIENTATION = 0x0112
_MAX_PIXELS = 178_956_970
_DECODE_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    cv2.error,
    tifffile.TiffFileError,
    Image.DecompressionBombError,
)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Args:
        path: The file.

    Returns:
        Its content, at least one byte.

    Raises:
        DataError: Missing, unreadable or empty.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not content:
        raise DataError(f"{path} is empty (0 bytes); remove it or copy it again")
    return content


def unreadable(path: Path, error: OSError) -> DataError:
    """Word why a file could not be read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}")


def image_format(content: bytes) -> str | None:
    """Recognise an image by its first bytes.

    Args:
        content: The file's content or its start.

    Returns:
        ``png``, ``jpeg``, ``bmp``, ``tiff`` or ``webp``; None for anything else.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    return "bmp" if content.startswith(b"BM") else None


def decode(path: Path) -> np.ndarray:
    """Decode the first frame of an image file, turned upright by its EXIF orientation.

    Palettes become RGB (RGBA when they hold transparency), CMYK and YCbCr RGB, one-bit images 0/255, grey
    with alpha RGBA. Floats in [0, 1] become 16 bits (times 65535); other floats are refused.

    Args:
        path: The file.

    Returns:
        (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB order, contiguous.

    Raises:
        DataError: Missing, empty, no image, truncated, damaged, or of a pixel type that has no rule above.
    """
    content = read_bytes(path)
    kind = image_format(content)
    if kind is None:
        raise DataError(
            f"{path} is not an image: its content is not PNG, JPEG, BMP, TIFF or WebP, whatever its name says"
        )
    try:
        pixels = _decode_tiff(content) if kind == "tiff" else _decode_pil(content, is_png=kind == "png")
        return np.ascontiguousarray(_native(pixels))
    except _DECODE_ERRORS as error:
        detail = _reason(error)
        where = f"{kind.upper()}, {len(content)} bytes"
        raise DataError(f"{path} cannot be decoded: {detail} ({where}); copy or export it again") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, (LookupError, UnidentifiedImageError)):
        return "its header is damaged or cut off"
    return str(error) or type(error).__name__


def _orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return np.rot90(pixels)
    return pixels


def _decode_pil(content: bytes, *, is_png: bool) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        # IHDR: bit depth, colour type. Pillow cuts 16-bit colour to 8 bits: OpenCV reads what Pillow checked.
        deep_colour = is_png and content[24] == 16 and content[25] != 0
        pixels = _decode_cv2(content) if deep_colour else _pil_pixels(image)
    return _orient(pixels, orientation)


def _pil_pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        return np.asarray(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode == "1" else "RGB"))


def _decode_cv2(content: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged or of an unknown kind")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        order = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = pixels[..., order]
    return pixels


def _tiff_orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None else 1


def _decode_tiff(content: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        plain = page.photometric in (
            tifffile.PHOTOMETRIC.MINISBLACK,
            tifffile.PHOTOMETRIC.MINISWHITE,
            tifffile.PHOTOMETRIC.RGB,
        )
        claimed = page.imagelength * page.imagewidth
        if claimed > _MAX_PIXELS:  # Pillow has the same guard for the other formats
            raise ValueError(f"its header claims {claimed} pixels; the most allowed is {_MAX_PIXELS}")
        if plain and _has_codec(page):
            pixels = page.asarray()
            if page.axes == "SYX":
                pixels = np.moveaxis(pixels, 0, -1)
            if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                pixels = _inverted(pixels)
            return _orient(pixels, _tiff_orientation(page))
        deep_colour = plain and page.samplesperpixel > 1 and page.bitspersample == 16
        orientation = _tiff_orientation(page)
    if deep_colour:  # Pillow has no mode for it; OpenCV has the codecs that tifffile lacks
        return _orient(_decode_cv2(content), orientation)
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # Pillow turns TIFF upright itself and then drops the tag
        return _orient(_pil_pixels(image), image.getexif().get(_ORIENTATION, 1))


def _has_codec(page: tifffile.TiffPage) -> bool:
    native = (
        tifffile.COMPRESSION.NONE,
        tifffile.COMPRESSION.ADOBE_DEFLATE,
        tifffile.COMPRESSION.DEFLATE,
    )
    return page.compression in native


def _inverted(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == bool:
        return ~pixels
    if not np.issubdtype(pixels.dtype, np.unsignedinteger):
        raise ValueError(f"white-is-zero pixels of type {pixels.dtype}; save it as 8 or 16 bits")
    return np.iinfo(pixels.dtype).max - pixels


def _native(pixels: np.ndarray) -> np.ndarray:
    """Bring decoded pixels to one of the six modes, or say why that cannot be."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"pixels of shape {pixels.shape}; allowed are 1 to 4 channels")
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if not pixels.size:
        raise ValueError("no pixels")
    low, high = pixels.min(), pixels.max()
    if np.issubdtype(pixels.dtype, np.floating):
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise ValueError(f"float pixels from {low:g} to {high:g}; bring them to [0, 1], 8 or 16 bits")
        return np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
    if low < 0 or high > 65535:
        raise ValueError(f"{pixels.dtype} pixels from {low} to {high}; save it as 8 or 16 bits")
    return pixels.astype(np.uint16)

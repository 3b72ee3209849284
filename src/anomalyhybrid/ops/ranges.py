"""Conversions between file values (uint8) and model values (float)."""

from __future__ import annotations

from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (Rec. 601), as grey images are read and written."""


def signed_from_u8(image_u8: Tensor) -> Tensor:
    """Map uint8 0..255 to float [-1, 1].

    Args:
        image_u8: uint8 tensor of any shape.

    Returns:
        float32 tensor of the same shape in [-1, 1].
    """
    return image_u8.float().div(127.5).sub_(1.0)


def u8_from_signed(image: Tensor) -> Tensor:
    """Map float [-1, 1] to uint8 0..255, rounded and clamped; the inverse of `signed_from_u8`."""
    return image.float().add(1.0).mul(127.5).round().clamp(0, 255).byte()


def unit_from_signed(image: Tensor) -> Tensor:
    """Map float [-1, 1] to [0, 1]."""
    return image.add(1.0).mul_(0.5)


def signed_from_unit(image: Tensor) -> Tensor:
    """Map float [0, 1] to [-1, 1]."""
    return image.mul(2.0).sub(1.0)

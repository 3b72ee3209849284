"""Pictures of a report: contact sheets beside real defects and failure cases, as data URIs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.pictures import SIDE, outlined, shrunk, uri

_QUALITY = 92  # of JPEG, without chroma subsampling


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image of a contact sheet.

    Attributes:
        image_u8: uint8 (H, W, 3), RGB.
        mask: Bool or uint8 (H, W), above 0 on the defect; its outline is drawn. None draws none.
        caption: May be empty.
    """

    image_u8: np.ndarray
    mask: np.ndarray | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Real defects and generated ones to compare.

    Attributes:
        title: For example category and defect type.
        real: Real defects, of the test part or the base set: say which in the caption.
        generated: Generated defects.
        caption: May be empty.
    """

    title: str
    real: Sequence[Picture]
    generated: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A test image that a method judged badly.

    Attributes:
        method: Its name, as in tables.
        image_u8: uint8 (H, W, 3), RGB.
        gt_mask: Bool or uint8 (H, W), above 0 on the defect; all 0 for a good image.
        map_u8: The anomaly map, uint8 (H, W); 255 is probability 1.
        caption: For example the file and its score; may be empty.
    """

    method: str
    image_u8: np.ndarray
    gt_mask: np.ndarray
    map_u8: np.ndarray
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture ready for a page: data URI, caption, alternative text."""

    source: str
    caption: str
    alt: str


def picture_shot(picture: Picture, what: str) -> Shot:
    """Make a contact sheet's picture ready.

    Raises:
        DataError: Not uint8 RGB, or a mask of another size.
    """
    image = _checked_image(picture.image_u8, what)
    if picture.mask is None:
        return Shot(uri(shrunk(image, SIDE), _QUALITY), picture.caption, what)
    mask = _checked_plane(picture.mask, image, f"mask of the {what}") > 0
    return Shot(uri(outlined(image, mask, SIDE), _QUALITY), picture.caption, f"{what} with the outline of its mask")


def failure_shots(failure: Failure) -> tuple[Shot, Shot, Shot]:
    """Make a failure case ready: the image, the outline of the truth, and the map in false colours.

    Raises:
        DataError: Not uint8, or sizes that differ.
    """
    what = f"failure case of {failure.method!r}"
    image = _checked_image(failure.image_u8, what)
    truth = _checked_plane(failure.gt_mask, image, f"truth of a {what}") > 0
    heat = _checked_plane(failure.map_u8, image, f"map of a {what}")
    if heat.dtype != np.uint8:
        raise DataError(f"map of a {what} is {heat.dtype}; give uint8, 255 for probability 1")
    coloured = np.asarray(cv2.applyColorMap(shrunk(heat, SIDE), cv2.COLORMAP_INFERNO))[..., ::-1]
    said = "truth" if truth.any() else "truth: a good image"
    return (
        Shot(uri(shrunk(image, SIDE), _QUALITY), "image", "test image"),
        Shot(uri(outlined(image, truth, SIDE), _QUALITY), said, "test image with the outline of its defect"),
        Shot(uri(coloured, _QUALITY), "map", "anomaly map"),
    )


def _checked_image(image: np.ndarray, what: str) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"the image of a {what} is {_kind(image)}; give uint8 (H, W, 3), RGB")
    if 0 in image.shape:
        raise DataError(f"the image of a {what} has shape {image.shape}; give one with pixels")
    return image


def _checked_plane(plane: np.ndarray, image: np.ndarray, what: str) -> np.ndarray:
    if not isinstance(plane, np.ndarray) or plane.dtype not in (np.bool_, np.uint8) or plane.ndim != 2:
        raise DataError(f"the {what} is {_kind(plane)}; give uint8 or bool (H, W)")
    if plane.shape != image.shape[:2]:
        raise DataError(f"the {what} has shape {plane.shape}, its image {image.shape[:2]}; resize one of them first")
    return plane


def _kind(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"

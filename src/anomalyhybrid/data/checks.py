"""Checks of a data folder: what one image's files show, and what the images of a category show together.

Nothing here raises for bad data: each fault becomes the kind of a `Finding` (``findings.KINDS``) that says what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.decoding import decode
from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.findings import LARGEST_MASK
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.near_duplicates import CORRELATION, EQUAL_CORRELATION, Thumbnails, near_pairs, thumbnails_of
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError

SAME_ASPECT = 1.05
"""Ratio of two aspects up to which squeezing both to the model's square looks the same."""
COLOURLESS = 4
"""Largest difference between channels, of 255, of a grey picture stored as colour."""
FAR = 16
"""A defect is far off the object when the object grown by the image's side over this does not reach it."""
_SIDE = 256  # of the squeezed image on which the object is sought
_MOST_TYPICAL = 2000  # images from which the typical correlation of a category is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one pass over an image's files has shown.

    Attributes:
        record: The image.
        faults: ``(kind, file, detail)`` of each fault of its files.
        size: ``(width, height)``; None when the image cannot be used, as for all that follows.
        mode: Channels and bits in words.
        colourless: Whether it is a grey picture, perhaps stored as colour.
        digest: Of size and pixels.
        view: Thumbnail of image and mask, one row.
        masked: Whether it has a mask that can be used.
    """

    record: Record
    faults: tuple[tuple[str, Path, str], ...] = field(default=())
    size: tuple[int, int] | None = None
    mode: str = ""
    colourless: bool = False
    digest: bytes = b""
    view: Thumbnails | None = None
    masked: bool = False


def look(record: Record) -> Seen:
    """Decode an image, its mask and its depth once, and note what is wrong with them.

    Args:
        record: The image; files that cannot be used become faults.

    Returns:
        What was seen.
    """
    try:
        image = load_image(record.path)
    except DataError as error:
        return Seen(record=record, faults=(("unreadable", record.path, _reason(error, record.path)),))
    pixels = image.pixels
    shape = (pixels.shape[0], pixels.shape[1])
    faults: list[tuple[str, Path, str]] = []
    mask = None
    if record.mask_path is not None:
        mask, found = check_mask(record.mask_path, shape)
        faults += [(kind, record.mask_path, detail) for kind, detail in found]
        if mask is not None and is_far_off(pixels, mask):
            faults.append(("off_object", record.path, ""))
    if record.depth_path is not None:
        try:  # which end is near is not known here: either may be, so negative numbers are no fault
            read_depth(record.depth_path, shape=shape, nearer_is_larger=True)
        except DataError as error:
            faults.append(("depth_unusable", record.depth_path, _reason(error, record.depth_path)))
    return Seen(
        record=record,
        faults=tuple(faults),
        size=(shape[1], shape[0]),
        mode=image.mode,
        colourless=is_colourless(pixels),
        digest=blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode()).digest(),
        view=thumbnails_of([pixels], [mask]),
        masked=mask is not None,
    )


def _reason(error: DataError, path: Path) -> str:
    """The error's text without the path, which the finding names itself."""
    text = str(error).replace(f"depth {path}", "").removeprefix(f"cannot read depth {path}: ")
    return text.removeprefix(str(path)).strip(" :")


def check_mask(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Load a mask as ``load_mask`` does, and say what is wrong with it.

    Args:
        path: The mask.
        shape: Height and width of its image.

    Returns:
        ``(mask, [(kind, detail)])``; bool (H, W), or None when it cannot be used.
    """
    try:
        pixels = decode(path)
    except DataError as error:
        return None, [("mask_unreadable", _reason(error, path))]
    if pixels.shape[:2] != shape:
        have = f"{pixels.shape[1]}x{pixels.shape[0]}, the image {shape[1]}x{shape[0]}"
        return None, [("mask_size", have)]
    values = pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=2))
    highest = int(levels[-1])
    if highest in (1, np.iinfo(values.dtype).max) and set(levels.tolist()) <= {0, highest}:
        mask = values > 0
        faults = []
    else:
        try:
            mask = load_mask(path, shape=shape)
        except DataError as error:
            return None, [("mask_empty", _reason(error, path))]
        faults = [] if len(levels) <= 2 else [("mask_grey", _lost(values, mask, len(levels)))]
    share = float(mask.mean())
    return mask, [*faults, ("mask_large", f"{share:.0%}")] if share > LARGEST_MASK else faults


def _lost(values: np.ndarray, mask: np.ndarray, levels: int) -> str:
    marked = np.count_nonzero(values)
    return f"{levels} values; {1 - np.count_nonzero(mask) / marked:.0%} of what is not 0 does not count"


def is_far_off(pixels: np.ndarray, mask: np.ndarray) -> bool:
    """Say whether a mask lies wholly outside the object and a margin of the image's side over `FAR`.

    Args:
        pixels: Native pixels.
        mask: Bool (H, W).

    Returns:
        False also for textures, where all of the image is the object.
    """
    found = object_mask(to_model_u8(pixels, _SIDE))
    reach = cv2.dilate(found.astype(np.uint8), np.ones((2 * (_SIDE // FAR) + 1,) * 2, np.uint8)) > 0
    return not (reach & mask_to_model(mask, _SIDE)).any()


def is_colourless(pixels: np.ndarray) -> bool:
    """Say whether native pixels show a grey picture, from a grid of at least 64 lines each way."""
    if pixels.ndim == 2:
        return True
    step = max(1, min(pixels.shape[:2]) // 64)
    sample = pixels[::step, ::step, :3].astype(np.int64)
    limit = COLOURLESS * (257 if pixels.dtype == np.uint16 else 1)
    return int((sample.max(axis=2) - sample.min(axis=2)).max()) <= limit


def odd_ones(seen: Sequence[Seen], feature: Callable[[Seen], object]) -> list[Seen]:
    """Those whose feature is not the most frequent one (of equally frequent ones the first seen)."""
    usual = Counter(feature(one) for one in seen).most_common(1)
    return [one for one in seen if feature(one) != usual[0][0]]


def near_equal(seen: Sequence[Seen], known: Sequence[Seen] | None = None) -> list[tuple[int, int]]:
    """Find good images that equal, or nearly equal, an earlier or a known one.

    The rule is that of ``near_duplicates.nearly_equal``; images of equal pixels count in any case, which matters where
    the known ones are too few or too alike to tell what all images of the product share.

    Args:
        seen: Readable images of one category.
        known: Readable images to compare with; None compares each with those before it.

    Returns:
        ``(i, j)``: image i nearly equals (of these most) image j of the known ones.
    """
    others = seen if known is None else known
    if not seen or not others:
        return []
    left, right = _rows(seen), _rows(others)
    typical = _typical(right)
    digests: dict[bytes, int] = {}
    for number, one in enumerate(others):
        digests.setdefault(one.digest, number)
    found: list[tuple[int, int]] = []
    for i, one in enumerate(seen):
        first = digests.get(one.digest)
        if first is not None and (known is not None or first < i):
            found.append((i, first))
            continue
        compared = right if known is not None else right[:i]
        if len(compared):
            likeness = compared @ left[i]
            j = int(likeness.argmax())
            excess = (likeness[j] - typical) / max(1 - typical, 1e-9)
            if likeness[j] > EQUAL_CORRELATION and excess > CORRELATION:
                found.append((i, j))
    return found


def same_defects(seen: Sequence[Seen]) -> list[tuple[int, int]]:
    """Find defects of one category that show one original: near-duplicates by ``near_pairs``, and equal pixels.

    Args:
        seen: Readable defects with usable masks.

    Returns:
        Pairs ``(i, j)``, i < j, in order.
    """
    if len(seen) < 2:
        return []
    views = [one.view for one in seen if one.view is not None]
    both = Thumbnails(image=_rows(seen), mask=np.concatenate([view.mask for view in views]))
    pairs = set(near_pairs(both, [one.record.defect for one in seen]))
    first: dict[bytes, int] = {}
    for number, one in enumerate(seen):
        if first.setdefault(one.digest, number) != number:
            pairs.add((first[one.digest], number))
    return sorted(pairs)


def _rows(seen: Sequence[Seen]) -> np.ndarray:
    return np.concatenate([one.view.image for one in seen if one.view is not None])


def _typical(rows: np.ndarray) -> float:
    """Median correlation of the images with each other, 0 for fewer than two."""
    rows = rows[:: 1 + (len(rows) - 1) // _MOST_TYPICAL]
    pairs = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(np.median(pairs)) if len(pairs) else 0.0

"""Near-duplicates: several images of one physical defect, which must not be on both sides of a split.

Some data sets photograph a part under several exposures or twice in a row (magnetic_tile: up to six exposures of a
tile). A split by files then shows the same defects on both sides, and whoever memorises wins. Two defect images of one
category and type are near-duplicates when

1. their masks agree: intersection over union above `MASK_IOU`, at `MASK_SIDE` pixels and after growing both by
   `MASK_GROWTH`, so that a hole of a few pixels that lies one pixel further still agrees;
2. the images differ by much less than images with defects in other places do: ``(c - typical) / (1 - typical)`` above
   `EXCESS`, where ``c`` is the correlation of the grey thumbnails and ``typical`` its median over such pairs;
3. what they do not share with every image of the product correlates above `CORRELATION`, in the whole image and in
   the part of it outside both masks: it is the partial correlation, given the mean of the images with defects
   elsewhere (of each what lies outside its mask).

A plain correlation does for surfaces without structure, but aligned products correlate whatever their defect is (any
two bottles: 0.98), a defect that fills its place has one mask (contamination of a bottle's bottom), and two dark spots
in one place look alike on different parts: hence 2, 3 and the part outside, where only the same part correlates.
Where fewer than `ENOUGH` images have their defects elsewhere, nothing tells what all images of the product share, and
nothing is called a near-duplicate.

Thumbnails have zero mean and unit variance: gain and offset of an exposure fall out. Groups are connected components.
The bounds were set on three data sets. Of magnetic_tile's 685 pairs of one type with masks that agree and close file
numbers (exposures of a tile are numbered one after the other) 597 meet all three; of bottle's 55 pairs and tire's 11
none does, the nearest with a correlation of 0.72.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.files import natural_key
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.records import Record

FIRST_SIDE = 256
"""Images and masks are squeezed to this side first, so that a copy of a data set at this size has the same groups."""
THUMBNAIL_SIDE = 48
"""Texture of a part is still visible, noise and JPEG blocks are averaged away."""
MASK_SIDE = 128
MASK_GROWTH = 2
"""Pixels at `MASK_SIDE` by which masks are grown before they are compared."""
MASK_IOU = 0.6
ELSEWHERE_IOU = 0.1
"""Grown masks that overlap less than this are defects in different places."""
EXCESS = 0.6
CORRELATION = 0.75
ENOUGH = 3
"""Images (or pairs of images) with defects elsewhere from which it is told what all images of a product share."""
LEAST_OUTSIDE = 0.1
"""Share of an image outside two masks from which it is compared by itself."""
EQUAL_CORRELATION = 0.98
"""Correlation above which good images may be nearly equal."""
_CHUNK = 512  # pairs that are compared at a time, which bounds the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """Small views of images, squeezed to squares.

    Attributes:
        image: Float64 (N, 48 * 48), each row of zero mean and length 1 (all 0 for a uniform image).
        mask: Bool (N, 128, 128); all False for good images.
    """

    image: np.ndarray
    mask: np.ndarray


def thumbnails_of(images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None]) -> Thumbnails:
    """Make thumbnails.

    Args:
        images: Native pixels, (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, of any sizes.
        masks: Bool (H, W) for each image, or None.

    Returns:
        The thumbnails, in order.

    Raises:
        DataError: An array of another shape or type.
    """
    views = [_view(image, mask) for image, mask in zip(images, masks, strict=True)]
    return _stacked(views)


def load_thumbnails(records: Sequence[Record]) -> Thumbnails:
    """Load thumbnails of images and masks from their files, in threads; the order is kept.

    Raises:
        DataError: A file cannot be read, or a mask is empty or of another size than its image.
    """

    def load(record: Record) -> tuple[np.ndarray, np.ndarray]:
        pixels = load_image(record.path).pixels
        shape = (pixels.shape[0], pixels.shape[1])
        return _view(pixels, load_mask(record.mask_path, shape=shape) if record.mask_path else None)

    with ThreadPoolExecutor() as threads:
        return _stacked(list(threads.map(load, records)))


def _view(pixels: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Normed thumbnail, float64 (48 * 48), and small mask, bool (128, 128)."""
    grey = cv2.cvtColor(to_model_u8(pixels, FIRST_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    values = small.astype(np.float64).ravel()
    values -= values.mean()
    length = np.linalg.norm(values)
    values = values / length if length > 1e-6 else np.zeros_like(values)
    if mask is None:
        return values, np.zeros((MASK_SIDE, MASK_SIDE), bool)
    return values, mask_to_model(mask_to_model(mask, FIRST_SIDE), MASK_SIDE)


def _stacked(views: Sequence[tuple[np.ndarray, np.ndarray]]) -> Thumbnails:
    if not views:
        return Thumbnails(image=np.zeros((0, THUMBNAIL_SIDE**2)), mask=np.zeros((0, MASK_SIDE, MASK_SIDE), bool))
    return Thumbnails(image=np.stack([image for image, _ in views]), mask=np.stack([mask for _, mask in views]))


def near_pairs(thumbnails: Thumbnails, kinds: Sequence[str]) -> list[tuple[int, int]]:
    """Find the near-duplicates among the defects of one category, by the rules at the head of this module.

    Args:
        thumbnails: Of N defect images of one category, of all types: the other types tell what images share.
        kinds: Defect type of each.

    Returns:
        Pairs ``(i, j)`` with ``i < j``, in order.
    """
    count = len(kinds)
    if count < 2:
        return []
    correlation = thumbnails.image @ thumbnails.image.T
    overlap = _overlaps(thumbnails.mask)
    elsewhere = overlap < ELSEWHERE_IOU
    others = correlation[np.triu(elsewhere, 1)]
    if len(others) < ENOUGH:
        return []
    typical = float(np.median(others))
    excess = (correlation - typical) / max(1 - typical, 1e-9)
    names = np.asarray(kinds)
    wanted = (names[:, None] == names[None]) & (overlap > MASK_IOU) & (excess > EXCESS)
    first, second = np.nonzero(np.triu(wanted, 1))
    outside = _outside(thumbnails.mask)
    found: list[tuple[int, int]] = []
    for start in range(0, len(first), _CHUNK):
        i, j = first[start : start + _CHUNK], second[start : start + _CHUNK]
        same = _own_correlation(thumbnails.image, elsewhere, outside, i, j) > CORRELATION
        found += zip(i[same].tolist(), j[same].tolist(), strict=True)
    return found


def _grown(masks: np.ndarray) -> np.ndarray:
    """Masks grown by `MASK_GROWTH`, uint8 (N, 128, 128)."""
    kernel = np.ones((2 * MASK_GROWTH + 1,) * 2, np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) for mask in masks])


def _overlaps(masks: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of grown masks, float32 (N, N); 0 for two empty ones."""
    grown = _grown(masks).reshape(len(masks), -1).astype(np.float32)
    common = grown @ grown.T
    area = np.diagonal(common)
    return common / np.maximum(area[:, None] + area[None] - common, 1)


def _outside(masks: np.ndarray) -> np.ndarray:
    """Which pixels of the thumbnails no grown mask touches, bool (N, 48 * 48)."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    covered = [cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) for mask in _grown(masks)]
    return np.stack(covered).reshape(len(masks), -1) < 1e-6


def _own_correlation(
    images: np.ndarray, elsewhere: np.ndarray, outside: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Partial correlation of pairs, given the mean of the images whose defects lie elsewhere than both, (P,).

    The smaller one of the whole image's and that outside both masks, where that is a tenth of the image at least;
    0 without enough such images.
    """
    chosen = (elsewhere[first] & elsewhere[second]).astype(np.float64)
    number = chosen.sum(axis=1)
    seen = chosen @ outside
    mean = np.where(seen > 0, chosen @ (images * outside) / np.maximum(seen, 1), 0)
    left, right = images[first], images[second]
    whole = _partial_correlation(left, right, mean, np.ones_like(left))
    around = outside[first] & outside[second]
    other = _partial_correlation(left, right, mean, around.astype(np.float64))
    least = np.where(around.mean(axis=1) >= LEAST_OUTSIDE, np.minimum(whole, other), whole)
    return np.where(number >= ENOUGH, least, 0)


def _partial_correlation(left: np.ndarray, right: np.ndarray, given: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Correlation of rows (P, M) with weights (P, M) that is not explained by a third row, of shape (P,)."""
    both = _weighted_correlation(left, right, weight)
    first, second = _weighted_correlation(left, given, weight), _weighted_correlation(right, given, weight)
    unexplained = (1 - first**2) * (1 - second**2)
    return np.where(unexplained > 1e-12, (both - first * second) / np.sqrt(np.maximum(unexplained, 1e-12)), 0)


def _weighted_correlation(left: np.ndarray, right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Correlation of rows (P, M) with weights (P, M), of shape (P,); 0 where a row does not vary."""
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1)
    left = left - (left * share).sum(axis=1, keepdims=True)
    right = right - (right * share).sum(axis=1, keepdims=True)
    lengths = (left**2 * share).sum(axis=1) * (right**2 * share).sum(axis=1)
    product = (left * right * share).sum(axis=1)
    return np.where(lengths > 1e-24, product / np.sqrt(np.maximum(lengths, 1e-24)), 0)


def group_numbers(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the connected components of ``count`` images, from 0 in the order of their first images."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(index), len(numbers)) for index in range(count)]


def duplicate_groups(records: Iterable[Record]) -> dict[Path, int]:
    """Number the originals of all defects; images of one number show the same physical defect.

    Args:
        records: Records in any order, good ones included; the order does not change the result.

    Returns:
        A number for the path of each defect; no number is in two categories or types.

    Raises:
        DataError: A file cannot be read.
    """
    by_category: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.is_good:
            by_category[record.category].append(record)
    groups: dict[Path, int] = {}
    start = 0
    for category in sorted(by_category, key=natural_key):
        own = sorted(by_category[category], key=lambda r: (natural_key(r.defect), natural_key(r.relative)))
        numbers = group_numbers(len(own), near_pairs(load_thumbnails(own), [record.defect for record in own]))
        groups |= {record.path: start + number for record, number in zip(own, numbers, strict=True)}
        start += max(numbers) + 1
    return groups


def describe_groups(records: Iterable[Record], groups: Mapping[Path, int]) -> list[str]:
    """Say of each category that has near-duplicates how many originals its defects are of."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in records:
        if not record.is_good:
            found[record.category].append(groups[record.path])
    return [
        f"{category}: {len(numbers)} defects are of {len(set(numbers))} different originals; near-duplicates stay on "
        "one side"
        for category, numbers in found.items()
        if len(set(numbers)) < len(numbers)
    ]


def nearly_equal(test: Thumbnails, train: Thumbnails) -> int:
    """Count good test images that nearly equal a good training image of the same category.

    Both must hold: a correlation above `EQUAL_CORRELATION`, and, against the median correlation of the training
    images with each other, rule 2 with the bound `CORRELATION`; the first alone holds for all images of an aligned
    product. Without two training images the median counts as 0.
    """
    if not len(test.image) or not len(train.image):
        return 0
    pairs = (train.image @ train.image.T)[np.triu_indices(len(train.image), 1)]
    typical = float(np.median(pairs)) if len(pairs) else 0.0
    nearest = (test.image @ train.image.T).max(axis=1)
    excess = (nearest - typical) / max(1 - typical, 1e-9)
    return int(((nearest > EQUAL_CORRELATION) & (excess > CORRELATION)).sum())

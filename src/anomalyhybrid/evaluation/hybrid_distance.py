"""How far a hybrid is from its parents, in colour and in shape, and two baselines that need no generator.

Images are compared in the model's square, whole animals squeezed to it, as the network sees them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.errors import DataError

_DIRECTIONS = 48
_QUANTILES = 256
_CANNY = (60, 140)  # of 8-bit grey, after a light blur: contours of wings and of their patches


def lab(image_u8: np.ndarray) -> np.ndarray:
    """Convert RGB to CIE Lab (D65).

    Args:
        image_u8: uint8 (H, W, 3).

    Returns:
        Float32 (H, W, 3): L in [0, 100], a and b about in [-128, 127].

    Raises:
        DataError: Another shape or type.
    """
    if image_u8.dtype != np.uint8 or image_u8.ndim != 3 or image_u8.shape[2] != 3:
        raise DataError(f"colours need uint8 (H, W, 3), not {image_u8.dtype} {image_u8.shape}; give 8-bit RGB")
    return cv2.cvtColor(image_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@lru_cache(maxsize=1)
def _directions() -> np.ndarray:
    """Float64 (3, D): unit vectors spread evenly over a half sphere (Fibonacci's spiral)."""
    number = np.arange(_DIRECTIONS) + 0.5
    height = 1 - number / _DIRECTIONS
    angle, radius = math.pi * (1 + math.sqrt(5)) * number, np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height])


def colour_distance(first: np.ndarray, first_mask: np.ndarray, second: np.ndarray, second_mask: np.ndarray) -> float:
    """Measure how differently two images are coloured inside their silhouettes, wherever the colours are.

    Twice the sliced Wasserstein-1 distance of the Lab pixels: the mean over 48 directions of the mean absolute
    difference of 256 quantiles. Two images that differ by one shift of all colours are that shift's length apart.

    Args:
        first: uint8 (H, W, 3), RGB.
        first_mask: Bool (H, W), its silhouette.
        second: uint8 (h, w, 3).
        second_mask: Bool (h, w).

    Returns:
        >= 0, in units of Lab (about 2.3 is just noticeable).

    Raises:
        DataError: A mask of another size, or an empty one.
    """
    steps = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    sides = []
    for image, mask in ((first, first_mask), (second, second_mask)):
        if mask.shape != image.shape[:2] or not mask.any():
            raise DataError(f"a silhouette of {mask.shape} with {int(mask.sum())} pixels for an image {image.shape}")
        sides.append(np.quantile(lab(image)[mask] @ _directions(), steps, axis=0))
    return 2 * float(np.abs(sides[0] - sides[1]).mean())


def silhouette_distance(first_mask: np.ndarray, second_mask: np.ndarray) -> float:
    """One minus the overlap (IoU) of two silhouettes, bool (S, S) each; 0 for equal ones.

    Raises:
        DataError: Other sizes, or two empty masks.
    """
    if first_mask.shape != second_mask.shape:
        raise DataError(f"silhouettes of {first_mask.shape} and {second_mask.shape}; squeeze both to one size")
    union = int((first_mask | second_mask).sum())
    if not union:
        raise DataError("both silhouettes are empty; overlap of nothing means nothing")
    return 1 - int((first_mask & second_mask).sum()) / union


def contours(image_u8: np.ndarray) -> np.ndarray:
    """Find contours of an image by Canny on its grey values; bool (H, W).

    They are not the maps that generators read, so that no generator is judged by its own extractor.
    """
    grey = cv2.cvtColor(image_u8, cv2.COLOR_RGB2GRAY)
    return cv2.Canny(cv2.GaussianBlur(grey, (0, 0), 1.2), *_CANNY) > 0


def chamfer_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance from each contour pixel of one image to the nearest of the other, averaged over both ways.

    Args:
        first: Bool (S, S).
        second: Bool (S, S).

    Returns:
        Pixels; 0 for equal ones. The diagonal where one image has no contour at all.

    Raises:
        DataError: Other sizes.
    """
    if first.shape != second.shape:
        raise DataError(f"contours of {first.shape} and {second.shape}; squeeze both images to one size")
    if not first.any() or not second.any():
        return 0.0 if first.any() == second.any() else math.hypot(*first.shape)
    near = [
        cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for edges in (first, second)
    ]
    return float(near[1][first].mean() + near[0][second].mean()) / 2


def silhouette(image_u8: np.ndarray) -> np.ndarray | None:
    """Find the animal; None where no background is seen, as in a hybrid whose surroundings are smeared.

    Args:
        image_u8: uint8 (S, S, 3).
    """
    found = object_mask(image_u8)
    return None if found.all() else found


@dataclass(frozen=True, slots=True)
class Distance:
    """One kind of distance among a hybrid and its parents.

    Attributes:
        to_reference: From the hybrid to the reference.
        to_target: From the hybrid to the target.
        between_parents: From the reference to the target.
    """

    to_reference: float
    to_target: float
    between_parents: float

    @property
    def place(self) -> float:
        """Where the hybrid stands: 0 at the reference, 1 at the target, 0.5 as far from both; NaN if it is both."""
        total = self.to_reference + self.to_target
        return self.to_reference / total if total else math.nan

    @property
    def is_between(self) -> bool:
        """Whether the hybrid is nearer each parent than they are to one another."""
        return max(self.to_reference, self.to_target) < self.between_parents


def summarise_distances(distances: Sequence[Distance]) -> dict[str, float]:
    """Means and shares of one kind of distance over many hybrids.

    Args:
        distances: At least one.

    Returns:
        ``to_reference``, ``to_target``, ``between_parents``, ``place`` (means); ``nearer_reference``, ``between``
        (shares in [0, 1]; equally far counts as half).

    Raises:
        DataError: Nothing to summarise.
    """
    if not distances:
        raise DataError("there are no distances to summarise; measure at least one hybrid")
    count = len(distances)
    nearer = [(d.to_reference < d.to_target) + 0.5 * (d.to_reference == d.to_target) for d in distances]
    means = {
        name: sum(getattr(d, name) for d in distances) / count
        for name in ("to_reference", "to_target", "between_parents")
    }
    return means | {
        "place": float(np.nanmean([d.place for d in distances]))
        if any(d.place == d.place for d in distances)
        else math.nan,
        "nearer_reference": sum(nearer) / count,
        "between": sum(d.is_between for d in distances) / count,
    }


def average(reference_u8: np.ndarray, target_u8: np.ndarray) -> np.ndarray:
    """Baseline: the plain average of both parents, the reference squeezed to the target's size.

    Args:
        reference_u8: uint8 (h, w, 3).
        target_u8: uint8 (H, W, 3).

    Returns:
        uint8 (H, W, 3).
    """
    height, width = target_u8.shape[:2]
    squeezed = cv2.resize(reference_u8, (width, height), interpolation=cv2.INTER_AREA)
    return ((squeezed.astype(np.uint16) + target_u8 + 1) // 2).astype(np.uint8)


def colour_transfer(
    reference_u8: np.ndarray, reference_mask: np.ndarray, target_u8: np.ndarray, target_mask: np.ndarray
) -> np.ndarray:
    """Baseline: give the target's silhouette the mean and deviation of the reference's Lab colours.

    Args:
        reference_u8: uint8 (h, w, 3).
        reference_mask: Bool (h, w), its silhouette.
        target_u8: uint8 (H, W, 3).
        target_mask: Bool (H, W).

    Returns:
        uint8 (H, W, 3); outside the silhouette the target.

    Raises:
        DataError: An empty silhouette, or one of another size.

    Source: Reinhard et al. 2001, in CIE Lab instead of l-alpha-beta.
    """
    for image, mask in ((reference_u8, reference_mask), (target_u8, target_mask)):
        if mask.shape != image.shape[:2] or not mask.any():
            raise DataError(f"a silhouette of {mask.shape} with {int(mask.sum())} pixels for an image {image.shape}")
    wanted, own = lab(reference_u8)[reference_mask], lab(target_u8)
    inside = own[target_mask]
    scale = wanted.std(axis=0) / np.maximum(inside.std(axis=0), 1e-3)
    moved = (inside - inside.mean(axis=0)) * scale + wanted.mean(axis=0)
    changed = own.copy()
    changed[target_mask] = moved
    rgb = np.rint(np.clip(cv2.cvtColor(changed.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255).astype(np.uint8)
    return np.where(target_mask[..., None], rgb, target_u8)

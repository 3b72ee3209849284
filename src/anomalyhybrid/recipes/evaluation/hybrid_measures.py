"""Do hybrids lie between their parents: distances of a generated set, beside a plain average and a colour transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.files import resolve_inside
from anomalyhybrid.data.loading import load_image, to_model_u8, to_rgb_u8
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.hybrid_distance import (
    Distance,
    average,
    chamfer_distance,
    colour_distance,
    colour_transfer,
    contours,
    silhouette,
    silhouette_distance,
    summarise_distances,
)
from anomalyhybrid.evaluation.lpips import Lpips
from anomalyhybrid.generation.hybrid_rows import HYBRID, read_hybrid_rows
from anomalyhybrid.generation.manifest import read_dataset
from anomalyhybrid.ops.ranges import signed_from_u8

KINDS = ("colour", "silhouette", "contours", "lpips")
"""Distances that are measured; `colour` is appearance, `silhouette` and `contours` are shape, `lpips` sees both."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one image is compared by, in the model's square.

    Attributes:
        image_u8: uint8 (S, S, 3).
        mask: Its silhouette, bool (S, S); None where none was found.
        edges: Its contours, bool (S, S).
        embedded: LPIPS vector, float (1, D); None without the network.
    """

    image_u8: np.ndarray
    mask: np.ndarray | None
    edges: np.ndarray
    embedded: Tensor | None


class _Looker:
    """Turns pixels into looks; parents are kept, since each has many hybrids."""

    def __init__(self, size: int, lpips: Lpips | None) -> None:
        self.size, self.lpips = size, lpips
        self._known: dict[Path, tuple[np.ndarray, Look]] = {}

    def look(self, pixels: np.ndarray) -> Look:
        image = to_model_u8(pixels, self.size)
        embedded = None
        if self.lpips is not None:
            with torch.inference_mode():
                embedded = self.lpips.embed(signed_from_u8(torch.from_numpy(image).permute(2, 0, 1)[None]))
        return Look(image, silhouette(image), contours(image), embedded)

    def parent(self, path: Path) -> tuple[np.ndarray, Look]:
        if path not in self._known:
            pixels = to_rgb_u8(load_image(path).pixels)
            look = self.look(pixels)
            if look.mask is None:
                raise DataError(f"{path} shows no silhouette on a smooth background; distances need one")
            self._known[path] = pixels, look
        return self._known[path]


def distances(hybrid: Look, reference: Look, target: Look) -> dict[str, Distance]:
    """Measure one hybrid.

    Args:
        hybrid: The generated image; without a silhouette of its own it is measured on the target's, and its
            silhouette distance is left out.
        reference: Its first parent.
        target: Its second parent.

    Returns:
        Distances by kind.
    """

    def between(measure: Callable[[Look, Look], float]) -> Distance:
        return Distance(measure(hybrid, reference), measure(hybrid, target), measure(reference, target))

    def masked(look: Look) -> np.ndarray:
        mask = target.mask if look.mask is None else look.mask
        assert mask is not None, "parents have silhouettes"
        return mask

    def colour(one: Look, two: Look) -> float:
        return colour_distance(one.image_u8, masked(one), two.image_u8, masked(two))

    found = {"colour": between(colour)}
    if hybrid.mask is not None:
        found["silhouette"] = between(lambda one, two: silhouette_distance(masked(one), masked(two)))
    found["contours"] = between(lambda one, two: chamfer_distance(one.edges, two.edges))
    if hybrid.embedded is not None:
        found["lpips"] = between(_perceptual)
    return found


def _perceptual(one: Look, two: Look) -> float:
    assert one.embedded is not None
    assert two.embedded is not None
    return float((one.embedded - two.embedded).square().sum())


def measure_hybrids(
    dataset: Path,
    *,
    lpips: Lpips | None = None,
    size: int = 256,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a set of hybrids and both baselines on the same parents.

    Args:
        dataset: Folder of the set; its data must still be where they were.
        lpips: On the CPU; None leaves that distance out.
        size: Side of the square in which images are compared.
        report: Given hybrids done and in all.

    Returns:
        By method (``ours, ahd``, ``ours, ahe``, ``average``, ``colour transfer``): figures of each kind of distance
        (`summarise_distances`), ``images``, and ``without_silhouette``, the images whose surroundings hid theirs.

    Raises:
        DataError: No set of hybrids, no hybrid in it, or a parent without a silhouette.
    """
    rows = [row for row in read_hybrid_rows(dataset) if row.defect == HYBRID]
    if not rows:
        raise DataError(f"{dataset} holds no hybrid to measure")
    root = Path(dataset) / read_dataset(dataset)["data_root"]
    looker = _Looker(size, lpips)
    found: dict[str, list[dict[str, Distance]]] = {}
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, 1):
        reference, target = (looker.parent(resolve_inside(root, path)) for path in (str(row.reference), row.target))
        made = looker.look(load_image(resolve_inside(dataset, row.image)).pixels)
        found.setdefault(f"ours, {row.decoder}", []).append(distances(made, reference[1], target[1]))
        if (str(row.reference), row.target) not in seen:
            seen.add((str(row.reference), row.target))
            for name, pixels in baselines(reference[0], target[0]).items():
                found.setdefault(name, []).append(distances(looker.look(pixels), reference[1], target[1]))
        if report is not None:
            report(number, len(rows))
    return {method: _summary(own) for method, own in found.items()}


def _summary(own: list[dict[str, Distance]]) -> dict[str, Any]:
    by_kind = {kind: [one[kind] for one in own if kind in one] for kind in KINDS}
    figures: dict[str, Any] = {kind: summarise_distances(values) for kind, values in by_kind.items() if values}
    return figures | {"images": len(own), "without_silhouette": len(own) - len(by_kind["silhouette"])}


def baselines(reference_u8: np.ndarray, target_u8: np.ndarray) -> dict[str, np.ndarray]:
    """Make what needs no generator of two parents.

    Args:
        reference_u8: uint8 (h, w, 3).
        target_u8: uint8 (H, W, 3).

    Returns:
        ``average`` and ``colour transfer``, uint8 (H, W, 3) each.
    """
    masks = [_native_silhouette(pixels) for pixels in (reference_u8, target_u8)]
    return {
        "average": average(reference_u8, target_u8),
        "colour transfer": colour_transfer(reference_u8, masks[0], target_u8, masks[1]),
    }


def _native_silhouette(pixels: np.ndarray) -> np.ndarray:
    """Silhouette at the image's own size; all of it where none is seen."""
    found = silhouette(to_model_u8(pixels, 256))
    if found is None:
        return np.ones(pixels.shape[:2], bool)
    height, width = pixels.shape[:2]
    return cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0

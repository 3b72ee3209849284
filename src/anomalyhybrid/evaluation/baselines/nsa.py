"""NSA: patches of other good images, resized and Poisson-blended onto the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import torch

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.baselines.drawing import ATTEMPTS, BLOCK, Candidates, check_good, draw_all, synthetic
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.seeding import derive

Clone = Literal["normal", "mixed"]
LEAST_AREA = 24  # pixels at 256 of a mask
PLACES = 200  # tried for each patch, as in the paper's code
NEIGHBOURHOOD = 3.0  # pixels at 256 (deviation of a Gaussian) over which a change is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class NsaConfig:
    """How patches are drawn; the defaults are the paper's."""

    clone: Clone = "normal"
    """Poisson blending with the patch's gradients (``normal``) or the stronger of both (``mixed``)."""
    patches: int = 3
    """Most patches in an image; each after the first is added with probability 1/2."""
    half_side: tuple[float, float] = (0.03, 0.4)
    """Bounds of a patch's half side as shares of the image; drawn as the first bound plus Gamma(2, 0.05)."""
    resize: tuple[float, float] = (0.7, 1.3)
    """Bounds of the resize, drawn from N(1, 0.5)."""
    least_object: float = 0.7
    """Share of a patch that lies on its own object."""
    least_overlap: float = 0.25
    """Share of a patch's object that falls on the target's object."""
    least_change: float = 4.0
    """Change in 1/255, averaged over channels and neighbours, from which a pixel is anomalous. The paper's binary
    labels take 1 without averaging; its intensity labels pass 1/2 at 3 to 24, by category."""

    def __post_init__(self) -> None:
        if self.clone not in get_args(Clone):
            raise ConfigError(f"nsa.clone is {self.clone!r}; choose one of {get_args(Clone)}")
        if not 1 <= self.patches <= 16:
            raise ConfigError(f"nsa.patches is {self.patches}; it must lie between 1 and 16")
        if not 0 < self.half_side[0] <= self.half_side[1] <= 0.45:
            raise ConfigError(f"nsa.half_side is {self.half_side}; give 0 < first <= second <= 0.45")
        if not 0 < self.resize[0] <= self.resize[1] <= 4:
            raise ConfigError(f"nsa.resize is {self.resize}; give two scales with 0 < first <= second <= 4")
        for name in ("least_object", "least_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"nsa.{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if not 0 < self.least_change <= 128:
            raise ConfigError(f"nsa.least_change is {self.least_change}; it must lie above 0 and at most be 128")


@dataclass(frozen=True, slots=True)
class _Picture:
    """Pixels uint8 (S, S, 3) and object uint8 (S, S) of 0 and 1."""

    pixels: np.ndarray
    object: np.ndarray


@dataclass(frozen=True, slots=True)
class _Patch:
    """A patch at its place: pixels, where it or the target has object, and its upper left corner (row, column)."""

    pixels: np.ndarray
    inside: np.ndarray
    corner: tuple[int, int]


def nsa(good: ImageSet, count: int, seed: int, *, config: NsaConfig | None = None, block: int = BLOCK) -> Samples:
    """Blend patches of another good image onto each image; one image at a time on the CPU.

    Where the paper separates the object by the background's brightness, the images' object masks are used.

    Args:
        good: Good images of one category, at least two.
        count: Images to make.
        seed: Root seed; image i is the same whatever `count` and `block` are.
        config: Strengths.
        block: Images drawn together.

    Returns:
        Samples of the type ``synthetic`` on the device of `good`; masks are the pixels that changed noticeably.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: Fewer than two good images, several categories, or another shape.

    Source: Schlueter et al. 2022 (Natural Synthetic Anomalies), Shift setting with binary labels; values as in its
    code for MVTec AD.
    """
    check_good(good, count, block, least=2)
    settings = config or NsaConfig()
    device = good.color_u8.device
    pixels = good.color_u8.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    objects = (good.object_u8[:, 0] > 127).to(torch.uint8).cpu().numpy()
    full = objects.any(axis=(1, 2))
    objects[~full] = 1  # an empty object mask counts as full
    least_area = max(1, round(LEAST_AREA * (pixels.shape[1] / 256) ** 2))

    def draw(indices: Sequence[int], attempt: int) -> Candidates:
        made = []
        for index in indices:
            rng = np.random.default_rng(derive(seed, "nsa", index, attempt))
            first, second = rng.choice(len(good), size=2, replace=False)
            target, donor = _Picture(pixels[first], objects[first]), _Picture(pixels[second], objects[second])
            image, region = _draw_one(rng, target, donor, settings, last=attempt == ATTEMPTS - 1)
            made.append((target.pixels.transpose(2, 0, 1), image.transpose(2, 0, 1), region[None]))
        good_u8, image_u8, region = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*made, strict=True))
        return Candidates(
            good_u8=good_u8, image_u8=image_u8, region=region, fits=region.sum(dim=(1, 2, 3)) >= least_area
        )

    return synthetic(*draw_all(draw, count, block))


def _draw_one(
    rng: np.random.Generator, target: _Picture, donor: _Picture, config: NsaConfig, *, last: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One image, uint8 (S, S, 3), and its region, bool (S, S); the last attempt is never empty."""
    image, touched = target.pixels, np.zeros(target.object.shape, bool)
    for number in range(config.patches):
        if number and rng.random() < 0.5:
            continue
        patch = _find_patch(rng, target, donor, config, anywhere=last)
        if patch is None:
            continue
        image = poisson_paste(image, patch.pixels, patch.inside, patch.corner, config.clone)
        top, left = patch.corner
        height, width = patch.inside.shape
        touched[top : top + height, left : left + width] |= patch.inside > 0
    change = np.abs(image.astype(np.float32) - target.pixels).mean(axis=2)
    change = cv2.GaussianBlur(change, (0, 0), NEIGHBOURHOOD * len(image) / 256)
    region = (change >= config.least_change) & touched
    if last and not region.any():
        region = touched
    return image, region


def _half_side(rng: np.random.Generator, size: int, config: NsaConfig) -> int:
    low, high = (share * size for share in config.half_side)
    return max(2, round(float(np.clip((config.half_side[0] + rng.gamma(2.0, 0.05)) * size, low, high))))


def _find_patch(
    rng: np.random.Generator, target: _Picture, donor: _Picture, config: NsaConfig, *, anywhere: bool
) -> _Patch | None:
    """A patch of the donor that shows its object, at a place where the objects overlap; None if none is found.

    Args:
        rng: Random numbers.
        target: What the patch will be put on.
        donor: What it is cut from.
        config: Bounds.
        anywhere: Take the first patch and place, whatever they show.
    """
    size = len(donor.object)
    half = np.array([_half_side(rng, size, config) for _ in range(2)])
    box = None
    least = max(2, round(config.half_side[0] * size))
    for _ in range(PLACES):
        centre = rng.integers(least, size - least, size=2)
        low, high = np.maximum(centre - half, 0), np.minimum(centre + half, size)
        if anywhere or donor.object[low[0] : high[0], low[1] : high[1]].mean() > config.least_object:
            box = (slice(low[0], high[0]), slice(low[1], high[1]))
            break
    if box is None:
        return None
    wanted = np.array(donor.object[box].shape)
    scale = float(np.clip(rng.normal(1.0, 0.5), *config.resize))
    height, width = (int(side) for side in np.clip(np.rint(wanted * scale), 5, 2 * config.half_side[1] * size))
    height, width = min(height, size - 2), min(width, size - 2)
    pixels = cv2.resize(donor.pixels[box], (width, height), interpolation=cv2.INTER_LINEAR)
    shown = cv2.resize(donor.object[box], (width, height), interpolation=cv2.INTER_NEAREST)
    for _ in range(PLACES):
        top, left = int(rng.integers(1, size - height)), int(rng.integers(1, size - width))
        below = target.object[top : top + height, left : left + width]
        overlap = (below & shown).sum() / max(int(shown.sum()), 1)
        if anywhere or overlap > config.least_overlap:
            inside = np.ones_like(shown) if anywhere else shown | below
            return _Patch(pixels=pixels, inside=inside, corner=(top, left))
    return None


def poisson_paste(
    image: np.ndarray, patch: np.ndarray, inside: np.ndarray, corner: tuple[int, int], clone: Clone
) -> np.ndarray:
    """Blend a patch seamlessly into an image.

    The whole rectangle but its outermost pixels is solved, so that the object's outline in the patch has no seam;
    pixels that show no object in either image keep the target's values.

    Args:
        image: uint8 (H, W, 3).
        patch: uint8 (h, w, 3), h and w at least 5.
        inside: uint8 (h, w) of 0 and 1, pixels that are taken over.
        corner: Row and column of the patch's upper left pixel; the patch must fit into the image.
        clone: ``normal`` or ``mixed``.

    Returns:
        uint8 (H, W, 3), equal to the image outside `inside`.

    Source: Perez et al. 2003; OpenCV's ``seamlessClone``.
    """
    (top, left), (height, width) = corner, patch.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[1:-1, 1:-1] = 255
    centre = (left + 1 + (width - 2) // 2, top + 1 + (height - 2) // 2)
    flag = cv2.NORMAL_CLONE if clone == "normal" else cv2.MIXED_CLONE
    solved = cv2.seamlessClone(patch, image, mask, centre, flag)
    place = (slice(top, top + height), slice(left, left + width))
    result = image.copy()
    result[place] = np.where(inside[..., None] > 0, solved[place], image[place])
    return result

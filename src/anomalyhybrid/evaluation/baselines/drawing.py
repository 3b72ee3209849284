"""What all baselines share: checks of their input, one random stream for each image, redraws, the mask contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.seeding import stream

ATTEMPTS = 8  # candidates for each image; the last one is taken as it is
BLOCK = 64  # images that are drawn together
SYNTHETIC = ("synthetic",)  # defect type of baselines that know none
LEAST_SIDE = 16


@dataclass(frozen=True, slots=True)
class Candidates:
    """One candidate for each image of a block.

    Attributes:
        good_u8: The good images, uint8 (B, 3, S, S).
        image_u8: With the anomaly, uint8 (B, 3, S, S).
        region: Where the anomaly is, bool (B, 1, S, S).
        fits: Whether the candidate is taken, bool (B,).
    """

    good_u8: Tensor
    image_u8: Tensor
    region: Tensor
    fits: Tensor


Draw = Callable[[Sequence[int], int], Candidates]
"""Makes candidates for numbered images; the last attempt (`ATTEMPTS` - 1) must not give an empty region."""


def draws_of(seed: int, name: str, indices: Sequence[int], attempt: int, device: torch.device, columns: int) -> Draws:
    """Random rows, each from the stream of its own image, so that they do not depend on the block."""
    return Draws.from_streams([stream(seed, name, index, attempt) for index in indices], columns).to(device)


def check_good(good: ImageSet, count: int, block: int, *, least: int = 1) -> None:
    """Check the good images that anomalies are put on.

    Args:
        good: Images of one category.
        count: Images asked for.
        block: Images drawn together.
        least: Good images that are needed.

    Raises:
        ConfigError: No image asked for, or an empty block.
        DataError: Too few images, another type or shape, or several categories.
    """
    if count < 1 or block < 1:
        raise ConfigError(f"count is {count} and block is {block}; both must be at least 1")
    if len(good) < least:
        raise DataError(f"there are {len(good)} good images; this baseline needs at least {least}")
    check_sides(good, "good")
    if int(good.category.min()) != int(good.category.max()):
        raise DataError(f"the good images are of {len(good.category.unique())} categories; give those of one")


def check_sides(images: ImageSet, name: str) -> None:
    """Check that images and masks are squares of one size.

    Raises:
        DataError: Another type or shape.
    """
    side = images.color_u8.shape[-1]
    if side < LEAST_SIDE:
        raise DataError(f"the {name} images are {side} pixels wide; baselines need at least {LEAST_SIDE}")
    wanted = {"color_u8": 3, "region_u8": 1, "object_u8": 1}
    for field, channels in wanted.items():
        values = getattr(images, field)
        if values.dtype != torch.uint8 or values.shape != (len(images), channels, side, side):
            raise DataError(
                f"{field} of the {name} images is {values.dtype} {tuple(values.shape)}; "
                f"it must be uint8 {(len(images), channels, side, side)}"
            )


def visible(candidate_u8: Tensor, good_u8: Tensor, region: Tensor, least: float) -> Tensor:
    """Whether images change by `least` / 255 or more in the mean over their regions, bool (B,)."""
    change = (candidate_u8.float() - good_u8.float()).abs().mean(dim=1, keepdim=True) * region
    area = region.sum(dim=(1, 2, 3))
    return (area > 0) & (change.sum(dim=(1, 2, 3)) >= least * area)


def draw_all(draw: Draw, count: int, block: int) -> tuple[Tensor, Tensor]:
    """Draw numbered images block by block; those whose candidate does not fit are drawn again.

    Returns:
        Images, uint8 (count, 3, S, S), equal to the good ones outside the masks, and masks, uint8
        (count, 1, S, S), 255 in the region.
    """
    images, masks = [], []
    for start in range(0, count, block):
        indices = list(range(start, min(start + block, count)))
        best = draw(indices, 0)
        good_u8, image_u8, region = best.good_u8.clone(), best.image_u8.clone(), best.region.clone()
        missing = (~best.fits).nonzero()[:, 0]
        for attempt in range(1, ATTEMPTS):
            if not len(missing):
                break
            again = draw([indices[place] for place in missing.tolist()], attempt)
            good_u8[missing], image_u8[missing], region[missing] = again.good_u8, again.image_u8, again.region
            missing = missing[~again.fits]
        assert bool(region.flatten(1).any(dim=1).all()), "a baseline gave an empty mask"
        images.append(torch.where(region, image_u8, good_u8))
        masks.append(region.to(torch.uint8) * 255)
    return torch.cat(images), torch.cat(masks)


def synthetic(image_u8: Tensor, mask_u8: Tensor) -> Samples:
    """Samples of the one defect type `SYNTHETIC`."""
    kind = torch.zeros(len(image_u8), dtype=torch.long, device=image_u8.device)
    return Samples(image_u8=image_u8, mask_u8=mask_u8, kind=kind, kinds=SYNTHETIC)

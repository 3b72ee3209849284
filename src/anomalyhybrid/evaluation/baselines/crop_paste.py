"""CropPaste: real defects of the base set pasted on good images, placed and warped as ours are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.drawing import (
    ATTEMPTS,
    BLOCK,
    Candidates,
    check_good,
    check_sides,
    draw_all,
    draws_of,
)
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.manipulate.operations import region_frame
from anomalyhybrid.manipulate.placement import draw_bend, object_point, suit_placement
from anomalyhybrid.manipulate.symmetry import Symmetry, symmetry_of
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8, u8_from_signed
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.ops.warp import affine_grid, bent_grid, sample, similarity_matrix

Placement = Literal["suited", "free"]
LEAST_AREA = 24  # pixels that a pasted defect keeps, or a quarter of its own where that is less


@dataclass(frozen=True, slots=True, kw_only=True)
class CropPasteConfig:
    """How defects are placed and warped."""

    placement: Placement = "suited"
    """``suited``: as ours, turned and flipped within the product's symmetry, where the surroundings agree.
    ``free``: any flip, any turn, scale 0.6 to 1.4, anywhere on the object."""
    tps_share: float = 1.0
    """Share of defects that are bent by a local thin-plate spline."""
    tps_shift: float = 0.15
    """Largest shift of a control point as a share of the window's half side, as in training (ADR-003)."""

    def __post_init__(self) -> None:
        if self.placement not in get_args(Placement):
            raise ConfigError(f"crop_paste.placement is {self.placement!r}; choose one of {get_args(Placement)}")
        if not 0 <= self.tps_share <= 1:
            raise ConfigError(f"crop_paste.tps_share is {self.tps_share}; it must lie between 0 and 1")
        if not 0 <= self.tps_shift <= 0.3:
            raise ConfigError(f"crop_paste.tps_shift is {self.tps_shift}; keep it between 0 and 0.3 (0.2 can fold)")


def crop_paste(
    good: ImageSet,
    base: ImageSet,
    kinds: tuple[str, ...],
    base_kind: Tensor,
    count: int,
    seed: int,
    *,
    types: Literal["equal", "base"] = "equal",
    config: CropPasteConfig | None = None,
    block: int = BLOCK,
) -> Samples:
    """Paste real defects on good images: no generator, no levelling, no blending.

    Types take turns, so that each gets an equal share, and of a type base images are drawn uniformly; or all base
    images take turns, so that types are as frequent as among them.

    Args:
        good: Good images of one category.
        base: Real defects of the same category, each with a region.
        kinds: Names of the defect types.
        base_kind: Index into `kinds` of each base image, long (len(base),).
        count: Images to make.
        seed: Root seed; image i is the same whatever `count` and `block` are.
        types: ``equal`` or ``base``, as above.
        config: Placement and warps.
        block: Images drawn together.

    Returns:
        Samples on the device of `good`; masks are the pasted pixels, `kind` is the base defect's type.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: No good or base image, several categories, sizes that differ, types that do not fit, or a base
            image without a region.

    Source: the CropPaste row of the compared papers; placement by `manipulate.placement`, as `generation` uses it.
    """
    check_good(good, count, block)
    settings = config or CropPasteConfig()
    device = good.color_u8.device
    base, base_kind = base.to(device), base_kind.to(device)
    _check_base(good, base, kinds, base_kind)
    symmetry = symmetry_of(good.color_u8)
    present = base_kind.unique() if types == "equal" else base_kind  # sorted; or each image is a group of its own
    members = [(base_kind == number).nonzero()[:, 0].tolist() for number in present]
    if types == "base":
        members = [[row] for row in range(len(base))]

    def draw(indices: Sequence[int], attempt: int) -> Candidates:
        draws = draws_of(seed, "crop_paste", indices, attempt, device, columns=1024)
        targets = good[draws.index(len(good))]
        share = draws.uniform().tolist()
        turns = [members[index % len(members)] for index in indices]
        rows = [turn[min(int(part * len(turn)), len(turn) - 1)] for turn, part in zip(turns, share, strict=True)]
        return _paste(draws, targets, base[torch.tensor(rows, device=device)], symmetry, settings, attempt)

    image_u8, mask_u8 = draw_all(draw, count, block)
    kind = present[torch.arange(count, device=device) % len(present)]
    return Samples(image_u8=image_u8, mask_u8=mask_u8, kind=kind, kinds=kinds)


def _check_base(good: ImageSet, base: ImageSet, kinds: tuple[str, ...], base_kind: Tensor) -> None:
    if not len(base):
        raise DataError("there are no base images; CropPaste needs at least one real defect with its mask")
    check_sides(base, "base")
    if base.color_u8.shape[-1] != good.color_u8.shape[-1]:
        raise DataError(
            f"base images are {base.color_u8.shape[-1]} pixels wide and good images {good.color_u8.shape[-1]}; "
            "load both at one size"
        )
    if bool((base.category != good.category[0]).any()):
        raise DataError("base images and good images are of different categories; give those of one")
    if not kinds or len(set(kinds)) != len(kinds):
        raise DataError(f"defect types are {kinds}; give at least one name, each once")
    if base_kind.shape != (len(base),) or base_kind.is_floating_point():
        raise DataError(f"base_kind has shape {tuple(base_kind.shape)}; give a long index for each of {len(base)}")
    if int(base_kind.min()) < 0 or int(base_kind.max()) >= len(kinds):
        raise DataError(
            f"base_kind runs from {int(base_kind.min())} to {int(base_kind.max())}; there are {len(kinds)} types"
        )
    empty = (~(base.region_u8 > 127).flatten(1).any(dim=1)).nonzero()[:, 0].tolist()
    if empty:
        raise DataError(f"base images number {empty[:10]} have an empty mask; leave them out or mend their masks")


def _free_placement(draws: Draws, object_mask: Tensor, region_mask: Tensor) -> Tensor:
    """Any flip, turn and scale about the region's centre, carried to a point of the object, float (B, 2, 3)."""
    flip = torch.stack([draws.signs(), draws.signs()], dim=1)
    centre, _ = region_frame(region_mask)
    point = object_point(draws, object_mask)
    turn = draws.uniform(0, 2 * torch.pi)
    return similarity_matrix(draws.log_uniform(0.6, 1.4), turn, point - centre, flip, pivot_B2=centre)


def _paste(
    draws: Draws, targets: ImageSet, defects: ImageSet, symmetry: Symmetry, config: CropPasteConfig, attempt: int
) -> Candidates:
    size = targets.color_u8.shape[-1]
    target, color = signed_from_u8(targets.color_u8), signed_from_u8(defects.color_u8)
    object_mask, its_object = (targets.object_u8 > 127).float(), (defects.object_u8 > 127).float()
    region = (defects.region_u8 > 127).float()
    if attempt == ATTEMPTS - 1:  # nothing fitted: the defect's own place, unwarped, cannot be empty
        return Candidates(targets.color_u8, defects.color_u8, region > 0, (region > 0).flatten(1).any(dim=1))
    if config.placement == "suited":
        matrix = suit_placement(draws, [symmetry] * draws.batch, target, object_mask, color, its_object, region)
    else:
        matrix = _free_placement(draws, object_mask, region)
    straight = (sample(region, affine_grid(matrix, size, size), padding="zeros") > 0.4).float()
    grid = bent_grid(matrix, draw_bend(draws, straight, config.tps_share, config.tps_shift), size, size)
    placed = (sample(region, grid, padding="zeros") > 0.4).float()
    own_area = region.sum(dim=(1, 2, 3))
    on_object = (region * its_object).sum(dim=(1, 2, 3)) > 0.95 * own_area
    clipped = placed * dilate(object_mask, max(1, round(size / 64)))
    placed = torch.where(on_object.view(-1, 1, 1, 1), clipped, placed)
    return Candidates(
        good_u8=targets.color_u8,
        image_u8=u8_from_signed(sample(color, grid)),
        region=placed > 0,
        fits=placed.sum(dim=(1, 2, 3)) >= (own_area / 4).clamp(1, LEAST_AREA),
    )

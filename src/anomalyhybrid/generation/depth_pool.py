"""Images of one category with measured depth, and what its real defects do to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig
from anomalyhybrid.generation.pool import CategoryPool
from anomalyhybrid.manipulate.reference import ring
from anomalyhybrid.ops.regions import masked_mean

DENT, PROTRUSION, HOLE, FLAT = range(4)
"""Indices into `SIGNS`."""

FLAT_RELIEF = 0.04  # mean relief of a real defect, of a range of 2, below which it is flat
AT_BACK = 0.1  # a real defect that ends this near the background, or beyond it, is a hole
LEAST_BACKGROUND = 0.005  # share of the image that background must cover to be told from outliers


@dataclass(frozen=True, slots=True)
class PairPool:
    """Images of one category with measured depth, on the generating device.

    Attributes:
        colour: What AnomalyHybrid reads, its own depth maps included.
        depth: Measured depth of the targets for AnomalyHybrid*, float (N, 1, S, S) in [-1, 1], 1 nearest.
        base_depth: The same of the real defects; None without any.
        base_sign: Sign of each real defect, index into `SIGNS`, long (M,), on the CPU; None without any.
    """

    colour: CategoryPool
    depth: Tensor
    base_depth: Tensor | None = None
    base_sign: Tensor | None = None


def real_signs(depth: Tensor, region_mask: Tensor, object_mask: Tensor, valid_mask: Tensor | None = None) -> Tensor:
    """What real defects do to the depth, from their own measured relief, index into `SIGNS`, long (M,).

    A hole shows the background, so there must be one elsewhere: the farthest depth, off the product where the image
    has something off it, clearly below the defect's surroundings and with less in between than at it; or no
    measurement, inside the region as well as off the product. A deep place without background is a dent. A region
    without surroundings, or without a measured pixel inside or around it, has no sign and counts as flat.

    Args:
        depth: float (M, 1, S, S) in [-1, 1], 1 nearest.
        region_mask: Binary float (M, 1, S, S).
        object_mask: Alike; what surrounds a defect near the object's border is judged on the object alone.
        valid_mask: Alike: what was measured; None for all.

    Source: ADR-010.
    """
    known = torch.ones_like(depth) if valid_mask is None else valid_mask
    around = ring(region_mask)
    on_object = around * object_mask * known
    around = torch.where(_share(on_object) > 0, on_object, around * known)
    inside, surface = masked_mean(depth, region_mask * known), masked_mean(depth, around)
    relief = inside - surface
    elsewhere = 1 - (region_mask + ring(region_mask)).clamp(0, 1)
    off = elsewhere * (1 - object_mask)
    elsewhere = torch.where(_share(off) > LEAST_BACKGROUND, off, elsewhere)
    visible = torch.where(elsewhere * known > 0, depth, torch.full_like(depth, torch.nan)).flatten(1)
    back = torch.nanquantile(visible, 0.01, dim=1).view(-1, 1, 1, 1)  # NaN, and no background, where there is none
    floor = (depth < back + AT_BACK) * elsewhere * known
    between = ((depth >= back + AT_BACK) & (depth < surface - AT_BACK)) * elsewhere * known
    seen = (_share(floor) > LEAST_BACKGROUND) & (_share(floor) > _share(between)) & (back < surface - 2 * AT_BACK)
    unmeasured = _share(region_mask * (1 - known)) > 0.5 * _share(region_mask)
    nothing_behind = _share(off * (1 - known)) > torch.maximum(0.5 * _share(off), torch.full_like(relief, 1e-4))
    sign = torch.where(relief > 0, PROTRUSION, DENT)
    sign = torch.where((relief < 0) & seen & (inside < back + AT_BACK), HOLE, sign)
    judged = (_share(region_mask * known) > 0) & (_share(around) > 0) & (relief.abs() >= FLAT_RELIEF)
    sign = torch.where(judged, sign, FLAT)
    return torch.where(unmeasured & nothing_behind, HOLE, sign).flatten()


def _share(mask: Tensor) -> Tensor:
    """Share of each image that a mask covers, float (M, 1, 1, 1)."""
    return mask.mean(dim=(1, 2, 3), keepdim=True)


def check_pool(pool: PairPool, config: DepthDefectConfig, category: str) -> None:
    """Refuse a sign that no real defect has, where real defects are all that is drawn from.

    Raises:
        ConfigError: The sign, and what the base set has.
    """
    if config.sign == "auto" or pool.base_sign is None or config.procedural >= 1:
        return
    if not bool((pool.base_sign == SIGNS.index(config.sign)).any()):
        has = sorted({SIGNS[int(sign)] for sign in pool.base_sign})
        raise ConfigError(
            f"depth.sign is {config.sign!r}, but the real defects of {category} are {', '.join(has)} by their measured"
            " depth; choose one of these or 'auto', leave the base set out, or set depth.procedural to 1"
        )

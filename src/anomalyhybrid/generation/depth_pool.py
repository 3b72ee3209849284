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
AT_BACK = 0.1  # a real defect that ends this near the scene's farthest depth is a hole


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


def real_signs(depth: Tensor, region_mask: Tensor, object_mask: Tensor) -> Tensor:
    """What real defects do to the depth, from their own measured relief, index into `SIGNS`, long (M,).

    Args:
        depth: float (M, 1, S, S) in [-1, 1], 1 nearest.
        region_mask: Binary float (M, 1, S, S).
        object_mask: Alike; what surrounds a defect near the object's border is judged on the object alone.
    """
    inside = masked_mean(depth, region_mask)
    around = ring(region_mask)
    on_object = around * object_mask
    around = torch.where(on_object.sum(dim=(1, 2, 3), keepdim=True) > 0, on_object, around)
    relief = (inside - masked_mean(depth, around)).flatten()
    back = depth.amin(dim=(2, 3)).flatten()
    sign = torch.where(relief > 0, PROTRUSION, DENT)
    sign = torch.where((relief < 0) & (inside.flatten() < back + AT_BACK), HOLE, sign)
    return torch.where(relief.abs() < FLAT_RELIEF, FLAT, sign)


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

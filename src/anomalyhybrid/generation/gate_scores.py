"""Scores of the quality gate that need no real defect: strangeness, outline, grain, place (ADR-014)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate_features import STRIDE
from anomalyhybrid.generation.pool import CategoryPool, mask_of
from anomalyhybrid.generation.references import place_structure
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur, dilate, erode
from anomalyhybrid.ops.structures import KINDS, draw_region
from anomalyhybrid.seeding import stream

BANK = 16384  # cells of good images that others are compared with
STRONGEST = 0.25  # share of a region's cells whose strangeness counts
GRAIN = 1.0  # sigma in pixels below which structure is grain


def good_outlines(pool: CategoryPool, config: GenerateConfig, category: str, chosen: Tensor) -> Tensor:
    """Random outlines on good images, as defects have them, to learn what good images show inside such ones.

    Args:
        pool: Images of the category.
        config: Settings; `seed` and `extent` are used.
        category: Its name.
        chosen: Good images, long (N,).

    Returns:
        Binary float (N, 1, S, S), none empty: regions of the real defects in turn where there are any, else procedural
        ones on the product.
    """
    device = pool.normals.color_u8.device
    if pool.base is not None:
        return mask_of(pool.base.region_u8, torch.arange(len(chosen), device=device) % len(pool.base))
    streams = [stream(config.seed, "gate", category, number) for number in range(len(chosen))]
    draws = Draws.from_streams(streams).to(device)
    objects = mask_of(pool.normals.object_u8, chosen)
    centre, extent = place_structure(draws, config, objects)
    kind = draws.choice([1.0] * len(KINDS))
    outline = dilate(draw_region(draws, kind, centre, extent, *objects.shape[-2:]), 1)
    kept = outline * dilate(objects, 1)
    return torch.where(kept.sum(dim=(1, 2, 3), keepdim=True) > 0, kept, outline)


@dataclass(frozen=True, slots=True)
class Normality:
    """Cells of good images, some of each, that tell how strange another cell is.

    Attributes:
        bank: Features, float (K, C).
        owner: Good image that each comes from, long (K,).
    """

    bank: Tensor
    owner: Tensor

    @classmethod
    def of(cls, cells: Tensor, chosen: Tensor) -> Normality:
        """Keep `BANK` cells of good images.

        Args:
            cells: Features, float (N, C, h, w).
            chosen: Which good images they are, long (N,).
        """
        flat = cells.permute(0, 2, 3, 1).flatten(0, 2)
        kept = torch.randperm(len(flat), generator=stream(0, "gate", "bank"))[:BANK].to(flat.device)
        return cls(flat[kept], chosen.repeat_interleave(cells.shape[2] * cells.shape[3])[kept])

    def strangeness(self, cells: Tensor, region_mask: Tensor, itself: Tensor) -> list[Tensor]:
        """Distance of each cell that a region touches to the nearest cell of the good images, float (n,) each.

        Args:
            cells: Features, float (B, C, h, w).
            region_mask: Binary float (B, 1, S, S).
            itself: Good image that each shows, which is left out of the comparison, long (B,); -1 for none.
        """
        touched = F.max_pool2d(region_mask, STRIDE)[:, 0] > 0
        found = []
        for number, where in enumerate(touched):
            distance = torch.cdist(cells[number, :, where].T, self.bank)
            distance = distance.masked_fill(self.owner == itself[number], torch.inf)
            found.append(distance.amin(dim=1))
        return found


def strongest(strangeness: list[Tensor]) -> Tensor:
    """Mean of the strangest quarter of each region's cells, float (B,); not a number for an empty region."""
    return torch.stack(
        [one.topk(min(len(one), max(1, round(STRONGEST * len(one))))).values.mean() for one in strangeness]
    )


def grain(picture: Tensor, region_mask: Tensor) -> Tensor:
    """How much finer or coarser a region is than its surroundings: log ratio of their fine detail, float (B,).

    Args:
        picture: float (B, 3, S, S) in [-1, 1].
        region_mask: Binary float (B, 1, S, S).
    """
    detail = (picture - blur(picture, GRAIN)).abs().mean(dim=1, keepdim=True) * 127.5
    inner = erode(region_mask, 2)
    inner = torch.where(inner.sum(dim=(1, 2, 3), keepdim=True) > 0, inner, region_mask)
    around = dilate(region_mask, 2 * STRIDE) - dilate(region_mask, 2)

    def mean(mask: Tensor) -> Tensor:
        return (detail * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp_min(1)

    return torch.log((mean(inner) + 0.25) / (mean(around) + 0.25))


def off_object(region_mask: Tensor, object_mask: Tensor) -> Tensor:
    """Share of each region that lies off the product, float (B,)."""
    return (region_mask * (1 - object_mask)).sum(dim=(1, 2, 3)) / region_mask.sum(dim=(1, 2, 3)).clamp_min(1)

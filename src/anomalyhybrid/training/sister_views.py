"""Samples of Fig. 4b: three independent draws; both targets share the colour's (ADR-010)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.augment.pseudo import removal_reference, structure_reference
from anomalyhybrid.augment.views import draw_grids
from anomalyhybrid.manipulate.reference import Reference, blended, levelled, place
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur, dilate, soft_alpha
from anomalyhybrid.ops.warp import sample, similarity_matrix
from anomalyhybrid.training.sister_pool import DepthPool, Measured
from anomalyhybrid.types import Conditions

REMOVAL_SHARE = 0.15  # holes and smeared-away detail among painted defects
HINT = (0.3, 1.7)  # factors on the relief that an edited reference shows, against the true one


@dataclass(frozen=True, slots=True)
class SisterViews:
    """One batch of training samples.

    Attributes:
        conditions: color = T_c(I), depth = T_d(depth), edge = T_e(edge).
        target_depth: T_c(depth), float (B, 1, H, W) in [-1, 1].
        target_edge: T_c(edge), float (B, 1, H, W) in [-1, 1].
        valid: Where the target depth was measured, float (B, 1, H, W), 0 or 1.
        region_mask: Where the sample was edited, float (B, 1, H, W) in [0, 1]; zeros for unedited samples.
    """

    conditions: Conditions
    target_depth: Tensor
    target_edge: Tensor
    valid: Tensor
    region_mask: Tensor


@dataclass(frozen=True, slots=True)
class DepthDefect:
    """Defects with the depth that belongs to them.

    Attributes:
        maps: Colour, depth and edge with the defect, and its region.
        valid: Where depth was measured, float (B, 1, H, W).
    """

    maps: Reference
    valid: Tensor

    def where(self, chosen_B: Tensor, other: DepthDefect) -> DepthDefect:
        """Take this defect for the chosen samples, the other one for the rest."""
        valid = torch.where(chosen_B.view(-1, 1, 1, 1), self.valid, other.valid)
        return DepthDefect(self.maps.where(chosen_B, other.maps), valid)


def painted_defects(draws: Draws, good: Measured, base: Measured | None, has_base_B: Tensor, share: float):
    """Put a defect on each image: painted structure or a hole, or a real defect with its measured relief.

    Args:
        draws: Random rows.
        good: Good images.
        base: Real defects of the same categories in their own frames, or None.
        has_base_B: bool (B,): the sample has one.
        share: How often it is taken.

    Returns:
        A `DepthDefect`.
    """
    maps = good.maps
    everywhere = torch.ones_like(has_base_B)
    reference = structure_reference(draws, maps.color, maps.depth, maps.edge, everywhere)
    removal = removal_reference(draws, maps.color, maps.depth, maps.edge)
    reference = removal.where(draws.happens(REMOVAL_SHARE), reference)
    valid = good.valid
    if base is not None:
        flip = torch.stack([draws.signs(), draws.signs()], dim=1)
        turn, shift = draws.normals(1)[:, 0] * 0.6, draws.uniforms(2, -0.5, 0.5)
        matrix = similarity_matrix(draws.log_uniform(0.7, 1.4), turn, shift, flip)
        own = base.maps
        placed = place(own.color, own.depth, own.edge, own.region_mask, matrix)
        measured = place(own.color, base.valid, own.edge, own.region_mask, matrix).depth
        taken = draws.happens(share) & has_base_B & (placed.region_mask.sum(dim=(1, 2, 3)) > 8)
        reference = placed.where(taken, reference)
        inside = placed.region_mask * taken.view(-1, 1, 1, 1).float()
        valid = torch.where(inside > 0, (measured > 0.99).float(), valid)
    level = levelled(reference.depth, maps.depth, reference.region_mask, 1.0).clamp(-1, 1)
    edited = Reference(
        color=blended(maps.color, reference),
        depth=torch.lerp(maps.depth, level, soft_alpha(reference.region_mask, 2)),
        edge=torch.lerp(maps.edge, reference.edge, reference.region_mask),
        region_mask=reference.region_mask,
    )
    return DepthDefect(edited, valid)


def hinted(draws: Draws, good: Tensor, defective: Tensor, region_mask: Tensor) -> Tensor:
    """The good depth with a rough relief of the defect, as a manipulation leaves it: right sign, wrong profile.

    Args:
        draws: Random rows.
        good: float (B, 1, H, W) in [-1, 1].
        defective: float (B, 1, H, W) in [-1, 1].
        region_mask: Of the defect.
    """
    gain = draws.uniform(*HINT).view(-1, 1, 1, 1)
    rough = blur((defective - good) * dilate(region_mask, 1), good.shape[-1] / 64)
    return (good + gain * rough).clamp(-1, 1)


def draw_sister_views(draws: Draws, pool: DepthPool, config: AugmentConfig) -> SisterViews:
    """Draw one batch: plain samples by Fig. 4b, and defects on aligned ones.

    Of the edited samples `config.edit` keep the good image's maps as reference, so that the defect can be seen in
    colour only, and `config.blend` show it roughly in the reference's maps too, as generation does.
    """
    good, base, has_base = pool.draw(draws)
    role = draws.uniform()
    edited = role < config.edit + config.blend
    hint = edited & (role >= config.edit)
    defect = painted_defects(draws, good, base, has_base, config.base_share)
    pairs = pool.draw_pairs(draws)
    if pairs is not None:
        paired = draws.happens(config.pair_share) & edited
        defect = DepthDefect(pairs[1].maps, pairs[1].valid).where(paired, defect)
        good = pairs[0].where(paired, good)
    if base is not None:  # real defects also serve as plain images
        good = base.where(has_base & draws.happens(0.15) & ~edited, good)
    pick, pick_hint = edited.view(-1, 1, 1, 1), hint.view(-1, 1, 1, 1)
    rough = hinted(draws, good.maps.depth, defect.maps.depth, defect.maps.region_mask)
    region = defect.maps.region_mask * pick.float()
    shown = defect.maps.where(edited, good.maps)
    valid = torch.where(pick, defect.valid, good.valid)
    grids = draw_grids(draws, config, edited, *shown.color.shape[-2:])
    by_color = sample(torch.cat([shown.color, shown.depth, shown.edge, valid, region], dim=1), grids[0])
    reference_edge = torch.where(pick_hint, defect.maps.edge, good.maps.edge)
    return SisterViews(
        conditions=Conditions(
            color=by_color[:, :3],
            depth=sample(torch.where(pick_hint, rough, good.maps.depth), grids[1]),
            edge=sample(reference_edge, grids[2]),
        ),
        target_depth=by_color[:, 3:4],
        target_edge=by_color[:, 4:5],
        valid=(by_color[:, 5:6] > 0.99).float(),
        region_mask=by_color[:, 6:7],
    )

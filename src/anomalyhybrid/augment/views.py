"""Views of Fig. 4a: independently warped conditions, and targets that share their condition's draw."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import affine_grid, coarse_displacement, full_field, sample, similarity_matrix
from anomalyhybrid.types import Conditions, Views


def _draw_affine(draws: Draws, config: AugmentConfig, may_flip_B: Tensor) -> Tensor:
    """Draw flip (where allowed) and resize-translate-pad, float (B, 2, 3)."""
    applied = draws.happens(config.affine_probability).float()
    scale = draws.log_uniform(*config.scale) ** applied
    shift = draws.uniforms(2, -config.translate, config.translate) * applied[:, None]
    flip = torch.stack([draws.signs(config.flip_probability), draws.signs(config.flip_probability)], dim=1)
    flip = torch.where(may_flip_B[:, None], flip, torch.ones_like(flip))
    return similarity_matrix(scale, torch.zeros_like(scale), shift, flip)


def _draw_bend(draws: Draws, config: AugmentConfig, height: int, width: int) -> Tensor:
    """Draw the local splines of one condition, displacement float (B, H, W, 2)."""
    fields: list[Tensor] = []
    for _ in range(config.tps_windows):
        center = draws.uniforms(2, -0.8, 0.8)
        radius = draws.uniform(*config.tps_radius)
        shifts = draws.uniforms(18, -config.tps_shift, config.tps_shift).reshape(-1, 9, 2)
        fields.append(coarse_displacement(center, radius, shifts, height, width))
    return full_field(torch.stack(fields).sum(dim=0), height, width)


def draw_grids(draws: Draws, config: AugmentConfig, aligned_B: Tensor, height: int, width: int) -> list[Tensor]:
    """Draw the sampling grids of reference, depth and edge.

    Args:
        draws: Random rows, on the training device.
        config: Strengths and sharing.
        aligned_B: bool (B,): samples whose three conditions share one whole draw (the edited ones); they are
            not flipped, so that painted light keeps its side.
        height: Rows.
        width: Columns.

    Returns:
        Three grids, float (B, H, W, 2): T_r, T_d, T_e.

    Source: Paper 3.4 and Fig. 4; sharing by ADR-003.
    """
    shared = _draw_affine(draws, config, ~aligned_B)
    grids = []
    for _ in range(3):
        own = _draw_affine(draws, config, ~aligned_B)
        alone = draws.happens(config.independent)[:, None, None]
        bend = _draw_bend(draws, config, height, width)
        grids.append(affine_grid(torch.where(alone, own, shared), height, width) + bend)
    takes_edge = (draws.happens(config.share_reference) | aligned_B)[:, None, None, None]
    grids[0] = torch.where(takes_edge, grids[2], grids[0])
    grids[1] = torch.where(aligned_B[:, None, None, None], grids[2], grids[1])
    return grids


def make_views(
    grids: list[Tensor], reference: Tensor, image: Tensor, depth: Tensor, edge: Tensor, region_mask: Tensor
) -> Views:
    """Warp one batch into a training sample.

    Args:
        grids: T_r, T_d, T_e of `draw_grids`.
        reference: What C_r shows, float (B, 3, H, W) in [-1, 1].
        image: What the targets show, float (B, 3, H, W) in [-1, 1].
        depth: Depth of `image`, float (B, 1, H, W) in [-1, 1].
        edge: Edges of `image`, float (B, 1, H, W) in [-1, 1].
        region_mask: Edited region, float (B, 1, H, W) in [0, 1]; warped with the edge draw.

    Returns:
        C_r = T_r(reference), C_d = T_d(depth), C_e = T_e(edge), A_d = T_d(image), A_e = T_e(image).
    """
    color = sample(reference, grids[0])
    by_depth = sample(torch.cat([image, depth], dim=1), grids[1])
    by_edge = sample(torch.cat([image, edge, region_mask], dim=1), grids[2])
    return Views(
        conditions=Conditions(color=color, depth=by_depth[:, 3:], edge=by_edge[:, 3:4]),
        target_ahd=by_depth[:, :3],
        target_ahe=by_edge[:, :3],
        region_mask=by_edge[:, 4:],
    )

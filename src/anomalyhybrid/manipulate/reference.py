"""What an edit takes its structure and appearance from, already placed on the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.manipulate.paint import paint
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.fused import fused_at_one_shape
from anomalyhybrid.ops.regions import dilate, masked_mean, soft_alpha, spread
from anomalyhybrid.ops.structures import Structure
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.ops.warp import affine_grid, bent_grid, sample

RING = 6  # width in pixels of the surroundings that levels and colours are matched on (at 256 px)
FEATHER = 2  # pixels over which an edit fades in inside its region
PASTE_FEATHER = 1  # pixels over which a pasted reference fades in inside its region (at the model's size)


@dataclass(frozen=True, slots=True)
class Reference:
    """Appearance and structure of the references of one batch, in the target's frame.

    Attributes:
        color: float (B, 3, H, W) in [-1, 1].
        depth: float (B, 1, H, W) in [-1, 1].
        edge: float (B, 1, H, W) in [-1, 1].
        region_mask: Where to edit, binary float (B, 1, H, W).
    """

    color: Tensor
    depth: Tensor
    edge: Tensor
    region_mask: Tensor

    def where(self, chosen_B: Tensor, other: Reference) -> Reference:
        """Take this reference for the chosen samples, the other one for the rest."""
        pick = chosen_B.view(-1, 1, 1, 1)
        return mapped(lambda own, others: torch.where(pick, own, others), self, other)


def place(
    color: Tensor,
    depth: Tensor,
    edge: Tensor,
    region_mask: Tensor,
    matrix_B23: Tensor,
    bend_B21: Tensor | None = None,
) -> Reference:
    """Warp reference images and their regions by one affine map each (paper 3.5, Mask: resize, flip, crop).

    Args:
        color: float (B, 3, H, W) in [-1, 1].
        depth: float (B, 1, H, W) in [-1, 1].
        edge: float (B, 1, H, W) in [-1, 1].
        region_mask: float (B, 1, H, W) in [0, 1].
        matrix_B23: Maps from the target's to the reference's coordinates.
        bend_B21: Local splines in the target's frame, as `bent_grid` takes them; None for none.
    """
    height, width = color.shape[-2:]
    straight = bend_B21 is None
    grid = affine_grid(matrix_B23, height, width) if straight else bent_grid(matrix_B23, bend_B21, height, width)
    warped = sample(torch.cat([color, depth, edge], dim=1), grid)
    region = (sample(region_mask, grid, padding="zeros") > 0.4).float()
    return Reference(color=warped[:, :3], depth=warped[:, 3:4], edge=warped[:, 4:], region_mask=region)


def from_structure(draws: Draws, structure: Structure, color: Tensor, depth: Tensor, edge: Tensor) -> Reference:
    """Make a reference by painting a procedural structure on the target itself; arguments as in `Reference`."""
    from_edge = (structure.edge * 2 - 1).clamp(-1, 1)
    return Reference(
        color=paint(draws, color, structure),
        depth=(depth + 0.5 * structure.relief).clamp(-1, 1),
        edge=torch.where(structure.region_mask > 0, from_edge, torch.maximum(edge, from_edge)),
        region_mask=dilate(structure.region_mask, 1),
    )


def ring(region_mask: Tensor) -> Tensor:
    """The surroundings of a region, binary float (B, 1, H, W)."""
    width = max(1, round(RING * region_mask.shape[-1] / 256))
    return dilate(region_mask, width) - region_mask


@fused_at_one_shape
def levelled(
    values: Tensor, target: Tensor, region_mask: Tensor, limit: float, share_B: Tensor | float = 1.0
) -> Tensor:
    """Shift a reference's values so that its surroundings agree with the target's in the mean.

    Args:
        values: Reference map or image, float (B, C, H, W).
        target: The target's, same shape.
        region_mask: Edited region.
        limit: Largest shift.
        share_B: Part of the shift that is made, float (B,) in [0, 1] or one for all.
    """
    around = ring(region_mask)
    shift = masked_mean(target, around) - masked_mean(values, around)
    part = share_B.view(-1, 1, 1, 1) if isinstance(share_B, Tensor) else share_B
    return values + part * shift.clamp(-limit, limit)


def blended(
    target: Tensor, reference: Reference, level_B: Tensor | float = 1.0, seamless_B: Tensor | None = None
) -> Tensor:
    """The target with the reference's region pasted in, levelled and feathered; float (B, 3, H, W) in [-1, 1].

    Args:
        target: float (B, 3, H, W) in [-1, 1].
        reference: Placed on it.
        level_B: Part of the difference in level that is taken off, float (B,) in [0, 1] or one for all.
        seamless_B: Samples whose border disappears, bool (B,); None for none. See `seamless`.

    Source: DESIGN, appearance mode ``blend``; ADR-004.
    """
    alpha = soft_alpha(reference.region_mask, PASTE_FEATHER)
    matched = levelled(reference.color, target, reference.region_mask, 0.25, level_B).clamp(-1, 1)
    if seamless_B is not None:
        matched = torch.where(seamless_B.view(-1, 1, 1, 1), seamless(target, reference), matched)
    return torch.lerp(target, matched, alpha.expand_as(target))


def seamless(target: Tensor, reference: Reference) -> Tensor:
    """The reference, shifted so that all around its region it agrees with the target, float (B, 3, H, W) in [-1, 1].

    Inside, the shift is a smooth membrane between the differences around: Poisson cloning without its solver.

    Source: Perez et al. 2003 for the idea; ADR-004.
    """
    return (reference.color + spread(target - reference.color, ring(reference.region_mask))).clamp(-1, 1)

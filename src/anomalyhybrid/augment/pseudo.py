"""Pseudo-defects: the edits of generation, with an answer to learn from (ADR-006)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.manipulate.operations import remove
from anomalyhybrid.manipulate.reference import Reference, blended, from_structure, levelled, place
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur, dilate, soft_alpha
from anomalyhybrid.ops.structures import KINDS, draw_region, draw_structures
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.ops.warp import similarity_matrix

FOREIGN_SHARE = 0.5  # of rough samples: patches of another image in place of painted structure
REMOVAL_SHARE = 0.2  # holes and smeared-away detail, as the operation "remove" asks for


@dataclass(frozen=True, slots=True)
class PseudoDefect:
    """A batch with an edit in each sample.

    Attributes:
        image: With the defect, float (B, 3, H, W) in [-1, 1].
        depth: float (B, 1, H, W) in [-1, 1].
        edge: float (B, 1, H, W) in [-1, 1].
        rough: The defect roughly pasted with a visible seam and a wrong level, as ``blend`` references can be.
        region_mask: Binary float (B, 1, H, W).
    """

    image: Tensor
    depth: Tensor
    edge: Tensor
    rough: Tensor
    region_mask: Tensor

    def where(self, chosen_B: Tensor, other: PseudoDefect) -> PseudoDefect:
        """Take this defect for the chosen samples, the other one for the rest."""
        pick = chosen_B.view(-1, 1, 1, 1)
        return mapped(lambda own, others: torch.where(pick, own, others), self, other)


def _random_place(draws: Draws) -> Tensor:
    """A placement anywhere: flips, a turn, resize and a move, float (B, 2, 3)."""
    flip = torch.stack([draws.signs(), draws.signs()], dim=1)
    turn = draws.normals(1)[:, 0] * 0.6
    return similarity_matrix(draws.log_uniform(0.7, 1.4), turn, draws.uniforms(2, -0.5, 0.5), flip)


def foreign_reference(draws: Draws, donor: Reference) -> Reference:
    """Patches of other images, in procedural outlines."""
    center = draws.uniforms(2, -0.7, 0.7)
    kind = draws.choice([0.1, 0.3, 0.2, 0.1, 0.3, 0.0])
    height, width = donor.color.shape[-2:]
    region = draw_region(draws, kind, center, draws.log_uniform(0.05, 0.35), height, width)
    whole = torch.ones_like(donor.edge)
    placed = place(donor.color, donor.depth, donor.edge, whole, _random_place(draws))
    return Reference(color=placed.color, depth=placed.depth, edge=placed.edge, region_mask=dilate(region, 1))


def structure_reference(
    draws: Draws, color: Tensor, depth: Tensor, edge: Tensor, any_colour_B: Tensor | None = None
) -> Reference:
    """Procedural structures painted on the images themselves; stains, of any colour, only where they are allowed."""
    kind = draws.choice([float(name != "contamination") for name in KINDS])
    stain = torch.full_like(kind, KINDS.index("contamination"))
    stained = draws.happens(0.4)
    kind = torch.where(stained & any_colour_B, stain, kind) if any_colour_B is not None else kind
    center, extent = draws.uniforms(2, -0.75, 0.75), draws.log_uniform(0.04, 0.3)
    structure = draw_structures(draws, kind, center, extent, *color.shape[-2:])
    return from_structure(draws, structure, color, depth, edge)


def removal_reference(draws: Draws, color: Tensor, depth: Tensor, edge: Tensor) -> Reference:
    """Holes (depth of the scene's back, dark) and smeared-away detail (depth of the surroundings, blurred)."""
    center, extent = draws.uniforms(2, -0.75, 0.75), draws.log_uniform(0.04, 0.25)
    kind = draws.choice([0.2, 0.4, 0.0, 0.0, 0.4, 0.0])
    region = dilate(draw_region(draws, kind, center, extent, *color.shape[-2:]), 1)
    to_back = draws.happens(0.5)
    removed_depth, removed_edge = remove(depth, edge, region, to_back)
    dark = draws.uniforms(3, -1.0, -0.8)[:, :, None, None].expand_as(color)
    smeared = blur(color, 10 * color.shape[-1] / 256)
    filled = torch.where(to_back.view(-1, 1, 1, 1), dark, smeared)
    return Reference(
        color=torch.lerp(color, filled, region.expand_as(color)),
        depth=torch.lerp(depth, removed_depth, region),
        edge=torch.lerp(edge, removed_edge, region),
        region_mask=region,
    )


def make_pseudo_defects(
    draws: Draws, good: Reference, donor: Reference, base: Reference | None, base_share: float, rough_B: Tensor
) -> PseudoDefect:
    """Put one pseudo-defect on each image.

    Args:
        draws: Random rows.
        good: Good images with their maps.
        donor: Other images, of any category, that foreign patches come from.
        base: Real defects of the same categories in their own frames, one for each sample, or None.
        base_share: Share of samples that take theirs.
        rough_B: bool (B,): samples whose reference will show the defect. Only they get stains and foreign patches,
            whose colours cannot be told from structure (ADR-006).
    """
    color, depth, edge = good.color, good.depth, good.edge
    procedural = structure_reference(draws, color, depth, edge, rough_B)
    foreign = foreign_reference(draws, donor)
    reference = foreign.where(draws.happens(FOREIGN_SHARE) & rough_B, procedural)
    removal = removal_reference(draws, color, depth, edge)
    reference = removal.where(draws.happens(REMOVAL_SHARE), reference)
    if base is not None:
        matrix = _random_place(draws)
        home = torch.eye(2, 3, device=color.device).expand_as(matrix)
        matrix = torch.where(draws.happens(0.5)[:, None, None], home, matrix)
        placed = place(base.color, base.depth, base.edge, base.region_mask, matrix)
        useful = placed.region_mask.sum(dim=(1, 2, 3)) > 8
        reference = placed.where(draws.happens(base_share) & useful, reference)
    image = blended(color, reference)
    level = levelled(reference.depth, depth, reference.region_mask, 1.0).clamp(-1, 1)
    alpha = soft_alpha(reference.region_mask, 2)
    return PseudoDefect(
        image=image,
        depth=torch.lerp(depth, level, alpha),
        edge=torch.lerp(edge, reference.edge, reference.region_mask),
        rough=roughly_pasted(draws, color, image, reference.region_mask),
        region_mask=reference.region_mask,
    )


def roughly_pasted(draws: Draws, color: Tensor, defective: Tensor, region_mask: Tensor) -> Tensor:
    """The defective image's region pasted on the good one with a hard seam and a wrong level."""
    gain = draws.uniform(0.75, 1.25).view(-1, 1, 1, 1)
    offset = draws.normals(3).view(-1, 3, 1, 1) * 0.1
    jittered = (defective * gain + offset).clamp(-1, 1)
    return torch.lerp(color, jittered, region_mask.expand_as(color))


def from_pair(draws: Draws, good: Reference, defective: Reference) -> PseudoDefect:
    """A pseudo-defect from two renderings of one scene.

    Half of the samples take the maps of the defective image whole, as an extractor gives them; half take them
    inside the region only, as an operation of generation leaves them.
    """
    region = defective.region_mask
    inside = torch.where(draws.happens(0.5).view(-1, 1, 1, 1), dilate(region, 2), torch.ones_like(region))
    return PseudoDefect(
        image=defective.color,
        depth=torch.lerp(good.depth, defective.depth, inside),
        edge=torch.lerp(good.edge, defective.edge, inside),
        rough=roughly_pasted(draws, good.color, defective.color, region),
        region_mask=region,
    )

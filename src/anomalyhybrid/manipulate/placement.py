"""Where a region falls: on the object, and where the surroundings suit the reference."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.manipulate.operations import region_frame
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.regions import blur, dilate
from anomalyhybrid.ops.warp import affine_grid, identity_grid, sample, similarity_matrix

CANDIDATES = 24  # placements compared for each reference
SIDE = 64  # pixels at which they are compared
ASPECT = 2.5  # factor by which a reference that is to cover a drawn region may be stretched along one axis


DIM = 24 / 255  # brightness below which a surface shows next to no defect
LEAST_LIT = 0.1  # share of the object that must be brighter for dim parts to be left out


def lit_part(color: Tensor, object_mask: Tensor) -> Tensor:
    """The part of each object that is bright enough to show a defect; all of it where hardly any is.

    Args:
        color: float (B, 3, H, W) in [-1, 1].
        object_mask: Binary float (B, 1, H, W).

    Returns:
        Binary float (B, 1, H, W).
    """
    brightness = blur((color.mean(dim=1, keepdim=True) + 1) / 2, 6 * color.shape[-1] / 256)
    lit = object_mask * (brightness > DIM)
    enough = lit.sum(dim=(1, 2, 3)) > LEAST_LIT * object_mask.sum(dim=(1, 2, 3))
    return torch.where(enough.view(-1, 1, 1, 1), lit, object_mask)


def object_point(draws: Draws, object_mask: Tensor) -> Tensor:
    """Draw one point on each object, uniform over its pixels, float (B, 2) in grid units.

    Args:
        draws: Random rows.
        object_mask: float (B, 1, H, W) in [0, 1]; an empty one counts as full.
    """
    batch, _, height, width = object_mask.shape
    flat = object_mask.reshape(batch, -1)
    flat = torch.where(flat.sum(dim=1, keepdim=True) > 0, flat, torch.ones_like(flat))
    cumulative = flat.cumsum(dim=1)
    wanted = draws.uniform()[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, wanted, right=True).clamp_max(height * width - 1)[:, 0]
    grid = identity_grid(1, height, width, object_mask.device).reshape(-1, 2)
    return grid[index]


def draw_bend(draws: Draws, region_mask: Tensor, share: float, shift: float) -> Tensor:
    """Draw a local spline around each placed region, float (B, 21) as `ops.warp.bent_grid` takes it.

    Args:
        draws: Random rows.
        region_mask: Placed regions, binary float (B, 1, H, W).
        share: How often a region is bent.
        shift: Largest shift of a control point as a share of the window's half side (ADR-003).
    """
    centre, radius = region_frame(region_mask)
    shifts = draws.uniforms(18, -shift, shift) * draws.happens(share).view(-1, 1)
    return torch.cat([centre, radius[:, None], shifts], dim=1)


def _limited(turn: Tensor, flip: Tensor, any_turn: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Keep random turns, float (B,) in radians, within ``limit`` radians; both flips at once are half a turn."""
    flip = torch.where((flip == -1).all(dim=1, keepdim=True), torch.ones_like(flip), flip)
    centred = torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi
    near = torch.remainder(turn + torch.pi / 2, torch.pi) - torch.pi / 2  # without the half turn
    return torch.where(any_turn, centred * (limit / torch.pi), near.clamp(-limit, limit)), flip


def _candidate(
    draws: Draws, allowed: Tensor, object_mask: Tensor, region_mask: Tensor, free: bool, limit: float
) -> Tensor:
    """Draw one placement for each sample, float (B, 2, 3).

    Kept placements turn and flip the whole reference about the image's centre, as far as the product's symmetry
    allows, and move it a little; free ones also carry the region to another point of the object.
    """
    flip_x = torch.where(draws.happens(0.5) & allowed[:, 0], -1.0, 1.0)
    flip_y = torch.where(draws.happens(0.5) & allowed[:, 1], -1.0, 1.0)
    half = torch.where(draws.happens(0.5) & allowed[:, 2], torch.pi, 0.0)
    turn = torch.where(allowed[:, 3], draws.uniform(0, 2 * torch.pi), half + draws.normals(1)[:, 0] * 0.06)
    flip = torch.stack([flip_x, flip_y], dim=1)
    if limit < torch.pi:
        turn, flip = _limited(turn, flip, allowed[:, 3], limit)
    shift = draws.normals(2) * 0.02
    point = object_point(draws, object_mask)
    if not free:
        return similarity_matrix(draws.log_uniform(0.92, 1.08), turn, shift, flip)
    center, _ = region_frame(region_mask)
    return similarity_matrix(draws.log_uniform(0.6, 1.4), turn, point - center, flip, pivot_B2=center)


def _misfit(
    matrix: Tensor,
    target: Tensor,
    object_mask: Tensor,
    reference: Tensor,
    region_mask: Tensor,
    off_before: Tensor,
) -> Tensor:
    """How badly the surroundings disagree, float (B,): colour difference, plus parts off the object or cut off."""
    grid = affine_grid(matrix, *target.shape[-2:])
    placed = (sample(region_mask, grid, padding="zeros") > 0.4).float()
    color = sample(reference, grid)
    around = dilate(placed, 3) - dilate(placed, 1)
    area = placed.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    difference = ((color - target).abs().mean(dim=1, keepdim=True) * around).sum(dim=(1, 2, 3))
    difference = difference / around.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    off = (placed * (1 - object_mask)).sum(dim=(1, 2, 3)) / area
    scale = torch.linalg.det(matrix[:, :, :2]).abs().rsqrt()
    expected = region_mask.sum(dim=(1, 2, 3)) * scale**2
    lost = (1 - placed.sum(dim=(1, 2, 3)) / expected.clamp_min(1e-6)).clamp_min(0)
    return difference + 2 * (off - off_before - 0.05).clamp_min(0) + 0.5 * (lost - 0.1).clamp_min(0)


def suit_placement(
    draws: Draws,
    symmetries: list[Symmetry],
    target: Tensor,
    object_mask: Tensor,
    reference: Tensor,
    reference_object: Tensor,
    region_mask: Tensor,
    free_share: float = 0.5,
    most_turn: float = 180.0,
) -> Tensor:
    """Choose for each reference the placement whose surroundings suit it best, with some chance left.

    Args:
        draws: Random rows.
        symmetries: Of each sample's category.
        target: float (B, 3, H, W) in [-1, 1].
        object_mask: Of the target, float (B, 1, H, W).
        reference: float (B, 3, H, W) in [-1, 1].
        reference_object: Object mask of the reference, float (B, 1, H, W).
        region_mask: Of the reference, float (B, 1, H, W).
        free_share: Share of candidates that leave the reference's own place.
        most_turn: Degrees that random turns keep within; 180 leaves them to the symmetries.

    Returns:
        Maps from the target's to the reference's coordinates, float (B, 2, 3).
    """
    small = [F.interpolate(x, (SIDE, SIDE), mode="area") for x in (target, object_mask, reference, reference_object)]
    region = F.adaptive_max_pool2d(region_mask, SIDE)
    area = region.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    off_before = (region * (1 - small[3])).sum(dim=(1, 2, 3)) / area
    flags = [[s.flip_x, s.flip_y, s.half_turn, s.any_turn] for s in symmetries]
    allowed = torch.tensor(flags, dtype=torch.bool, device=target.device)
    matrices, scores = [], []
    for index in range(CANDIDATES):
        matrix = _candidate(draws, allowed, small[1], region, index < free_share * CANDIDATES, math.radians(most_turn))
        misfit = _misfit(matrix, small[0], small[1], small[2], region, off_before)
        matrices.append(matrix)
        scores.append(misfit - 0.02 * torch.log(-torch.log(draws.uniform(1e-6, 1 - 1e-6))).neg())
    best = torch.stack(scores, dim=1).argmin(dim=1)
    return torch.stack(matrices, dim=1)[torch.arange(len(best), device=best.device), best]


def _principal(region_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre, float (B, 2), angle of the longest extent, float (B,), and deviations along and across it, (B, 2)."""
    batch, _, height, width = region_mask.shape
    weight = region_mask.reshape(batch, -1, 1) / region_mask.sum(dim=(2, 3)).clamp_min(1e-6)[..., None]
    grid = identity_grid(1, height, width, region_mask.device).reshape(1, -1, 2)
    centre = (grid * weight).sum(dim=1)
    x, y = (grid - centre[:, None]).unbind(dim=2)
    xx, yy, xy = ((product * weight[..., 0]).sum(dim=1) for product in (x * x, y * y, x * y))
    middle, spread = (xx + yy) / 2, torch.sqrt(((xx - yy) / 2).square() + xy.square())
    least = (1.0 / min(height, width)) ** 2
    deviations = torch.stack([middle + spread, middle - spread], dim=1).clamp_min(least).sqrt()
    return centre, 0.5 * torch.atan2(2 * xy, xx - yy), deviations


def _rotation(angle: Tensor) -> Tensor:
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)


def cover_placement(draws: Draws, drawn: Tensor, region_mask: Tensor, most_turn: float = 180.0) -> Tensor:
    """Turn, resize and move references so that their regions cover given ones, as little enlarged as that allows.

    The regions' extents are laid onto each other, longest on longest; where turns are limited the reference keeps its
    axes and is turned within the limit. Both axes may be resized differently, by a factor of at most `ASPECT`.

    Args:
        draws: Random rows.
        drawn: To be covered, not empty, binary float (B, 1, H, W).
        region_mask: Of the references, not empty, binary float (B, 1, H, W).
        most_turn: Degrees that turns keep within; at 180 references are turned as the drawn region lies, and mirrored.

    Returns:
        Maps from the target's to the reference's coordinates, float (B, 2, 3): of `CANDIDATES` the one that covers
        most at the least enlargement.

    Source: ADR-015.
    """
    small, region = F.adaptive_max_pool2d(drawn, SIDE), F.adaptive_max_pool2d(region_mask, SIDE)
    there, lies, wanted = _principal(small)
    here, own_lies, own = _principal(region)
    area = small.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    matrices, scores = [], []
    for _ in range(CANDIDATES):
        signs = torch.stack([draws.signs(), draws.signs()], dim=1)
        turn, margin = draws.uniform(-1, 1) * math.radians(most_turn), draws.uniform(0.9, 1.7)
        ratio = own / (wanted * margin[:, None])
        if most_turn < 180:
            across = torch.cos(lies - own_lies).abs() < math.sqrt(0.5)  # of the axes that will lie on each other
            ratio = torch.where(across[:, None], own.flip(1), own) / (wanted * margin[:, None])
            linear = _rotation(turn) @ _rotation(lies) @ torch.diag_embed(_even(ratio)) @ _rotation(-lies)
        else:
            linear = _rotation(own_lies) @ torch.diag_embed(_even(ratio) * signs) @ _rotation(-lies)
        offset = here - (linear @ there[:, :, None])[:, :, 0]
        matrix = torch.cat([linear, offset[:, :, None]], dim=2)
        placed = (sample(region, affine_grid(matrix, SIDE, SIDE), padding="zeros") > 0.4).float()
        covered = (placed * small).sum(dim=(1, 2, 3)) / area
        enlarged = torch.linalg.det(linear).abs().clamp_min(1e-6).rsqrt().log().clamp_min(0)
        matrices.append(matrix)
        scores.append(1 - covered + 0.15 * enlarged + 0.02 * draws.uniform())
    best = torch.stack(scores, dim=1).argmin(dim=1)
    return torch.stack(matrices, dim=1)[torch.arange(len(best), device=best.device), best]


def _even(ratio: Tensor) -> Tensor:
    """Bring two scales, float (B, 2), to within `ASPECT` of each other, enlarging by at most 4."""
    middle = ratio.prod(dim=1, keepdim=True).sqrt()
    return (ratio / middle).clamp(ASPECT**-0.5, ASPECT**0.5) * middle.clamp_min(0.25)


def moved_into(draws: Draws, room: Tensor, region_mask: Tensor) -> Tensor:
    """Shift references so that one point of each region falls into the room, float (B, 2, 3).

    Args:
        draws: Random rows.
        room: Where the target may change, not empty, binary float (B, 1, H, W).
        region_mask: Of the reference, not empty, binary float (B, 1, H, W).
    """
    shift = object_point(draws, room) - object_point(draws, region_mask)
    same, straight = torch.ones_like(shift), torch.zeros_like(shift[:, 0])
    return similarity_matrix(same[:, 0], straight, shift, same)

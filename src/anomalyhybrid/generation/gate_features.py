"""What the quality gate sees: features of the shipped students' encoders, and small views of defects (ADR-014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.models.lite_unet import LiteUNet
from anomalyhybrid.ops.regions import dilate

LEVELS = 3  # of each encoder: features of a half, a quarter and an eighth of the side
STRIDE = 4  # pixels of one cell
VIEW = 32  # side at which placements are compared
_CHUNK = 16  # images that go through the networks together
_LEAST_SPREAD = 1e-4


def _levels(net: LiteUNet, image: Tensor) -> list[Tensor]:
    """First levels of a student's encoder, as its `forward` computes them."""
    x, levels = F.pixel_unshuffle(image, 2), []
    for down, refine in list(zip(net.down, net.refine, strict=True))[:LEVELS]:
        x = F.relu(down(x))
        x = F.relu(refine(x) + x)
        levels.append(x)
    return levels


@dataclass(frozen=True, slots=True)
class Eyes:
    """Both shipped students' encoders, and how their channels are scaled.

    Attributes:
        nets: Edge and depth student, on one device.
        mean: Of each channel over good images, float (1, C, 1, 1).
        spread: Standard deviation, alike.
    """

    nets: tuple[LiteUNet, ...]
    mean: Tensor
    spread: Tensor

    @classmethod
    def on(cls, images: Tensor) -> Eyes:
        """Load the students and scale channels so that good images have mean 0 and spread 1.

        Args:
            images: Good images, float (N, 3, S, S) in [-1, 1], S a multiple of 8; their device is where it runs.
        """
        nets = tuple(maker(device=images.device).net for maker in (lite_edge, lite_depth))
        nothing = torch.zeros((), device=images.device)
        cells = cls(nets, nothing, nothing + 1)(images)
        return cls(nets, cells.mean((0, 2, 3), keepdim=True), cells.std((0, 2, 3), keepdim=True) + _LEAST_SPREAD)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of each cell.

        Args:
            images: float (B, 3, S, S) in [-1, 1].

        Returns:
            float (B, C, S / 4, S / 4).
        """
        parts = []
        for chunk in images.split(_CHUNK):
            side = (chunk.shape[-2] // STRIDE, chunk.shape[-1] // STRIDE)
            levels = [level for net in self.nets for level in _levels(net, chunk)]
            resized = [
                F.adaptive_avg_pool2d(level, side)
                if level.shape[-1] >= side[1]
                else F.interpolate(level, side, mode="bilinear", align_corners=False)
                for level in levels
            ]
            parts.append((torch.cat(resized, dim=1) - self.mean) / self.spread)
        return torch.cat(parts)


def cells_of(region_mask: Tensor) -> Tensor:
    """Share of each cell that a region covers, float (B, 1, S / 4, S / 4)."""
    return F.avg_pool2d(region_mask, STRIDE)


def described(cells: Tensor, region_mask: Tensor) -> Tensor:
    """Describe regions and what lies around them.

    Args:
        cells: Features, float (B, C, S / 4, S / 4).
        region_mask: Binary float (B, 1, S, S).

    Returns:
        float (B, 3 C): mean and spread of the features inside, and the mean in a ring of two cells around.
    """
    weight = cells_of(region_mask)
    ring = cells_of(dilate(region_mask, 2 * STRIDE) - region_mask)

    def mean(values: Tensor, weights: Tensor) -> Tensor:
        return (values * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp_min(1e-6)

    inside = mean(cells, weight)
    spread = (mean(cells.square(), weight) - inside.square()).clamp_min(0).sqrt()
    return torch.cat([inside, spread, mean(cells, ring)], dim=1)


@dataclass(frozen=True, slots=True)
class Views:
    """Small views of defects in their places, to find copies and duplicates.

    Attributes:
        change: What the region shows less what would be there without the defect, of length 1, float
            (N, 3 * 32 * 32).
        region: Share of each pixel that the region covers, float (N, 32 * 32).
        moved: How much each is `alike` itself moved by a cell, float (N,): what is more alike it is no other defect.
    """

    change: Tensor
    region: Tensor
    moved: Tensor

    def __getitem__(self, chosen: Tensor | Sequence[int] | slice) -> Views:
        return Views(self.change[chosen], self.region[chosen], self.moved[chosen])

    def __len__(self) -> int:
        return len(self.region)

    @classmethod
    def joined(cls, parts: Sequence[Views]) -> Views:
        """Several as one; at least one is needed."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("change", "region", "moved")))


def view_of(images: Tensor, region_mask: Tensor, without: Tensor) -> Views:
    """Make small views.

    Args:
        images: float (N, 3, S, S) in [-1, 1].
        region_mask: Binary float (N, 1, S, S).
        without: What there would be without the defects, float (N or 1, 3, S, S): their targets, or the mean good
            image.
    """
    change = (images - without) * region_mask
    own, region = _small(change, region_mask)
    moved = [
        alike((own, region), _small(change.roll(STRIDE, side), region_mask.roll(STRIDE, side))).diagonal()
        for side in (2, 3)
    ]
    return Views(own, region, torch.stack(moved).amax(dim=0))


def _small(change: Tensor, region_mask: Tensor) -> tuple[Tensor, Tensor]:
    """`Views.change` and `Views.region` of changes inside regions."""
    weight = F.adaptive_avg_pool2d(region_mask, VIEW)
    mean = F.adaptive_avg_pool2d(change, VIEW) / weight.clamp_min(1e-6)
    flat = (mean * weight.sqrt()).flatten(1)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6), weight.flatten(1)


def alike(views: Views | tuple[Tensor, Tensor], others: Views | tuple[Tensor, Tensor]) -> Tensor:
    """How much two defects are one: overlap of their regions times the correlation of what they show there.

    Args:
        views: Of N defects, or their ``change`` and ``region``.
        others: Of M defects.

    Returns:
        float (N, M) in [0, 1]; 1 for the same picture in the same place, 0 for regions that do not meet.
    """
    (change, region), (change_2, region_2) = (
        (one.change, one.region) if isinstance(one, Views) else one for one in (views, others)
    )
    common = region.sqrt() @ region_2.sqrt().T  # of soft regions: 1 with itself after the division below
    area = region.sum(dim=1)[:, None] + region_2.sum(dim=1)[None]
    overlap = common / (area - common).clamp_min(1e-6)
    return overlap.clamp(0, 1) * (change @ change_2.T).clamp(0, 1)

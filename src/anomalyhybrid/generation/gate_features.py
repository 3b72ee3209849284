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
OWN_LIKENESS = (0.5, 0.95)  # least and largest likeness from which two defects are one
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
    """

    change: Tensor
    region: Tensor

    def __getitem__(self, chosen: Tensor | Sequence[int] | slice) -> Views:
        return Views(self.change[chosen], self.region[chosen])

    def __len__(self) -> int:
        return len(self.region)

    @classmethod
    def joined(cls, parts: Sequence[Views]) -> Views:
        """Several as one; at least one is needed."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("change", "region")))

    def moved(self, rows: int, columns: int) -> Views:
        """The same defects elsewhere, at least 0 pixels of a view down and to the right; what leaves it is cut."""

        def move(flat: Tensor, channels: int) -> Tensor:
            whole = F.pad(flat.view(len(flat), channels, VIEW, VIEW), (columns, 0, rows, 0))
            return whole[..., :VIEW, :VIEW].flatten(1)

        change = move(self.change, 3)
        return Views(change / change.norm(dim=1, keepdim=True).clamp_min(1e-6), move(self.region, 1))


def view_of(images: Tensor, region_mask: Tensor, without: Tensor) -> Views:
    """Make small views.

    Args:
        images: float (N, 3, S, S) in [-1, 1].
        region_mask: Binary float (N, 1, S, S).
        without: What there would be without the defects, float (N or 1, 3, S, S): their targets, or the mean good
            image.
    """
    weight = F.adaptive_avg_pool2d(region_mask, VIEW)
    change = F.adaptive_avg_pool2d((images - without) * region_mask, VIEW) / weight.clamp_min(1e-6)
    flat = (change * weight.sqrt()).flatten(1)
    return Views(flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6), weight.flatten(1))


def alike(views: Views, others: Views) -> Tensor:
    """How much two defects are one: overlap of their regions times the correlation of what they show there.

    Args:
        views: Of N defects.
        others: Of M defects.

    Returns:
        float (N, M) in [0, 1]; 1 for the same picture in the same place, 0 for regions that do not meet.
    """
    area = views.region.sum(dim=1)[:, None] + others.region.sum(dim=1)[None]
    return _likeness(views.region.sqrt() @ others.region.sqrt().T, area, views.change @ others.change.T)


def _likeness(common: Tensor, area: Tensor, correlation: Tensor) -> Tensor:
    """Overlap times correlation, from what two soft regions have in common and their areas together."""
    overlap = common / (area - common).clamp_min(1e-6)  # 1 of a soft region with itself
    return overlap.clamp(0, 1) * correlation.clamp(0, 1)


def own_likeness(views: Views) -> Tensor:
    """How much each defect is `alike` itself a pixel of a view down or to the right, whichever is less, float (N,).

    What is more alike it is no other defect. Within `OWN_LIKENESS`: of a tiny defect nothing is left a pixel away.
    """

    def beside(moved: Views) -> Tensor:
        common = (views.region.sqrt() * moved.region.sqrt()).sum(dim=1)
        area = views.region.sum(dim=1) + moved.region.sum(dim=1)
        return _likeness(common, area, (views.change * moved.change).sum(dim=1))

    return torch.minimum(beside(views.moved(1, 0)), beside(views.moved(0, 1))).clamp(*OWN_LIKENESS)

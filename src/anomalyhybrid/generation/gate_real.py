"""Real defects as the quality gate compares candidates with them: by their look, and by place and picture (ADR-014)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.generation.gate_features import Eyes, Views, alike, described, view_of
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of
from anomalyhybrid.manipulate.symmetry import Symmetry

NEAREST = 3  # real defects that a region's look is compared with
LEAST_REAL = 8  # different real defects below which their distances say nothing
_LEAST_SPREAD = 1e-3


def _moved(values: Tensor, symmetry: Symmetry) -> list[Tensor]:
    """Images or masks (N, C, S, S) flipped and turned as the product's symmetry allows, the unmoved ones first."""
    moved = [values]
    if symmetry.flip_x:
        moved += [one.flip(3) for one in moved]
    if symmetry.flip_y:
        moved += [one.flip(2) for one in moved]
    elif symmetry.half_turn:
        moved += [one.flip(2, 3) for one in moved]
    if symmetry.any_turn:
        moved += [torch.rot90(one, 1, (2, 3)) for one in moved]
    return moved


def originals(pool: CategoryPool) -> Tensor:
    """Number of each real defect's original, long (N,); all different where the pool does not say."""
    count = 0 if pool.base is None else len(pool.base)
    device = pool.normals.color_u8.device
    return torch.arange(count, device=device) if pool.base_group is None else pool.base_group.to(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealDefects:
    """The base set's defects.

    Attributes:
        look: Descriptions of the regions in each of V allowed poses, scaled, float (V, N, D).
        scale: What descriptions are divided by, float (D,).
        views: In their own places, N of them.
        group: Number of each one's original; near-duplicates share it, long (N,).
    """

    look: Tensor
    scale: Tensor
    views: Views
    group: Tensor

    @classmethod
    def of(cls, pool: CategoryPool, eyes: Eyes, mean_good: Tensor) -> RealDefects | None:
        """Describe a pool's real defects; None where fewer than `LEAST_REAL` different ones are there.

        Args:
            pool: Images of the category.
            eyes: Networks.
            mean_good: Mean of the good images, float (1, 3, S, S).
        """
        group = originals(pool)
        if pool.base is None or len(group.unique()) < LEAST_REAL:
            return None
        every = torch.arange(len(pool.base), device=pool.base.color_u8.device)
        pictures, regions = maps_of(pool.base, every)[0], mask_of(pool.base.region_u8, every)
        poses = zip(_moved(pictures, pool.symmetry), _moved(regions, pool.symmetry), strict=True)
        look = torch.stack([described(eyes(picture), region) for picture, region in poses])
        scale = look.flatten(0, 1).std(dim=0) + _LEAST_SPREAD
        return cls(
            look=look / scale,
            scale=scale,
            views=view_of(pictures, regions, mean_good),
            group=group,
        )

    def distance(self, look: Tensor, source: Tensor) -> Tensor:
        """Mean distance of regions' looks to the nearest real ones, the closest pose of each, float (B,).

        Args:
            look: Descriptions, not scaled, float (B, D).
            source: Original of the real defect that each is made from or is, whose images are left out, long (B,);
                -1 for none.
        """
        apart = torch.stack([torch.cdist(look / self.scale, pose) for pose in self.look]).amin(dim=0)
        apart = apart.masked_fill(source[:, None] == self.group[None], torch.inf)
        return apart.topk(NEAREST, dim=1, largest=False).values.mean(dim=1)

    def likeness(self, views: Views, itself: Tensor) -> Tensor:
        """How much each defect is one of the real ones, picture and place, float (B,) in [0, 1].

        Args:
            views: Of the defects.
            itself: Original of the real defect that each one is, left out, long (B,); -1 for none.
        """
        return alike(views, self.views).masked_fill(itself[:, None] == self.group[None], 0).amax(dim=1)

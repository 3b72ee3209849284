"""Which defects differ most: in look, colour, size, place, shape, and in where their structure is from (ADR-020)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.generation.gate_features import Eyes, cells_of, described
from anomalyhybrid.ops.ranges import signed_from_u8

GROUPS = ("texture", "colour", "outline", "origin")
"""What defects are compared by; each group counts as much as another."""
Shares = Literal["set", "equal"]
_ROUNDING = 1e-6  # of float32: what varies by less is one value


def unscaled_eyes() -> Eyes:
    """The gate's networks on the CPU with their channels as they are: `comparable` scales whatever it is given."""
    return Eyes((lite_edge().net, lite_depth().net), torch.zeros(()), torch.ones(()))


def looks(pictures_u8: np.ndarray, regions: np.ndarray, eyes: Eyes) -> tuple[Tensor, Tensor]:
    """Describe what regions look like.

    Args:
        pictures_u8: At one size that is a multiple of 8, uint8 (B, S, S, 3).
        regions: Their label masks, bool (B, S, S), none empty.
        eyes: By `unscaled_eyes`.

    Returns:
        Texture, mean and spread of C features of the networks, float32 (B, 2 C); and of the colour, float32 (B, 6).
    """
    pictures = signed_from_u8(torch.from_numpy(pictures_u8).permute(0, 3, 1, 2))
    region_mask = torch.from_numpy(regions)[:, None].float()

    def inside(cells: Tensor) -> Tensor:
        return described(cells, region_mask)[:, : 2 * cells.shape[1]]  # without the surroundings

    with torch.inference_mode():
        return inside(eyes(pictures)), inside(cells_of(pictures))


def outline(label_mask: np.ndarray) -> tuple[float, ...]:
    """Describe size, place and shape of a label mask at its image's own size.

    Args:
        label_mask: Bool (H, W), not empty.

    Returns:
        Logarithm of its share of the image; its centre, in shares of width and height; how much longer it is along the
        image's width than its height, and along one diagonal than the other (both in [-1, 1], 0 for a disc); its share
        of its convex hull; logarithm of the number of its parts.
    """
    height, width = label_mask.shape
    y, x = np.nonzero(label_mask)
    across, along = np.var(x) + 1 / 12, np.var(y) + 1 / 12  # of pixels that are squares, not points
    slant = np.mean((x - x.mean()) * (y - y.mean()))
    mask_u8 = label_mask.astype(np.uint8)
    hull = cv2.convexHull(np.stack([x, y], axis=1).astype(np.int32))
    hull_area = np.count_nonzero(cv2.fillConvexPoly(np.zeros_like(mask_u8), hull, 1))
    parts = cv2.connectedComponents(mask_u8, connectivity=8)[0] - 1
    return (
        math.log(len(x) / label_mask.size),
        (float(x.mean()) + 0.5) / width,
        (float(y.mean()) + 0.5) / height,
        float((across - along) / (across + along)),
        float(2 * slant / (across + along)),
        len(x) / hull_area,
        math.log(parts),
    )


def comparable(groups: Sequence[Tensor], origins: Sequence[str | None]) -> Tensor:
    """Join what is known of defects so that Euclidean distances treat all of it alike.

    Of each measure its rank in the set counts, divided by the ranks' spread, so that a few extreme values do not
    outweigh all others. Each group is divided by the root of how many measures it has: two defects drawn at random are
    on average as far apart in one group as in another, by squared distance. What is the same everywhere says nothing.

    Args:
        groups: Measures, float (N, D) each.
        origins: What gave each defect its structure, N of them; two are the same or not.

    Returns:
        float32 (N, at most the sum of D, and the number of origins).
    """
    parts = []
    for group in groups:
        varies = group.std(dim=0, correction=0) > _ROUNDING * group.abs().amax(dim=0)
        columns = [_scaled_ranks(column) for column in group[:, varies].T]
        parts.append(torch.stack(columns, dim=1) / math.sqrt(len(columns)) if columns else group[:, :0].float())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(origins))}
    one_hot = F.one_hot(torch.tensor([numbers[name] for name in origins])).float()
    one_hot -= one_hot.mean(dim=0)
    parts.append(one_hot / one_hot.square().sum(dim=1).mean().sqrt().clamp_min(_ROUNDING))
    return torch.cat(parts, dim=1)


def _scaled_ranks(values: Tensor) -> Tensor:
    """Ranks of values (N,), equal ones sharing their mean rank, with mean 0 and spread 1, float32."""
    _, number, times = values.unique(return_inverse=True, return_counts=True)
    ranks = (times.cumsum(0) - (times - 1) / 2)[number].double()
    ranks -= ranks.mean()
    return (ranks / ranks.square().mean().sqrt()).float()


def quotas(available: Mapping[str, int], count: int, shares: Shares) -> dict[str, int]:
    """How many defects of each type are chosen.

    Args:
        available: Defects of each type.
        count: In all, at most as many as there are.
        shares: ``set`` for the set's own proportions (largest remainders, then names), ``equal`` for as equal as the
            types' numbers let it be.

    Returns:
        The numbers, by type; they add up to `count`.
    """
    total = sum(available.values())
    if shares == "set":
        chosen = {name: count * number // total for name, number in available.items()}
        order = sorted(available, key=lambda name: (-(count * available[name] % total), name))
        return chosen | {name: chosen[name] + 1 for name in order[: count - sum(chosen.values())]}
    chosen = dict.fromkeys(available, 0)
    for _ in range(count):  # the type with the fewest so far that has any left
        chosen[min((name for name in available if chosen[name] < available[name]), key=lambda n: (chosen[n], n))] += 1
    return chosen


def most_varied(features: Tensor, types: Sequence[str], wanted: Mapping[str, int]) -> list[int]:
    """Choose by greedy k-centre: first the medoid, then always the one that is farthest from all chosen before.

    The medoid is the one with the least sum of squared distances, which is the one nearest to the mean. Of equals the
    first is taken. A type that has its number is left out of what follows.

    Args:
        features: By `comparable`, float32 (N, D), in the order of ids.
        types: Of each defect, N of them.
        wanted: How many of each type, none more than there are.

    Returns:
        Places of the chosen, in the order of choice.

    Source: T. Gonzalez, Clustering to minimize the maximum intercluster distance, 1985 (within twice the least radius
    where types bind nothing).
    """
    left = Counter(wanted)
    open_ = torch.tensor([left[name] > 0 for name in types])
    of_type = {name: torch.tensor([one == name for one in types]) for name in wanted}
    apart = -_distances(features, features.mean(dim=0))
    chosen: list[int] = []
    for _ in range(sum(wanted.values())):
        place = int(torch.where(open_, apart, -torch.inf).argmax())
        near = _distances(features, features[place])
        apart = torch.minimum(apart, near) if chosen else near
        chosen.append(place)
        open_[place] = False
        left[types[place]] -= 1
        if not left[types[place]]:
            open_ &= ~of_type[types[place]]
    return chosen


def _distances(features: Tensor, point: Tensor) -> Tensor:
    """Euclidean distances of all to one, (N,), without the products that would leave copies apart by rounding."""
    return torch.cdist(features, point[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]

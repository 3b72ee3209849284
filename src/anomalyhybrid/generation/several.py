"""Several defects in one image: each drawn on the same good image, away from those before it (ADR-012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pipeline import Before, Candidates, accepted_candidates, as_composed
from anomalyhybrid.generation.pool import CategoryPool, mask_of
from anomalyhybrid.generation.quality import LEAST_AREA, choose
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.regions import dilate
from anomalyhybrid.ops.transfer import to_host, wait_for_host
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import stream

DISTANCE = 4  # pixels at 256 that lie at least between two defects


@dataclass(frozen=True, slots=True)
class Defects:
    """The first, the second, ... defect of the images of a batch.

    Attributes:
        candidates: One for each of some of the images.
        positions: These images' places in the batch.
        number: 0 for the first defect, which every image has.
    """

    candidates: Candidates
    positions: list[int]
    number: int

    def cpu(self) -> Defects:
        """The same on the CPU."""
        moved = mapped(to_host, self.candidates)
        wait_for_host(self.candidates.fused.device)
        return Defects(moved, self.positions, self.number)


def asked_defects(config: GenerateConfig, category: str, index: int) -> int:
    """How many defects an image is to have, drawn from `per_image`."""
    least, most = config.per_image
    drawn = torch.randint(least, most + 1, (), generator=stream(config.seed, "defects", category, index))
    return int(drawn)


def draw_defects(
    model: Generator, pool: CategoryPool, config: GenerateConfig, category: str, indices: Sequence[int]
) -> list[Defects]:
    """Draw all defects of some images; arguments as for `accepted_candidates`.

    An image gets no further defect once too little room is left for one, or none of `max_attempts` was accepted.

    Returns:
        The first defects, and where more are asked for the second ones, and so on.
    """
    first = accepted_candidates(model, pool, config, category, indices)
    found = [Defects(first, list(range(len(indices))), 0)]
    if config.per_image[1] == 1:
        return found
    asked = [asked_defects(config, category, index) for index in indices]
    margin = max(2, round(DISTANCE * first.region_mask.shape[-1] / 256))
    taken, positions = dilate(first.region_mask, margin), found[0].positions
    for number in range(1, config.per_image[1]):
        has_room = _has_room(pool, first.target_index, taken)
        positions = [place for place in positions if asked[place] > number and has_room[place]]
        if not positions:
            break
        before = Before(number, first.target_index[positions], taken[positions])
        drawn = accepted_candidates(model, pool, config, category, [indices[place] for place in positions], before)
        kept = drawn.accepted.nonzero()[:, 0]
        positions = [positions[place] for place in kept.tolist()]
        if not positions:
            break
        found.append(Defects(mapped(_chosen(kept), drawn), positions, number))
        taken[positions] = torch.maximum(taken[positions], dilate(found[-1].candidates.region_mask, margin))
    return found


def shown_defects(found: Sequence[Defects], targets: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor]:
    """Show the defects of some images as composition will, at the model's size.

    Args:
        found: First, second, ... defects of the images.
        targets: The images, float (B, 3, S, S) in [-1, 1].
        whole: Show the whole redrawn image (composition ``full``).

    Returns:
        The pictures, and their label masks, binary float (B, 1, S, S).
    """
    pictures, labels = targets.clone(), torch.zeros_like(targets[:, :1])
    for defects in found:
        drawn, places = defects.candidates, defects.positions
        under = choose(drawn.plan.shows("blend"), drawn.content, targets[places])
        region = torch.ones_like(drawn.region_mask) if whole else drawn.region_mask
        shown = as_composed(targets[places], under, drawn.fused, region, drawn.opacity)
        pictures[places] = torch.where(region > 0, shown, pictures[places])
        labels[places] = torch.maximum(labels[places], drawn.region_mask)
    return pictures, labels


def _chosen(kept: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda values: values[kept]


def _has_room(pool: CategoryPool, target_index: Tensor, taken: Tensor) -> list[bool]:
    """Whether a defect still fits beside those that images have."""
    room = pool.room(target_index)
    free = (mask_of(pool.normals.object_u8, target_index) if room is None else room) * (1 - taken)
    return (free.sum(dim=(1, 2, 3)) >= LEAST_AREA).tolist()

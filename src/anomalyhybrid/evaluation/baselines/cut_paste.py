"""CutPaste: a piece of a good image pasted elsewhere on itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.baselines.colour import jitter
from anomalyhybrid.evaluation.baselines.drawing import (
    BLOCK,
    Candidates,
    check_good,
    draw_all,
    draws_of,
    synthetic,
    visible,
)
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.manipulate.placement import object_point
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import sample

SCAR_WIDTH = (2.0, 16.0)  # pixels at 256, as the paper gives them
SCAR_LENGTH = (10.0, 25.0)
SCAR_TURN = torch.pi / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPasteConfig:
    """How patches are drawn; the defaults are the paper's."""

    scar_share: float = 0.5
    """Share of images with a scar: a thin rotated rectangle in place of a patch."""
    area: tuple[float, float] = (0.02, 0.15)
    """Area of a patch as a share of the image."""
    jitter: float = 0.1
    """Strength of the colour jitter."""
    on_object: bool = False
    """Take and paste patches centred on the object; the paper does so anywhere in the image."""
    least_change: float = 2.0
    """Mean change inside the patch in 1/255 below which it is drawn again (black background on black background)."""

    def __post_init__(self) -> None:
        if not 0 <= self.scar_share <= 1:
            raise ConfigError(f"cut_paste.scar_share is {self.scar_share}; it must lie between 0 and 1")
        if not 0 < self.area[0] <= self.area[1] <= 0.25:
            raise ConfigError(f"cut_paste.area is {self.area}; give two shares with 0 < first <= second <= 0.25")
        if not 0 <= self.jitter <= 0.5:
            raise ConfigError(f"cut_paste.jitter is {self.jitter}; it must lie between 0 and 0.5")
        if self.least_change < 0:
            raise ConfigError(f"cut_paste.least_change is {self.least_change}; it must be at least 0")


def cut_paste(
    good: ImageSet, count: int, seed: int, *, config: CutPasteConfig | None = None, block: int = BLOCK
) -> Samples:
    """Paste a patch or a scar of each image at another place of the same image.

    Args:
        good: Good images of one category.
        count: Images to make.
        seed: Root seed; image i is the same whatever `count` and `block` are.
        config: Strengths.
        block: Images drawn together.

    Returns:
        Samples of the type ``synthetic`` on the device of `good`; masks are the pasted pixels.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: No good image, several categories, or images too small or of another shape.

    Source: Li et al. 2021 (CutPaste), 3-way: patches and scars.
    """
    check_good(good, count, block)
    settings = config or CutPasteConfig()
    device = good.color_u8.device

    def draw(indices: Sequence[int], attempt: int) -> Candidates:
        draws = draws_of(seed, "cut_paste", indices, attempt, device, columns=64)
        return _paste(draws, good[draws.index(len(good))], settings)

    return synthetic(*draw_all(draw, count, block))


def _rectangles(draws: Draws, size: int, config: CutPasteConfig) -> tuple[Tensor, Tensor]:
    """Widths and heights in whole pixels, float (B, 2), and turns in radians, float (B,)."""
    is_scar = draws.happens(config.scar_share)
    area = draws.uniform(*config.area)
    aspect = torch.where(draws.happens(0.5), draws.uniform(0.3, 1.0), draws.uniform(1.0, 3.3))
    patch = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1) * size
    scar = torch.stack([draws.uniform(*SCAR_WIDTH), draws.uniform(*SCAR_LENGTH)], dim=1) * (size / 256)
    turn = draws.uniform(-SCAR_TURN, SCAR_TURN) * is_scar
    sides = torch.where(is_scar[:, None], scar, patch).round().clamp(2, size - 1)
    return sides, turn


def _centres(draws: Draws, half_B2: Tensor, size: int, point_B2: Tensor | None) -> Tensor:
    """Centres of boxes that fit into the image, in pixels from its upper left corner, float (B, 2)."""
    room = size - 2 * half_B2
    corner = draws.uniforms(2) * room
    if point_B2 is not None:
        corner = ((point_B2 + 1) * (size / 2) - half_B2).clamp_min(0).minimum(room)
    return corner.round().minimum(room) + half_B2


def _paste(draws: Draws, chosen: ImageSet, config: CutPasteConfig) -> Candidates:
    size = chosen.color_u8.shape[-1]
    unit = chosen.color_u8.float() / 255
    objects = (chosen.object_u8 > 127).float()
    sides, turn = _rectangles(draws, size, config)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    turned = torch.stack(
        [sides[:, 0] * cosine.abs() + sides[:, 1] * sine.abs(), sides[:, 0] * sine.abs() + sides[:, 1] * cosine.abs()],
        dim=1,
    )
    points = [object_point(draws, objects), object_point(draws, objects)] if config.on_object else [None, None]
    taken = _centres(draws, sides / 2, size, points[0])
    put = _centres(draws, turned / 2, size, points[1])
    line = torch.arange(size, device=unit.device) + 0.5
    offset_x = line.view(1, 1, -1) - put[:, 0, None, None]
    offset_y = line.view(1, -1, 1) - put[:, 1, None, None]
    cosine, sine = cosine.view(-1, 1, 1), sine.view(-1, 1, 1)
    along, across = cosine * offset_x + sine * offset_y, cosine * offset_y - sine * offset_x
    inside = (along.abs() < sides[:, 0, None, None] / 2) & (across.abs() < sides[:, 1, None, None] / 2)
    source = torch.stack([along + taken[:, 0, None, None], across + taken[:, 1, None, None]], dim=-1)
    moved = sample(unit, source * (2 / size) - 1)
    region = inside[:, None]
    pasted = (jitter(draws, moved, region.float(), config.jitter) * 255).round().clamp(0, 255).byte()
    return Candidates(
        good_u8=chosen.color_u8,
        image_u8=pasted,
        region=region,
        fits=visible(pasted, chosen.color_u8, region, config.least_change),
    )

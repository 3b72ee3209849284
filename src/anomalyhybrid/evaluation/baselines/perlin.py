"""DRAEM's anomalies: a foreign texture in the outline of thresholded Perlin noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.colour import grey_of
from anomalyhybrid.evaluation.baselines.drawing import (
    ATTEMPTS,
    BLOCK,
    Candidates,
    check_good,
    draw_all,
    draws_of,
    synthetic,
)
from anomalyhybrid.evaluation.baselines.texture_augment import augment_textures
from anomalyhybrid.evaluation.baselines.textures import PROCEDURAL, Textures, procedural_textures
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import affine_grid, sample, similarity_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class PerlinConfig:
    """How masks and textures are drawn; the defaults are DRAEM's, which knows no object and no grey images."""

    octaves: tuple[int, int] = (0, 5)
    """Lowest and highest power of two of the number of noise cells along each side."""
    threshold: float = 0.5
    """Noise above it is anomalous."""
    beta: tuple[float, float] = (0.1, 0.8)
    """Opacity with which the good image shows through the texture."""
    on_object: bool = False
    """Keep anomalies on the object."""
    grey: bool = False
    """Give grey images grey textures."""

    def __post_init__(self) -> None:
        if not 0 <= self.octaves[0] <= self.octaves[1] <= 6:
            raise ConfigError(f"perlin.octaves is {self.octaves}; give two powers with 0 <= first <= second <= 6")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"perlin.threshold is {self.threshold}; it must lie between 0 and 1")
        if not 0 <= self.beta[0] <= self.beta[1] < 1:
            raise ConfigError(f"perlin.beta is {self.beta}; give two opacities with 0 <= first <= second < 1")


def perlin(
    good: ImageSet,
    count: int,
    seed: int,
    *,
    textures: Textures | None = None,
    config: PerlinConfig | None = None,
    block: int = BLOCK,
) -> Samples:
    """Blend textures into good images where Perlin noise is high.

    The image becomes I (1 - M) + (1 - beta) A M + beta I M, with noise mask M and augmented texture A.

    Args:
        good: Good images of one category.
        count: Images to make.
        seed: Root seed; image i is the same whatever `count` and `block` are.
        textures: `load_textures` of a folder; None draws `PROCEDURAL` ones. Results should give their `name`.
        config: Strengths.
        block: Images drawn together.

    Returns:
        Samples of the type ``synthetic`` on the device of `good`; masks are M.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: No good image, several categories, another shape, or textures of another size.

    Source: Zavrtanik et al. 2021 (DRAEM), section 3.3; ranges as in its code.
    """
    check_good(good, count, block)
    settings = config or PerlinConfig()
    size, device = good.color_u8.shape[-1], good.color_u8.device
    bank = textures or procedural_textures(PROCEDURAL, size, seed)
    if bank.image_u8.dtype != torch.uint8 or bank.image_u8.shape[1:] != (3, size, size) or not len(bank):
        raise DataError(
            f"textures are {bank.image_u8.dtype} {tuple(bank.image_u8.shape)}; "
            f"they must be uint8 (N, 3, {size}, {size}), as the good images are"
        )
    bank_u8 = bank.image_u8.to(device)
    columns = (2 ** settings.octaves[1] + 1) ** 2 + 128

    def draw(indices: Sequence[int], attempt: int) -> Candidates:
        draws = draws_of(seed, "perlin", indices, attempt, device, columns)
        chosen, texture_u8 = good[draws.index(len(good))], bank_u8[draws.index(len(bank_u8))]
        return _blend(draws, chosen, texture_u8, settings, attempt)

    return synthetic(*draw_all(draw, count, block))


def perlin_noise(angles_BLL: Tensor, cells_B2: Tensor, size: int) -> Tensor:
    """Gradient noise of about [-1, 1].

    Args:
        angles_BLL: Direction of the gradient at each lattice point in radians; L is above every number of cells.
        cells_B2: Cells across and down the image, long.
        size: Side in pixels.

    Returns:
        float (B, 1, S, S); 0 at lattice points.

    Source: Perlin 2002 (fade 6t^5 - 15t^4 + 10t^3), times sqrt(2) as DRAEM has it.
    """
    batch, lattice = angles_BLL.shape[:2]
    line = torch.arange(size, device=angles_BLL.device) / size
    x, y = line * cells_B2[:, :1], line * cells_B2[:, 1:]
    column, row = x.floor().long(), y.floor().long()
    across, down = (x - column)[:, None, :], (y - row)[:, :, None]
    flat = angles_BLL.reshape(batch, -1)

    def corner(right: int, below: int) -> Tensor:
        place = (row + below)[:, :, None] * lattice + (column + right)[:, None, :]
        angle = flat.gather(1, place.reshape(batch, -1)).reshape(batch, size, size)
        return torch.cos(angle) * (across - right) + torch.sin(angle) * (down - below)

    def fade(t: Tensor) -> Tensor:
        return t**3 * (t * (t * 6 - 15) + 10)

    upper = torch.lerp(corner(0, 0), corner(1, 0), fade(across).expand(batch, size, size))
    lower = torch.lerp(corner(0, 1), corner(1, 1), fade(across).expand(batch, size, size))
    return (torch.lerp(upper, lower, fade(down).expand(batch, size, size)) * 2**0.5)[:, None]


def _noise_region(draws: Draws, allowed: Tensor, config: PerlinConfig, attempt: int) -> Tensor:
    """Thresholded noise, turned by up to 90 degrees, bool (B, 1, S, S); the last attempt is never empty."""
    size = allowed.shape[-1]
    low, high = config.octaves
    cells = 2 ** (low + (draws.uniforms(2) * (high - low + 1)).long().clamp_max(high - low))
    lattice = 2**high + 1
    angles = draws.uniforms(lattice * lattice, 0, 2 * torch.pi).reshape(-1, lattice, lattice)
    noise = perlin_noise(angles, cells, size)
    turn = draws.uniform(-torch.pi / 2, torch.pi / 2)
    still = torch.ones(draws.batch, 2, device=noise.device)
    matrix = similarity_matrix(torch.ones_like(turn), turn, torch.zeros_like(still), still)
    turned = sample(noise, affine_grid(matrix, size, size), padding="zeros")
    limit = torch.full_like(turn, config.threshold)
    if attempt == ATTEMPTS - 1:
        best = turned.masked_fill(~allowed, -2.0).amax(dim=(1, 2, 3))
        limit = torch.minimum(limit, torch.where(best > 0, 0.9 * best, best - 1e-3))
    return (turned > limit.view(-1, 1, 1, 1)) & allowed


def _blend(draws: Draws, chosen: ImageSet, texture_u8: Tensor, config: PerlinConfig, attempt: int) -> Candidates:
    allowed = torch.ones_like(chosen.object_u8, dtype=torch.bool)
    if config.on_object:
        on_object = chosen.object_u8 > 127
        allowed = torch.where(on_object.flatten(1).any(dim=1).view(-1, 1, 1, 1), on_object, allowed)
    region = _noise_region(draws, allowed, config, attempt)
    texture = augment_textures(draws, texture_u8.float() / 255)
    unit = chosen.color_u8.float() / 255
    if config.grey:
        is_grey = (chosen.color_u8.amax(dim=1) == chosen.color_u8.amin(dim=1)).all(dim=2).all(dim=1)
        texture = torch.where(is_grey.view(-1, 1, 1, 1), grey_of(texture).expand_as(texture), texture)
    beta = draws.uniform(*config.beta).view(-1, 1, 1, 1)
    mixed = (1 - beta) * texture + beta * unit
    return Candidates(
        good_u8=chosen.color_u8,
        image_u8=(mixed * 255).round().clamp(0, 255).byte(),
        region=region,
        fits=region.flatten(1).any(dim=1),
    )

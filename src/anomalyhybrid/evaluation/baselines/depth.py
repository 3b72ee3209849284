"""Baselines in colour and depth: Perlin depth as EasyNet, smoothed Perlin as 3DSR, CropPaste in both channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from anomalyhybrid.choices import check_choices
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.drawing import BLOCK, SYNTHETIC, check_good, draws_of
from anomalyhybrid.evaluation.baselines.perlin import perlin_noise
from anomalyhybrid.evaluation.baselines.texture_augment import augment_textures
from anomalyhybrid.evaluation.baselines.textures import PROCEDURAL, Textures, procedural_textures
from anomalyhybrid.evaluation.depth_samples import DepthSamples, to_u8
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.generation.pool import pick_by_kind
from anomalyhybrid.manipulate.placement import suit_placement
from anomalyhybrid.manipulate.reference import levelled
from anomalyhybrid.manipulate.symmetry import symmetry_of
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8, u8_from_signed
from anomalyhybrid.ops.regions import blur, dilate
from anomalyhybrid.ops.warp import affine_grid, sample

OCTAVES = (0, 5)  # powers of two of the number of noise cells, as DRAEM


@dataclass(frozen=True, slots=True)
class DepthImages:
    """Images of one category with depth.

    Attributes:
        images: Colour, regions and products.
        near: float (N, 1, S, S), nearer is larger, in any unit.
        valid: bool (N, 1, S, S), where depth was measured.
    """

    images: ImageSet
    near: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> DepthImages:
        return DepthImages(self.images[index], self.near[index], self.valid[index])

    def check(self, name: str) -> None:
        """Check that depth fits the images.

        Raises:
            DataError: Another shape.
        """
        wanted = (len(self.images), 1, *self.images.color_u8.shape[-2:])
        for what, values in (("depth", self.near), ("validity", self.valid)):
            if tuple(values.shape) != wanted:
                raise DataError(f"{what} of the {name} images is {tuple(values.shape)}; it must be {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerlinDepthConfig:
    """How depth is forged in thresholded Perlin noise."""

    form: Literal["values", "smooth"] = "values"
    """`values`: EasyNet, the noise itself is the depth. `smooth`: 3DSR, blurred noise, changed by a random gain and
    offset, is added to the depth."""
    threshold: float = 0.5
    """Noise above it is anomalous."""
    beta: tuple[float, float] = (0.1, 0.8)
    """Opacity with which the good image shows through texture and noise."""
    gain: tuple[float, float] = (0.05, 0.5)
    """`smooth`: gain of the noise as a share of the set's range, of either sign."""
    offset: float = 0.1
    """`smooth`: largest offset, as a share of the set's range."""
    sigma: float = 0.015
    """`smooth`: deviation of the blur as a share of the image's side."""
    on_object: bool = False
    """Keep anomalies on the object."""

    def __post_init__(self) -> None:
        check_choices(self, "perlin_depth", ("form",))
        if not 0 < self.threshold < 1:
            raise ConfigError(f"perlin_depth.threshold is {self.threshold}; it must lie between 0 and 1")
        if not 0 <= self.beta[0] <= self.beta[1] < 1:
            raise ConfigError(f"perlin_depth.beta is {self.beta}; give two opacities with 0 <= first <= second < 1")
        if not 0 < self.gain[0] <= self.gain[1] or self.offset < 0 or self.sigma < 0:
            raise ConfigError(f"perlin_depth.gain {self.gain}, offset {self.offset}, sigma {self.sigma}: give 0 < gain")


Block = tuple[Tensor, Tensor, Tensor, Tensor]
"""Image, depth (nearer is larger), its validity, region."""


def _all(
    draw: Callable[[Sequence[int]], Block], count: int, block: int, value_range: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Images uint8, depth uint8 and masks uint8 of all numbered images."""
    parts = [draw(list(range(start, min(start + block, count)))) for start in range(0, count, block)]
    image, near, valid, region = (torch.cat(values) for values in zip(*parts, strict=True))
    return image, to_u8(near, valid, value_range), region.to(torch.uint8) * 255


def perlin_depth(
    good: DepthImages,
    count: int,
    seed: int,
    value_range: tuple[float, float],
    *,
    textures: Textures | None = None,
    config: PerlinDepthConfig | None = None,
    block: int = BLOCK,
) -> DepthSamples:
    """Put texture into colour and forged values into depth where Perlin noise is high; one region for both.

    Args:
        good: Good images of one category with depth.
        count: Images to make.
        seed: Root seed; image i is the same whatever `count` and `block` are.
        value_range: Of the set (`depth_samples.set_range`).
        textures: `load_textures` of a folder; None draws procedural ones.
        config: Form and strengths.
        block: Images drawn together.

    Returns:
        Samples of the type ``synthetic``; outside the masks images and depth are the good ones, and unmeasured
        pixels stay unmeasured.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: No good image, several categories, other shapes.

    Source: EasyNet (Chen et al. 2023) and 3DSR (Zavrtanik et al. 2024) as the paper's section 2 describes them; 3DSR's
        colour is left to its own latent space there, here it is EasyNet's texture.
    """
    check_good(good.images, count, block)
    good.check("good")
    settings = config or PerlinDepthConfig()
    size, device = good.images.color_u8.shape[-1], good.images.color_u8.device
    bank = textures or procedural_textures(PROCEDURAL, size, seed)
    bank_u8 = bank.image_u8.to(device)
    columns = 2 * (2 ** OCTAVES[1] + 1) ** 2 + 256

    def draw(indices: Sequence[int]) -> Block:
        draws = draws_of(seed, f"perlin_depth_{settings.form}", indices, 0, device, columns)
        chosen, texture_u8 = good[draws.index(len(good))], bank_u8[draws.index(len(bank_u8))]
        return _forge(draws, chosen, texture_u8, settings, value_range)

    image, depth, mask = _all(draw, count, block, value_range)
    kind = torch.zeros(count, dtype=torch.long, device=device)
    return DepthSamples(Samples(image, mask, kind, SYNTHETIC), depth)


def _noise(draws: Draws, size: int) -> Tensor:
    """Perlin noise of random frequency, float (B, 1, S, S) in about [-1, 1]."""
    low, high = OCTAVES
    cells = 2 ** (low + (draws.uniforms(2) * (high - low + 1)).long().clamp_max(high - low))
    lattice = 2**high + 1
    angles = draws.uniforms(lattice * lattice, 0, 2 * torch.pi).reshape(-1, lattice, lattice)
    return perlin_noise(angles, cells, size)


def _forge(
    draws: Draws, chosen: DepthImages, texture_u8: Tensor, config: PerlinDepthConfig, value_range: tuple[float, float]
) -> Block:
    images = chosen.images
    size = images.color_u8.shape[-1]
    noise = _noise(draws, size)
    allowed = torch.ones_like(images.object_u8, dtype=torch.bool)
    if config.on_object:
        product = images.object_u8 > 127
        allowed = torch.where(product.flatten(1).any(dim=1).view(-1, 1, 1, 1), product, allowed)
    best = noise.masked_fill(~allowed, -2.0).amax(dim=(1, 2, 3))
    lowered = torch.where(best > 0, 0.9 * best, best - 1e-3)  # a mask is never empty
    limit = torch.minimum(torch.full_like(best, config.threshold), lowered)
    region = (noise > limit.view(-1, 1, 1, 1)) & allowed
    unit, texture = images.color_u8.float() / 255, augment_textures(draws, texture_u8.float() / 255)
    beta = draws.uniform(*config.beta).view(-1, 1, 1, 1)
    mixed = (((1 - beta) * texture + beta * unit) * 255).round().clamp(0, 255).byte()
    low, high = value_range
    if config.form == "values":
        forged = (1 - beta) * (low + (high - low) * (noise + 1) / 2) + beta * chosen.near
    else:
        smooth = blur(noise, config.sigma * size)
        gain = draws.uniform(*config.gain) * draws.signs()
        shift = draws.uniform(-config.offset, config.offset)
        forged = chosen.near + (high - low) * (gain.view(-1, 1, 1, 1) * smooth + shift.view(-1, 1, 1, 1))
    return (
        torch.where(region, mixed, images.color_u8),
        torch.where(region & chosen.valid, forged.to(chosen.near.dtype), chosen.near),
        chosen.valid,
        region,
    )


def crop_paste_depth(
    good: DepthImages,
    base: DepthImages,
    kinds: tuple[str, ...],
    base_kind: Tensor,
    count: int,
    seed: int,
    value_range: tuple[float, float],
    *,
    block: int = BLOCK,
) -> DepthSamples:
    """Paste real defects on good images: their colour as it is, their depth relative to their surroundings.

    Args:
        good: Good images of one category.
        base: Real defects of it, each with a region.
        kinds: Names of the defect types.
        base_kind: Index into `kinds` of each base image, long (len(base),).
        count: Images to make.
        seed: Root seed.
        value_range: Of the set.
        block: Images drawn together.

    Returns:
        Samples; a pasted pixel has depth where defect and good image were both measured there.

    Raises:
        ConfigError: `count` or `block` below 1.
        DataError: No good or base image, other shapes, types that do not fit, or a base image without a region.
    """
    check_good(good.images, count, block)
    good.check("good")
    base.check("base")
    device = good.images.color_u8.device
    regions = base.images.region_u8 > 127
    if not len(base) or not bool(regions.flatten(1).any(dim=1).all()):
        raise DataError("CropPaste needs base images, each with a mask that is not empty")
    if base_kind.shape != (len(base),) or int(base_kind.min()) < 0 or int(base_kind.max()) >= len(kinds):
        raise DataError(f"base_kind must hold an index into {kinds} for each of {len(base)} base images")
    symmetry = symmetry_of(good.images.color_u8)
    _, dense = base_kind.cpu().unique(return_inverse=True)
    types: list[Tensor] = []

    def draw(indices: Sequence[int]) -> Block:
        draws = draws_of(seed, "crop_paste_depth", indices, 0, device, columns=1024)
        target, row = good[draws.index(len(good))], pick_by_kind(draws, dense)
        types.append(base_kind.to(device)[row])
        donor = base[row]
        color, donor_color = signed_from_u8(target.images.color_u8), signed_from_u8(donor.images.color_u8)
        product, own = (target.images.object_u8 > 127).float(), (donor.images.object_u8 > 127).float()
        region = (donor.images.region_u8 > 127).float()
        matrix = suit_placement(draws, [symmetry] * draws.batch, color, product, donor_color, own, region)
        grid = affine_grid(matrix, *color.shape[-2:])
        placed = (sample(region, grid, padding="zeros") > 0.4).float()
        clipped = placed * dilate(product, 1)
        clipped = torch.where((clipped.sum(dim=(1, 2, 3)) > 0).view(-1, 1, 1, 1), clipped, placed)
        empty = (clipped.sum(dim=(1, 2, 3)) == 0).view(-1, 1, 1, 1)  # nothing fits: the defect's own place
        inside = torch.where(empty, region, clipped) > 0
        home = torch.where(empty, affine_grid(_home(matrix), *color.shape[-2:]), grid)
        measured = sample(donor.valid.float(), home) > 0.99
        near = levelled(sample(donor.near.float(), home), target.near.float(), inside.float(), float("inf"))
        valid = torch.where(inside, target.valid & measured, target.valid)
        return (
            torch.where(inside, u8_from_signed(sample(donor_color, home)), target.images.color_u8),
            torch.where(inside, near.to(target.near.dtype), target.near),
            valid,
            inside,
        )

    image, depth, mask = _all(draw, count, block, value_range)
    return DepthSamples(Samples(image, mask, torch.cat(types), kinds), depth)


def _home(matrix_B23: Tensor) -> Tensor:
    """The placement that moves nothing."""
    return torch.eye(2, 3, device=matrix_B23.device).expand_as(matrix_B23)

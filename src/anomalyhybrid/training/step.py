"""One training step: views, generator update, discriminator update (paper Fig. 4a, Eqs. 2-4)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid import losses
from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.augment.pseudo import from_pair, make_pseudo_defects
from anomalyhybrid.augment.views import draw_grids, make_views
from anomalyhybrid.manipulate.operations import region_frame
from anomalyhybrid.models.blocks import laid_out
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.training.config import LossConfig
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.processes import ALONE, Processes
from anomalyhybrid.types import DecoderOutput, Views

Features = Callable[[Tensor], Sequence[Tensor]]
Function = TypeVar("Function", bound=Callable)


class Prepare(Protocol):
    """Makes of a function what is run in its place."""

    def __call__(self, function: Function, /) -> Function: ...


def as_written(function: Function) -> Function:
    """Run a function as it is."""
    return function


@functools.cache
def as_one_graph(function: Function) -> Function:
    """Compile a function whole: its networks with the losses that read them, and channels last throughout.

    The layout is asked for, because the compiler's own rule turns it down for decoders, whose inputs have more channels
    than their outputs, and every convolution then turns its input around (measured in docs/log.md; ADR-017).
    """
    return torch.compile(function, options={"force_layout_optimization": True})  # pyright: ignore[reportReturnType]


def draw_views(draws: Draws, pool: TrainingPool, config: AugmentConfig) -> Views:
    """Draw one batch: plain views, edits of an aligned view, and rough pastes to harmonise."""
    normals, base, has_base = pool.draw(draws)
    role = draws.uniform()
    edited = role < config.edit + config.blend
    rough = edited & (role >= config.edit)
    usable = None if base is None else base.where(has_base, normals)  # a good image has no region: never useful
    donor = pool.draw_donors(draws)
    defects = make_pseudo_defects(draws, normals, donor, usable, config.base_share, rough)
    pairs = pool.draw_pairs(draws)
    if pairs is not None:
        paired = draws.happens(config.pair_share) & edited
        defects = from_pair(draws, *pairs).where(paired, defects)
        normals = pairs[0].where(paired, normals)
    if base is not None:  # real defects also serve as plain images
        normals = base.where(has_base & draws.happens(0.15) & ~edited, normals)
    pick, pick_rough = edited.view(-1, 1, 1, 1), rough.view(-1, 1, 1, 1)
    grids = draw_grids(draws, config, edited, *normals.color.shape[-2:])
    return make_views(
        grids,
        reference=torch.where(pick_rough, defects.rough, normals.color),
        image=torch.where(pick, defects.image, normals.color),
        depth=torch.where(pick, defects.depth, normals.depth),
        edge=torch.where(pick, defects.edge, normals.edge),
        region_mask=torch.where(pick, defects.region_mask, torch.zeros_like(normals.region_mask)),
    )


def crop_corners(draws: Draws, region_mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Top-left corners of square crops, at the region where there is one, else anywhere; long (B,) each."""
    height, width = region_mask.shape[-2:]
    center, _ = region_frame(region_mask)
    edited = region_mask.sum(dim=(1, 2, 3)) > 0
    jitter = draws.uniforms(2, -0.3, 0.3) * side / 2
    top = torch.where(
        edited, (center[:, 1] + 1) * height / 2 - side / 2 + jitter[:, 0], draws.uniform() * (height - side)
    )
    left = torch.where(
        edited, (center[:, 0] + 1) * width / 2 - side / 2 + jitter[:, 1], draws.uniform() * (width - side)
    )
    return top.round().long().clamp(0, height - side), left.round().long().clamp(0, width - side)


def crop(image: Tensor, top_B: Tensor, left_B: Tensor, side: int) -> Tensor:
    """Cut one square from each sample, float (B, C, side, side)."""
    offsets = torch.arange(side, device=image.device)
    rows = (top_B[:, None] + offsets)[:, :, None]
    columns = (left_B[:, None] + offsets)[:, None, :]
    samples = torch.arange(len(image), device=image.device)[:, None, None]
    return image.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)


@dataclass(slots=True)
class Networks:
    """What a step runs.

    Attributes:
        generator: `Generator`; its parameters belong to `generator_optimizer`.
        discriminator: `Discriminator`; its parameters belong to `discriminator_optimizer`.
        features: Perceptual network, or None.
        processes: Those that share each batch.
        prepare: Makes of the function that finds a batch's losses what is run: itself, or `as_one_graph`.
    """

    generator: nn.Module
    discriminator: nn.Module
    features: Features | None
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    processes: Processes = ALONE
    prepare: Prepare = as_written


class BatchLosses(NamedTuple):
    """What one batch costs, all of it with gradients.

    Attributes:
        terms: Weighted terms of the generator's loss, scalars by name; no gradient for the discriminator.
        discriminator: Its own loss, scalar; no gradient for the generator.
        fusion_mask: Mean M_gen of each decoder group, detached scalars by name.
    """

    terms: dict[str, Tensor]
    discriminator: Tensor
    fusion_mask: dict[str, Tensor]


def mean_masks(outputs: Mapping[str, DecoderOutput]) -> dict[str, Tensor]:
    """Mean fusion mask of each decoder group, scalars."""
    return {name: output.fusion_mask.detach().float().mean() for name, output in outputs.items()}


def _targets(views: Views, outputs: dict[str, DecoderOutput], alone_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Judged images, their targets and the fusion masks, the decoder groups one after the other.

    Args:
        views: The batch.
        outputs: Of the generator.
        alone_B: bool (B,): samples judged on their source alone.

    Returns:
        float (G * B, 3, H, W) twice, float (G * B, 1, H, W).
    """
    targets = {"ahd": views.target_ahd, "ahe": views.target_ahe}
    alone = alone_B.view(-1, 1, 1, 1)
    judged = [torch.where(alone, output.source.to(output.fused.dtype), output.fused) for output in outputs.values()]
    masks = [output.fusion_mask for output in outputs.values()]
    return torch.cat(judged), torch.cat([targets[name] for name in outputs]), torch.cat(masks)


def frozen(network: nn.Module) -> Callable[..., Any]:
    """A network as a function of its inputs alone: no gradient reaches its parameters."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return lambda *inputs: torch.func.functional_call(network, parameters, inputs)


def adversarial_terms(
    discriminator: nn.Module, config: LossConfig, conditions: Tensor, generated: Tensor, wanted: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """What the discriminator gives the generator, `adversarial` and, where asked for, `feature`, and its own loss.

    Both read one pass over the real images and, compiled, one over the generated ones: neither network has changed in
    between.

    Args:
        discriminator: `Discriminator`.
        config: Weights of the terms.
        conditions: What both images were drawn from, float (B, C, H, W).
        generated: Judged images or maps, float (B, D, H, W).
        wanted: Real ones, likewise.

    Returns:
        Weighted terms of the generator's loss, and the discriminator's loss.

    Source: Paper Eqs. 2-4.
    """
    real, fake = discriminator(conditions, wanted), frozen(discriminator)(conditions, generated)
    own = losses.discriminator_loss(real, discriminator(conditions, generated.detach()), config.adversarial)
    terms = {"adversarial": config.adversarial_weight * losses.generator_loss(fake, config.adversarial)}
    if config.feature_weight:
        fixed = [[layer.detach() for layer in scale] for scale in real]
        terms["feature"] = config.feature_weight * losses.feature_matching(fake, fixed)
    return terms, own


def update_both(networks: Networks, found: BatchLosses) -> dict[str, Tensor]:
    """Update generator and discriminator, each by its own loss.

    Returns:
        Detached scalars on the device, of this process's samples: each loss term, `discriminator`, and the mean
        fusion mask of each group.
    """
    optimizers = (networks.generator_optimizer, networks.discriminator_optimizer)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    torch.stack([loss.float() for loss in (*found.terms.values(), found.discriminator)]).sum().backward()
    for optimizer in optimizers:
        networks.processes.average_gradients(optimizer)
        optimizer.step()
    values = {f"loss_{name}": term for name, term in (found.terms | {"discriminator": found.discriminator}).items()}
    return {name: value.detach() for name, value in values.items()} | {
        f"fusion_mask_{name}": mean for name, mean in found.fusion_mask.items()
    }


Corners = tuple[Tensor, Tensor, int]
"""Of the square on which VGG compares: top and left, long (B,) each, and its side."""


def _perceptual(features: Features, corners: Corners | None, generated: Tensor, wanted: Tensor) -> Tensor:
    """Eq. 2 on each sample's square, or on whole images."""
    if corners is not None:
        top, left, side = corners
        groups = len(generated) // len(top)
        places = (top.repeat(groups), left.repeat(groups), side)
        generated, wanted = crop(generated, *places), crop(wanted, *places)
    with torch.no_grad():
        real = features(wanted)
    return losses.perceptual(features(generated), real)


def batch_losses(
    generator: nn.Module,
    discriminator: nn.Module,
    features: Features | None,
    config: LossConfig,
    views: Views,
    alone_B: Tensor,
    corners: Corners | None,
) -> BatchLosses:
    """Losses of both networks on one batch, without side effects.

    Args:
        generator: `Generator`.
        discriminator: `Discriminator`.
        features: Perceptual network, or None.
        config: Weights of the terms.
        views: The batch.
        alone_B: bool (B,): samples judged on their source alone.
        corners: Where VGG compares; None for whole images.
    """
    stacked = laid_out(views.conditions.stacked())
    device = stacked.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        outputs: dict[str, DecoderOutput] = generator(stacked)
        generated, wanted, masks = _targets(views, outputs, alone_B)
        wanted = laid_out(wanted)
        repeated = stacked.repeat(len(outputs), 1, 1, 1)
        terms, own = adversarial_terms(discriminator, config, repeated, generated, wanted)
        if config.perceptual_weight and features is not None:
            terms["perceptual"] = config.perceptual_weight * _perceptual(features, corners, generated, wanted)
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * F.l1_loss(generated, wanted)
        if config.region_weight:
            region_mask = views.region_mask.repeat(len(outputs), 1, 1, 1)
            terms["region"] = config.region_weight * losses.region_l1(generated, wanted, region_mask)
        if config.fusion_weight:
            terms["fusion"] = config.fusion_weight * losses.fusion_opening(masks, repeated[:, :3], wanted)
    return BatchLosses(terms, own, mean_masks(outputs))


def training_step(networks: Networks, config: LossConfig, views: Views, draws: Draws) -> dict[str, Tensor]:
    """Update generator and discriminator on one batch.

    Args:
        networks: Modules and optimisers.
        config: Weights of the terms.
        views: The batch.
        draws: Random rows for the crops.

    Returns:
        Detached scalars on the device, of this process's samples: each loss term, `discriminator`, and the mean
        fusion mask of each group.
    """
    alone_B, corners, side = draws.happens(config.source_share), None, config.perceptual_crop
    if side and side < views.region_mask.shape[-1]:
        corners = (*crop_corners(draws, views.region_mask, side), side)
    parts = (networks.generator, networks.discriminator, networks.features)
    return update_both(networks, networks.prepare(batch_losses)(*parts, config, views, alone_B, corners))

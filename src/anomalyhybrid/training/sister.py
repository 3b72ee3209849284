"""Training of AnomalyHybrid*: depth and edges of a colour image, from another view's maps (paper Fig. 4b, ADR-010)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalyhybrid import losses
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.blocks import laid_out
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import u8_from_signed
from anomalyhybrid.seeding import stream
from anomalyhybrid.training import loop
from anomalyhybrid.training.config import LossConfig
from anomalyhybrid.training.processes import ALONE, Processes
from anomalyhybrid.training.sister_pool import DepthPool
from anomalyhybrid.training.sister_views import DepthDefect, SisterViews, draw_sister_views, painted_defects
from anomalyhybrid.training.step import BatchLosses, Features, Networks, adversarial_terms, mean_masks, update_both
from anomalyhybrid.types import Conditions, DecoderOutput

SLOPE_WEIGHT = 20.0
"""Weight of the error of neighbouring differences: a dent is small in depth and plain in slope."""


class Counts(NamedTuple):
    """What sums over pixels are divided by, scalars: the mean over processes, so that theirs is that of all pixels."""

    depth: Tensor
    edge: Tensor
    slope: Tensor


def _neighbours(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whether both of two neighbours count, across and down."""
    return weight[..., 1:] * weight[..., :-1], weight[..., 1:, :] * weight[..., :-1, :]


def shared_counts(valid: Tensor, processes: Processes = ALONE) -> Counts:
    """Count measured pixels, all pixels, and neighbours both of which are measured.

    Args:
        valid: float (B, 1, H, W), 0 or 1.
        processes: Those that share the batch.
    """
    slope = torch.stack([both.sum() for both in _neighbours(valid)]).sum()
    sums = (valid.sum(), torch.ones_like(valid).sum(), slope)
    return Counts(*(processes.mean(value).clamp_min(1.0 / processes.count) for value in sums))


def masked_l1(generated: Tensor, wanted: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    """Mean absolute difference over the pixels of a weight map, scalar; 0 where there is none.

    Args:
        generated: float (B, 1, H, W).
        wanted: float (B, 1, H, W).
        weight: float (B, 1, H, W), 0 or 1.
        count: Of `Counts`, what the sum is divided by.
    """
    return ((generated - wanted).abs() * weight).sum() / count


def slope_l1(generated: Tensor, wanted: Tensor, weight: Tensor, count: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, both of them weighted pixels; as `masked_l1`."""
    error = generated - wanted
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    both_across, both_down = _neighbours(weight)
    return ((across.abs() * both_across).sum() + (down.abs() * both_down).sum()) / count


def _maps(outputs: dict[str, DecoderOutput], alone_B: Tensor) -> Tensor:
    """Judged depth and edge, float (B, 2, H, W): the source alone for chosen samples, else what Eq. 1 fuses."""
    alone = alone_B.view(-1, 1, 1, 1)
    chosen = [torch.where(alone, out.source.to(out.fused.dtype), out.fused) for out in outputs.values()]
    return torch.cat(chosen, dim=1)


def _terms(
    discriminator: nn.Module,
    features: Features | None,
    counts: Counts,
    config: LossConfig,
    stacked: Tensor,
    views: SisterViews,
    outputs: dict[str, DecoderOutput],
    judged: Tensor,
    wanted: Tensor,
) -> tuple[dict[str, Tensor], Tensor]:
    """Weighted terms of the generator's loss, where depth counts as far as it was measured, and the discriminator's."""
    terms, own = adversarial_terms(discriminator, config, stacked, judged, wanted)
    weights = [views.valid, torch.ones_like(views.valid)]
    pairs = [(judged[:, c : c + 1].float(), wanted[:, c : c + 1], weights[c]) for c in range(2)]
    if config.pixel_weight:
        both = masked_l1(*pairs[0], counts.depth) + masked_l1(*pairs[1], counts.edge)
        terms["pixel"] = config.pixel_weight * both
        terms["slope"] = SLOPE_WEIGHT * slope_l1(*pairs[0], counts.slope)
    if config.region_weight:
        inside = [losses.region_l1(ours, theirs, views.region_mask * known) for ours, theirs, known in pairs]
        terms["region"] = config.region_weight * (inside[0] + 0.25 * inside[1])
    if config.fusion_weight:
        masks, contents = [out.fusion_mask for out in outputs.values()], (stacked[:, 3:4], stacked[:, 4:5])
        opening = [losses.fusion_opening(m, c, w) for m, c, (_, w, _) in zip(masks, contents, pairs, strict=True)]
        terms["fusion"] = config.fusion_weight * (opening[0] + opening[1])
    if config.perceptual_weight and features is not None:
        shown = [(ours.expand(-1, 3, -1, -1), theirs.expand(-1, 3, -1, -1)) for ours, theirs, _ in pairs]
        ours, theirs = (torch.cat(part) for part in zip(*shown, strict=True))
        with torch.no_grad():
            real_features = features(theirs)
        terms["perceptual"] = config.perceptual_weight * losses.perceptual(features(ours), real_features)
    return terms, own


def sister_losses(
    generator: nn.Module,
    discriminator: nn.Module,
    features: Features | None,
    counts: Counts,
    config: LossConfig,
    views: SisterViews,
    alone_B: Tensor,
) -> BatchLosses:
    """Losses of AnomalyHybrid* and its discriminator on one batch; as `batch_losses`."""
    stacked = laid_out(views.conditions.stacked())
    device = stacked.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        outputs: dict[str, DecoderOutput] = generator(stacked)
        judged = _maps(outputs, alone_B)
        depth = torch.where(views.valid > 0, views.target_depth, judged[:, :1].detach().float())
        wanted = torch.cat([depth, views.target_edge], dim=1)
        terms, own = _terms(discriminator, features, counts, config, stacked, views, outputs, judged, wanted)
    return BatchLosses(terms, own, mean_masks(outputs))


def sister_step(networks: Networks, config: LossConfig, views: SisterViews, draws: Draws) -> dict[str, Tensor]:
    """Update AnomalyHybrid* and its discriminator on one batch.

    The discriminator sees conditions, depth and edge together: one verdict for the pair of maps of one image.
    Unmeasured depth is replaced by the network's own in what it takes for real, so that holes teach nothing.

    Args:
        networks: Modules and optimisers.
        config: Weights of the terms.
        views: The batch.
        draws: Random rows.

    Returns:
        Detached scalars on the device, of this process's samples: each loss term, `discriminator`, and the mean
        fusion mask of each group.

    Source: Paper Fig. 4b, Eqs. 2-4; ADR-010.
    """
    counts = shared_counts(views.valid, networks.processes)
    parts = (networks.generator, networks.discriminator, networks.features, counts)
    losses_of = networks.prepare(sister_losses)
    return update_both(networks, losses_of(*parts, config, views, draws.happens(config.source_share)))


@dataclass(frozen=True, slots=True)
class SisterProbe:
    """Good images and the same ones with a defect in colour; the reference maps stay those of the good image."""

    good: Conditions
    defective: Conditions
    defect: DepthDefect

    @classmethod
    def draw(cls, pool: DepthPool, seed: int, count: int, device: torch.device) -> SisterProbe:
        """Put a defect, rendered where the pool has scenes, else painted, on `count` good images."""
        draws = Draws.from_stream(stream(seed, "probe"), count, columns=4096).to(device)
        good, base, has_base = pool.draw(draws)
        defect = painted_defects(draws, good, base, has_base, 0.0)
        pairs = pool.draw_pairs(draws)
        if pairs is not None:
            good, defect = pairs[0], DepthDefect(pairs[1].maps, pairs[1].valid)
        own = Conditions(color=good.maps.color, depth=good.maps.depth, edge=good.maps.edge)
        return cls(own, Conditions(color=defect.maps.color, depth=own.depth, edge=own.edge), defect)

    @torch.no_grad()
    def edit_response(self, model: Generator) -> dict[str, float]:
        """How well the relief of a defect is read from colour alone.

        Returns:
            ``relief_correlation``: of predicted with true change of depth over the regions' pixels;
            ``sign_agreement``: share of the regions with a relief whose predicted mean change has the true sign.
        """
        change = model.redraw(self.defective, "ahd").fused - model.redraw(self.good, "ahd").fused
        true = self.defect.maps.depth - self.good.depth
        inside = (self.defect.maps.region_mask * self.defect.valid) > 0
        ours, theirs = change[inside].double(), true[inside].double()
        ours, theirs = ours - ours.mean(), theirs - theirs.mean()
        scale = (ours.square().sum() * theirs.square().sum()).sqrt().clamp_min(1e-12)
        area = inside.sum(dim=(1, 2, 3)).clamp_min(1)
        means = [(values * inside).sum(dim=(1, 2, 3)) / area for values in (change, true)]
        known = means[1].abs() > 0.01
        agree = ((means[0] * means[1] > 0) & known).sum() / known.sum().clamp_min(1)
        return {"relief_correlation": float((ours * theirs).sum() / scale), "sign_agreement": float(agree)}

    @torch.no_grad()
    def save_grid(self, model: Generator, path: Path, rows: int = 6) -> None:
        """Write a picture, one row a sample: colour, reference depth, depth given, true depth, edge given, masks."""
        outputs = model(self.defective.stacked())
        columns = [self.defective.color, self.defective.depth, outputs["ahd"].fused, self.defect.maps.depth]
        columns += [outputs["ahe"].fused, outputs["ahd"].fusion_mask * 2 - 1, outputs["ahe"].fusion_mask * 2 - 1]
        strips = [
            torch.cat([part[row].expand(3, -1, -1) for part in columns], dim=2)
            for row in range(min(rows, len(columns[0])))
        ]
        save_png(path, u8_from_signed(torch.cat(strips, dim=1)).permute(1, 2, 0).cpu().numpy())


class SisterTrainer(loop.Trainer):
    """Trains one AnomalyHybrid*; arguments as for `Trainer`, with a `DepthPool`.

    Raises:
        ConfigError: A generator that gives colour, or lacks one of the two decoder groups.
    """

    pool: DepthPool  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config, loss, pool: DepthPool, generator: Generator, features, files) -> None:
        if generator.config.gives != "maps" or generator.config.decoders != ("ahd", "ahe"):
            raise ConfigError(
                f"AnomalyHybrid* needs a generator with gives='maps' and both decoders, not {generator.config}"
            )
        super().__init__(config, loss, pool, generator, features, files)  # pyright: ignore[reportArgumentType]

    def _new_discriminator(self):
        return loop.Discriminator(replace(loop.DiscriminatorConfig(), image_channels=2))

    def _new_probe(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return SisterProbe.draw(self.pool, self.config.seed, loop.PROBES, self.device)

    def _draw_views(self, rows: Draws):  # pyright: ignore[reportIncompatibleMethodOverride]
        return draw_sister_views(rows, self.pool, self.config.augment)

    def _step(self, views: SisterViews, draws: Draws):  # pyright: ignore[reportIncompatibleMethodOverride]
        return sister_step(self.networks, self.loss, views, draws)

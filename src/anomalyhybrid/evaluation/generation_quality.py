"""Generation quality of one method on one category (PROTOCOL; Tables 1, 3, 5, 7).

Images and networks in, figures out; a figure that cannot be computed is NaN, and a note says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.classification import Measured
from anomalyhybrid.evaluation.cluster_lpips import ClusterConfig
from anomalyhybrid.evaluation.diversity import (
    Embed,
    EmbeddedImages,
    drawn_centres,
    embedded,
    image_cluster_lpips,
    typed_cluster_lpips,
)
from anomalyhybrid.evaluation.features import FeatureOutput
from anomalyhybrid.evaluation.frechet import frechet_distance
from anomalyhybrid.evaluation.inception import inception_score
from anomalyhybrid.evaluation.kid import kernel_distance
from anomalyhybrid.evaluation.lpips import Network
from anomalyhybrid.evaluation.mask_consistency import mask_consistency
from anomalyhybrid.evaluation.memorisation import nearest_base
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.evaluation.sampling import check_samples
from anomalyhybrid.evaluation.squares import region_squares
from anomalyhybrid.seeding import stream

Features: TypeAlias = Callable[[Tensor], FeatureOutput]
"""Takes uint8 (N, 3, H, W), gives features and logits (`features.FeatureNetwork`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """Variants of the generation figures that publications use (PROTOCOL: Generation quality)."""

    splits: int = 10
    """Parts of the Inception Score."""
    shuffle_seed: int = 2020
    """Of the Inception Score's order."""
    centres: Literal["test", "base"] = "test"
    """Centres of cluster LPIPS: sampled test defects of the category (the paper), or the base images of the type,
    the mean taken over the types (AnomalyDiffusion)."""
    sampled_centres: int = 100
    """Most test defects that are centres."""
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    """Cap and singleton rule of cluster LPIPS."""
    centres_as_bytes: bool = False
    """Feed the centres to LPIPS in [0, 255], the generated images in [-1, 1], as DFMGAN's and SeaS's code does;
    for ``as_published`` only."""
    kid_subsets: int = 100
    """Random subset pairs of KID."""
    block: int = 16
    """Images in one pass of the LPIPS network."""
    memory: int = 4 << 30
    """Bytes that LPIPS embeddings may take on the device; changes the time, not the figures."""

    def __post_init__(self) -> None:
        for name in ("splits", "sampled_centres", "kid_subsets", "block", "memory"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.centres not in ("test", "base"):
            raise ConfigError(f"centres is {self.centres!r}; it must be 'test' or 'base'")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityNetworks:
    """The networks that generation figures are computed with; figures of absent ones are left out.

    Attributes:
        features: Inception or its stand-in, for IS, KID, FID and the distance of regions to the base set.
        lpips: `Lpips.embed` by network, for cluster LPIPS (``ic_lpips@alex``); the first one also measures the
            distance to the base set.
        device: Where the LPIPS networks run.
    """

    features: Features | None = None
    lpips: Mapping[Network, Embed] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class _Sheet:
    """Collects figures; what cannot be computed is NaN with a note."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.notes: list[str] = []

    def add(self, name: str, compute: Callable[[], float]) -> None:
        try:
            self.figures[name] = float(compute())
        except DataError as error:
            self.lack(name, str(error))

    def lack(self, name: str, reason: str) -> None:
        self.figures[name] = math.nan
        self.notes.append(f"{name}: {reason}")

    def measured(self) -> Measured:
        return Measured(self.figures, tuple(dict.fromkeys(self.notes)))


def generation_figures(
    generated: Samples,
    base: Samples | None,
    test: Samples,
    networks: QualityNetworks,
    config: QualityConfig,
    seed: int,
    *,
    targets_u8: Tensor | None = None,
) -> Measured:
    """Measure a method's images of one category.

    Figures: ``inception_score`` (all defect types pooled), ``inception_score_per_defect`` (mean over types, SeaS),
    ``ic_lpips@<network>``, ``kid``, ``fid`` (against the test set's defects), ``kid@region`` and
    ``nearest_base@region`` (on `region_squares`; the latter in feature space), ``nearest_base`` and
    ``nearest_base_minimum`` (LPIPS of whole images), and, where targets are known, the three of `mask_figures`.

    Args:
        generated: The method's images; good ones are left out.
        base: The base set; good images are left out. None: figures that need it are left out, or NaN.
        test: The test set, with the base set's defect types; good images are left out.
        networks: What to measure with.
        config: Variants.
        seed: Root of the drawn centres and of the capped clusters, the same for all methods.
        targets_u8: The normal image that each image of ``generated`` was made from, uint8 (N, 3, S, S).

    Returns:
        Figures and notes.

    Raises:
        DataError: A set without defective images, or images that do not fit.

    Source: PROTOCOL, Generation quality.
    """
    size = int(generated.image_u8.shape[-1])
    if targets_u8 is not None and len(targets_u8) != len(generated):
        raise DataError(f"there are {len(targets_u8)} targets for {len(generated)} generated images; give one for each")
    if targets_u8 is not None:
        targets_u8 = targets_u8[(generated.kind >= 0).to(targets_u8.device)]
    generated, test = _checked(generated, size, "generated"), _checked(test, size, "test")
    base = None if base is None else _checked(base, size, "base")
    sheet = _Sheet()
    if networks.features is not None:
        _feature_figures(sheet, generated, base, test, networks.features, config)
    for number, name in enumerate(networks.lpips):
        _lpips_figures(sheet, name, (generated, base, test), networks, config, seed, nearest=not number)
    if targets_u8 is not None:
        sheet.figures |= mask_figures(generated.image_u8, targets_u8, generated.mask_u8)
    return sheet.measured()


def _checked(samples: Samples, size: int, name: str) -> Samples:
    """The defective images of a set."""
    check_samples(samples, size, name, empty_masks=True)
    chosen = samples.defective
    if not len(chosen):
        raise DataError(f"the {name} set has no defective images; generation quality is measured on them")
    return chosen


def _present(samples: Samples) -> list[int]:
    return sorted(set(samples.kind.tolist()))


def _feature_figures(
    sheet: _Sheet, generated: Samples, base: Samples | None, test: Samples, features: Features, config: QualityConfig
) -> None:
    """IS, KID and FID on whole images; KID and distance to the base set on regions."""
    made, real = features(generated.image_u8), features(test.image_u8)
    logits, kind = made.logits, generated.kind.cpu()
    if logits is not None:

        def score(part: Tensor) -> float:
            return inception_score(part, splits=config.splits, shuffle_seed=config.shuffle_seed).mean

        kinds = _present(generated)
        sheet.add("inception_score", lambda: score(logits))
        sheet.add(
            "inception_score_per_defect", lambda: sum(score(logits[kind == index]) for index in kinds) / len(kinds)
        )
    sheet.add("kid", lambda: kernel_distance(made.features, real.features, subsets=config.kid_subsets).mean)
    sheet.add("fid", lambda: frechet_distance(made.features, real.features))
    made_at, real_at, base_at = (_region_features(sheet, part, features) for part in (generated, test, base))
    if made_at is None or real_at is None:
        sheet.lack("kid@region", "no image has a mask")
        return
    sheet.add("kid@region", lambda: kernel_distance(made_at, real_at, subsets=config.kid_subsets).mean)
    if base_at is not None:
        _nearest(sheet, torch.cdist(made_at.double(), base_at.double()), "@region")


def _region_features(sheet: _Sheet, samples: Samples | None, features: Features) -> Tensor | None:
    """Features of the squares around the defects; images whose small mask got lost in resizing are left out."""
    if samples is None:
        return None
    marked = (samples.mask_u8 > 127).flatten(1).any(dim=1)
    if lost := int((~marked).sum()):
        sheet.notes.append(f"{lost} of {len(samples)} images have an empty mask and no region")
    if not bool(marked.any()):
        return None
    return features(region_squares(samples.image_u8[marked], samples.mask_u8[marked])).features


def _nearest(sheet: _Sheet, distances_NM: Tensor, variant: str) -> None:
    """Distance to the nearest base image."""
    rows, columns = (torch.arange(length) for length in distances_NM.shape)
    found = nearest_base(rows, columns, lambda one, two: distances_NM[one][:, two])
    sheet.figures[f"nearest_base{variant}"] = found.mean
    sheet.figures[f"nearest_base_minimum{variant}"] = found.minimum


def _lpips_figures(
    sheet: _Sheet,
    name: Network,
    sets: tuple[Samples, Samples | None, Samples],
    networks: QualityNetworks,
    config: QualityConfig,
    seed: int,
    *,
    nearest: bool,
) -> None:
    """Cluster LPIPS with the configured centres and, if asked for, distance to the base set, from one pass."""
    generated, base, test = sets
    figure, embed, device = f"ic_lpips@{name}", networks.lpips[name], networks.device
    centres = (
        base
        if config.centres == "base"
        else drawn_centres(test, config.sampled_centres, stream(seed, "ic_lpips", "centres"))
    )
    parts: list[Tensor] = []
    if centres is not None:
        parts.append(embedded(centres.image_u8, embed, device, block=config.block, as_bytes=config.centres_as_bytes))
    if nearest and base is not None:
        parts.append(embedded(base.image_u8, embed, device, block=config.block))
    if not parts:
        sheet.lack(figure, "its centres are base images, and there is no base set")
        return
    held = EmbeddedImages(generated.image_u8, embed, device, config.memory, config.block)
    distances, count = held.to_vectors(torch.cat(parts)), 0 if centres is None else len(centres)
    to_centres, cap = distances[:, :count], stream(seed, "ic_lpips", "cap")
    if centres is None:
        sheet.lack(figure, "its centres are base images, and there is no base set")
    elif config.centres == "test":
        sheet.add(figure, lambda: image_cluster_lpips(held, to_centres, config.clusters, cap))
    else:
        sheet.add(figure, lambda: typed_cluster_lpips(held, to_centres, generated, centres, config.clusters, cap))
    if nearest and base is not None:
        _nearest(sheet, distances[:, count:], "")


def mask_figures(generated_u8: Tensor, targets_u8: Tensor, mask_u8: Tensor, *, tolerance: int = 0) -> dict[str, float]:
    """Do images differ from the normal images that they were made from where their masks say so, and only there?

    Args:
        generated_u8: uint8 (N, 3, S, S).
        targets_u8: The normal images, the same shape.
        mask_u8: uint8 (N, 1, S, S), above 127 in the region; images with an empty mask are left out.
        tolerance: Difference up to which a pixel is unchanged, in 1/255. Images that were resized after the defect
            was made need some: resizing carries changes across the mask's border.

    Returns:
        Means over the images of `MaskConsistency`'s three shares: ``changed_outside``, ``outside_changed``,
        ``mask_visible``; empty if all masks are.

    Raises:
        DataError: Shapes that differ.
    """
    masks = (mask_u8[:, 0] > 127).cpu().numpy()
    found = [
        mask_consistency(target, image, mask, tolerance=tolerance)
        for target, image, mask in zip(_channels_last(targets_u8), _channels_last(generated_u8), masks, strict=True)
        if mask.any()
    ]
    names = ("changed_outside", "outside_changed", "mask_visible") if found else ()
    return {name: float(np.mean([getattr(one, name) for one in found])) for name in names}


def _channels_last(images_u8: Tensor) -> np.ndarray:
    return images_u8.permute(0, 2, 3, 1).cpu().numpy()
